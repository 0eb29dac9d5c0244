//! A job: where it stands, live.

use contract::ids::JobId;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;

use super::{answered, backend, unknown_id};
use crate::components::When;
use crate::islands::{CaseLine, JobProgress};

/// A job by its id.
#[component]
pub fn JobPage() -> impl IntoView {
    let backend = backend();
    let id = use_params_map().get_untracked().get("id").unwrap_or_default();
    answered(async move {
        let id = id.parse::<JobId>().map_err(|_| unknown_id("job", &id))?;
        let job = backend.job(id).await?;
        let site = backend.site().await?;
        let cases = match job.run_id {
            Some(run) => backend.run(run).await?.cases.iter().map(CaseLine::of).collect(),
            None => Vec::new(),
        };
        let sweep = job.sweep.clone();
        let axis = |values: Vec<String>| values.join(", ");
        let refresh = (!job.state.is_final()).then(|| {
            view! { <noscript inner_html="<meta http-equiv=\"refresh\" content=\"5\">"></noscript> }
        });
        Ok(view! {
            <Title text=job.name.clone() />
            <main id="main" class="page">
                {refresh}
                <div class="head">
                    <div>
                        <h1>{job.name.clone()}</h1>
                        <p class="muted">"asked " <When at=job.created_at now=site.now /></p>
                    </div>
                    <a class="button" href="/jobs">
                        "All jobs"
                    </a>
                </div>
                <JobProgress job cases may_cancel=site.may_write />
                <section class="card">
                    <header>
                        <h2>"Sweep"</h2>
                        <small class="num">{format!("{} cases", sweep.len())}</small>
                    </header>
                    <dl class="pairs num">
                        <dt>"Models"</dt>
                        <dd>{sweep.models.join(", ")}</dd>
                        <dt>"Precisions"</dt>
                        <dd>{sweep.precisions.join(", ")}</dd>
                        <dt>"Sequences at once"</dt>
                        <dd>{axis(sweep.batches.iter().map(ToString::to_string).collect())}</dd>
                        <dt>"Prompt, tokens"</dt>
                        <dd>{axis(sweep.prompts.iter().map(ToString::to_string).collect())}</dd>
                        <dt>"Generate, tokens"</dt>
                        <dd>{axis(sweep.generates.iter().map(ToString::to_string).collect())}</dd>
                        <dt>"Device"</dt>
                        <dd>{sweep.device.to_string()}</dd>
                        <dt>"Repetitions"</dt>
                        <dd>{sweep.repetitions}</dd>
                    </dl>
                </section>
            </main>
        }
        .into_any())
    })
}

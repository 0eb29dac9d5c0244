//! A job: where it stands, live.

use contract::command::{FOLDER, commands};
use contract::ids::JobId;
use contract::run::CASES_OF_PAGE;
use contract::sweep::Sweep;
use contract::training::Training;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;

use super::{answered, backend, unknown_id};
use crate::components::When;
use crate::islands::{CaseLine, CopyButton, JobProgress};

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
            Some(run) => {
                let from = job.progress.done.saturating_sub(CASES_OF_PAGE);
                backend.run(run, from).await?.cases.iter().map(CaseLine::of).collect()
            }
            None => Vec::new(),
        };
        let sweep = job.sweep.clone();
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
                <JobProgress job=job.into() cases may_cancel=site.may_write />
                <section class="card">
                    <header>
                        <h2>"Sweep"</h2>
                        <small class="num">{format!("{} cases", sweep.len())}</small>
                    </header>
                    <dl class="pairs num">{axes(&sweep)}</dl>
                    {again(&sweep)}
                </section>
            </main>
        }
        .into_any())
    })
}

/// What the sweep asks, a line for each axis that says something.
fn axes(sweep: &Sweep) -> AnyView {
    fn list(values: &[impl ToString]) -> String {
        values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
    let words = |words: Vec<&str>| words.join(", ");
    let attentions: Vec<String> = sweep.attentions.iter().map(contract::case::attention_word).collect();
    let trainings: Vec<String> = sweep.trainings.iter().map(Training::name).collect();
    let edge = sweep.edge.map(|edge| {
        let limit = edge.limit.map(|limit| format!(", up to {limit}")).unwrap_or_default();
        let within =
            if edge.resolution == 1 { "exact".to_owned() } else { format!("within {}", edge.resolution) };
        format!("the largest {} that fits{limit}, {within}", edge.axis)
    });
    [
        ("Models", sweep.models.join(", ")),
        ("Precisions", sweep.precisions.join(", ")),
        ("Decoder", words(sweep.variants.iter().map(|v| v.as_str()).collect())),
        ("Attention", attentions.join(", ")),
        ("Cache", words(sweep.caches.iter().map(|c| c.as_str()).collect())),
        ("Numbers in the cache", list(&sweep.kv_caches)),
        ("Training", trainings.join(", ")),
        ("Edge", edge.unwrap_or_default()),
        ("Sequences at once", list(&sweep.batches)),
        ("Prompt, tokens", list(&sweep.prompts)),
        ("Generate, tokens", list(&sweep.generates)),
        ("Device", sweep.device.to_string()),
        ("Memory limit", sweep.memory_limit.map(|limit| limit.to_string()).unwrap_or_default()),
        ("Kept by the memory pool", words(sweep.release_thresholds.iter().map(|t| t.as_str()).collect())),
        ("Events of each allocation", words(sweep.event_tracking.iter().map(|e| e.as_str()).collect())),
        ("Repetitions", sweep.repetitions.to_string()),
        ("Quality over, tokens", sweep.quality.map(|tokens| tokens.to_string()).unwrap_or_default()),
        ("Seed", if sweep.seed == 0 { String::new() } else { sweep.seed.to_string() }),
        ("Part", sweep.shard.map(|shard| shard.to_string()).unwrap_or_default()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| {
        view! {
            <dt>{name}</dt>
            <dd>{value}</dd>
        }
    })
    .collect_view()
    .into_any()
}

/// The commands that repeat the sweep without a server.
fn again(sweep: &Sweep) -> AnyView {
    let commands = commands(sweep);
    let is_incomplete = commands.iter().any(|command| command.contains(FOLDER));
    let lines = commands
        .into_iter()
        .map(|command| {
            view! {
                <div class="command" data-test="job-command">
                    <code tabindex="0">{command.clone()}</code>
                    <CopyButton text=command label="Copy".to_owned() />
                </div>
            }
        })
        .collect_view();
    view! {
        <div class="again">
            <p class="muted">"The same by hand, on any machine with bench-runner:"</p>
            {lines}
            {is_incomplete
                .then(|| view! { <small>{format!("Put the folder where the models lie in place of {FOLDER}.")}</small> })}
        </div>
    }
    .into_any()
}

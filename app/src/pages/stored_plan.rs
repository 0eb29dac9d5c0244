//! A stored plan: its answer as it was, for ever.

use contract::link::StoredPlan;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;
use planner::document::plan::Workload;

use super::{answered, backend};
use crate::components::{Agent, Basis, Costs, Summary, When, WhereItGoes};
use crate::{format, link};

/// The plan of a short link.
#[component]
pub fn StoredPlanPage() -> impl IntoView {
    let backend = backend();
    let id = use_params_map().get_untracked().get("id").unwrap_or_default();
    answered(async move {
        let stored = backend.plan(id).await?;
        let now = backend.site().await?.now;
        let StoredPlan { id, plan, estimate, planner_version, created_at } = stored;
        let title = format!("{} on {}", link::model_name(&plan.model), link::gpu_name(&plan.gpu.id));
        let weights = plan.precision.weights.map_or_else(|| "as stored".to_owned(), |w| w.to_string());
        let lengths = match &plan.workload {
            Workload::Serve(serve) => format!(
                "{} + {} tokens, {} at once",
                format::count(serve.prompt_tokens.0),
                format::count(serve.output_tokens.0),
                format::count(serve.concurrent_sequences)
            ),
            Workload::Train(_) => "training".to_owned(),
            Workload::Embed { .. } => "embedding".to_owned(),
        };
        let since = since(&plan, &estimate);
        Ok(view! {
            <Title text=title.clone() />
            <main id="main" class="page" data-test="stored-plan">
                <div class="head">
                    <div>
                        <h1>{title}</h1>
                        <p class="muted num">{format!("weights {weights} · {lengths}")}</p>
                    </div>
                    <a class="button primary" data-test="open-in-planner" href=link::planner_href(&plan)>
                        "Open in planner"
                    </a>
                </div>
                <div>
                    <Summary estimate=estimate.clone() />
                    <p class="muted">
                        {format!("Stored as {id} ")} <When at=created_at now />
                        {format!(", answered by planner {planner_version}. This page keeps that answer.")}
                    </p>
                </div>
                {since}
                <div class="cards">
                    <WhereItGoes estimate=estimate.clone() />
                    <Agent estimate=estimate.clone() />
                    <Costs estimate=estimate.clone() />
                    <Basis estimate />
                    <section class="card">
                        <header>
                            <h2>"The plan"</h2>
                            <small>
                                <a href="/docs/api">"the same document the API takes"</a>
                            </small>
                        </header>
                        <pre>{serde_json::to_string_pretty(&plan).unwrap_or_default()}</pre>
                    </section>
                </div>
            </main>
        }
        .into_any())
    })
}

/// What today's planner says otherwise, with both numbers.
fn since(plan: &planner::Plan, stored: &planner::Estimate) -> Option<AnyView> {
    let today = match planner::estimate(plan) {
        Ok(today) if today.per_gpu.total == stored.per_gpu.total && today.fits == stored.fits => return None,
        Ok(today) => format!(
            "Today's planner ({}) answers {} where this plan was stored with {}.",
            planner::VERSION,
            format::gib(today.per_gpu.total),
            format::gib(stored.per_gpu.total),
        ),
        Err(error) => {
            format!("Today's planner ({}) does not answer this plan any more: {error}.", planner::VERSION)
        }
    };
    Some(view! { <p class="notice warn">{today}</p> }.into_any())
}

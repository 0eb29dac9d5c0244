//! A stored plan: its answer as it was, for ever.

use contract::link::StoredPlan;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;

use super::export::{Address, Exports};
use super::origin::LinkPreview;
use super::{answered, backend};
use crate::components::{Agent, Basis, Costs, Summary, When, WhereItGoes};
use crate::{engine, format, link, words};

/// The plan of a short link.
#[component]
pub fn StoredPlanPage() -> impl IntoView {
    let backend = backend();
    let id = use_params_map().get_untracked().get("id").unwrap_or_default();
    answered(async move {
        let stored = backend.plan(id).await?;
        let now = backend.site().await?.now;
        let StoredPlan { id, plan, estimate, planner_version, created_at } = stored;
        let title = words::title(&plan);
        let since = since(&plan, &estimate);
        let parameters = engine::parameters(&plan.model);
        Ok(view! {
            <Title text=title.clone() />
            <LinkPreview
                plan=plan.clone()
                estimate=estimate.clone()
                path=format!("/p/{id}")
                picture=format!("/p/{id}/preview.png")
            />
            <main id="main" class="page" data-test="stored-plan">
                <div class="head">
                    <div>
                        <h1>{title}</h1>
                        <p class="muted num">{words::settings(&plan)}</p>
                    </div>
                    <div class="row">
                        <a class="button" href=link::compare_href(&plan, Some(&plan))>
                            "Compare with …"
                        </a>
                        <a class="button primary" data-test="open-in-planner" href=link::planner_href(&plan)>
                            "Open in planner"
                        </a>
                    </div>
                </div>
                <div>
                    <Summary plan=plan.clone() estimate=estimate.clone() parameters />
                    <p class="muted">
                        {format!("Stored as {} ", id.clone())} <When at=created_at now />
                        {format!(", answered by planner {}. This page keeps that answer.", planner_version.clone())}
                    </p>
                </div>
                {since}
                <div class="cards packed">
                    <WhereItGoes plan=plan.clone() estimate=estimate.clone() parameters />
                    <Agent estimate=estimate.clone() />
                    <Costs estimate=estimate.clone() />
                    <Basis estimate=estimate.clone() />
                    <section class="card">
                        <header>
                            <h2>"The plan"</h2>
                            <small>
                                <a href="/docs/api">"the same document the API takes"</a>
                            </small>
                        </header>
                        <pre tabindex="0">{serde_json::to_string_pretty(&plan).unwrap_or_default()}</pre>
                    </section>
                </div>
                <Exports plan estimate version=planner_version at=Address::Stored(id) />
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

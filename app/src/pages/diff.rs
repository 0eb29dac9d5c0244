//! Two plans side by side, each by its link or by the id that it was stored under.

use contract::link::StoredPlan;
use http::StatusCode;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_location, use_params_map};
use planner::{Estimate, Plan};

use super::{answered, backend, sentence, set_status};
use crate::backend::{BackendError, SharedBackend};
use crate::components::Difference;
use crate::{link, words};

/// `/planner/diff?a=…&b=…` and `/p/{a}/diff/{b}`.
#[component]
pub fn DiffPage() -> impl IntoView {
    let backend = backend();
    let search = use_location().search.get_untracked();
    let params = use_params_map().get_untracked();
    let given = |key: &str| params.get(key).or_else(|| link::value(&search, key)).unwrap_or_default();
    let (a, b) = (given("a"), given("b"));
    answered(async move {
        let (a, b) = (one(&backend, "a", a).await?, one(&backend, "b", b).await?);
        Ok(match (a, b) {
            (Ok(a), Ok(b)) => both(a, b),
            (Err(problem), _) | (_, Err(problem)) => refused(problem),
        })
    })
}

/// What one side of the address has no answer for: the status that belongs to it, and a sentence.
type Problem = (StatusCode, String);

/// A plan with its answer: as it was stored, or by today's planner.
async fn one(
    backend: &SharedBackend,
    side: &str,
    given: String,
) -> Result<Result<(Plan, Estimate), Problem>, BackendError> {
    if given.is_empty() {
        let said = format!(
            "The address lacks {side}: give a plan's link, percent-encoded, or the id of a stored plan."
        );
        return Ok(Err((StatusCode::BAD_REQUEST, said)));
    }
    // A link has pairs in it, an id has not.
    if !given.contains('=') {
        let StoredPlan { plan, estimate, .. } = backend.plan(given).await?;
        return Ok(Ok((plan, estimate)));
    }
    let told = |error: planner::PlanError| {
        format!("Plan {side} has no answer: {} {} – {}.", error.field, error.problem, error.remedy)
    };
    Ok(match link::read(&given) {
        Err(error) => Err((StatusCode::BAD_REQUEST, told(error))),
        Ok(plan) => match planner::estimate(&plan) {
            Err(error) => Err((StatusCode::UNPROCESSABLE_ENTITY, told(error))),
            Ok(estimate) => Ok((plan, estimate)),
        },
    })
}

fn both(a: (Plan, Estimate), b: (Plan, Estimate)) -> AnyView {
    let (title_a, title_b) = (words::title(&a.0), words::title(&b.0));
    let (edit, swapped) = (link::compare_href(&a.0, Some(&b.0)), link::diff_href(&b.0, &a.0));
    view! {
        <Title text=format!("{title_a} or {title_b}") />
        <main id="main" class="page" data-test="diff">
            <div class="head">
                <div>
                    <h1>"Two plans"</h1>
                    <p class="muted">{format!("A: {title_a}, {}", words::settings(&a.0))}</p>
                    <p class="muted">{format!("B: {title_b}, {}", words::settings(&b.0))}</p>
                </div>
                <div class="row">
                    <a class="button" href=swapped>
                        "Swap"
                    </a>
                    <a class="button primary" href=edit>
                        "Change A in the planner"
                    </a>
                </div>
            </div>
            <Difference a b />
        </main>
    }
    .into_any()
}

fn refused((status, said): Problem) -> AnyView {
    set_status(status);
    view! {
        <Title text="Two plans" />
        <main id="main" class="page narrow">
            <h1>"Two plans"</h1>
            <p class="notice bad" role="alert">
                {sentence(&said)}
            </p>
            <p>
                <a href="/planner">"Planner"</a>
            </p>
        </main>
    }
    .into_any()
}

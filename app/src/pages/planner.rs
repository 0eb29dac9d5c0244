//! The planner's page.

use ::planner::{Estimate, Plan};
use http::StatusCode;
use leptos::prelude::*;
use leptos_meta::{Meta, Title};
use leptos_router::hooks::use_location;

use super::origin::LinkPreview;
use super::{answered, backend, measured, set_status};
use crate::islands::{PlannerBoard, Start, options};
use crate::{fields, link, words};

/// A plan and its answer: the query is the plan's readable link.
#[component]
pub fn PlannerPage() -> impl IntoView {
    let search = use_location().search.get_untracked();
    let (against, wrong) = match link::against(&search) {
        Ok(against) => (against, None),
        Err(error) => (None, Some(error)),
    };
    let (plan, problem) = match link::read(&search) {
        Ok(plan) => (Ok(plan), wrong),
        Err(error) => (link::base_of(&search).map_or_else(link::first_plan, Ok), Some(error)),
    };
    let instead = if link::is_form(&search) {
        " Below is the plan as it was."
    } else if problem.as_ref().is_some_and(|error| error.field.starts_with("b.")) {
        " It was to be compared with; below is the other alone."
    } else {
        " Below is an example instead."
    };
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => {
            return view! { <main id="main" class="page"><h1>"Planner"</h1><p>{error.to_string()}</p></main> }
                .into_any();
        }
    };
    let answer = ::planner::estimate(&plan).ok();
    if problem.is_none() && link::is_form(&search) {
        // What the form sends is long; the address that people copy is the plan's link.
        leptos_axum::redirect(&link::compare_href(&plan, against.as_ref()));
        set_status(StatusCode::FOUND);
    } else if problem.is_some() {
        set_status(StatusCode::BAD_REQUEST);
    } else if answer.is_none() {
        set_status(StatusCode::UNPROCESSABLE_ENTITY);
    }
    let backend = backend();
    answered(async move {
        // A plan is answered without a database too.
        let measured = measured::like(&backend, &plan).await.unwrap_or_default();
        let title = words::title(&plan);
        Ok(view! {
            <Title text=title.clone() />
            {meta(&plan, answer, &title)}
            {problem
                .map(|error| {
                    view! {
                        <p class="notice bad" role="alert" style="margin:16px">
                            {format!(
                                "This plan cannot be read: {} ({}). {}.",
                                error.problem,
                                error.field,
                                capital(&error.remedy),
                            )}
                            {instead}
                        </p>
                    }
                })}
            <PlannerBoard start=Start::of(&plan, against.as_ref(), measured).packed() />
        }
        .into_any())
    })
}

/// What other sites show of the page's link; a plan without an answer has no picture.
fn meta(plan: &Plan, answer: Option<Estimate>, title: &str) -> AnyView {
    let Some(estimate) = answer else {
        let said = format!("What {title} takes: memory by component, the most that fits, how sure.");
        return view! { <Meta name="description" content=said /> }.into_any();
    };
    let path = link::planner_href(plan);
    let picture = format!("/planner/preview.png?{}", ::planner::link::to_query(plan));
    view! { <LinkPreview plan=plan.clone() estimate path picture /> }.into_any()
}

fn capital(text: &str) -> String {
    super::sentence(text).trim_end_matches('.').to_owned()
}

/// Options of every model that generates, the first plan's chosen.
pub(super) fn model_options() -> Vec<AnyView> {
    options(&fields::models("serve"), "meta-llama/Llama-3.1-8B")
}

/// Options of every GPU.
pub(super) fn gpu_options() -> Vec<AnyView> {
    options(&fields::gpus(""), "h100-sxm-80gb")
}

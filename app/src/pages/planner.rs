//! The planner's page.

use http::StatusCode;
use leptos::prelude::*;
use leptos_meta::{Meta, Title};
use leptos_router::hooks::use_location;

use super::set_status;
use crate::islands::{PlannerBoard, options};
use crate::{fields, link};

/// A plan and its answer: the query is the plan's readable link.
#[component]
pub fn PlannerPage() -> impl IntoView {
    let search = use_location().search.get_untracked();
    let (plan, problem) = match link::read(&search) {
        Ok(plan) => (Ok(plan), None),
        Err(error) => (link::base_of(&search).map_or_else(link::first_plan, Ok), Some(error)),
    };
    let instead = if link::is_form(&search) {
        " Below is the plan as it was."
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
    if problem.is_none() && link::is_form(&search) {
        // What the form sends is long; the address that people copy is the plan's link.
        leptos_axum::redirect(&link::planner_href(&plan));
        set_status(StatusCode::FOUND);
    } else if problem.is_some() {
        set_status(StatusCode::BAD_REQUEST);
    } else if ::planner::estimate(&plan).is_err() {
        set_status(StatusCode::UNPROCESSABLE_ENTITY);
    }
    let title = format!("{} on {}", link::model_name(&plan.model), link::gpu_name(&plan.gpu.id));
    view! {
        <Title text=title.clone() />
        <Meta name="description" content=format!("What {title} takes: memory by component, the most that fits, how sure.") />
        {problem
            .map(|error| {
                view! {
                    <p class="notice bad" role="alert" style="margin:16px">
                        {format!("This plan cannot be read: {} ({}). {}.", error.problem, error.field, capital(&error.remedy))}
                        {instead}
                    </p>
                }
            })}
        <PlannerBoard plan />
    }
    .into_any()
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

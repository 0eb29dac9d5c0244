//! A plan to take along: what it can be kept as, and what to copy.

use http::StatusCode;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_location;
use planner::{Estimate, Plan};

use super::origin::origin;
use super::{sentence, set_status};
use crate::islands::CopyButton;
use crate::{export, link, words};

/// `/planner/export?…`: the plan of the link.
#[component]
pub fn ExportPage() -> impl IntoView {
    let search = use_location().search.get_untracked();
    let answer = link::read(&search).map_err(|error| (StatusCode::BAD_REQUEST, error)).and_then(|plan| {
        match planner::estimate(&plan) {
            Ok(estimate) => Ok((plan, estimate)),
            Err(error) => Err((StatusCode::UNPROCESSABLE_ENTITY, error)),
        }
    });
    let (plan, estimate) = match answer {
        Ok(answer) => answer,
        Err((status, error)) => {
            set_status(status);
            let said = format!("{}: {} – {}.", error.field, error.problem, error.remedy);
            return view! {
                <Title text="Export" />
                <main id="main" class="page narrow">
                    <h1>"No answer to export"</h1>
                    <p>{sentence(&said)}</p>
                    <p>
                        <a href="/planner">"Planner"</a>
                    </p>
                </main>
            }
            .into_any();
        }
    };
    let query = planner::link::to_query(&plan);
    let title = words::title(&plan);
    view! {
        <Title text=format!("Export: {title}") />
        <main id="main" class="page">
            <div class="head">
                <div>
                    <h1>{title}</h1>
                    <p class="muted num">{words::settings(&plan)}</p>
                </div>
                <a class="button primary" href=link::planner_href(&plan)>
                    "Back to the planner"
                </a>
            </div>
            <Exports plan estimate version=planner::VERSION.to_owned() at=Address::Query(query) />
        </main>
    }
    .into_any()
}

/// Where a plan's files are.
pub enum Address {
    /// Of any plan, by its link.
    Query(String),
    /// Of a stored plan, by its id.
    Stored(String),
}

impl Address {
    /// The path of a file of the plan, or of its frame.
    fn of(&self, file: &str) -> String {
        match (self, file) {
            (Self::Query(query), "embed") => format!("/embed?{query}"),
            (Self::Query(query), file) => format!("/planner/{file}?{query}"),
            (Self::Stored(id), "plan.json") => format!("/api/v1/plans/{id}"),
            (Self::Stored(id), file) => format!("/p/{id}/{file}"),
        }
    }
}

/// Links to a plan's files, and what to copy.
#[component]
pub(super) fn Exports(
    /// What was asked.
    plan: Plan,
    /// What was answered.
    estimate: Estimate,
    /// Version of the planner that answered.
    version: String,
    /// Where its files are.
    at: Address,
) -> impl IntoView {
    let frame = export::frame(&format!("{}{}", origin(), at.of("embed")), &plan);
    let alt = format!("Preview of the link: {}", words::title(&plan));
    view! {
        <section class="card" id="export" data-test="export">
            <header>
                <h2>"Take it along"</h2>
                <small>"the answer as files, and as text to copy"</small>
            </header>
            <p class="chips">
                <a class="chip" href=at.of("plan.json")>
                    "JSON"
                </a>
                <a class="chip" href=at.of("plan.md")>
                    "Markdown"
                </a>
                <a class="chip" href=at.of("preview.png")>
                    "Picture"
                </a>
                <a class="chip" href=at.of("embed")>
                    "Frame"
                </a>
            </p>
            <div class="cards">
                <div class="stack">
                    {copied("At the prompt", export::command(&plan))}
                    {copied("In another site's page", frame)}
                    {copied("As Markdown", export::markdown(&plan, &estimate, &version))}
                </div>
                <figure>
                    <img class="preview" src=at.of("preview.png") width="1200" height="630" alt=alt loading="lazy" />
                    <figcaption class="muted basis">"What other sites show of the link."</figcaption>
                </figure>
            </div>
        </section>
    }
    .into_any()
}

/// A text and a button that copies it.
fn copied(title: &'static str, text: String) -> AnyView {
    view! {
        <div>
            <h3 class="row">
                <span class="grow">{title}</span>
                <CopyButton text=text.clone() label="Copy".to_owned() />
            </h3>
            <pre class="wrap short" tabindex="0">
                {text}
            </pre>
        </div>
    }
    .into_any()
}

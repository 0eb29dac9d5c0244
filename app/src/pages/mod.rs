//! One module a page.

pub mod docs;
pub mod home;
pub mod job;
pub mod jobs;
pub mod login;
pub mod not_found;
pub mod planner;
pub mod run;
pub mod runs;
pub mod stored_plan;

use std::future::Future;

use http::StatusCode;
use leptos::prelude::*;
use leptos_axum::ResponseOptions;
use leptos_meta::Title;

use crate::backend::{BackendError, SharedBackend};

/// The backend, as the server provides it.
fn backend() -> SharedBackend {
    expect_context::<SharedBackend>()
}

/// Sets the status of the answer.
fn set_status(status: StatusCode) {
    if let Some(options) = use_context::<ResponseOptions>() {
        options.set_status(status);
    }
}

/// What a page shows of the backend's answer: its view, or a calm sentence with the status that belongs to the error.
fn answered<F>(answer: F) -> impl IntoView
where
    F: Future<Output = Result<AnyView, BackendError>> + Send + 'static,
{
    view! {
        <Suspense>
            {Suspend::new(async move { answer.await.unwrap_or_else(|error| view! { <Failure error /> }.into_any()) })}
        </Suspense>
    }
}

/// A page that could not be given.
#[component]
fn Failure(error: BackendError) -> impl IntoView {
    let (status, title, advice) = match &error {
        BackendError::NotFound { .. } => {
            (StatusCode::NOT_FOUND, "Not found", "The link may be mistyped, or the database is another one.")
        }
        BackendError::Unavailable => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "The database did not answer",
            "Nothing was lost. Try again in a moment; if it stays so, the operator finds the cause in the log.",
        ),
    };
    set_status(status);
    view! {
        <Title text=title />
        <main id="main" class="page narrow">
            <h1>{title}</h1>
            <p>{sentence(&error.to_string())}</p>
            <p class="muted">{advice}</p>
            <p>
                <a href="/runs">"All runs"</a>
                " · "
                <a href="/jobs">"All jobs"</a>
                " · "
                <a href="/planner">"Planner"</a>
            </p>
        </main>
    }
}

/// An error's text as a sentence: a capital first and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let mut sentence: String = letters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    sentence.push_str(letters.as_str());
    if !sentence.ends_with(['.', '!', '?']) {
        sentence.push('.');
    }
    sentence
}

//! One module a page.

pub mod answers;
pub mod case;
pub mod cases;
pub mod compare;
pub mod diff;
mod difference;
pub mod docs;
pub mod export;
pub mod home;
pub mod job;
pub mod jobs;
pub mod login;
mod measured;
pub mod not_found;
mod origin;
pub mod planner;
pub mod plots;
pub mod run;
pub mod runs;
pub mod stored_plan;

use std::future::Future;
use std::pin::Pin;

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
fn answered(answer: impl Future<Output = Result<AnyView, BackendError>> + Send + 'static) -> AnyView {
    // Boxed, so that the machinery of suspending is compiled once and not for every page.
    let answer: Pin<Box<dyn Future<Output = Result<AnyView, BackendError>> + Send>> = Box::pin(answer);
    view! {
        <Suspense>
            {Suspend::new(async move { answer.await.unwrap_or_else(|error| view! { <Failure error /> }.into_any()) })}
        </Suspense>
    }
    .into_any()
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

/// An id that cannot be one of a `what`.
fn unknown_id(what: &'static str, id: &str) -> BackendError {
    BackendError::NotFound { what, id: id.to_owned() }
}

/// Links to the pages before and after; nothing where one page holds all.
fn pager(path: &str, query: &str, page: u32, per_page: u32, total: u64) -> impl IntoView + use<> {
    let last = u32::try_from(total.div_ceil(u64::from(per_page.max(1)))).unwrap_or(u32::MAX).max(1);
    let joined = if query.is_empty() { String::new() } else { format!("{query}&") };
    let href = |to: u32| format!("{path}?{joined}page={to}");
    let before = (page > 1).then(|| href(page - 1));
    let after = (page < last).then(|| href(page + 1));
    (last > 1).then(|| {
        view! {
            <nav class="row" aria-label="Pages">
                {before.map(|href| view! { <a class="button" rel="prev" href=href>"Newer"</a> })}
                <span class="muted num">{format!("page {page} of {last}")}</span>
                {after.map(|href| view! { <a class="button" rel="next" href=href>"Older"</a> })}
            </nav>
        }
    })
}

#[cfg(test)]
mod tests;

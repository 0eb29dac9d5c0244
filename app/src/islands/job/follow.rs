//! Follows a job in the browser: server-sent events for its state, a request for the cases that ended since.

use std::time::Duration;

use contract::ids::RunId;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use wasm_bindgen_futures::JsFuture;
use web_sys::{EventSource, MessageEvent, Response};

use super::{CaseLine, Event, JobLine};

/// How long after a refused connection the next is tried; a broken one the browser takes up itself.
const AGAIN: Duration = Duration::from_secs(3);

/// What is kept in step with the server.
#[derive(Clone, Copy)]
pub(super) struct Followed {
    pub(super) job: RwSignal<JobLine>,
    pub(super) cases: RwSignal<Vec<CaseLine>>,
    /// Whether the server cannot be reached.
    pub(super) lost: RwSignal<bool>,
}

/// Follows until the job is over.
pub(super) fn follow(followed: Followed) {
    let Followed { job, cases, lost } = followed;
    if job.with_untracked(|job| job.state.is_final()) {
        return;
    }
    let id = job.with_untracked(|job| job.id);
    let Ok(source) = EventSource::new(&format!("/api/v1/jobs/{id}/events")) else { return };
    let stream = source.clone();
    let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |message: MessageEvent| {
        let Some(text) = message.data().as_string() else { return };
        let Ok(event) = serde_json::from_str::<Event>(&text) else { return };
        lost.set(false);
        let done = event.job.progress.done;
        let over = event.job.state.is_final();
        if over {
            stream.close();
        }
        if let Some(run) = event.job.run_id
            && (over || next(cases) < done)
        {
            leptos::task::spawn_local(fetch_new(run, cases));
        }
        job.set(event.job);
    });
    source.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    let stream = source.clone();
    let on_error = Closure::<dyn FnMut()>::new(move || {
        lost.set(true);
        if stream.ready_state() == EventSource::CLOSED {
            set_timeout(move || follow(followed), AGAIN);
        }
    });
    source.set_onerror(Some(on_error.as_ref().unchecked_ref()));
    // The page lives as long as its stream does.
    on_message.forget();
    on_error.forget();
}

/// The position after the last case that is known.
fn next(cases: RwSignal<Vec<CaseLine>>) -> u32 {
    cases.with_untracked(|cases| cases.iter().map(|case| case.position + 1).max().unwrap_or(0))
}

/// Adds the cases that ended since the last request.
async fn fetch_new(run: RunId, cases: RwSignal<Vec<CaseLine>>) {
    let from = next(cases);
    let Some(fetched) = fetch(&format!("/runs/{run}/lines?from={from}")).await else { return };
    cases.update(|cases| {
        for line in fetched {
            if !cases.iter().any(|known| known.position == line.position) {
                cases.push(line);
            }
        }
        cases.sort_by_key(|case| case.position);
    });
}

async fn fetch(url: &str) -> Option<Vec<CaseLine>> {
    let response: Response = JsFuture::from(window().fetch_with_str(url)).await.ok()?.dyn_into().ok()?;
    let text = JsFuture::from(response.text().ok()?).await.ok()?.as_string()?;
    serde_json::from_str(&text).ok()
}

//! Follows a job in the browser: server-sent events for its state, a request for the cases that ended since.

use contract::case::Case;
use contract::ids::RunId;
use contract::job::Job;
use contract::protocol::JobEvent;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use wasm_bindgen_futures::JsFuture;
use web_sys::{EventSource, MessageEvent, Response};

use super::CaseLine;

/// Keeps `job` and `cases` in step with the server until the job is over.
pub(super) fn follow(job: RwSignal<Job>, cases: RwSignal<Vec<CaseLine>>) {
    if job.with_untracked(|job| job.state.is_final()) {
        return;
    }
    let id = job.with_untracked(|job| job.id);
    let Ok(source) = EventSource::new(&format!("/api/v1/jobs/{id}/events")) else { return };
    let stream = source.clone();
    let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |message: MessageEvent| {
        let Some(text) = message.data().as_string() else { return };
        let Ok(event) = serde_json::from_str::<JobEvent>(&text) else { return };
        let done = event.job.progress.done as usize;
        let over = event.job.state.is_final();
        if over {
            stream.close();
        }
        if let Some(run) = event.job.run_id
            && (over || cases.with_untracked(Vec::len) < done)
        {
            leptos::task::spawn_local(fetch_new(run, cases));
        }
        job.set(event.job);
    });
    source.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    // The page lives as long as its stream does.
    on_message.forget();
}

/// Adds the cases that ended since the last request.
async fn fetch_new(run: RunId, cases: RwSignal<Vec<CaseLine>>) {
    let from = cases.with_untracked(|cases| cases.iter().map(|case| case.position + 1).max().unwrap_or(0));
    let Some(fetched) = fetch(&format!("/api/v1/runs/{run}/cases?from={from}")).await else { return };
    cases.update(|cases| {
        for case in &fetched {
            let line = CaseLine::of(case);
            if !cases.iter().any(|known| known.position == line.position) {
                cases.push(line);
            }
        }
        cases.sort_by_key(|case| case.position);
    });
}

async fn fetch(url: &str) -> Option<Vec<Case>> {
    let response: Response = JsFuture::from(window().fetch_with_str(url)).await.ok()?.dyn_into().ok()?;
    let text = JsFuture::from(response.text().ok()?).await.ok()?.as_string()?;
    serde_json::from_str(&text).ok()
}

//! A job as it runs.

#[cfg(feature = "ssr")]
use contract::case::Case;
use contract::case::{CaseStatus, key_in_words};
use contract::ids::{JobId, RunId};
use contract::job::{Job, JobState, Progress};
use leptos::prelude::*;
use planner::Bytes;
use serde::{Deserialize, Serialize};

use crate::components::{State, Tone};
use crate::format;

/// A job, in what its page shows of it as it changes. Read from a [`Job`], whose sweep would bring the readers of every document
/// that it has a part in into the browser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobLine {
    id: JobId,
    state: JobState,
    progress: Progress,
    held_by: Option<String>,
    run_id: Option<RunId>,
    cancel_requested: bool,
    attempts: u32,
    error: Option<String>,
}

impl From<Job> for JobLine {
    fn from(job: Job) -> Self {
        let Job { id, state, progress, held_by, run_id, cancel_requested, attempts, error, .. } = job;
        Self { id, state, progress, held_by, run_id, cancel_requested, attempts, error }
    }
}

/// What a job's stream says: a [`contract::protocol::JobEvent`].
#[cfg(any(test, feature = "hydrate"))]
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Event {
    job: JobLine,
}

/// A case that ended, in the few figures that the job's page shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseLine {
    /// Its place in the sweep.
    pub position: u32,
    /// Its readable name.
    pub key: String,
    /// How it ended.
    pub status: CaseStatus,
    /// Why, where it is not ok.
    pub error: Option<String>,
    /// Mean decode rate in tokens per second over the whole batch.
    pub decode_tokens_per_second: Option<f64>,
    /// Most bytes allocated at once, over all phases.
    pub peak: Option<Bytes>,
    /// What the planner had said of it.
    pub estimate: Option<Bytes>,
}

#[cfg(feature = "ssr")]
impl CaseLine {
    /// Of a case.
    #[must_use]
    pub fn of(case: &Case) -> Self {
        let measurement = case.measurement.as_ref();
        let speed = measurement.map(|m| contract::statistics::CaseSpeed::of(&case.spec, m));
        Self {
            position: case.position,
            key: key_in_words(&case.spec.key()),
            status: case.status,
            error: case.error.clone(),
            decode_tokens_per_second: speed.and_then(|s| s.decode_tokens_per_second).map(|d| d.mean),
            peak: measurement.and_then(contract::measurement::Measurement::peak_allocated),
            estimate: case.estimate.as_ref().map(|estimate| estimate.totals.allocated),
        }
    }
}

/// State, progress and cases of a job; in the browser it follows the job's events until the job is over.
#[island]
pub fn JobProgress(
    /// The job as the server knew it.
    job: JobLine,
    /// Its cases that had ended, the last of them.
    cases: Vec<CaseLine>,
    /// Whether the visitor may cancel it.
    may_cancel: bool,
) -> impl IntoView {
    let id = job.id;
    let job = RwSignal::new(job);
    let cases = RwSignal::new(cases);
    let lost = RwSignal::new(false);
    #[cfg(feature = "hydrate")]
    follow::follow(follow::Followed { job, cases, lost });

    let state = move || job.with(|job| job.state);
    let cancellable = move || may_cancel && !state().is_final() && !job.with(|job| job.cancel_requested);
    view! {
        <div class="stack">
            <section class="card" aria-live="polite">
                <header>
                    <h2>"Progress"</h2>
                    <span data-test="job-state">
                        {move || view! { <State word=state().as_str() tone=Tone::from(state()) /> }}
                    </span>
                </header>
                <progress
                    max=move || job.with(|job| job.progress.total.max(1)).to_string()
                    value=move || job.with(|job| job.progress.done).to_string()
                    aria-label="cases that ended"
                ></progress>
                <p class="num">{move || job.with(told)}</p>
                {move || {
                    lost.get()
                        .then(|| {
                            view! {
                                <p class="notice warn" data-test="lost">
                                    "The server cannot be reached: this is what it last said. The runner keeps what it \
                                     measures, and the page goes on when the server is back."
                                </p>
                            }
                        })
                }}
                {move || job.with(|job| job.error.clone()).map(|error| view! { <p class="notice bad">{error}</p> })}
                <div class="row">
                    {move || {
                        job.with(|job| job.run_id)
                            .map(|run| {
                                let finished = state() == JobState::Finished;
                                view! {
                                    <a
                                        class="button"
                                        class:primary=finished
                                        data-test="job-run"
                                        href=format!("/runs/{run}")
                                    >
                                        {if finished { "Open the run" } else { "Open what is measured so far" }}
                                    </a>
                                }
                            })
                    }}
                    {move || {
                        cancellable()
                            .then(|| {
                                view! {
                                    <form class="inline" method="post" action=format!("/jobs/{id}/cancel")>
                                        <button class="button" data-test="cancel-job">"Cancel"</button>
                                    </form>
                                }
                            })
                    }}
                </div>
            </section>
            <section class="card flush">
                <header>
                    <h2>"Cases that ended"</h2>
                    <small class="num">
                        {move || {
                            let (shown, done) = (cases.with(Vec::len), job.with(|job| job.progress.done));
                            if shown < done as usize { format!("the last {shown} of {done}") } else { shown.to_string() }
                        }}
                    </small>
                </header>
                <div class="scroll" tabindex="0" role="region" aria-label="Cases that ended">
                    <table>
                        <thead>
                            <tr>
                                <th scope="col" class="n">"#"</th>
                                <th scope="col">"Case"</th>
                                <th scope="col">"Ended"</th>
                                <th scope="col" class="n">"Decode"</th>
                                <th scope="col" class="n">"Peak"</th>
                                <th scope="col" class="n">"Estimated"</th>
                            </tr>
                        </thead>
                        <tbody class="num">{move || cases.with(|cases| cases.iter().map(line).collect_view())}</tbody>
                    </table>
                </div>
            </section>
        </div>
    }
}

/// Where a job stands, as a sentence.
fn told(job: &JobLine) -> String {
    let progress = &job.progress;
    let done = format!("{} of {} cases", progress.done, progress.total);
    match job.state {
        JobState::Queued if job.attempts > 0 => {
            format!("{done}; its runner went away, it waits for the next.")
        }
        JobState::Queued => format!("{done}; it waits for a runner."),
        JobState::Running => {
            let by = job.held_by.as_deref().map(|name| format!(" on {name}")).unwrap_or_default();
            let eta = progress
                .eta_ms
                .map(|ms| format!(", about {} left", format::duration(ms)))
                .unwrap_or_default();
            let stopping = if job.cancel_requested { " It will stop after this step." } else { "" };
            let now = match (&progress.current, &progress.phase) {
                (Some(case), Some(phase)) => format!(" Now: {}, {phase}.", key_in_words(case)),
                (Some(case), None) => format!(" Now: {}.", key_in_words(case)),
                _ => String::new(),
            };
            format!("{done}{by}{eta}.{now}{stopping}")
        }
        JobState::Finished => format!("{done}."),
        JobState::Cancelled => format!("{done}; it was stopped on request, what was measured is kept."),
        JobState::Failed => format!("{done}; what was measured is kept."),
    }
}

fn line(case: &CaseLine) -> impl IntoView + use<> {
    let bytes = |bytes: Option<Bytes>| bytes.map_or_else(|| "–".to_owned(), |b| b.to_string());
    let rate = case
        .decode_tokens_per_second
        .map_or_else(|| "–".to_owned(), |r| format!("{} tok/s", format::figure(r)));
    view! {
        <tr>
            <td class="n">{case.position + 1}</td>
            <td>{case.key.clone()} {case.error.clone().map(|error| view! { <small>{error}</small> })}</td>
            <td>
                <State word=case.status.as_str() tone=Tone::from(case.status) />
            </td>
            <td class="n">{rate}</td>
            <td class="n">{bytes(case.peak)}</td>
            <td class="n">{bytes(case.estimate)}</td>
        </tr>
    }
}

#[cfg(feature = "hydrate")]
mod follow;

#[cfg(test)]
mod tests {
    use contract::sweep::first_benchmark;

    use super::*;

    fn whole(state: JobState) -> Job {
        Job {
            id: "018f5b0e-0000-7000-8000-000000000001".parse().unwrap(),
            name: "a job".to_owned(),
            sweep: first_benchmark(),
            runner_id: None,
            state,
            held_by: Some("desk".to_owned()),
            run_id: None,
            progress: Progress {
                done: 2,
                total: 8,
                current: Some("smol b1".to_owned()),
                phase: Some("warm-up".to_owned()),
                eta_ms: Some(65_000),
            },
            cancel_requested: false,
            attempts: 0,
            error: None,
            created_at: contract::ids::UnixMillis(0),
            finished_at: None,
        }
    }

    fn job(state: JobState) -> JobLine {
        whole(state).into()
    }

    #[test]
    fn an_event_is_read_without_the_sweep() {
        let job = whole(JobState::Running);
        let event = serde_json::to_value(contract::protocol::JobEvent { job: job.clone() }).unwrap();
        assert_eq!(serde_json::from_value::<Event>(event).unwrap().job, job.into());
    }

    #[test]
    fn a_job_is_told_in_a_sentence() {
        for (state, text) in [
            (JobState::Queued, "2 of 8 cases; it waits for a runner."),
            (JobState::Running, "2 of 8 cases on desk, about 1 min 5 s left. Now: smol b1, warm-up."),
            (JobState::Finished, "2 of 8 cases."),
            (JobState::Cancelled, "2 of 8 cases; it was stopped on request, what was measured is kept."),
        ] {
            assert_eq!(told(&job(state)), text);
        }
        let stopping = JobLine { cancel_requested: true, ..job(JobState::Running) };
        assert!(told(&stopping).ends_with("It will stop after this step."));
        let lost = JobLine { attempts: 1, ..job(JobState::Queued) };
        assert!(told(&lost).contains("its runner went away"));
    }
}

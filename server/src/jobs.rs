//! Submitting a job, for the REST interface and the form alike.

use axum::http::StatusCode;
use contract::ability::{Lack, lacks_of_the_nearest};
use contract::ids::JobId;
use contract::job::{Job, JobState, NewJob, Progress};
use contract::protocol::Runner;
use contract::sweep::Sweep;
use uuid::Uuid;

use crate::problem::Problem;
use crate::state::AppState;

/// Longest name of a job, in characters.
const LONGEST_NAME: usize = 200;

/// Checks a job against the runners that are known and queues it.
pub(crate) async fn submit(state: &AppState, new: NewJob) -> Result<Job, Problem> {
    new.sweep.check()?;
    new.sweep.check_combinations()?;
    let name = name(&new)?;
    let now = state.now();
    check(&new, &state.store.runners(now).await?)?;
    let job = Job {
        id: JobId(Uuid::now_v7()),
        name,
        progress: Progress {
            total: u32::try_from(new.sweep.cases().len()).unwrap_or(u32::MAX),
            ..Progress::default()
        },
        sweep: new.sweep,
        runner_id: new.runner_id,
        state: JobState::Queued,
        held_by: None,
        run_id: None,
        cancel_requested: false,
        attempts: 0,
        error: None,
        created_at: now,
        finished_at: None,
    };
    state.store.create_job(&job).await?;
    tracing::info!(job = %job.id, name = job.name, cases = job.progress.total, "job queued");
    state.hub.tell(job.id);
    Ok(job)
}

/// The name given, or one made from the sweep.
fn name(new: &NewJob) -> Result<String, Problem> {
    let Some(given) = &new.name else { return Ok(made_name(&new.sweep)) };
    let given = given.trim();
    if given.is_empty() || given.chars().count() > LONGEST_NAME || given.chars().any(char::is_control) {
        let message = format!("name: give 1 to {LONGEST_NAME} characters on one line, or leave it out");
        return Err(Problem::unprocessable("bad-name", message).at("name"));
    }
    Ok(given.to_owned())
}

/// `smollm2-135m · fp32, bf16 · 8 cases on cpu`
fn made_name(sweep: &Sweep) -> String {
    let models = match sweep.models.as_slice() {
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        [] => String::new(),
    };
    let cases = sweep.cases().len();
    let plural = if cases == 1 { "" } else { "s" };
    let name =
        format!("{models} · {} · {cases} case{plural} on {}", sweep.precisions.join(", "), sweep.device);
    name.chars().take(LONGEST_NAME).collect()
}

/// Whether one runner that is online can execute the whole sweep; where none can, what is missing.
fn check(new: &NewJob, runners: &[Runner]) -> Result<(), Problem> {
    let candidates: Vec<&Runner> = match new.runner_id {
        None => runners.iter().collect(),
        Some(id) => {
            let named = runners.iter().find(|r| r.id == id).ok_or_else(|| {
                let message = format!(
                    "there is no runner {id}; GET /api/v1/runners lists them, or leave runner_id out"
                );
                Problem::unprocessable("unknown-runner", message).at("runner_id")
            })?;
            vec![named]
        }
    };
    for wanted in &new.sweep.models {
        let mut having = candidates.iter().filter(|r| r.registration.model(wanted).is_some()).peekable();
        if having.peek().is_none() {
            return Err(unknown_model(wanted, &candidates));
        }
        if !having.any(|r| r.online) {
            return Err(offline(new, wanted));
        }
    }
    // A job is one runner's: what several could do together, none of them would ever finish.
    let online = candidates.iter().filter(|r| r.online).map(|r| &r.registration);
    match lacks_of_the_nearest(online, &new.sweep).into_iter().next() {
        None => Ok(()),
        // Each has been found with some runner.
        Some(Lack::Model { .. }) => {
            let message = "no one runner that is online has all these models; split the sweep";
            Err(Problem::unprocessable("no-able-runner", message).at("sweep.models"))
        }
        Some(Lack::Device { device, .. }) => {
            let message = format!(
                "no one runner that is online has all these models and the device {device}; split the sweep"
            );
            Err(Problem::unprocessable("no-able-runner", message).at("sweep.device"))
        }
        Some(lack) => Err(lack.into()),
    }
}

/// Of runners that are known and gone: the job would wait for ever.
fn offline(new: &NewJob, wanted: &str) -> Problem {
    let (who, field) = if new.runner_id.is_some() {
        ("the runner that is asked for is not online".to_owned(), "runner_id")
    } else {
        (format!("no runner that has the model \"{wanted}\" is online"), "sweep.models")
    };
    let message = format!("{who}; start it with `bench-runner daemon` and submit again");
    Problem::new(StatusCode::CONFLICT, "runner-offline", message).at(field)
}

fn unknown_model(wanted: &str, runners: &[&Runner]) -> Problem {
    let mut known: Vec<&str> =
        runners.iter().flat_map(|r| &r.registration.models).map(|m| m.name.as_str()).collect();
    known.sort_unstable();
    known.dedup();
    let advice = if known.is_empty() {
        "no runner has registered yet; start one with `bench-runner daemon`".to_owned()
    } else {
        format!("accepted: {}", known.join(", "))
    };
    let message = format!("no runner has the model \"{wanted}\"; {advice}");
    Problem::unprocessable("unknown-model", message).at("sweep.models")
}

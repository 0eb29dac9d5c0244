//! Submitting a job, for the REST interface and the form alike.

use contract::ids::JobId;
use contract::job::{Job, JobState, NewJob, Progress};
use contract::protocol::{AdvertisedModel, Runner};
use contract::sweep::Sweep;
use planner::Tokens;
use uuid::Uuid;

use crate::problem::Problem;
use crate::state::AppState;

/// Longest name of a job, in characters.
const LONGEST_NAME: usize = 200;

/// Checks a job against the runners that are known and queues it.
pub(crate) async fn submit(state: &AppState, new: NewJob) -> Result<Job, Problem> {
    new.sweep.check()?;
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

/// Whether some runner can execute the whole sweep; where none can, what is missing.
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
        if !candidates.iter().any(|r| model(r, wanted).is_some()) {
            return Err(unknown_model(wanted, &candidates));
        }
    }
    let device = new.sweep.device;
    let able: Vec<&Runner> = candidates
        .into_iter()
        .filter(|r| r.registration.devices.contains(&device))
        .filter(|r| new.sweep.models.iter().all(|m| model(r, m).is_some()))
        .collect();
    if able.is_empty() {
        let message = format!("no one runner has all these models and the device {device}; split the sweep");
        return Err(Problem::unprocessable("no-able-runner", message).at("sweep.device"));
    }
    for wanted in &new.sweep.models {
        let offers: Vec<&AdvertisedModel> = able.iter().filter_map(|r| model(r, wanted)).collect();
        for precision in &new.sweep.precisions {
            if !offers.iter().any(|m| m.precisions.contains(precision)) {
                let accepted = offers.first().map(|m| m.precisions.join(", ")).unwrap_or_default();
                let message =
                    format!("{wanted} does not run in precision \"{precision}\"; accepted: {accepted}");
                return Err(Problem::unprocessable("unknown-precision", message).at("sweep.precisions"));
            }
        }
        let longest = |axis: &[Tokens]| axis.iter().map(|t| t.0).max().unwrap_or(0);
        let length = longest(&new.sweep.prompts).saturating_add(longest(&new.sweep.generates));
        let accepted = offers.iter().map(|m| m.max_tokens).max().unwrap_or(0);
        if length > accepted {
            let message = format!(
                "prompt and generated tokens are {length} together; {wanted} takes at most {accepted}"
            );
            return Err(Problem::unprocessable("too-long", message).at("sweep.prompts"));
        }
    }
    Ok(())
}

fn model<'r>(runner: &'r Runner, name: &str) -> Option<&'r AdvertisedModel> {
    runner.registration.models.iter().find(|m| m.name == name)
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

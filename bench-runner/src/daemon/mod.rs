//! The daemon: pulls jobs of a server, measures their cases, uploads each as it ends.
//!
//! A case that ended is written to a file of the daemon's own before it is sent, so that a server that is down, or this
//! program's own end, loses nothing: what the server does not have is sent when the job is taken up again.

mod client;
mod heart;
mod state;

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use contract::case::{Case, Device};
use contract::ids::RunId;
use contract::job::Progress;
use contract::machine::Machine;
use contract::protocol::{Claim, Finish, Outcome, POLL_MS, Registration};
use contract::run::{Run, RunOrigin, RunStatus};

pub use client::{Client, ClientError};
pub use state::{State, StateError};

use crate::model::{self, LoadError};
use crate::stop::{Reason, Stop};
use crate::sweep::{Models, Observer, Rules, RunError, Sink, SinkError, Work, name_decoder};
use crate::telemetry::Recording;
use crate::{build_info, clock};
use heart::Heart;

/// How a daemon is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What people call the runner.
    pub name: String,
    /// The machine it is on.
    pub machine: Machine,
    /// Folder of models.
    pub models_dir: Option<PathBuf>,
    /// Threads of each case.
    pub threads: Option<u32>,
    /// The executable that runs a case: this one.
    pub executable: PathBuf,
}

/// Why a daemon gives up.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The server will never accept what this runner says.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Its own state cannot be kept.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Wait between attempts: doubled each time, up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// The first wait.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// How often a request to stop is looked for while waiting.
const LOOK: Duration = Duration::from_millis(50);

/// Pulls jobs until `stop` is raised.
///
/// # Errors
/// Where the server refuses this runner (a wrong token, a bad name), or its own state cannot be kept.
pub fn run(settings: &Settings, client: &Client, state: &State, stop: &Stop) -> Result<(), DaemonError> {
    let mut announced = false;
    while !stop.is_asked() {
        let (models, problems) = available(settings);
        for problem in problems.iter().filter(|_| !announced) {
            eprintln!("warning: {problem}");
        }
        let registration = registration(settings, &models);
        let Some(()) = patiently(stop, || client.register(state.id(), &registration))? else { break };
        if !announced {
            eprintln!("registered with {} as {}", client.server(), settings.name);
            announced = true;
        }
        // Until the server is gone for a while or does not know this runner any more.
        while !stop.is_asked() {
            match client.claim(state.id()) {
                Ok(Some(claim)) => execute(settings, client, state, &models, &claim, stop)?,
                Ok(None) => pause(Duration::from_millis(POLL_MS), stop),
                Err(error) if error.is_final() && !error.is_unknown_runner() => return Err(error.into()),
                Err(error) => {
                    eprintln!("warning: {error}; registering again");
                    pause(FIRST_WAIT, stop);
                    break;
                }
            }
        }
    }
    Ok(())
}

fn available(settings: &Settings) -> (Models, Vec<LoadError>) {
    let (models, problems) = model::available(settings.models_dir.as_deref(), settings.machine.memory_bytes);
    (models.into_iter().map(|m| (m.name.clone(), m)).collect(), problems)
}

fn registration(settings: &Settings, models: &Models) -> Registration {
    let gpus = if cfg!(feature = "cuda") { settings.machine.gpus.len() } else { 0 };
    let gpus = (0..u32::try_from(gpus).unwrap_or(0)).map(Device::Cuda);
    Registration {
        name: settings.name.clone(),
        machine: settings.machine.clone(),
        models: models.values().map(model::Model::advertised).collect(),
        devices: std::iter::once(Device::Cpu).chain(gpus).collect(),
        build: build_info::build(),
    }
}

/// Tries until it succeeds or `stop` is raised (none); an error that no attempt would change is answered at once.
fn patiently<T>(
    stop: &Stop,
    mut attempt: impl FnMut() -> Result<T, ClientError>,
) -> Result<Option<T>, ClientError> {
    let mut wait = FIRST_WAIT;
    loop {
        match attempt() {
            Ok(value) => return Ok(Some(value)),
            Err(error) if error.is_final() => return Err(error),
            Err(error) => eprintln!("warning: {error}; trying again in {} s", wait.as_secs_f32()),
        }
        pause(wait, stop);
        if stop.is_asked() {
            return Ok(None);
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Waits, unless `stop` is raised.
fn pause(time: Duration, stop: &Stop) {
    let end = Instant::now() + time;
    while !stop.is_asked() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left.min(LOOK));
    }
}

/// Executes a job to its end, or until it is to be stopped.
fn execute(
    settings: &Settings,
    client: &Client,
    state: &State,
    models: &Models,
    claim: &Claim,
    stop: &Stop,
) -> Result<(), DaemonError> {
    let job = &claim.job;
    eprintln!(
        "job {}: {} ({} of {} cases are done)",
        job.id,
        job.name,
        claim.done.len(),
        job.sweep.cases().len()
    );
    let run = run_of(settings, models, claim);
    let mut spool = state.spool(run.id)?;
    // The server has the run under its job; this file only keeps its cases.
    spool.begin(&Run { job_id: None, ..run.clone() }, &settings.machine).map_err(StateError::from)?;
    let kept = spool.run(run.id).map_err(StateError::from)?.map(|d| d.cases).unwrap_or_default();
    let mut done: HashSet<String> = claim.done.iter().cloned().collect();
    let waiting: VecDeque<Case> = kept.into_iter().filter(|c| !done.contains(&c.spec.key())).collect();
    done.extend(waiting.iter().map(|c| c.spec.key()));

    // Raised by the server's word, by the loss of the lease, or with the daemon's own.
    let job_stop = Stop::default();
    let heart = Heart::start(client.clone(), job.id, claim.lease, job_stop.clone(), stop.clone());
    let mut sink = Upload { client, claim, spool: &mut spool, waiting, refused: None, stop: &job_stop };
    let work = Work {
        run: &run,
        machine: &settings.machine,
        models,
        done,
        earlier: Vec::new(),
        rules: Rules::default(),
        threads: settings.threads,
        recording: Recording::default(),
        executable: settings.executable.clone(),
    };
    let result = work.execute(&mut sink, &mut Follow { heart: &heart }, &job_stop);
    let refused = sink.refused.take();
    let outcome = match (result, refused, job_stop.reason()) {
        (_, Some(error), _) => Outcome::Failed { message: error.to_string() },
        (Err(RunError::Sink(error)), ..) => return Err(StateError::from(error).into()),
        (Err(error), ..) => Outcome::Failed { message: error.to_string() },
        (Ok(RunStatus::Finished), ..) => Outcome::Finished,
        (Ok(_), _, Some(Reason::Cancelled)) => Outcome::Cancelled,
        (Ok(_), _, Some(Reason::LeaseLost)) => {
            eprintln!("job {}: the server gave it to another runner", job.id);
            return Ok(());
        }
        (Ok(_), ..) => Outcome::Released,
    };
    let sent = close(client, claim, &mut sink, &outcome, stop, &job_stop);
    drop(heart);
    if sent {
        eprintln!("job {}: {}", job.id, said(&outcome));
        // The server has everything.
        state.clear_spool(run.id, spool)?;
    }
    Ok(())
}

/// Sends what is still kept here, then the end. False: the server was not reached before the daemon was to stop, or the
/// lease was lost; the cases stay in the spool.
fn close(
    client: &Client,
    claim: &Claim,
    sink: &mut Upload<'_>,
    outcome: &Outcome,
    stop: &Stop,
    job_stop: &Stop,
) -> bool {
    let finish = Finish { lease: claim.lease, outcome: outcome.clone() };
    // A daemon that is to stop tries once.
    let give_up = if *outcome == Outcome::Released { stop.clone() } else { job_stop_or(stop, job_stop) };
    let sent = patiently(&give_up, || {
        sink.send_waiting()?;
        client.finish(claim.job.id, &finish)
    });
    match sent {
        Ok(sent) => sent.is_some(),
        Err(error) if error.is_lease_lost() => {
            eprintln!("job {}: {error}", claim.job.id);
            false
        }
        Err(error) => {
            // A case that the server will never take: the job fails with its words, and the runner goes on.
            let failed =
                Finish { lease: claim.lease, outcome: Outcome::Failed { message: error.to_string() } };
            client
                .finish(claim.job.id, &failed)
                .inspect_err(|e| eprintln!("job {}: {e}", claim.job.id))
                .is_ok()
        }
    }
}

/// The daemon's request to stop; the job's own was answered already, except for the loss of its lease.
fn job_stop_or(stop: &Stop, job_stop: &Stop) -> Stop {
    if job_stop.reason() == Some(Reason::LeaseLost) { job_stop.clone() } else { stop.clone() }
}

fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Finished => "finished".to_owned(),
        Outcome::Cancelled => "cancelled".to_owned(),
        Outcome::Released => "given back".to_owned(),
        Outcome::Failed { message } => format!("failed: {message}"),
    }
}

/// The run that a job becomes on this machine.
fn run_of(settings: &Settings, models: &Models, claim: &Claim) -> Run {
    let mut sweep = claim.job.sweep.clone();
    name_decoder(&mut sweep, models, &claim.done);
    Run {
        id: claim.run_id,
        name: claim.job.name.clone(),
        job_id: Some(claim.job.id),
        machine_id: settings.machine.id,
        sweep,
        runner: build_info::build(),
        status: RunStatus::Running,
        origin: RunOrigin::Job,
        started_at: clock::now(),
        finished_at: None,
    }
}

/// Keeps each case here, then sends it; what cannot be sent now is sent with the next.
struct Upload<'a> {
    client: &'a Client,
    claim: &'a Claim,
    spool: &'a mut dyn Sink,
    waiting: VecDeque<Case>,
    refused: Option<ClientError>,
    stop: &'a Stop,
}

impl Upload<'_> {
    fn send_waiting(&mut self) -> Result<(), ClientError> {
        while let Some(case) = self.waiting.front() {
            self.client.upload(self.claim.job.id, self.claim.lease, case)?;
            self.waiting.pop_front();
        }
        Ok(())
    }
}

impl Sink for Upload<'_> {
    fn begin(&mut self, run: &Run, machine: &Machine) -> Result<(), SinkError> {
        self.spool.begin(run, machine)
    }

    fn case(&mut self, case: &Case) -> Result<(), SinkError> {
        self.spool.case(case)?;
        self.waiting.push_back(case.clone());
        match self.send_waiting() {
            Ok(()) => {}
            Err(error) if error.is_lease_lost() => self.stop.ask(Reason::LeaseLost),
            Err(error) if error.is_final() => {
                // No later attempt would be answered otherwise: the job fails with the server's words.
                self.waiting.pop_front();
                self.refused = Some(error);
                self.stop.ask(Reason::Cancelled);
            }
            Err(error) => eprintln!("warning: {error}; the case is kept here and sent later"),
        }
        Ok(())
    }

    fn end(&mut self, run: RunId, status: RunStatus) -> Result<(), SinkError> {
        self.spool.end(run, status)
    }
}

/// Tells the heart how far the job is.
struct Follow<'a> {
    heart: &'a Heart,
}

impl Observer for Follow<'_> {
    fn progress(&mut self, progress: &Progress) {
        self.heart.tell(progress);
    }

    fn ended(&mut self, case: &Case, progress: &Progress) {
        eprintln!("[{}/{}] {}: {}", progress.done, progress.total, case.spec.key(), case.status);
        self.heart.tell(progress);
    }

    fn warning(&mut self, text: &str) {
        eprintln!("warning: {text}");
    }
}

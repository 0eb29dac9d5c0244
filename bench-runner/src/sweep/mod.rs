//! A run: every case of a sweep, one after another, each result kept as soon as it is there.

mod grid;
mod sink;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::time::Instant;

use contract::case::{Case, CaseSpec, CaseStatus};
use contract::ids::CaseId;
use contract::job::Progress;
use contract::machine::Machine;
use contract::run::{Run, RunStatus};
use contract::sweep::Sweep;

pub use grid::{GridError, parse_list, parse_numbers};
pub use sink::{Collected, Sink, SinkError, SqliteSink};

use crate::case::{Request, process};
use crate::engine::{self, Refusal};
use crate::model::{Model, UnknownModel};
use crate::stop::Stop;
use crate::{clock, plan};

/// Models by name.
pub type Models = BTreeMap<String, Model>;

/// Writes the decoder that a sweep leaves to the runner into it, so that what is stored names it. `done` are the keys of cases
/// that ended before: what a runner of before there was a choice began without naming it goes on so.
pub fn name_decoder(sweep: &mut Sweep, models: &Models, done: &[String]) {
    let begun = sweep.cases().iter().any(|case| done.contains(&case.key()));
    if sweep.variants.is_empty() && !begun {
        let used = sweep.models.iter().filter_map(|name| models.get(name));
        sweep.variants = vec![engine::default_variant(used)];
    }
}

/// Why a run could not go on. What was finished before is kept.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A result could not be kept.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// A case's process could not be started.
    #[error(transparent)]
    Spawn(#[from] process::SpawnError),
}

/// Told how a run goes.
pub trait Observer {
    /// A case begins, or goes on to another phase.
    fn progress(&mut self, progress: &Progress);
    /// A case ended and is kept; it is counted in `progress`.
    fn ended(&mut self, case: &Case, progress: &Progress);
    /// Something that a person should know and that stops nothing; each told once.
    fn warning(&mut self, text: &str);
}

/// What a case says as it goes.
enum Said<'a> {
    /// It goes on to another phase.
    Phase(&'a str),
    /// The planner has no estimate to stand beside it: why.
    NoEstimate(String),
}

/// A run to be executed.
pub struct Work<'a> {
    /// The run.
    pub run: &'a Run,
    /// Where.
    pub machine: &'a Machine,
    /// Its models by name.
    pub models: &'a Models,
    /// Keys of the cases that ended before.
    pub done: HashSet<String>,
    /// Threads of each case; none: candle's default.
    pub threads: Option<u32>,
    /// The executable that runs a case: this one.
    pub executable: PathBuf,
}

impl Work<'_> {
    /// Executes what is not done yet. The answer is `Cancelled` where `stop` was raised before the last case ended.
    ///
    /// # Errors
    /// Where a result cannot be kept or no process can be started.
    pub fn execute(
        &self,
        sink: &mut dyn Sink,
        observer: &mut dyn Observer,
        stop: &Stop,
    ) -> Result<RunStatus, RunError> {
        let cases = self.run.sweep.cases();
        let total = u32::try_from(cases.len()).unwrap_or(u32::MAX);
        let mut pace = Pace::default();
        let mut warned = BTreeSet::new();
        let mut progress = Progress { total, ..Progress::default() };
        progress.done =
            cases.iter().filter(|c| self.done.contains(&c.key())).count().try_into().unwrap_or(u32::MAX);
        for (position, spec) in (0u32..).zip(&cases) {
            let key = spec.key();
            if self.done.contains(&key) {
                continue;
            }
            if stop.is_asked() {
                return Ok(RunStatus::Cancelled);
            }
            progress.current = Some(key);
            progress.phase = None;
            progress.eta_ms = pace.remaining_ms(u64::from(total.saturating_sub(progress.done)));
            observer.progress(&progress);
            let start = Instant::now();
            let Some(case) = self.case(position, spec, stop, &mut |said| match said {
                Said::Phase(phase) => {
                    progress.phase = Some(phase.to_owned());
                    observer.progress(&progress);
                }
                Said::NoEstimate(why) => {
                    if warned.insert(why.clone()) {
                        observer.warning(&format!("the planner has no estimate of this case: {why}"));
                    }
                }
            })?
            else {
                return Ok(RunStatus::Cancelled);
            };
            sink.case(&case)?;
            pace.add(start.elapsed().as_millis());
            progress.done += 1;
            progress.eta_ms = pace.remaining_ms(u64::from(total.saturating_sub(progress.done)));
            observer.ended(&case, &progress);
        }
        progress.current = None;
        progress.phase = None;
        progress.eta_ms = None;
        observer.progress(&progress);
        Ok(RunStatus::Finished)
    }

    /// Runs one case to its end; none where it was stopped.
    fn case(
        &self,
        position: u32,
        spec: &CaseSpec,
        stop: &Stop,
        say: &mut dyn FnMut(Said<'_>),
    ) -> Result<Option<Case>, RunError> {
        let mut case = Case {
            id: CaseId::derive(self.run.id, &spec.key()),
            run_id: self.run.id,
            position,
            spec: spec.clone(),
            engine: format!("candle {}", engine::CANDLE_VERSION),
            plan: None,
            estimate: None,
            status: CaseStatus::Refused,
            error: None,
            measurement: None,
            finished_at: clock::now(),
        };
        let prepared = self
            .models
            .get(&spec.model)
            .ok_or_else(|| Refusal(UnknownModel::new(&spec.model, self.models.keys()).to_string()))
            .and_then(|model| Ok((model, engine::prepare(spec, model)?)));
        let (model, prepared) = match prepared {
            Ok(pair) => pair,
            Err(refusal) => {
                case.error = Some(refusal.to_string());
                return Ok(Some(case));
            }
        };
        let threads = self.threads.unwrap_or_else(default_threads);
        let plan = plan::of_case(spec, model, &prepared, self.machine, threads);
        case.engine = prepared.engine();
        match planner::estimate(&plan) {
            Ok(estimate) => case.estimate = Some(estimate),
            Err(error) => say(Said::NoEstimate(error.to_string())),
        }
        case.plan = Some(plan);
        let vocabulary = u32::try_from(model.shape.vocab).unwrap_or(u32::MAX);
        let request = Request { spec: spec.clone(), prepared, vocabulary };
        let phase = &mut |phase: &str| say(Said::Phase(phase));
        match process::run(&self.executable, &request, self.threads, stop, phase)? {
            process::Ended::Stopped => return Ok(None),
            process::Ended::Measured(measurement) => {
                case.status = CaseStatus::Ok;
                case.measurement = Some(*measurement);
            }
            process::Ended::Failed { status, error } => {
                case.status = status;
                case.error = Some(error);
            }
        }
        case.finished_at = clock::now();
        Ok(Some(case))
    }
}

/// Threads that candle takes by itself: `RAYON_NUM_THREADS`, else the physical cores.
#[must_use]
pub fn default_threads() -> u32 {
    u32::try_from(candle_core::utils::get_num_threads()).unwrap_or(u32::MAX)
}

/// How long cases took, for the time that is left.
#[derive(Debug, Default)]
struct Pace {
    cases: u64,
    milliseconds: u64,
}

impl Pace {
    fn add(&mut self, milliseconds: u128) {
        self.cases += 1;
        self.milliseconds = self.milliseconds.saturating_add(u64::try_from(milliseconds).unwrap_or(u64::MAX));
    }

    /// None before the first case ended.
    fn remaining_ms(&self, cases: u64) -> Option<u64> {
        self.milliseconds.checked_div(self.cases).map(|each| each.saturating_mul(cases))
    }
}

#[cfg(test)]
mod tests;

//! A run: every case of a sweep, one after another, each result kept as soon as it is there.

mod attempt;
mod budget;
mod edge;
mod preflight;
mod sink;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use contract::case::{Case, CaseSpec};
use contract::ids::CaseId;
use contract::job::Progress;
use contract::machine::Machine;
use contract::run::{Run, RunStatus};
use contract::sweep::Sweep;

pub use sink::{Collected, Sink, SinkError, SqliteSink};

use attempt::Attempt;
use budget::Pace;
use edge::Known;

use crate::case::process;
use crate::model::Model;
use crate::quality::References;
use crate::stop::{Reason, Stop};
use crate::telemetry::Recording;
use crate::{clock, engine};

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
    /// Those cases, as far as they are at hand: what failed in them need not be tried again.
    pub earlier: Vec<Case>,
    /// What is run and what is not.
    pub rules: Rules,
    /// Threads of each case; none: candle's default.
    pub threads: Option<u32>,
    /// What is recorded over time.
    pub recording: Recording,
    /// The executable that runs a case: this one.
    pub executable: PathBuf,
}

/// What of a run is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// Also what the planner is sure will not fit.
    pub force: bool,
    /// No case begins that is expected to end after this time from now; none: there is no hurry.
    pub time_budget: Option<Duration>,
}

/// What a case needs of the run so far.
struct Now<'a> {
    known: &'a Known,
    references: &'a mut References,
    stop: &'a Stop,
}

impl Work<'_> {
    /// Executes what is not done yet. The answer is `Cancelled` where `stop` was raised before the last case ended, as it is
    /// here where the budget of time is spent.
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
        let begun = Instant::now();
        let mut pace = Pace::default();
        let mut known = Known::default();
        for case in &self.earlier {
            known.learn(case);
        }
        let mut warned = BTreeSet::new();
        let mut references = References::default();
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
            let start = Instant::now();
            let work = budget::work(spec, self.models.get(&spec.model).map(|m| &m.shape));
            let left = self.rules.time_budget.map(|budget| budget.saturating_sub(start - begun));
            if let Some(left) = left
                && let Err(expected) = pace.begins(work, left)
            {
                observer.warning(&out_of_time(&progress, left, expected));
                stop.ask(Reason::OutOfTime);
                return Ok(RunStatus::Cancelled);
            }
            progress.current = Some(key);
            progress.phase = None;
            progress.eta_ms = pace.remaining_ms(u64::from(total.saturating_sub(progress.done)));
            observer.progress(&progress);
            let begun_us = clock::now_us();
            let now = Now { known: &known, references: &mut references, stop };
            let Some(case) = self.case(position, spec, now, &mut |said| match said {
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
            known.learn(&case);
            if let Some(trace) = &self.recording.trace
                && let Err(error) = trace.case(&case, begun_us)
            {
                let warning = format!("the trace lacks cases: {error}");
                if warned.insert(warning.clone()) {
                    observer.warning(&warning);
                }
            }
            pace.add(start.elapsed(), case.status.ran().then_some(work));
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
        mut now: Now<'_>,
        say: &mut dyn FnMut(Said<'_>),
    ) -> Result<Option<Case>, RunError> {
        let recording = self.recording.of_case(position);
        let attempt = match spec.edge {
            Some(edge) => self.edge(spec, edge, now.known, now.stop, say)?,
            None => match self.checked(spec, say) {
                Ok(ready) => {
                    self.beside(spec, ready, recording, &mut now, &mut |phase| say(Said::Phase(phase)))?
                }
                Err(ended) => Some(*ended),
            },
        };
        Ok(attempt.map(|Attempt { engine, plan, estimate, status, error, measurement }| Case {
            id: CaseId::derive(self.run.id, &spec.key()),
            run_id: self.run.id,
            position,
            spec: spec.clone(),
            engine,
            plan,
            estimate,
            status,
            error,
            measurement,
            finished_at: clock::now(),
        }))
    }
}

/// Why no further case begins.
fn out_of_time(progress: &Progress, left: Duration, expected: Option<Duration>) -> String {
    // Whole seconds: what is left is no measurement.
    let seconds = |time: Duration| format!("{} s", time.as_secs());
    let why = expected.map_or_else(
        || "the time budget is spent".to_owned(),
        |expected| format!("the next would take about {}, and {} are left", seconds(expected), seconds(left)),
    );
    format!("{} of {} cases are done and {why}; go on with --resume", progress.done, progress.total)
}

/// Threads that candle takes by itself: `RAYON_NUM_THREADS`, else the physical cores.
#[must_use]
pub fn default_threads() -> u32 {
    u32::try_from(candle_core::utils::get_num_threads()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;

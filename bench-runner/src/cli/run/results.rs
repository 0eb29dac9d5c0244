//! Where a run's results go, and how it begins: anew, or where an earlier one stopped.

use std::collections::HashSet;

use contract::case::{Case, CaseStatus};
use contract::ids::RunId;
use contract::machine::Machine;
use contract::run::{Run, RunDetail, RunOrigin, RunStatus};
use contract::sweep::Sweep;
use uuid::Uuid;

use super::super::CliError;
use super::super::axes::default_name;
use super::RunArgs;
use crate::report::Reporter;
use crate::sweep::{Sink, SinkError, SqliteSink};
use crate::{build_info, clock};

/// Where the run's results are: in the database, unless there is none, and what this program measured also here, so that
/// it can be printed where the database fails.
pub(super) struct Results {
    pub(super) database: Option<SqliteSink>,
    pub(super) measured: Vec<Case>,
}

impl Results {
    /// The run as it is stored, with what could not be stored.
    pub(super) fn detail(&self, run: &Run, machine: &Machine) -> RunDetail {
        // A database that cannot be read any more has failed before, which is said at the end.
        let stored = self.database.as_ref().and_then(|database| database.run(run.id).ok().flatten());
        let mut detail = stored.unwrap_or_else(|| RunDetail {
            run: run.clone(),
            machine: machine.clone(),
            cases: Vec::new(),
        });
        let stored: HashSet<_> = detail.cases.iter().map(|case| case.id).collect();
        detail.cases.extend(self.measured.iter().filter(|case| !stored.contains(&case.id)).cloned());
        detail.cases.sort_by_key(|case| case.position);
        detail
    }
}

impl Sink for Results {
    fn begin(&mut self, run: &Run, machine: &Machine) -> Result<(), SinkError> {
        self.database.as_mut().map_or(Ok(()), |database| database.begin(run, machine))
    }

    fn case(&mut self, case: &Case) -> Result<(), SinkError> {
        self.measured.push(case.clone());
        self.database.as_mut().map_or(Ok(()), |database| database.case(case))
    }

    fn end(&mut self, run: RunId, status: RunStatus) -> Result<(), SinkError> {
        self.database.as_mut().map_or(Ok(()), |database| database.end(run, status))
    }
}

/// The run to execute, and what of it is done.
pub(super) struct Begun {
    pub(super) run: Run,
    pub(super) done: HashSet<String>,
    pub(super) earlier: Vec<Case>,
}

/// The unfinished run where that was asked, else a new one.
pub(super) fn begin(
    args: &RunArgs,
    sweep: Sweep,
    machine: &Machine,
    results: &mut Results,
    reporter: &Reporter,
) -> Result<Begun, CliError> {
    if let (true, Some(sink)) = (args.resume, &mut results.database) {
        let fingerprint = sweep.fingerprint();
        let found = if args.retry_failed {
            sink.unfinished_or_failed(&fingerprint, machine.id, args.force)?
        } else {
            sink.unfinished(&fingerprint, machine.id)?
        };
        if let Some(run) = found {
            let mut earlier = sink.run(run.id)?.map(|detail| detail.cases).unwrap_or_default();
            let again = |case: &Case| {
                let predicted = args.force && case.status == CaseStatus::PredictedOutOfMemory;
                args.retry_failed && (predicted || case.status.is_failure())
            };
            let retried: HashSet<String> =
                earlier.iter().filter(|case| again(case)).map(|case| case.spec.key()).collect();
            earlier.retain(|case| !again(case));
            let total = sweep.cases().len();
            reporter.note(&match retried.len() {
                0 => format!("resuming run {}: {} of {total} cases are done", run.id, earlier.len()),
                n => format!(
                    "resuming run {}: {} of {total} cases are done, {n} that failed are run again",
                    run.id,
                    earlier.len()
                ),
            });
            sink.supersede(retried);
            let done = earlier.iter().map(|case| case.spec.key()).collect();
            return Ok(Begun { run, done, earlier });
        }
        reporter.note(if args.retry_failed {
            "no run of this sweep on this machine has cases to come or failed ones: a new one begins"
        } else {
            "no unfinished run of this sweep on this machine: a new one begins"
        });
    }
    let run = Run {
        id: RunId(Uuid::now_v7()),
        name: args.name.clone().unwrap_or_else(|| default_name(&sweep)),
        job_id: None,
        machine_id: machine.id,
        sweep,
        runner: build_info::build(),
        status: RunStatus::Running,
        origin: RunOrigin::Local,
        started_at: clock::now(),
        finished_at: None,
    };
    Ok(Begun { run, done: HashSet::new(), earlier: Vec::new() })
}

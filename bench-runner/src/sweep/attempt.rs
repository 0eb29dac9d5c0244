//! One attempt at a case: whether the engine can do it, what the planner says of it, and what its process came to.

use contract::case::{CaseSpec, CaseStatus};
use contract::measurement::Measurement;
use planner::{Estimate, Plan};

use super::{Now, RunError, Said, Work, preflight};
use crate::case::{Request, process};
use crate::engine::{self, Prepared, Refusal};
use crate::model::{Model, UnknownModel};
use crate::plan;
use crate::quality::{Ask, Asked, Runner};
use crate::stop::Stop;
use crate::telemetry::CaseRecording;

/// What a case came to, without its place in a run.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) engine: String,
    pub(super) plan: Option<Plan>,
    pub(super) estimate: Option<Estimate>,
    pub(super) status: CaseStatus,
    pub(super) error: Option<String>,
    pub(super) measurement: Option<Measurement>,
}

impl Attempt {
    /// Before anything is known.
    fn new() -> Self {
        Self {
            engine: format!("candle {}", engine::CANDLE_VERSION),
            plan: None,
            estimate: None,
            status: CaseStatus::Refused,
            error: None,
            measurement: None,
        }
    }

    /// The same, ended without a measurement.
    pub(super) fn ended(self, status: CaseStatus, error: String) -> Self {
        Self { status, error: Some(error), measurement: None, ..self }
    }
}

/// A case that can be run, and what is known of it before.
pub(super) struct Ready<'a> {
    pub(super) model: &'a Model,
    pub(super) prepared: Prepared,
    pub(super) attempt: Attempt,
}

impl Work<'_> {
    /// The model of `spec` and what to load of it.
    pub(super) fn prepared(&self, spec: &CaseSpec) -> Result<(&Model, Prepared), Refusal> {
        let model = self
            .models
            .get(&spec.model)
            .ok_or_else(|| Refusal(UnknownModel::new(&spec.model, self.models.keys()).to_string()))?;
        Ok((model, engine::prepare(spec, model)?))
    }

    /// The plan of `spec` here.
    pub(super) fn plan(&self, spec: &CaseSpec, model: &Model, prepared: &Prepared) -> Plan {
        let threads = self.threads.unwrap_or_else(super::default_threads);
        plan::of_case(spec, model, prepared, self.machine, threads)
    }

    /// What is known of `spec` before it runs, or how it ended where it will not.
    pub(super) fn ready(
        &self,
        spec: &CaseSpec,
        say: &mut dyn FnMut(Said<'_>),
    ) -> Result<Ready<'_>, Box<Attempt>> {
        let mut attempt = Attempt::new();
        let (model, prepared) = match self.prepared(spec) {
            Ok(pair) => pair,
            Err(refusal) => return Err(Box::new(attempt.ended(CaseStatus::Refused, refusal.to_string()))),
        };
        let plan = self.plan(spec, model, &prepared);
        attempt.engine = prepared.engine();
        match planner::estimate(&plan) {
            Ok(estimate) => attempt.estimate = Some(estimate),
            Err(error) => say(Said::NoEstimate(error.to_string())),
        }
        attempt.plan = Some(plan);
        Ok(Ready { model, prepared, attempt })
    }

    /// The same, unless the planner is sure that it will not fit.
    pub(super) fn checked(
        &self,
        spec: &CaseSpec,
        say: &mut dyn FnMut(Said<'_>),
    ) -> Result<Ready<'_>, Box<Attempt>> {
        let ready = self.ready(spec, say)?;
        let free = preflight::room(spec, self.machine);
        let hopeless = ready.attempt.estimate.as_ref().and_then(|e| preflight::hopeless(e, spec, free?));
        match hopeless.filter(|_| !self.rules.force) {
            Some(why) => Err(Box::new(ready.attempt.ended(CaseStatus::PredictedOutOfMemory, why))),
            None => Ok(ready),
        }
    }

    /// Runs what is ready, with what is asked beside its measurement: quality, and records over time.
    pub(super) fn beside(
        &self,
        spec: &CaseSpec,
        ready: Ready<'_>,
        recording: CaseRecording,
        now: &mut Now<'_>,
        phase: &mut dyn FnMut(&str),
    ) -> Result<Option<Attempt>, RunError> {
        let stop = now.stop;
        let (mut quality, mut no_quality) = (None, None);
        if let Some(tokens) = spec.quality {
            let runner = Runner { executable: &self.executable, threads: self.threads, stop };
            match now.references.ask((spec, tokens.0), ready.model, &runner, phase)? {
                Asked::Ready(ask) => quality = Some(ask),
                Asked::Without(why) => no_quality = Some(why),
                Asked::Refused(refusal) => {
                    return Ok(Some(ready.attempt.ended(CaseStatus::Refused, refusal.to_string())));
                }
                Asked::Stopped => return Ok(None),
            }
        }
        let mut attempt = self.run(spec, ready, (quality, recording), stop, phase)?;
        if let Some(measured) = attempt.as_mut().and_then(|a| a.measurement.as_mut()) {
            measured.no_quality = no_quality.or_else(|| measured.no_quality.take());
        }
        Ok(attempt)
    }

    /// Runs what is ready in a process of its own; none where it was stopped.
    pub(super) fn run(
        &self,
        spec: &CaseSpec,
        ready: Ready<'_>,
        (quality, recording): (Option<Ask>, CaseRecording),
        stop: &Stop,
        phase: &mut dyn FnMut(&str),
    ) -> Result<Option<Attempt>, RunError> {
        let Ready { model, prepared, attempt } = ready;
        let vocabulary = u32::try_from(model.shape.vocab).unwrap_or(u32::MAX);
        let request = Request { spec: spec.clone(), prepared, vocabulary, quality, recording };
        Ok(match process::run(&self.executable, &request, self.threads, stop, phase)? {
            process::Ended::Stopped => None,
            process::Ended::Measured(measurement) => {
                Some(Attempt { status: CaseStatus::Ok, measurement: Some(*measurement), ..attempt })
            }
            process::Ended::Failed { status, error } => Some(attempt.ended(status, error)),
        })
    }
}

//! The largest batch or context that fits: begun where the planner says, verified, then halved between what fits and what
//! does not. Memory never shrinks as either grows, so that what failed needs no trial at a larger value, in this case or in
//! a later one of the same run whose other sizes are no smaller.

mod search;

use contract::case::{Case, CaseSpec, CaseStatus};
use contract::edge::{Edge, EdgeAxis, EdgeProbe, EdgeSpec};
use contract::measurement::Measurement;
use contract::sweep::{MAX_BATCH, MAX_TOKENS};
use planner::Compiled;
use search::Search;

use super::attempt::{Attempt, Ready};
use super::preflight::{self, Room};
use super::{RunError, Said, Work};
use crate::stop::Stop;

/// The values that an edge may have, both ends included.
fn range(spec: &CaseSpec, edge: EdgeSpec) -> (u64, u64) {
    let (low, high) = match edge.axis {
        EdgeAxis::Batch => (1, u64::from(MAX_BATCH)),
        // One token of a prompt, and what is generated.
        EdgeAxis::Context => (spec.generate_tokens.0 + 1, MAX_TOKENS.saturating_add(spec.generate_tokens.0)),
    };
    (low, edge.limit.map_or(high, |limit| limit.min(high)).max(low))
}

/// Cases of a run that found no memory.
#[derive(Debug, Default)]
pub(super) struct Known(Vec<CaseSpec>);

impl Known {
    /// Takes what a case says: its own failure, or those of the values that it tried.
    pub(super) fn learn(&mut self, case: &Case) {
        match (case.spec.edge, case.measurement.as_ref().and_then(|m| m.edge.as_ref())) {
            (None, _) if case.status == CaseStatus::OutOfMemory => self.0.push(case.spec.clone()),
            (Some(_), Some(found)) => {
                let failed = found.probes.iter().filter(|p| p.status == CaseStatus::OutOfMemory);
                self.0.extend(failed.map(|probe| case.spec.at(found.axis, probe.value)));
            }
            _ => {}
        }
    }

    /// The smallest value at which `spec` must fail because a case that is nowhere larger has, and that case's key.
    fn fails(&self, spec: &CaseSpec, axis: EdgeAxis) -> Option<(u64, String)> {
        let smaller = self.0.iter().filter(|known| same_but_for_sizes(known, spec)).filter_map(|known| {
            let (batch, prompt) = (known.batch <= spec.batch, known.prompt_tokens <= spec.prompt_tokens);
            let generate = known.generate_tokens <= spec.generate_tokens;
            let value = match axis {
                EdgeAxis::Batch if prompt && generate => u64::from(known.batch),
                EdgeAxis::Context if batch && generate => (known.prompt_tokens + spec.generate_tokens).0,
                _ => return None,
            };
            Some((value, known.key()))
        });
        smaller.min_by_key(|(value, _)| *value)
    }
}

fn same_but_for_sizes(a: &CaseSpec, b: &CaseSpec) -> bool {
    let kind = |spec: &CaseSpec| CaseSpec {
        batch: 0,
        prompt_tokens: planner::Tokens(0),
        generate_tokens: planner::Tokens(0),
        repetitions: 0,
        edge: None,
        ..spec.clone()
    };
    kind(a) == kind(b)
}

/// A search as it goes.
struct Hunt<'a> {
    spec: &'a CaseSpec,
    edge: EdgeSpec,
    predicted: Option<u64>,
    probes: Vec<EdgeProbe>,
    /// The largest value that was measured with all repetitions.
    best: Option<(u64, Attempt)>,
}

impl Hunt<'_> {
    fn note(&mut self, value: u64, attempt: &Attempt) {
        self.probes.push(EdgeProbe {
            value,
            status: attempt.status,
            peak_allocated: attempt.measurement.as_ref().and_then(Measurement::peak_allocated),
            inferred_from: None,
        });
    }

    fn found(self, search: &Search) -> Edge {
        Edge {
            axis: self.edge.axis,
            largest: search.fits().unwrap_or(0),
            smallest_failed: search.fails(),
            predicted: self.predicted,
            probes: self.probes,
        }
    }
}

impl Work<'_> {
    /// Searches the edge of `spec`; none where it was stopped. A process that ends otherwise than for want of memory ends
    /// the search: what it would have found is not known.
    pub(super) fn edge(
        &self,
        spec: &CaseSpec,
        edge: EdgeSpec,
        known: &Known,
        stop: &Stop,
        say: &mut dyn FnMut(Said<'_>),
    ) -> Result<Option<Attempt>, RunError> {
        let (low, high) = range(spec, edge);
        let smallest = match self.checked(&spec.at(edge.axis, low), say) {
            Ok(Ready { attempt, .. }) => attempt,
            Err(ended) => return Ok(Some(*ended)),
        };
        let predicted = self.predict(spec, edge);
        let mut search = Search::new(low, high, edge.resolution, predicted);
        let mut hunt = Hunt { spec, edge, predicted, probes: Vec::new(), best: None };
        if let Some((value, key)) = known.fails(spec, edge.axis).filter(|(value, _)| *value <= high) {
            let value = value.max(low);
            search.record(value, false);
            let status = CaseStatus::OutOfMemory;
            hunt.probes.push(EdgeProbe { value, status, peak_allocated: None, inferred_from: Some(key) });
        }
        loop {
            // Whether a value fits shows in one repetition; the others are for the figures of the largest.
            while let Some(value) = search.next() {
                match self.probe(&mut hunt, &mut search, value, 1, stop, say)? {
                    Probed::Seen => {}
                    Probed::Stopped => return Ok(None),
                    Probed::Broken(ended) => return Ok(Some(*ended)),
                }
            }
            let Some(largest) = search.fits() else { break };
            if hunt.best.as_ref().is_some_and(|(value, _)| *value == largest) {
                break;
            }
            match self.probe(&mut hunt, &mut search, largest, spec.repetitions, stop, say)? {
                // It may have found no memory this time, and the search goes on below it.
                Probed::Seen => {}
                Probed::Stopped => return Ok(None),
                Probed::Broken(ended) => return Ok(Some(*ended)),
            }
        }
        let best = hunt.best.take().map(|(_, attempt)| attempt);
        let found = hunt.found(&search);
        Ok(Some(if let Some(attempt) = best {
            let measurement = attempt.measurement.map(|m| Measurement { edge: Some(found), ..m });
            Attempt { measurement, ..attempt }
        } else {
            let error = format!("not even a {} of {low} fits", edge.axis);
            let measurement = Measurement { edge: Some(found), ..Measurement::default() };
            Attempt { measurement: Some(measurement), ..smallest.ended(CaseStatus::OutOfMemory, error) }
        }))
    }

    /// Tries one value.
    fn probe(
        &self,
        hunt: &mut Hunt<'_>,
        search: &mut Search,
        value: u64,
        repetitions: u32,
        stop: &Stop,
        say: &mut dyn FnMut(Said<'_>),
    ) -> Result<Probed, RunError> {
        let axis = hunt.edge.axis;
        let spec = CaseSpec { repetitions, ..hunt.spec.at(axis, value) };
        say(Said::Phase(&format!("{axis} {value}")));
        let attempt = match self.ready(&spec, say) {
            Err(refused) => *refused,
            Ok(ready) => {
                let phase = &mut |phase: &str| say(Said::Phase(&format!("{axis} {value}: {phase}")));
                match self.run(&spec, ready, stop, phase)? {
                    Some(attempt) => attempt,
                    None => return Ok(Probed::Stopped),
                }
            }
        };
        match attempt.status {
            CaseStatus::Ok | CaseStatus::OutOfMemory | CaseStatus::Refused => {
                hunt.note(value, &attempt);
                let fits = attempt.status == CaseStatus::Ok;
                search.record(value, fits);
                if fits && repetitions == hunt.spec.repetitions {
                    hunt.best = Some((value, attempt));
                }
                Ok(Probed::Seen)
            }
            status => {
                let why = attempt.error.clone().unwrap_or_default();
                Ok(Probed::Broken(Box::new(attempt.ended(status, format!("at {axis} {value}: {why}")))))
            }
        }
    }

    /// The largest value that the engine takes and that fits by the planner. None where the planner has no answer or the
    /// memory is not known.
    fn predict(&self, spec: &CaseSpec, edge: EdgeSpec) -> Option<u64> {
        let room = preflight::room(spec, self.machine)?;
        let (low, high) = range(spec, edge);
        self.takes(&spec.at(edge.axis, low), room)?;
        let mut search = Search::new(low, high, 1, None);
        while let Some(value) = search.next() {
            search.record(value, self.takes(&spec.at(edge.axis, value), room) == Some(true));
        }
        Some(search.fits().unwrap_or(0))
    }

    /// Whether a case fits by the planner, to the byte. None where it has no answer, or the engine refuses.
    fn takes(&self, spec: &CaseSpec, room: Room) -> Option<bool> {
        let (model, prepared) = self.prepared(spec).ok()?;
        let compiled = Compiled::new(&self.plan(spec, model, &prepared)).ok()?;
        let answer = compiled.breakdown(&compiled.numbers()).ok()?;
        let total = if room.limited { answer.parts.total - answer.parts.context } else { answer.parts.total };
        Some(total <= room.bytes)
    }
}

/// What came of a trial.
enum Probed {
    /// It fits or does not.
    Seen,
    /// It was stopped.
    Stopped,
    /// Neither: how the case ends.
    Broken(Box<Attempt>),
}

#[cfg(test)]
mod tests;

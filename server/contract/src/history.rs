//! Results of one case at other times, on other machines, commits and drivers.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::case::{Case, CaseStatus};
use crate::figure::{self, Figure, Readings};
use crate::ids::{CaseId, MachineId, RunId, UnixMillis};
use crate::outcome::Outcome;
use crate::statistics::{Difference, Distribution};

/// Results of a page of a history where none are asked for.
pub const PER_PAGE: usize = 50;
/// Most results of a page of a history.
pub const MAX_PER_PAGE: usize = 200;

/// Results with the same key, the newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CaseHistory {
    /// What they have in common: [`crate::case::CaseSpec::key`].
    pub key: String,
    /// The results, the newest first.
    pub results: Vec<PastResult>,
    /// Attempts at the asked case itself that a later one took the place of, the first first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// The `before` of the page of older results; none on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PastResult {
    /// The case.
    pub case_id: CaseId,
    /// Its run.
    pub run_id: RunId,
    /// What people call the run.
    pub run_name: String,
    /// Where it ran.
    pub machine_id: MachineId,
    /// The machine's name.
    pub machine_name: String,
    /// The processor or GPU by its product name.
    pub device: String,
    /// The driver's version; none on a processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// The engine that ran it, with its version.
    pub engine: String,
    /// Version of `bench-runner`.
    pub runner_version: String,
    /// Commit that it was built from.
    pub commit: String,
    /// How it ended.
    pub status: CaseStatus,
    /// Why, where it is not ok.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was measured, over the repetitions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<Figure, Distribution>,
    /// How far each figure is from the latest earlier result that has it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub changes: BTreeMap<Figure, Difference>,
    /// When it ended.
    pub finished_at: UnixMillis,
}

/// An attempt that a later one took the place of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// How it ended.
    pub status: CaseStatus,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The engine that ran it.
    pub engine: String,
    /// When it ended.
    pub finished_at: UnixMillis,
}

impl From<Case> for Attempt {
    fn from(case: Case) -> Self {
        Self { status: case.status, error: case.error, engine: case.engine, finished_at: case.finished_at }
    }
}

/// A place in a history: results that ended before this moment, or at it with a smaller id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    /// The moment.
    pub finished_at: UnixMillis,
    /// The id of the case there.
    pub id: CaseId,
}

impl fmt::Display for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.finished_at.0, self.id)
    }
}

/// A text that is no place in a history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no place in a history; take one from `next` of an answer")]
pub struct NoPlace(pub String);

impl FromStr for Before {
    type Err = NoPlace;
    fn from_str(text: &str) -> Result<Self, NoPlace> {
        text.split_once('_')
            .and_then(|(at, id)| {
                Some(Self { finished_at: UnixMillis(at.parse().ok()?), id: id.parse().ok()? })
            })
            .ok_or_else(|| NoPlace(text.to_owned()))
    }
}

impl CaseHistory {
    /// Of results with one key, the newest first: at most `limit` of them. One more than that tells whether there are older
    /// ones, and is what the last is held against.
    #[must_use]
    pub fn of(key: String, outcomes: Vec<Outcome>, limit: usize, attempts: Vec<Attempt>) -> Self {
        let has_more = outcomes.len() > limit;
        // From the oldest on: of each figure the latest earlier readings, so that a failure between two results hides no
        // change.
        let mut latest = Readings::new();
        let mut results: Vec<PastResult> = outcomes
            .into_iter()
            .rev()
            .map(|outcome| {
                let readings = figure::readings(&outcome.spec, outcome.measurement.as_ref());
                let changes = figure::differences(&latest, &readings);
                let figures = figure::distributions(&readings);
                // What has no logarithm is nothing to hold a later result against.
                let comparable =
                    readings.into_iter().filter(|(_, of)| of.iter().any(|x| x.is_finite() && *x > 0.0));
                latest.extend(comparable);
                PastResult {
                    figures,
                    changes,
                    device: outcome.device_name(),
                    driver: outcome.driver(),
                    case_id: outcome.id,
                    run_id: outcome.run_id,
                    run_name: outcome.run_name,
                    machine_id: outcome.machine.id,
                    machine_name: outcome.machine.name,
                    engine: outcome.engine,
                    runner_version: outcome.runner.version,
                    commit: outcome.runner.commit,
                    status: outcome.status,
                    error: outcome.error,
                    finished_at: outcome.finished_at,
                }
            })
            .collect();
        results.reverse();
        results.truncate(limit);
        let next = results
            .last()
            .filter(|_| has_more)
            .map(|last| Before { finished_at: last.finished_at, id: last.case_id }.to_string());
        Self { key, results, attempts, next }
    }
}

#[cfg(test)]
mod tests {
    use super::{Before, CaseHistory};
    use crate::case::CaseStatus;
    use crate::figure::Figure;
    use crate::ids::{CaseId, UnixMillis};
    use crate::outcome::tests::outcome;

    #[test]
    fn places_read_back() {
        let place = Before { finished_at: UnixMillis(-3), id: CaseId(uuid::Uuid::from_u128(7)) };
        assert_eq!(place.to_string().parse(), Ok(place));
        for text in ["", "3", "x_1", "3_x"] {
            assert!(text.parse::<Before>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_change_is_from_the_latest_earlier_result_that_has_the_figure() {
        let mut failed = outcome(3, 30, &[]);
        (failed.status, failed.measurement) = (CaseStatus::OutOfMemory, None);
        let outcomes = vec![
            outcome(4, 40, &[5.0, 5.01, 4.99]),
            failed,
            outcome(2, 20, &[10.0, 10.01, 9.99]),
            outcome(1, 10, &[10.0, 10.02, 10.01]),
        ];
        let history = CaseHistory::of("key".into(), outcomes, 3, Vec::new());
        let [newest, failed, older] = &history.results[..] else { panic!("{history:?}") };
        let decode = newest.changes[&Figure::Decode];
        assert!((decode.percent - 100.0).abs() < 0.1 && !decode.is_noise(), "{decode:?}");
        assert!(older.changes[&Figure::Decode].is_noise(), "against the one beyond the page");
        assert!(failed.figures.is_empty() && failed.changes.is_empty());
        assert!(newest.changes[&Figure::Peak].percent.abs() < f64::EPSILON);
        let next: Before = history.next.unwrap().parse().unwrap();
        assert_eq!((next.finished_at, next.id), (older.finished_at, older.case_id));
    }
}

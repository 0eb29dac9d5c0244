//! What a comparison is asked by, as an address says it.

use super::Axis;
use crate::explore::{CaseQuery, QueryError};
use crate::ids::RunId;

/// The most that is held side by side.
pub const MOST: usize = 6;

/// Names of runs in an address.
const LETTERS: [&str; MOST] = ["a", "b", "c", "d", "e", "f"];

/// What is compared: runs, or the cases that pass filters by what they have on an axis.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CompareQuery {
    /// The runs, the one first that the others are held against.
    pub runs: Vec<RunId>,
    /// The axis.
    pub by: Option<Axis>,
    /// The value of the axis that the others are held against; none: the one that most cases have.
    pub base: Option<String>,
    /// Which cases, where they are compared by an axis.
    pub cases: CaseQuery,
}

impl CompareQuery {
    /// What the pairs of an address ask for: runs as `a`, `b`, … or as `run` each, or `by` and `base` with the filters of
    /// [`CaseQuery`]. What means nothing is left out and told.
    pub fn read<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> (Self, Vec<QueryError>) {
        let (mut query, mut errors, mut rest) = (Self::default(), Vec::new(), Vec::new());
        let mut runs: Vec<(usize, RunId)> = Vec::new();
        for (name, value) in pairs {
            let value = value.trim();
            let place = LETTERS.iter().position(|letter| *letter == name);
            let told = match name {
                _ if value.is_empty() => Ok(()),
                "by" => Axis::named(value).map(|axis| query.by = Some(axis)).ok_or_else(|| {
                    let axes: Vec<&str> = Axis::ALL.iter().map(|axis| axis.as_str()).collect();
                    format!("\"{value}\" is no axis; accepted: {}", axes.join(", "))
                }),
                "base" => {
                    query.base = Some(value.to_owned());
                    Ok(())
                }
                "run" => value.parse().map(|run| runs.push((MOST, run))).map_err(|_| no_run(value)),
                _ if place.is_some() => value
                    .parse()
                    .map(|run| runs.push((place.unwrap_or(MOST), run)))
                    .map_err(|_| no_run(value)),
                _ => {
                    rest.push((name, value));
                    Ok(())
                }
            };
            if let Err(reason) = told {
                errors.push(QueryError { name: name.to_owned(), value: value.to_owned(), reason });
            }
        }
        // Those with a letter come by it, the others in the order given.
        runs.sort_by_key(|(place, _)| *place);
        for (_, run) in runs {
            if query.runs.len() == MOST {
                errors.push(QueryError {
                    name: "run".to_owned(),
                    value: run.to_string(),
                    reason: format!("at most {MOST} runs are compared; leave the others out"),
                });
            } else if !query.runs.contains(&run) {
                query.runs.push(run);
            }
        }
        let (cases, more) = CaseQuery::read(rest);
        query.cases = cases;
        errors.extend(more);
        (query, errors)
    }

    /// Whether it asks for anything that can be compared: two runs, or an axis.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.runs.len() >= 2 || (self.runs.is_empty() && self.by.is_some())
    }

    /// The pairs that [`Self::read`] reads.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs: Vec<(&'static str, String)> =
            LETTERS.iter().zip(&self.runs).map(|(letter, run)| (*letter, run.to_string())).collect();
        pairs.extend(self.by.map(|axis| ("by", axis.as_str().to_owned())));
        pairs.extend(self.base.clone().map(|base| ("base", base)));
        pairs.extend(self.cases.pairs());
        pairs
    }
}

/// What is said of a text that is no id.
fn no_run(value: &str) -> String {
    format!("\"{value}\" is no run's id; take one from the list of runs")
}

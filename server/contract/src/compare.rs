//! Results side by side: of several runs, or of what a choice makes of the same cases.

mod query;

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

pub use query::{CompareQuery, MOST};

use crate::case::{CaseSpec, CaseStatus, Device, attention_word};
use crate::explore::names;
use crate::figure::{self, Figure, Readings};
use crate::ids::{CaseId, RunId};
use crate::outcome::Outcome;
use crate::statistics::{DIFFERENCE_METHOD, Difference, Distribution, MEAN_METHOD};

names! {
    /// What the compared cases differ in.
    Axis {
        /// The model.
        Model = "model",
        /// How weights are stored.
        Precision = "precision",
        /// The attention variant.
        Attention = "attention",
        /// Which decoder.
        Variant = "variant",
        /// How the cache is allocated.
        Cache = "cache",
        /// How the cache holds its numbers.
        KvCache = "kv_cache",
        /// The machine, and the device in it.
        Machine = "machine",
        /// The commit that the runner was built from.
        Commit = "commit",
    }
}

impl Axis {
    /// What a result has on this axis: a text that tells it apart, and the words for it.
    fn value(self, outcome: &Outcome) -> (String, String) {
        let spec = &outcome.spec;
        let same = |text: String| (text.clone(), text);
        let or_default = |word: Option<String>| same(word.unwrap_or_else(|| "default".to_owned()));
        match self {
            Self::Model => same(spec.model.clone()),
            Self::Precision => same(spec.precision.clone()),
            Self::Attention => or_default(spec.attention.as_ref().map(attention_word)),
            Self::Variant => same(spec.decoder().as_str().to_owned()),
            Self::Cache => or_default(spec.cache.map(|c| c.as_str().to_owned())),
            Self::KvCache => or_default(spec.kv_cache.map(|c| c.as_str().to_owned())),
            Self::Machine => {
                let words = format!("{}, {}", outcome.machine.name, outcome.device_name());
                (format!("{} {}", outcome.machine.id, spec.device), words)
            }
            Self::Commit => same(outcome.runner.commit.clone()),
        }
    }

    /// Takes out of a case what it says of this axis.
    fn strip(self, spec: &mut CaseSpec) {
        match self {
            Self::Model => spec.model.clear(),
            Self::Precision => spec.precision.clear(),
            Self::Attention => spec.attention = None,
            Self::Variant => spec.variant = None,
            Self::Cache => spec.cache = None,
            Self::KvCache => spec.kv_cache = None,
            Self::Machine => spec.device = Device::Cpu,
            Self::Commit => {}
        }
    }
}

/// Results side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// What is held side by side; the others are held against the first.
    pub columns: Vec<Column>,
    /// What the cases of a row may differ in.
    pub differ_in: Vec<Axis>,
    /// Cases that at least two columns have.
    pub rows: Vec<Row>,
    /// How far each column is from the first over all rows, figure by figure; the first column's is empty.
    pub overall: Vec<BTreeMap<Figure, Overall>>,
    /// Cases that one column has alone.
    pub alone: Vec<Alone>,
    /// Cases that passed the filters and were left out because there are too many; the newest were taken, of runs those that
    /// another run has too.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// How differences are computed, and how they are put together.
    pub methods: Vec<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// What is held side by side with others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// The run's id, or the value of the axis.
    pub value: String,
    /// What people call it.
    pub name: String,
    /// Where it ran, and which commit measured it; of runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The run, where runs are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// Cases that it has.
    pub cases: u64,
}

/// A case in several columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The case in words, without what its columns differ in.
    pub name: String,
    /// Its result in each column; null where a column has none.
    pub cells: Vec<Option<Cell>>,
}

/// A result in a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// The case.
    pub case_id: CaseId,
    /// How it ended.
    pub status: CaseStatus,
    /// What was measured, over the repetitions.
    pub figures: BTreeMap<Figure, Distribution>,
    /// How far each figure is from that of the first column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub differences: BTreeMap<Figure, Difference>,
}

/// How far a column is from the first over all rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Overall {
    /// The geometric mean of the rows' differences.
    pub difference: Difference,
    /// Rows that it is of: those where both have the figure.
    pub rows: u64,
}

/// A case that one column has alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Alone {
    /// The case in words.
    pub name: String,
    /// Which column has it, from 0.
    pub column: usize,
    /// The case.
    pub case_id: CaseId,
    /// How it ended.
    pub status: CaseStatus,
}

impl Comparison {
    /// Of whole runs, in the order given. Runs that have one model, precision, … each, and not the same, are matched
    /// without it.
    #[must_use]
    pub fn of_runs(runs: &[RunId], outcomes: Vec<Outcome>) -> Self {
        let of = |outcome: &Outcome| runs.iter().position(|run| *run == outcome.run_id);
        let differ_in =
            Axis::ALL.iter().copied().filter(|axis| differs(*axis, runs.len(), &outcomes, of)).collect();
        let columns = runs
            .iter()
            .map(|run| {
                let first = outcomes.iter().find(|o| o.run_id == *run);
                Column {
                    value: run.to_string(),
                    name: first.map_or_else(|| run.to_string(), |o| o.run_name.clone()),
                    note: first.map(|o| {
                        format!("{}, {} · commit {}", o.machine.name, o.device_name(), o.runner.commit)
                    }),
                    run_id: Some(*run),
                    cases: 0,
                }
            })
            .collect();
        Self::build(columns, differ_in, outcomes, of, false)
    }

    /// Of what a choice makes of the same cases: the values of `axis` that most results have, at most [`MOST`], `base` first
    /// where it is among them. `left_out` more results passed the filters.
    #[must_use]
    pub fn by(axis: Axis, base: Option<&str>, outcomes: Vec<Outcome>, left_out: u64) -> Self {
        let mut values: Vec<(String, String, u64)> = Vec::new();
        for outcome in &outcomes {
            let (value, name) = axis.value(outcome);
            match values.iter_mut().find(|(known, _, _)| *known == value) {
                Some((_, _, cases)) => *cases += 1,
                None => values.push((value, name, 1)),
            }
        }
        let is_other = |value: &str| Some(value) != base;
        values.sort_by(|a, b| (is_other(&a.0), b.2, &a.1).cmp(&(is_other(&b.0), a.2, &b.1)));
        values.truncate(MOST);
        let places: HashMap<String, usize> =
            values.iter().enumerate().map(|(place, (value, _, _))| (value.clone(), place)).collect();
        let columns = values
            .into_iter()
            .map(|(value, name, _)| Column { value, name, note: None, run_id: None, cases: 0 })
            .collect();
        let of = |outcome: &Outcome| places.get(&axis.value(outcome).0).copied();
        let on_one_machine = axis != Axis::Machine;
        Self { left_out, ..Self::build(columns, vec![axis], outcomes, of, on_one_machine) }
    }

    /// Matches the results of the columns by what they are less `differ_in`. Of several results of a case in one column the
    /// newest counts.
    fn build(
        mut columns: Vec<Column>,
        differ_in: Vec<Axis>,
        outcomes: Vec<Outcome>,
        column: impl Fn(&Outcome) -> Option<usize>,
        on_one_machine: bool,
    ) -> Self {
        let mut matched: BTreeMap<Place, Vec<Option<Outcome>>> = BTreeMap::new();
        for outcome in outcomes {
            let Some(column) = column(&outcome) else { continue };
            let cells = matched
                .entry(Place::of(&outcome, &differ_in, on_one_machine))
                .or_insert_with(|| vec![None; columns.len()]);
            let is_newer =
                |known: &Outcome| (outcome.finished_at, outcome.id) > (known.finished_at, known.id);
            if cells[column].as_ref().is_none_or(is_newer) {
                cells[column] = Some(outcome);
            }
        }
        let (mut rows, mut alone) = (Vec::new(), Vec::new());
        for (place, outcomes) in matched {
            for (column, outcome) in columns.iter_mut().zip(&outcomes) {
                column.cases += u64::from(outcome.is_some());
            }
            let mut present = outcomes.iter().enumerate().filter_map(|(i, o)| Some((i, o.as_ref()?)));
            match (present.next(), present.next()) {
                (Some((column, one)), None) => {
                    alone.push(Alone { name: place.name, column, case_id: one.id, status: one.status });
                }
                _ => rows.push(Row { name: place.name, cells: cells(&outcomes) }),
            }
        }
        let overall = (0..columns.len()).map(|column| overall(&rows, column)).collect();
        let methods = vec![DIFFERENCE_METHOD.to_owned(), MEAN_METHOD.to_owned()];
        Self { columns, differ_in, rows, overall, alone, left_out: 0, methods }
    }

    /// The figures that any row has, in their order.
    #[must_use]
    pub fn figures(&self) -> Vec<Figure> {
        let has = |figure: &Figure| {
            self.rows
                .iter()
                .flat_map(|row| row.cells.iter().flatten())
                .any(|c| c.figures.contains_key(figure))
        };
        Figure::ALL.iter().copied().filter(has).collect()
    }
}

/// Whether each column has one value of `axis`, and not all the same.
fn differs(
    axis: Axis,
    columns: usize,
    outcomes: &[Outcome],
    column: impl Fn(&Outcome) -> Option<usize>,
) -> bool {
    let mut values: Vec<Option<String>> = vec![None; columns];
    for outcome in outcomes {
        let Some(place) = column(outcome) else { continue };
        let value = axis.value(outcome).0;
        match &values[place] {
            Some(known) if *known != value => return false,
            Some(_) => {}
            None => values[place] = Some(value),
        }
    }
    let mut there = values.into_iter().flatten();
    let first = there.next();
    there.any(|value| Some(&value) != first.as_ref())
}

/// Where a case stands among the rows, which also tells it from the others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    model: String,
    precision: String,
    numbers: (u32, u64, u64),
    key: String,
    machine: Option<String>,
    name: String,
}

impl Place {
    /// `on_one_machine`: results of different machines or devices do not meet.
    fn of(outcome: &Outcome, without: &[Axis], on_one_machine: bool) -> Self {
        let spec = &outcome.spec;
        // How often it was repeated changes no figure, and what names no decoder ran stock.
        let mut spec = CaseSpec { repetitions: 0, variant: Some(spec.decoder()), ..spec.clone() };
        for axis in without {
            axis.strip(&mut spec);
        }
        Self {
            model: spec.model.clone(),
            precision: spec.precision.clone(),
            numbers: (spec.batch, spec.prompt_tokens.0, spec.generate_tokens.0),
            machine: on_one_machine.then(|| outcome.machine.id.to_string()),
            key: spec.key(),
            name: if on_one_machine {
                format!("{}, on {}", name(&spec, without), outcome.machine.name)
            } else {
                name(&spec, without)
            },
        }
    }
}

/// A case in words: `tiny bf16 plimsoll flash, 2 × (16 + 4)`.
fn name(spec: &CaseSpec, without: &[Axis]) -> String {
    let mut words = vec![spec.model.clone(), spec.precision.clone()];
    words.extend(spec.variant.map(|v| v.as_str().to_owned()));
    words.extend(spec.attention.as_ref().map(attention_word));
    words.extend(spec.cache.map(|c| c.as_str().to_owned()));
    words.extend(spec.kv_cache.map(|c| format!("kv {}", c.as_str())));
    words.extend(spec.training.as_ref().map(crate::training::Training::name));
    words.extend(spec.edge.map(|edge| edge.to_string()));
    words.extend(spec.memory_limit.map(|limit| format!("within {limit}")));
    if !without.contains(&Axis::Machine) && spec.device != Device::Cpu {
        words.push(spec.device.to_string());
    }
    words.retain(|word| !word.is_empty());
    format!("{}, {} × ({} + {})", words.join(" "), spec.batch, spec.prompt_tokens, spec.generate_tokens)
}

fn cells(outcomes: &[Option<Outcome>]) -> Vec<Option<Cell>> {
    let readings: Vec<Readings> = outcomes
        .iter()
        .map(|o| o.as_ref().map_or_else(Readings::new, |o| figure::readings(&o.spec, o.measurement.as_ref())))
        .collect();
    outcomes
        .iter()
        .enumerate()
        .map(|(column, outcome)| {
            let outcome = outcome.as_ref()?;
            let differences = if column == 0 {
                BTreeMap::new()
            } else {
                figure::differences(&readings[0], &readings[column])
            };
            let figures = figure::distributions(&readings[column]);
            Some(Cell { case_id: outcome.id, status: outcome.status, figures, differences })
        })
        .collect()
}

fn overall(rows: &[Row], column: usize) -> BTreeMap<Figure, Overall> {
    let of = |figure: Figure| {
        let cells = rows.iter().filter_map(|row| row.cells.get(column)?.as_ref());
        let differences: Vec<Difference> =
            cells.filter_map(|cell| cell.differences.get(&figure).copied()).collect();
        let rows = differences.len() as u64;
        Difference::mean(differences).map(|difference| Overall { difference, rows })
    };
    Figure::ALL.iter().filter_map(|figure| Some((*figure, of(*figure)?))).collect()
}

#[cfg(test)]
mod tests;

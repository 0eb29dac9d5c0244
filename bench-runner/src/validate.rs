//! The planner held against measurement rows.

use std::collections::BTreeMap;

pub use fit::{FitReport, FittedConstant, LeftOut};

use planner::document::row::{Measured, TotalBasis};
use planner::{Compiled, Estimate, MeasurementRow};
use serde::Serialize;

mod fit;

/// How far the planner was off, per engine and component.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Rows that were read.
    pub rows: usize,
    /// Rows that the planner answered.
    pub answered: usize,
    /// By engine, then component.
    pub components: Vec<ComponentReport>,
    /// Figures further off than the limit.
    pub beyond: Vec<Figure>,
    /// Rows that the planner refuses, with its reason.
    pub refused: Vec<RefusedRow>,
    /// What was read off measurements, fitted again to these rows.
    pub fits: Vec<FitReport>,
}

/// Errors of one component of one engine, in percent of what was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComponentReport {
    /// The engine.
    pub engine: String,
    /// The component.
    pub component: &'static str,
    /// Figures.
    pub n: usize,
    /// Mean of the absolute errors.
    pub mean_absolute_error_percent: f64,
    /// Median of the absolute errors.
    pub median_absolute_error_percent: f64,
    /// The largest error, with its sign.
    pub worst_error_percent: f64,
    /// The row that has it.
    pub worst_id: String,
}

/// One figure of one row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// The row.
    pub id: String,
    /// The engine.
    pub engine: String,
    /// The component.
    pub component: &'static str,
    /// What was measured.
    pub measured: f64,
    /// What the planner says.
    pub estimated: f64,
    /// Estimated over measured, less one, in percent.
    pub error_percent: f64,
}

/// A row without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedRow {
    /// The row.
    pub id: String,
    /// The engine.
    pub engine: String,
    /// Why.
    pub reason: String,
}

/// Holds `estimate`'s answers against `rows`; figures further off than `limit` percent are listed one by one.
pub fn validate(
    rows: &[MeasurementRow],
    limit: Option<f64>,
    estimate: impl Fn(&MeasurementRow) -> Result<Estimate, String>,
) -> Report {
    let (mut figures, mut refused) = (Vec::new(), Vec::new());
    for row in rows {
        let engine = engine(row);
        match estimate(row) {
            Ok(answer) => {
                for (component, measured, estimated) in compare(&row.measured, &answer) {
                    let error_percent = error_percent(measured, estimated);
                    let (id, engine) = (row.id.clone(), engine.clone());
                    figures.push(Figure { id, engine, component, measured, estimated, error_percent });
                }
            }
            Err(reason) => refused.push(RefusedRow { id: row.id.clone(), engine, reason }),
        }
    }
    let mut groups: BTreeMap<(String, &'static str), Vec<&Figure>> = BTreeMap::new();
    for figure in &figures {
        groups.entry((figure.engine.clone(), figure.component)).or_default().push(figure);
    }
    let components =
        groups.into_iter().filter_map(|((engine, component), group)| summarise(engine, component, &group));
    Report {
        rows: rows.len(),
        answered: rows.len() - refused.len(),
        components: components.collect(),
        beyond: figures
            .iter()
            .filter(|f| limit.is_some_and(|limit| f.error_percent.abs() > limit))
            .cloned()
            .collect(),
        refused,
        fits: Vec::new(),
    }
}

/// Fits what was read off measurements again, to `rows`, and with each model left out. Fits that these rows say nothing of are
/// left away.
#[must_use]
pub fn fits(rows: &[MeasurementRow]) -> Vec<FitReport> {
    let plans: Vec<(&MeasurementRow, Compiled)> =
        rows.iter().filter_map(|row| Some((row, Compiled::new(&row.plan).ok()?))).collect();
    let of = |row: &MeasurementRow, plan: &Compiled, component: &str| {
        let answer = plan.estimate().ok()?;
        compare(&row.measured, &answer)
            .find(|(name, ..)| name.starts_with(component))
            .map(|(_, measured, estimated)| (measured, estimated))
    };
    let redo = |fit: &fit::Fit| {
        let (mut points, mut of_fit) = (Vec::new(), Vec::new());
        for (row, plan) in plans.iter().filter(|(row, _)| fit.engines.contains(&engine(row).as_str())) {
            if let Some((measured, _)) = of(row, plan, fit.component) {
                points.push(fit::Point { measured, model: model(row) });
                of_fit.push((*row, plan));
            }
        }
        fit::fit(fit, &points, |index, fitted| {
            let (row, plan) = of_fit[index];
            of(row, &plan.refitted(*fitted).ok()?, fit.component).map(|(_, figure)| figure)
        })
    };
    fit::FITS.iter().filter_map(redo).collect()
}

/// What names a row's model.
fn model(row: &MeasurementRow) -> String {
    let model = &row.plan.model;
    model.id.clone().or_else(|| model.name.clone()).unwrap_or_else(|| row.id.clone())
}

/// The engine's name as plans spell it.
fn engine(row: &MeasurementRow) -> String {
    serde_json::to_value(row.plan.engine.name)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_else(|| format!("{:?}", row.plan.engine.name))
}

/// Pairs of measured and estimated, as the contract's table says.
fn compare<'a>(m: &'a Measured, e: &'a Estimate) -> impl Iterator<Item = (&'static str, f64, f64)> + 'a {
    let p = &e.per_gpu;
    let bytes = |name, measured: Option<planner::Bytes>, estimated: planner::Bytes| {
        measured.map(|m| (name, m.0 as f64, estimated.0 as f64))
    };
    let count =
        |name, measured: Option<u64>, estimated: u64| measured.map(|m| (name, m as f64, estimated as f64));
    // A llama.cpp file's size counts the layers left in host memory too; the others keep no weights there.
    let weights = p.weights + e.host.weights;
    let total = match m.total_basis {
        Some(TotalBasis::Allocated) => bytes("total (allocated)", m.total, e.totals.allocated),
        Some(TotalBasis::Reserved) => bytes("total (reserved)", m.total, e.totals.reserved),
        Some(TotalBasis::Process) => bytes("total (process)", m.total, e.totals.process),
        None => bytes("total (basis not said)", m.total, e.totals.process),
    };
    let is_llama_cpp = e.engine.name == planner::document::plan::EngineName::LlamaCpp;
    [
        bytes("weights", m.weights, if is_llama_cpp { weights } else { p.weights }),
        bytes("activations", m.activations, p.activations + p.temporary),
        bytes("runtime", m.runtime, p.runtime),
        bytes("cuda_graphs", m.cuda_graphs, p.cuda_graphs),
        bytes("recurrent_state", m.recurrent_state, p.recurrent_state),
        bytes("kv_cache", m.kv_cache, p.kv_cache),
        bytes("kv_pool_bytes", m.kv_pool_bytes, e.kv.pool_bytes),
        count("kv_pool_tokens", m.kv_pool_tokens, e.kv.pool_tokens),
        bytes("kv_bytes_per_token", m.kv_bytes_per_token, e.kv.bytes_per_token),
        count("max_concurrent_sequences", m.max_concurrent_sequences, e.kv.max_concurrent_sequences),
        total,
        m.tokens_per_second
            .zip(e.speed.as_ref())
            .map(|(measured, speed)| ("tokens_per_second", measured, speed.tokens_per_second)),
        // Right is 0 %, wrong is 100 %.
        m.fits.map(|fits| ("fits", 1.0, if fits == e.fits { 1.0 } else { 0.0 })),
    ]
    .into_iter()
    .flatten()
}

/// Of nothing measured, anything estimated is 100 % too much.
fn error_percent(measured: f64, estimated: f64) -> f64 {
    if measured != 0.0 {
        (estimated / measured - 1.0) * 100.0
    } else if estimated == 0.0 {
        0.0
    } else {
        100.0
    }
}

fn summarise(engine: String, component: &'static str, group: &[&Figure]) -> Option<ComponentReport> {
    let worst = group.iter().max_by(|a, b| a.error_percent.abs().total_cmp(&b.error_percent.abs()))?;
    let errors = contract::statistics::Distribution::of(group.iter().map(|f| f.error_percent.abs()))?;
    Some(ComponentReport {
        engine,
        component,
        n: group.len(),
        mean_absolute_error_percent: errors.mean,
        median_absolute_error_percent: errors.p50,
        worst_error_percent: worst.error_percent,
        worst_id: worst.id.clone(),
    })
}

#[cfg(test)]
mod tests;

//! The table of training steps.

use contract::case::Case;
use contract::measurement::{Phase, StepSample};
use contract::statistics::{CaseSpeed, Distribution};

use super::{Align, Column, dash, mib, percent, render, spread};

pub(super) fn table(cases: &[&Case]) -> String {
    let columns = [
        Column("model", Align::Left),
        Column("precision", Align::Left),
        Column("step", Align::Left),
        Column("batch", Align::Right),
        Column("tokens", Align::Right),
        Column("trained tok/s", Align::Right),
        Column("forward ms", Align::Right),
        Column("backward ms", Align::Right),
        Column("optimizer ms", Align::Right),
        Column("forward MiB", Align::Right),
        Column("backward MiB", Align::Right),
        Column("optimizer MiB", Align::Right),
        Column("estimate MiB", Align::Right),
        Column("error %", Align::Right),
    ];
    let rows: Vec<Vec<String>> = cases.iter().copied().map(row).collect();
    render(&columns, &rows)
}

fn row(case: &Case) -> Vec<String> {
    let spec = &case.spec;
    let mut cells = vec![
        spec.model.clone(),
        spec.precision.clone(),
        spec.training.as_ref().map(contract::training::Training::name).unwrap_or_default(),
        spec.batch.to_string(),
        spec.prompt_tokens.to_string(),
    ];
    let estimate = case.estimate.as_ref().map(|e| e.totals.allocated);
    let Some(measurement) = &case.measurement else {
        cells.push(case.status.to_string());
        cells.resize(12, dash());
        cells.extend([mib(estimate), dash()]);
        return cells;
    };
    let median = |figure: fn(&StepSample) -> f64| {
        Distribution::of(measurement.steps.iter().map(figure)).map_or_else(dash, |d| format!("{:.2}", d.p50))
    };
    let peak = |phase| mib(measurement.phase(phase).map(|p| p.peak_allocated));
    let error = estimate.zip(measurement.peak_allocated()).and_then(|(e, m)| percent(e, m));
    cells.extend([
        spread(CaseSpeed::of(spec, measurement).training_tokens_per_second),
        median(|s| s.forward_ms),
        median(|s| s.backward_ms),
        median(|s| s.optimizer_ms),
        peak(Phase::Forward),
        peak(Phase::Backward),
        peak(Phase::Optimizer),
        mib(estimate),
        error.map_or_else(dash, |e| format!("{e:+.2}")),
    ]);
    cells
}

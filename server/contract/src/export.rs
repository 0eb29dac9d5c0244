//! A run in the form of measurement rows, so that anyone can hold the planner against it.

use planner::MeasurementRow;
use planner::document::row::{Measured, TotalBasis};

use crate::case::CaseStatus;
use crate::run::RunDetail;
use crate::statistics::CaseSpeed;

/// One row for each case that was measured and has a plan, by position.
///
/// `total` is the peak of allocated bytes over all phases; `tokens_per_second` the median decode rate of the
/// whole batch.
#[must_use]
pub fn rows(detail: &RunDetail) -> Vec<MeasurementRow> {
    let measured = detail.cases.iter().filter(|case| case.status == CaseStatus::Ok);
    measured
        .filter_map(|case| {
            let (plan, measurement) = (case.plan.clone()?, case.measurement.as_ref()?);
            let total = measurement.peak_allocated();
            let speed = CaseSpeed::of(&case.spec, measurement).decode_tokens_per_second;
            Some(MeasurementRow {
                id: case.id.to_string(),
                source: format!("Plimsoll run {} on {}", detail.run.id, detail.machine.name),
                licence: None,
                note: Some(case.spec.key()),
                plan,
                measured: Measured {
                    total,
                    total_basis: total.map(|_| TotalBasis::Allocated),
                    tokens_per_second: speed.map(|rate| rate.p50),
                    ..Measured::default()
                },
            })
        })
        .collect()
}

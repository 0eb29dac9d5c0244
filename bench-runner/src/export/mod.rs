//! A stored run in the forms of other benchmarks, so that their readers take it. What they have a field for and this runner
//! does not know is left empty, never made up.

pub mod llama_bench;
pub mod optimum_benchmark;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use contract::case::{Case, CaseStatus, Device};
use contract::machine::{GpuDevice, Machine};
use contract::measurement::Measurement;
use contract::run::RunDetail;
use planner::catalogue;

/// Cases that were measured, with what was. A search of an edge stands as the case that its figures belong to.
fn measured(detail: &RunDetail) -> impl Iterator<Item = (Cow<'_, Case>, &Measurement)> {
    let ok = detail.cases.iter().filter(|case| case.status == CaseStatus::Ok);
    ok.filter_map(|case| {
        let measurement = case.measurement.as_ref()?;
        let case = match measurement.edge {
            None => Cow::Borrowed(case),
            Some(_) => Cow::Owned(Case { spec: case.spec.measured(measurement), ..case.clone() }),
        };
        Some((case, measurement))
    })
}

/// The shape of a case's model, from its plan.
fn shape(case: &Case) -> Option<planner::Model> {
    let model = &case.plan.as_ref()?.model;
    let config = match &model.config {
        Some(config) => config,
        None => &catalogue::model(model.id.as_deref()?)?.config,
    };
    planner::Model::from_config(&case.spec.model, config.get("text_config").unwrap_or(config)).ok()
}

/// Bytes of a case's weights: as its file stores them, else what the planner says that loading takes.
fn weight_bytes(case: &Case) -> Option<u64> {
    let stored = case.plan.as_ref().and_then(|plan| plan.model.stored.as_ref());
    let stored = stored.map(|blocks| blocks.iter().map(|block| block.bytes.0).sum());
    stored.or_else(|| case.estimate.as_ref().map(|estimate| estimate.per_gpu.weights.0))
}

/// The GPU that a case computed on.
fn gpu(device: Device, machine: &Machine) -> Option<&GpuDevice> {
    match device {
        Device::Cpu => None,
        Device::Cuda(ordinal) => machine.gpus.get(ordinal as usize),
    }
}

//! Measured cases like a plan's, to stand on its load line.

use contract::case::CaseStatus;
use contract::explore::{CaseQuery, Facet};
use planner::document::plan::{EngineName, Plan, Workload};
use planner::{Model, catalogue};

use crate::backend::{BackendError, SharedBackend};
use crate::components::Measured;

/// Most cases that are looked at: more marks would cover the line.
const MOST: usize = 300;

/// Where cases of the plan's model, weights and device ran and fitted; none of a plan that no case can be like.
pub(super) async fn like(backend: &SharedBackend, plan: &Plan) -> Result<Vec<Measured>, BackendError> {
    let (Workload::Serve(_), EngineName::Candle, Some(model)) =
        (&plan.workload, plan.engine.name, &plan.model.id)
    else {
        return Ok(Vec::new());
    };
    let devices = devices(backend, &plan.gpu.id).await?;
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = CaseQuery { limit: MOST, ..CaseQuery::default() };
    query.facets.insert(Facet::Model, vec![model.clone()]);
    query.facets.insert(Facet::Device, devices);
    query.facets.insert(Facet::Status, vec![CaseStatus::Ok.as_str().to_owned()]);
    let precisions = if let Some(weights) = &plan.precision.weights {
        // Runners name a storage type of GGUF without its format.
        let weights = weights.to_string();
        vec![weights.strip_prefix("gguf:").unwrap_or(&weights).to_owned()]
    } else {
        // As stored: asked so, or by what it is stored in.
        let stored = Model::from_ref(&plan.model).ok().and_then(|model| model.native);
        ["native".to_owned()].into_iter().chain(stored.map(|dtype| dtype.as_str().to_owned())).collect()
    };
    query.facets.insert(Facet::Precision, precisions);
    let cases = backend.cases(query).await?.items;
    // What generates nothing was trained or embedded.
    let mut measured: Vec<Measured> = cases
        .iter()
        .filter(|case| case.generate_tokens.0 > 0)
        .map(|case| Measured {
            batch: u64::from(case.batch),
            tokens: (case.prompt_tokens + case.generate_tokens).0,
        })
        .collect();
    measured.sort_unstable();
    measured.dedup();
    Ok(measured)
}

/// The product names of a device of the catalogue, as the machines that ran cases report them.
async fn devices(backend: &SharedBackend, id: &str) -> Result<Vec<String>, BackendError> {
    let machines = backend.machines().await?;
    let mut names: Vec<String> = if id == catalogue::CPU {
        machines.into_iter().map(|machine| machine.cpu.model).collect()
    } else {
        let gpus = machines.into_iter().flat_map(|machine| machine.gpus);
        gpus.filter(|gpu| gpu.catalogue_id.as_deref() == Some(id)).map(|gpu| gpu.name).collect()
    };
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

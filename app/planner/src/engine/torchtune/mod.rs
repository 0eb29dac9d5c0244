//! torchtune.

mod train;

use super::policy::Policy;
use super::resolved::Resolved;
use crate::document::plan::Workload;
use crate::error::PlanError;

/// Prepares a plan.
///
/// # Errors
/// The field that the engine refuses, and what it accepts.
pub(crate) fn prepare(resolved: &Resolved) -> Result<Box<dyn Policy>, PlanError> {
    match &resolved.plan.workload {
        Workload::Train(plan) => train::prepare(resolved, plan),
        Workload::Embed { .. } => Err(super::accept::embeds_nothing("torchtune")),
        Workload::Serve(_) => Err(PlanError::unsupported(
            "workload.kind",
            "torchtune is a trainer",
            "give train, or another engine",
        )),
    }
}

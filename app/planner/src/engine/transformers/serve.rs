//! Serving.

use crate::document::plan::Serve;
use crate::engine::policy::Policy;
use crate::engine::resolved::Resolved;
use crate::error::PlanError;

pub(super) fn prepare(resolved: &Resolved, _serve: &Serve) -> Result<Box<dyn Policy>, PlanError> {
    Err(crate::engine::not_planned_yet(resolved))
}

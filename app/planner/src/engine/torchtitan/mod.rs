//! torchtitan.

use super::policy::Policy;
use super::resolved::Resolved;
use crate::error::PlanError;

/// Prepares a plan.
///
/// # Errors
/// The field that the engine refuses, and what it accepts.
pub(crate) fn prepare(resolved: &Resolved) -> Result<Box<dyn Policy>, PlanError> {
    Err(super::not_planned_yet(resolved))
}

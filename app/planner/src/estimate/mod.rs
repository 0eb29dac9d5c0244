//! The estimate of a plan.

mod advice;
mod compiled;
mod energy;
mod quality;
mod speed;
mod speed_train;

use crate::document::estimate::Estimate;
use crate::document::plan::Plan;
use crate::error::PlanError;
pub use compiled::Compiled;

/// What `plan` takes.
///
/// # Errors
/// Where the plan contradicts the contract, the catalogue or the model, where the engine cannot do what it asks, and
/// where this version does not plan it yet: the field, what is wrong with it, what to do.
pub fn estimate(plan: &Plan) -> Result<Estimate, PlanError> {
    let compiled = Compiled::new(plan)?;
    let mut estimate = compiled.estimate()?;
    if !estimate.fits {
        estimate.advice = compiled.advice();
    }
    Ok(estimate)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

//! The questions that people bring, answered with computed numbers.
//!
//! Nothing here is a rule of thumb: each figure is an estimate of a plan that is named beside it, so that the planner's page
//! can open it.

mod attention;
mod can_run;
mod one_card;
mod per_billion;
mod quantize;
mod reader;
mod training;

pub use attention::{Attentions, EngineDefault, KERNELS, Kernel, KernelPoint, attentions};
pub use can_run::{CanRun, Ran, can_run};
pub use one_card::{CARDS, MODELS, OnOneCard, Way, on_one_card};
pub use per_billion::{Billion, Other, PerBillion, billion, per_billion};
pub use quantize::{Trade, Trades, trades};
pub use reader::{Reader, Reply, Topic, answer};
pub use training::{Home, NotPlanned, TrainingRow, Trainings, training_against_inference, trainings};

use serde_json::json;

use crate::bytes::{Bytes, Tokens};
use crate::document::estimate::Estimate;
use crate::document::plan::{EngineName, Plan};
use crate::document::precision::WeightPrecision;
use crate::error::PlanError;
use crate::estimate::Compiled;

/// A figure and the plan that it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// Its estimate, without advice.
    pub estimate: Estimate,
}

impl Planned {
    fn of(plan: Plan) -> Result<Self, PlanError> {
        let estimate = Compiled::new(&plan)?.estimate()?;
        Ok(Self { plan, estimate })
    }

    /// Bytes of the GPU with the cache that is asked for instead of the pool that an engine fills the rest with.
    #[must_use]
    pub fn needed(&self) -> Bytes {
        let estimate = &self.estimate;
        estimate
            .per_gpu
            .total
            .saturating_sub(estimate.kv.pool_bytes.saturating_sub(estimate.per_gpu.kv_cache))
    }
}

/// A way to hold the weights that was not planned, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// The engine.
    pub engine: EngineName,
    /// How the weights would be held.
    pub weights: WeightPrecision,
    /// Why not.
    pub error: PlanError,
}

/// Tokens of `context` that are generated: a quarter, at most 1,024.
fn output(context: Tokens) -> u64 {
    (context.0 / 4).min(1024)
}

/// `batch` sequences of `context` tokens, prompt and output together.
fn served(
    (model, gpu): (&str, &str),
    engine: EngineName,
    weights: WeightPrecision,
    context: Tokens,
    batch: u64,
) -> Result<Plan, PlanError> {
    let output = output(context);
    Plan::from_value(json!({
        "schema": 1,
        "model": { "id": model },
        "gpu": { "id": gpu },
        "engine": { "name": engine },
        "precision": { "weights": weights },
        "workload": {
            "kind": "serve",
            "prompt_tokens": context.0.saturating_sub(output),
            "output_tokens": output,
            "concurrent_sequences": batch,
        },
    }))
}

#[cfg(test)]
mod tests;

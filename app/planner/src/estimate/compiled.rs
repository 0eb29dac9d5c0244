//! A plan prepared once, to be asked for many numbers.

use super::speed;
use crate::bytes::{Bytes, Tokens};
use crate::document::estimate::{ErrorBand, Estimate, Totals, Warning};
use crate::document::plan::Plan;
use crate::engine::resolved::Resolved;
use crate::engine::{self, Breakdown, Numbers, Policy, Spread};
use crate::error::PlanError;

/// A plan whose names are looked up, whose model is laid out and whose engine is chosen: what is left are numbers, which
/// can change without doing any of that again.
pub struct Compiled {
    resolved: Resolved,
    policy: Box<dyn Policy>,
}

impl Compiled {
    /// Prepares `plan`.
    ///
    /// # Errors
    /// Those of [`crate::estimate()`].
    pub fn new(plan: &Plan) -> Result<Self, PlanError> {
        let resolved = Resolved::of(plan)?;
        let policy = engine::prepare(&resolved)?;
        Ok(Self { resolved, policy })
    }

    /// The plan's own numbers.
    #[must_use]
    pub const fn numbers(&self) -> Numbers {
        self.resolved.numbers
    }

    /// The plan.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.resolved.plan
    }

    /// The longest sequence that the model takes.
    #[must_use]
    pub const fn longest(&self) -> Tokens {
        self.resolved.model.max_tokens
    }

    /// What it takes with other numbers. They are not checked against the model's limits; the plan's own were.
    ///
    /// # Errors
    /// The field whose number the engine refuses.
    pub fn breakdown(&self, numbers: &Numbers) -> Result<Breakdown, PlanError> {
        self.policy.breakdown(numbers).map(Breakdown::finish)
    }

    /// The estimate of the plan's own numbers, without advice.
    ///
    /// # Errors
    /// As [`Compiled::breakdown`].
    pub fn estimate(&self) -> Result<Estimate, PlanError> {
        let numbers = &self.resolved.numbers;
        let answer = self.breakdown(numbers)?;
        let mut estimate = Estimate::empty(self.policy.engine());
        estimate.per_gpu = answer.parts;
        estimate.totals =
            Totals { allocated: answer.allocated, reserved: answer.reserved, process: answer.parts.total };
        estimate.capacity_bytes = answer.capacity;
        estimate.fits = answer.fits;
        estimate.host = answer.host;
        estimate.kv = answer.kv;
        estimate.speed = speed::speed(&self.resolved, &answer, self.policy.work());
        estimate.error_band = band(&answer, self.policy.spread());
        estimate.warnings.clone_from(&self.resolved.warnings);
        estimate.warnings.extend(self.policy.warnings(numbers));
        if answer.pool == engine::Pool::Negative {
            estimate.warnings.push(Warning::new(
                "pool-negative",
                "Weights and activations leave nothing for the cache: the engine would not start.",
            ));
        }
        if estimate.speed.is_some() {
            estimate.warnings.push(Warning::new(
                "speed-is-a-bound",
                "Speed is what memory bandwidth and arithmetic of the GPU allow at best; engines are slower.",
            ));
        }
        if estimate.fits {
            estimate.command = self.policy.command(numbers);
        }
        self.policy.complete(numbers, &mut estimate)?;
        Ok(estimate)
    }
}

/// One standard deviation of each component to either side, added up: errors of one plan have one cause more often than
/// many, so they are not assumed to cancel. An overhead of which half is unknown may be twice as much.
fn band(answer: &Breakdown, spread: Spread) -> ErrorBand {
    let p = &answer.parts;
    let share = |bytes: Bytes, share: f64| {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a size, saturating at its type's ends"
        )]
        let part = (bytes.0 as f64 * share) as u64;
        Bytes(part)
    };
    let tensors = share(p.weights, spread.weights)
        + share(p.kv_cache.max(answer.kv.pool_bytes) + p.recurrent_state, spread.cache)
        + share(p.activations + p.temporary + p.auxiliary, spread.activations)
        + share(p.gradients + p.optimizer, spread.states);
    let overhead = p.cuda_graphs + p.runtime + p.context;
    let low = p.total - tensors - share(overhead, spread.overhead.min(1.0));
    let high = p.total + tensors + share(overhead, spread.overhead / (1.0 - spread.overhead.min(0.9)));
    ErrorBand { low, high, basis: spread.basis }
}

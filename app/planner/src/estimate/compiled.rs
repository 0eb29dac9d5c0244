//! A plan prepared once, to be asked for many numbers.

use super::{energy, quality, speed, speed_train};
use crate::agent::Agent;
use crate::bytes::{Bytes, Tokens};
use crate::compress;
use crate::document::estimate::{Advice, ErrorBand, Estimate, Quality, Speed, Totals, Warning};
use crate::document::plan::{Parallelism, Plan};
use crate::engine::resolved::Resolved;
use crate::engine::{self, Breakdown, Fitted, Numbers, Policy, Pool, Spread};
use crate::error::PlanError;
use crate::model::Model;

/// A plan whose names are looked up, whose model is laid out and whose engine is chosen: what is left are numbers, which
/// can change without doing any of that again.
pub struct Compiled {
    resolved: Resolved,
    policy: Box<dyn Policy>,
    roofline: Option<speed::Roofline>,
    agent: Option<Agent>,
    /// Share of the weights that 2:4 storage saves.
    saved: f64,
}

impl Compiled {
    /// Prepares `plan`.
    ///
    /// # Errors
    /// Those of [`crate::estimate()`].
    pub fn new(plan: &Plan) -> Result<Self, PlanError> {
        Self::with(plan, Fitted::default())
    }

    /// Prepares `plan` with other values of what was read off measurements.
    ///
    /// # Errors
    /// Those of [`crate::estimate()`].
    pub fn with(plan: &Plan, fitted: Fitted) -> Result<Self, PlanError> {
        let resolved = Resolved { fitted, ..Resolved::of(plan)? };
        let policy = engine::prepare(&resolved)?;
        let agent = plan.agent_memory.as_ref().map(Agent::of).transpose()?;
        if agent.is_some() && resolved.serve().is_none() {
            return Err(PlanError::invalid(
                "agent_memory",
                "given for a workload that holds no conversation",
                "give the workload serve, or leave it out",
            ));
        }
        let roofline = speed::Roofline::of(&resolved);
        let saved = if resolved.sparse { compress::saved_share(&resolved) } else { 0.0 };
        Ok(Self { resolved, policy, roofline, agent, saved })
    }

    /// The same plan with other values of what was read off measurements: the model is not read again.
    ///
    /// # Errors
    /// Those of [`crate::estimate()`].
    pub fn refitted(&self, fitted: Fitted) -> Result<Self, PlanError> {
        let resolved = Resolved { fitted, ..self.resolved.clone() };
        let policy = engine::prepare(&resolved)?;
        let roofline = speed::Roofline::of(&resolved);
        Ok(Self { resolved, policy, roofline, agent: self.agent.clone(), saved: self.saved })
    }

    /// The same plan with another layout: the model is not read again.
    ///
    /// # Errors
    /// The field of the layout that contradicts the model or that the engine refuses.
    pub fn spread(&self, layout: Parallelism) -> Result<Self, PlanError> {
        let resolved = self.resolved.spread(layout)?;
        let policy = engine::prepare(&resolved)?;
        let roofline = self.roofline.as_ref().map(|r| r.spread(&resolved));
        Ok(Self { resolved, policy, roofline, agent: self.agent.clone(), saved: self.saved })
    }

    /// What is published of the quality of the plan's weights.
    #[must_use]
    pub fn quality(&self) -> Option<Quality> {
        quality::quality(self.resolved.plan.precision.weights, self.resolved.model.native)
    }

    /// The model, compressed as the plan says.
    #[must_use]
    pub const fn model(&self) -> &Model {
        &self.resolved.model
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
        let mut answer = self.policy.breakdown(numbers)?;
        if let Some(agent) = &self.agent {
            answer.parts.auxiliary += agent.on_gpu;
            if answer.kv.pool_bytes > Bytes::ZERO {
                // What others take is not there when the engine measures what is free.
                take_from_pool(&mut answer, agent.on_gpu);
            }
        }
        if self.saved > 0.0 {
            let saved = share(answer.parts.weights, self.saved);
            answer.parts.weights = answer.parts.weights - saved;
            answer.allocated = answer.allocated - saved;
            answer.reserved = answer.reserved - saved;
            if answer.kv.pool_bytes > Bytes::ZERO {
                give_to_pool(&mut answer, saved);
            }
        }
        Ok(answer.finish())
    }

    /// The speed of other numbers; none where nothing is known of it.
    #[must_use]
    pub fn speed(&self, numbers: &Numbers) -> Option<Speed> {
        match &self.roofline {
            Some(roofline) => Some(roofline.speed(numbers).speed),
            None => speed_train::speed(&self.resolved, numbers),
        }
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
        estimate.error_band = band(&answer, self.policy.spread());
        estimate.warnings.clone_from(&self.resolved.warnings);
        estimate.warnings.extend(self.policy.warnings(numbers));
        self.fill_speed(&mut estimate);
        if answer.pool == Pool::Negative {
            estimate.warnings.push(Warning::new(
                "pool-negative",
                "Weights and activations leave nothing for the cache: the engine would not start.",
            ));
        }
        if let Some(agent) = &self.agent {
            estimate.agent = Some(agent.estimate(|tokens| self.holds(Tokens(tokens))));
        }
        if estimate.fits {
            let max_model_len = numbers.max_model_len.max(held(&estimate));
            estimate.command = self.policy.command(&Numbers { max_model_len, ..*numbers });
        }
        self.policy.complete(numbers, &mut estimate)?;
        Ok(estimate)
    }

    /// Single changes that make it fit, or at least help, the cheapest of each kind: for a plan that does not fit.
    #[must_use]
    pub fn advice(&self) -> Vec<Advice> {
        super::advice::advice(self)
    }

    fn fill_speed(&self, estimate: &mut Estimate) {
        let numbers = &self.resolved.numbers;
        if let Some(found) = self.roofline.as_ref().map(|r| r.speed(numbers)) {
            estimate.warnings.push(Warning::new(
                "speed-modelled",
                format!(
                    "Speed is a model of what engine and GPU reach, typically within ±{:.0} %: {}.",
                    found.error * 100.0,
                    found.basis
                ),
            ));
            if found.launch_bound {
                estimate.warnings.push(Warning::new(
                    "launch-bound",
                    "The GPU waits for the host, which launches every kernel by itself: a larger batch costs little, a faster \
                     GPU gains little.",
                ));
            }
            let speculation = self.resolved.serve().and_then(|s| s.speculation.as_ref());
            if speculation.is_some_and(|s| s.acceptance().is_none()) {
                estimate.warnings.push(Warning::new(
                    "speculation-not-in-speed",
                    "How many proposed tokens are accepted depends on the text: the speed is that without speculation. Give \
                     workload.speculation.acceptance as you measured it.",
                ));
            }
            estimate.speed = Some(found.speed);
        } else if let Some(found) = speed_train::speed(&self.resolved, numbers) {
            estimate.warnings.push(Warning::new("speed-modelled", speed_train::BASIS));
            estimate.speed = Some(found);
        }
        if let Some(speed) = &estimate.speed {
            estimate.energy = energy::energy(&self.resolved, speed);
            estimate.cost = energy::cost(&self.resolved, speed);
        }
        estimate.quality = self.quality();
    }

    /// Whether a conversation of so many tokens is held beside the plan's others.
    fn holds(&self, tokens: Tokens) -> bool {
        let numbers = self.resolved.numbers;
        let limit = self.resolved.serve().and_then(|s| s.max_model_len).unwrap_or(self.longest());
        if tokens > self.longest() || tokens > limit {
            return false;
        }
        let prompt = Tokens((tokens - numbers.output).0.max(1));
        let max_model_len = limit.min(numbers.max_model_len.max(prompt + numbers.output));
        self.breakdown(&Numbers { prompt, max_model_len, ..numbers }).is_ok_and(|b| b.fits)
    }
}

/// The longest context of an agent before its memory runs out.
fn held(estimate: &Estimate) -> Tokens {
    let Some(agent) = &estimate.agent else { return Tokens(0) };
    let turns = agent.exhausted_turn.map_or(usize::MAX, |turn| turn as usize - 1);
    Tokens(agent.tokens_after_turn.iter().take(turns).max().copied().unwrap_or(0))
}

/// A share of a size.
fn share(bytes: Bytes, share: f64) -> Bytes {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a size, saturating at its type's ends"
    )]
    let part = (bytes.0 as f64 * share) as u64;
    Bytes(part)
}

/// Bytes that are not weights any more become cache.
fn give_to_pool(answer: &mut Breakdown, bytes: Bytes) {
    let kv = &mut answer.kv;
    let grown = kv.pool_bytes + bytes;
    let factor = grown.0 as f64 / kv.pool_bytes.0.max(1) as f64;
    kv.pool_tokens = share(Bytes(kv.pool_tokens), factor).0;
    kv.max_concurrent_sequences = share(Bytes(kv.max_concurrent_sequences), factor).0;
    kv.pool_bytes = grown;
}

/// Bytes that something else takes are no cache.
fn take_from_pool(answer: &mut Breakdown, bytes: Bytes) {
    let kv = &mut answer.kv;
    let left = kv.pool_bytes - bytes;
    let factor = left.0 as f64 / kv.pool_bytes.0.max(1) as f64;
    kv.pool_tokens = share(Bytes(kv.pool_tokens), factor).0;
    kv.max_concurrent_sequences = share(Bytes(kv.max_concurrent_sequences), factor).0;
    kv.pool_bytes = left;
    if left == Bytes::ZERO {
        answer.pool = Pool::Negative;
    } else if left < answer.parts.kv_cache || kv.max_concurrent_sequences == 0 {
        answer.pool = Pool::Short;
    }
}

/// One standard deviation of each component to either side, added up: errors of one plan have one cause more often than
/// many, so they are not assumed to cancel. An overhead of which half is unknown may be twice as much.
fn band(answer: &Breakdown, spread: Spread) -> ErrorBand {
    let p = &answer.parts;
    let tensors = share(p.weights, spread.weights)
        + share(p.kv_cache.max(answer.kv.pool_bytes) + p.recurrent_state, spread.cache)
        + share(p.activations + p.temporary + p.auxiliary, spread.activations)
        + share(p.gradients + p.optimizer, spread.states);
    let overhead = p.cuda_graphs + p.runtime + p.context;
    let low = p.total - tensors - share(overhead, spread.overhead.min(1.0));
    let high = p.total + tensors + share(overhead, spread.overhead / (1.0 - spread.overhead.min(0.9)));
    ErrorBand { low, high, basis: spread.basis }
}

//! Inverse questions: the most that fits.
//!
//! Memory grows with the batch and with the context, so each answer is found by searching the total that
//! [`crate::estimate()`] gives: there is no second formula that could disagree.

mod gpus;
mod layout;
mod pareto;
mod question;
mod search;

pub use gpus::{Offer, cheapest_gpu, fewest_gpus};
pub use layout::{LayoutPoint, SpeedLimits, best_layout, layouts};
pub use pareto::{ParetoPoint, pareto};
pub use question::{Answer, Asked, Fewest, Question, Ranking};

use serde::{Deserialize, Serialize};

use crate::bytes::{Bytes, Tokens};
use crate::document::plan::{Plan, Workload};
use crate::engine::resolved::MAX_SEQUENCES;
use crate::engine::{Breakdown, Numbers, Pool};
use crate::error::PlanError;
use crate::estimate::Compiled;

/// A point of the load line: with `batch` sequences at once, `context` tokens of each are the most that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LoadPoint {
    /// Sequences at once.
    pub batch: u64,
    /// Prompt and output of each; 0 where not even one token of prompt fits before the output.
    pub context: Tokens,
}

/// The most sequences at once that fit, all else as in the plan; 0 where not even one does.
///
/// # Errors
/// Those of [`crate::estimate()`] for the plan with one sequence, and a capacity that is not known.
pub fn largest_batch(plan: &Plan) -> Result<u64, PlanError> {
    let compiled = Compiled::new(&with_batch(plan, 1).ok_or_else(no_serve)?)?;
    largest_batch_of(&compiled)
}

/// [`largest_batch`] of a plan that is prepared.
///
/// # Errors
/// As [`largest_batch`].
pub fn largest_batch_of(compiled: &Compiled) -> Result<u64, PlanError> {
    let numbers = serving(compiled)?;
    let at = |sequences: u64| Numbers { sequences, ..numbers };
    let load = |n: u64| compiled.breakdown(&at(n)).ok().map(|b| load(&b));
    let one = compiled.breakdown(&at(1))?;
    let near = Some(numbers.sequences);
    Ok(search::largest((1, self::load(&one)), MAX_SEQUENCES, one.capacity, near, load).unwrap_or(0))
}

/// The most tokens of a sequence, prompt (a shared prefix and images included) and output together, that fit, output and
/// batch as in the plan; 0 where not even a prompt of one token does. It is never more than the model takes.
///
/// # Errors
/// Those of [`crate::estimate()`] for the plan with a prompt of one token, and a capacity that is not known.
pub fn longest_context(plan: &Plan) -> Result<Tokens, PlanError> {
    let Workload::Serve(serve) = &plan.workload else { return Err(no_serve()) };
    let shortest = serve.output_tokens + serve.shared_prefix_tokens.max(Tokens(1));
    let compiled = Compiled::new(&with_context(plan, shortest).ok_or_else(no_serve)?)?;
    longest_context_of(&compiled)
}

/// [`longest_context`] of a plan that is prepared.
///
/// # Errors
/// As [`longest_context`].
pub fn longest_context_of(compiled: &Compiled) -> Result<Tokens, PlanError> {
    let numbers = serving(compiled)?;
    longest_context_with(compiled, numbers, numbers.prompt + numbers.output)
}

/// `near` is a length that may be near the answer.
fn longest_context_with(compiled: &Compiled, numbers: Numbers, near: Tokens) -> Result<Tokens, PlanError> {
    let at = |context: u64| Numbers {
        prompt: Tokens(context) - numbers.output,
        max_model_len: Tokens(context),
        ..numbers
    };
    let shortest = numbers.output.0 + numbers.shared_prefix.0.max(1);
    let load = |n: u64| compiled.breakdown(&at(n)).ok().map(|b| load(&b));
    let least = compiled.breakdown(&at(shortest))?;
    let (longest, near) = (compiled.longest().0, Some(near.0));
    let most = search::largest((shortest, self::load(&least)), longest, least.capacity, near, load);
    Ok(Tokens(most.unwrap_or(0)))
}

/// What must be within the capacity: the total, and beyond any capacity where the engine's pool is short.
fn load(breakdown: &Breakdown) -> Bytes {
    match breakdown.pool {
        Pool::None | Pool::Enough => breakdown.parts.total,
        Pool::Short | Pool::Negative => Bytes(u64::MAX),
    }
}

/// The plan's numbers, where it serves from a memory that is known.
fn serving(compiled: &Compiled) -> Result<Numbers, PlanError> {
    if !matches!(compiled.plan().workload, Workload::Serve(_)) {
        return Err(no_serve());
    }
    let numbers = compiled.numbers();
    if numbers.memory == Bytes::ZERO {
        return Err(PlanError::invalid(
            "gpu.memory_mib",
            "left out for the processor, so that what fits is not known",
            "give the host's memory in MiB",
        ));
    }
    Ok(numbers)
}

/// For each batch the longest context: what the plan's GPU can be loaded with.
///
/// # Errors
/// Those of [`longest_context`]; a batch of 0.
pub fn load_line(plan: &Plan, batches: &[u64]) -> Result<Vec<LoadPoint>, PlanError> {
    let Workload::Serve(serve) = &plan.workload else { return Err(no_serve()) };
    let shortest = serve.output_tokens + serve.shared_prefix_tokens.max(Tokens(1));
    let short = with_context(plan, shortest).and_then(|p| with_batch(&p, 1)).ok_or_else(no_serve)?;
    let compiled = Compiled::new(&short)?;
    let numbers = serving(&compiled)?;
    // Twice the batch holds about half the context.
    let mut before = LoadPoint { batch: 1, context: serve.prompt_tokens + serve.output_tokens };
    batches
        .iter()
        .map(|&batch| {
            if !(1..=MAX_SEQUENCES).contains(&batch) {
                return Err(PlanError::invalid(
                    "workload.concurrent_sequences",
                    format!("{batch} is out of range"),
                    format!("give 1 to {MAX_SEQUENCES}"),
                ));
            }
            let near = Tokens(before.context.0.saturating_mul(before.batch) / batch);
            let context = longest_context_with(&compiled, Numbers { sequences: batch, ..numbers }, near)?;
            before = LoadPoint { batch, context };
            Ok(before)
        })
        .collect()
}

/// The plan with another number of sequences; none where it does not serve.
pub(crate) fn with_batch(plan: &Plan, batch: u64) -> Option<Plan> {
    let mut changed = plan.clone();
    let Workload::Serve(serve) = &mut changed.workload else { return None };
    serve.concurrent_sequences = batch;
    Some(changed)
}

/// The plan with prompts that make sequences of `context` tokens with the output; none where it does not serve or the
/// output alone is longer. A `max_model_len` follows.
pub(crate) fn with_context(plan: &Plan, context: Tokens) -> Option<Plan> {
    let mut changed = plan.clone();
    let Workload::Serve(serve) = &mut changed.workload else { return None };
    serve.prompt_tokens = Tokens(context.0.checked_sub(serve.output_tokens.0)?);
    serve.max_model_len = None;
    Some(changed)
}

fn no_serve() -> PlanError {
    PlanError::invalid(
        "workload.kind",
        "is not serve, the only one with a batch and a context to solve for",
        "give serve",
    )
}

#[cfg(test)]
mod tests;

//! Inverse questions: the most that fits.
//!
//! Memory grows with the batch and with the context, so each answer is found by searching the total that
//! [`crate::estimate()`] gives: there is no second formula that could disagree.

mod search;

use serde::{Deserialize, Serialize};

use crate::bytes::{Bytes, Tokens};
use crate::document::plan::{Plan, Workload};
use crate::error::PlanError;
use crate::estimate::{MAX_SEQUENCES, Question, total};

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
    let one = with_batch(plan, 1).ok_or_else(no_serve)?;
    let capacity = capacity(&one)?;
    let total_of = |batch: u64| with_batch(plan, batch).and_then(|p| total_of(&p).ok());
    let total = total(&Question::of(&one)?)?;
    Ok(search::largest((1, total), MAX_SEQUENCES, capacity, total_of).unwrap_or(0))
}

/// The most tokens of a sequence, prompt and output together, that fit, output and batch as in the plan; 0 where not
/// even a prompt of one token does. It is never more than the model takes.
///
/// # Errors
/// Those of [`crate::estimate()`] for the plan with a prompt of one token, and a capacity that is not known.
pub fn longest_context(plan: &Plan) -> Result<Tokens, PlanError> {
    let Workload::Serve(serve) = &plan.workload else { return Err(no_serve()) };
    let shortest = serve.output_tokens + Tokens(1);
    let smallest = with_context(plan, shortest).ok_or_else(no_serve)?;
    let capacity = capacity(&smallest)?;
    let question = Question::of(&smallest)?;
    let total_of = |context: u64| with_context(plan, Tokens(context)).and_then(|p| total_of(&p).ok());
    let total = total(&question)?;
    let longest = question.model.max_tokens.0;
    Ok(Tokens(search::largest((shortest.0, total), longest, capacity, total_of).unwrap_or(0)))
}

/// For each batch the longest context: what the plan's GPU can be loaded with.
///
/// # Errors
/// Those of [`longest_context`]; a batch of 0.
pub fn load_line(plan: &Plan, batches: &[u64]) -> Result<Vec<LoadPoint>, PlanError> {
    batches
        .iter()
        .map(|&batch| {
            let changed = with_batch(plan, batch).ok_or_else(no_serve)?;
            Ok(LoadPoint { batch, context: longest_context(&changed)? })
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
    PlanError::not_planned_yet("workload.kind", "solving for anything but serve", "give serve")
}

/// The memory that may be filled.
fn capacity(plan: &Plan) -> Result<Bytes, PlanError> {
    Question::of(plan)?.capacity.ok_or_else(|| {
        PlanError::invalid(
            "gpu.memory_mib",
            "left out for the processor, so that what fits is not known",
            "give the host's memory in MiB",
        )
    })
}

fn total_of(plan: &Plan) -> Result<Bytes, PlanError> {
    total(&Question::of(plan)?)
}

#[cfg(test)]
mod tests;

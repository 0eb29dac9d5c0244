//! Inverse questions: the most that fits.
//!
//! Memory grows with the batch and with the context, so each answer is found by bisection over the total that
//! [`crate::estimate()`] gives: there is no second formula that could disagree.

use serde::{Deserialize, Serialize};

use crate::bytes::Tokens;
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
    let serve_of = |batch: u64| with_batch(plan, batch);
    let Some(one) = serve_of(1) else { return Err(no_serve()) };
    if !fits(&one)? {
        return Ok(0);
    }
    let works = |batch: u64| serve_of(batch).is_some_and(|p| fits(&p).unwrap_or(false));
    // Answers are mostly small: double until one does not fit, then look between.
    let mut low = 1;
    while low < MAX_SEQUENCES && works((low * 2).min(MAX_SEQUENCES)) {
        low = (low * 2).min(MAX_SEQUENCES);
    }
    Ok(bisect(low, (low * 2 - 1).min(MAX_SEQUENCES), works))
}

/// The most tokens of a sequence, prompt and output together, that fit, output and batch as in the plan; 0 where not
/// even a prompt of one token does. It is never more than the model takes.
///
/// # Errors
/// Those of [`crate::estimate()`] for the plan with a prompt of one token, and a capacity that is not known.
pub fn longest_context(plan: &Plan) -> Result<Tokens, PlanError> {
    let Workload::Serve(serve) = &plan.workload else { return Err(no_serve()) };
    let shortest = serve.output_tokens + Tokens(1);
    let Some(smallest) = with_context(plan, shortest) else { return Err(no_serve()) };
    if !fits(&smallest)? {
        return Ok(Tokens(0));
    }
    let longest = Question::of(&smallest)?.model.max_tokens;
    let works = |context: u64| with_context(plan, Tokens(context)).is_some_and(|p| fits(&p).unwrap_or(false));
    Ok(Tokens(bisect(shortest.0, longest.0, works)))
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

fn fits(plan: &Plan) -> Result<bool, PlanError> {
    let question = Question::of(plan)?;
    let Some(capacity) = question.capacity else {
        return Err(PlanError::invalid(
            "gpu.memory_mib",
            "left out for the processor, so that what fits is not known",
            "give the host's memory in MiB",
        ));
    };
    Ok(total(&question)? <= capacity)
}

/// The largest of `low..=high` that works, where `low` does and all beyond the answer do not.
fn bisect(mut low: u64, mut high: u64, works: impl Fn(u64) -> bool) -> u64 {
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if works(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

#[cfg(test)]
mod tests;

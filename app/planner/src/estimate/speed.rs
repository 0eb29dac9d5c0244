//! Speed as a roofline: the time that the GPU's memory or its arithmetic needs at least.
//!
//! Williams, Waterman, Patterson, "Roofline" (CACM 52(4), 2009): the time of a step is the larger of bytes moved over
//! bandwidth and operations over throughput. No efficiency factor is applied, so both are bounds, not predictions.

use crate::document::estimate::{Bound, Speed};
use crate::engine::resolved::Resolved;
use crate::engine::{Breakdown, Work};
use crate::model::Model;

/// The bounds on speed; none where the GPU's bandwidth or throughput is not known, and on a processor.
pub(super) fn speed(resolved: &Resolved, answer: &Breakdown, work: Option<Work>) -> Option<Speed> {
    let gpu = resolved.gpu?;
    let Work { weights_read, rate } = work?;
    resolved.serve()?;
    let bandwidth = gpu.bandwidth_gb_s? * 1e9;
    let throughput = gpu.tflops.of(rate)? * 1e12;
    let (model, numbers) = (&resolved.model, &resolved.numbers);
    let batch = numbers.sequences as f64;
    let prompt = numbers.prompt.0 as f64;
    let output = numbers.output.0 as f64;
    let read = weights_read.0 as f64;
    let multiplied = multiplied_parameters(model) as f64;
    let head = (model.vocab.saturating_mul(model.hidden)) as f64;

    // Prefill: every matrix multiplies every token; the head only the last one of each sequence.
    let prefill_operations =
        2.0 * batch * (multiplied * prompt + head) + attention_operations(model, prompt, prompt) * batch;
    let prefill = (prefill_operations / throughput).max(read / bandwidth);

    // A decode step in the middle of the output: weights once, the caches of all sequences once.
    let seen = prompt + output / 2.0;
    let end = prompt + output;
    let cache = if end > 0.0 { answer.parts.kv_cache.0 as f64 * (seen / end) } else { 0.0 };
    let moved = (read + cache) / bandwidth;
    let operations = 2.0 * batch * (multiplied + head) + attention_operations(model, 1.0, seen) * batch;
    let computed = operations / throughput;
    let step = moved.max(computed);

    let whole = prefill + step * output;
    Some(Speed {
        time_to_first_token_ms: prefill * 1e3,
        time_per_output_token_ms: step * 1e3,
        tokens_per_second: if whole > 0.0 { batch * output / whole } else { 0.0 },
        step_ms: step * 1e3,
        bound: if moved >= computed { Bound::Memory } else { Bound::Compute },
    })
}

/// Parameters of the matrices in the layers.
fn multiplied_parameters(model: &Model) -> u64 {
    model
        .tensors()
        .iter()
        .filter(|t| t.layer.is_some() && t.is_matrix())
        .map(crate::model::WeightTensor::elements)
        .fold(0, u64::saturating_add)
}

/// Operations of scores and their product with the values, for `new` tokens that see `seen`. Stock Candle computes the
/// masked half as well, and the tokens outside a window.
fn attention_operations(model: &Model, new: f64, seen: f64) -> f64 {
    model
        .layers
        .iter()
        .filter_map(crate::model::Layer::attention)
        .map(|a| 4.0 * a.query_width() as f64 * new * seen)
        .sum()
}

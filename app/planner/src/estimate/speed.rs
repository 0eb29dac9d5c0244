//! Speed as a roofline: the time that the GPU's memory or its arithmetic needs at least.
//!
//! Williams, Waterman, Patterson, "Roofline" (CACM 52(4), 2009): the time of a step is the larger of bytes moved over
//! bandwidth and operations over throughput. No efficiency factor is applied, so both are bounds, not predictions.

use super::Question;
use crate::bytes::Bytes;
use crate::document::estimate::{Bound, Speed};
use crate::engine::{CandlePeaks, WeightStorage};
use crate::model::{Dtype, Model, Role};

/// The bounds on speed; none where the GPU's bandwidth or throughput is not known, and on a processor.
pub(super) fn speed(question: &Question, peaks: &CandlePeaks) -> Option<Speed> {
    let gpu = question.gpu?;
    let bandwidth = gpu.bandwidth_gb_s? * 1e9;
    // Quantized weights are multiplied in 16 bit or in integers; the 16-bit rate is the nearest published one.
    let format = match question.request.weights {
        WeightStorage::Dense(dtype) => dtype,
        WeightStorage::Gguf { .. } => Dtype::F16,
    };
    let throughput = gpu.tflops.of(format)? * 1e12;

    let request = &question.request;
    let batch = request.batch as f64;
    let prompt = request.prompt.0 as f64;
    let output = request.generate.0 as f64;
    let read = weights_read(&question.model, &request.weights).0 as f64;
    let multiplied = multiplied_parameters(&question.model) as f64;
    let head = (question.model.vocab.saturating_mul(question.model.hidden)) as f64;

    // Prefill: every matrix multiplies every token; the head only the last one of each sequence.
    let prefill_operations = 2.0 * batch * (multiplied * prompt + head)
        + attention_operations(&question.model, prompt, prompt) * batch;
    let prefill = (prefill_operations / throughput).max(read / bandwidth);

    // A decode step in the middle of the output: weights once, the caches of all sequences once.
    let seen = prompt + output / 2.0;
    let end = prompt + output;
    let cache = if end > 0.0 { peaks.kv_cache_bytes.0 as f64 * (seen / end) } else { 0.0 };
    let moved = (read + cache) / bandwidth;
    let operations =
        2.0 * batch * (multiplied + head) + attention_operations(&question.model, 1.0, seen) * batch;
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

/// Bytes of the weights that a pass reads: all but an embedding of which only single rows are looked up.
fn weights_read(model: &Model, weights: &WeightStorage) -> Bytes {
    let looked_up = |role: Role| {
        (role == Role::TokenEmbedding && !model.tied_embeddings)
            || matches!(role, Role::PositionEmbedding | Role::TokenTypeEmbedding)
    };
    let tensors = model.tensors();
    match weights {
        WeightStorage::Dense(dtype) => {
            tensors.iter().filter(|t| !looked_up(t.role)).map(|t| Bytes(t.elements()) * dtype.bytes()).sum()
        }
        WeightStorage::Gguf { types, .. } => tensors
            .iter()
            .zip(types)
            .filter(|(tensor, _)| !looked_up(tensor.role))
            .map(|(tensor, kind)| Bytes(kind.tensor_bytes(tensor.rows, tensor.columns).unwrap_or_default()))
            .sum(),
    }
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

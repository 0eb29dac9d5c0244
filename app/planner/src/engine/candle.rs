//! Candle's memory: what stays after loading, and what is alive at the peaks of prefill and decode.

use super::request::{CandlePeaks, CandleRequest, Peak, PhaseOfPeak, WeightStorage};
use crate::bytes::Bytes;
use crate::error::PlanError;
use crate::model::{Dtype, Head, Model};

/// What `model` takes in Candle for `request`: a first-principles count of the tensors alive at the widest moment of a
/// decoder's layer.
///
/// # Errors
/// The field of the plan that Candle cannot do, and what it can.
pub fn peaks(model: &Model, request: &CandleRequest) -> Result<CandlePeaks, PlanError> {
    let element = request.activations.bytes();
    let weights = match &request.weights {
        WeightStorage::Dense(dtype) => Bytes(model.parameters().total) * dtype.bytes(),
        WeightStorage::Gguf { total_bytes, .. } => *total_bytes,
    };
    let cache = |tokens: u64| Bytes(model.cache_elements_per_token()) * tokens * request.batch * element;
    let prefill = phase(model, request, request.prompt.0, request.prompt.0);
    let total = request.prompt.0.saturating_add(request.generate.0);
    let decode = if request.generate.0 > 0 { phase(model, request, 1, total) } else { Bytes::ZERO };
    let (prefill_cache, decode_cache) = (cache(request.prompt.0), cache(total));
    let prefill_peak = weights + prefill_cache + prefill;
    let decode_peak = weights + decode_cache + decode;
    let (phase, kv_cache, activations) = if decode_peak > prefill_peak {
        (PhaseOfPeak::Decode, decode_cache, decode)
    } else {
        (PhaseOfPeak::Prefill, prefill_cache, prefill)
    };
    Ok(CandlePeaks {
        weights_bytes: weights,
        kv_cache_bytes: decode_cache,
        load_peak: weights,
        prefill_peak,
        decode_peak,
        peak: Peak { phase, kv_cache, activations, temporary: Bytes::ZERO },
    })
}

/// The widest moment of a pass over `new` tokens that attend to `seen`: the residual stream beside either the scores
/// before and after their softmax, or the gate, the up projection and their product, or the logits in fp32.
fn phase(model: &Model, request: &CandleRequest, new: u64, seen: u64) -> Bytes {
    let element = request.activations.bytes();
    let rows = Bytes(request.batch) * new;
    let stream = rows * model.hidden * element;
    let widest = model
        .layers
        .iter()
        .map(|layer| {
            let a = &layer.attention;
            let qkv = rows * (a.query_width().saturating_add(a.kv_width().saturating_mul(2))) * element;
            let scores = rows * a.heads * seen * element;
            let inner = rows * layer.feed_forward.intermediate * element;
            (qkv + scores * 2).max(inner * 3)
        })
        .max()
        .unwrap_or_default();
    let logits = match model.head {
        Head::LanguageModel { .. } => Bytes(request.batch) * model.vocab * Dtype::F32.bytes(),
        Head::Pooler | Head::None => Bytes::ZERO,
    };
    stream * 2 + widest.max(logits)
}

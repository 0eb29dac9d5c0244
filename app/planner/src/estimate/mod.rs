//! The estimate of a plan.

mod advice;
mod question;
mod speed;
mod storage;

use crate::bytes::{Bytes, Tokens};
use crate::document::estimate::{
    Components, EngineVersion, ErrorBand, Estimate, KvEstimate, PhasePeak, Totals, Warning,
};
use crate::document::plan::{EngineName, Plan};
use crate::engine::{CandlePeaks, Device, candle};
use crate::error::PlanError;
pub(crate) use question::{MAX_SEQUENCES, Question};

/// The Candle that is planned.
pub(crate) const CANDLE_VERSION: &str = "0.11.1";

/// What the CUDA context and Candle's kernels take beside tensors. Assumed, not measured: the band carries it.
const CUDA_CONTEXT: Bytes = Bytes::from_mib(450);
/// cuBLAS workspaces and what the driver's pool holds beyond the tensors. Assumed, not measured: the band carries it.
const CUDA_RUNTIME: Bytes = Bytes::from_mib(64);

/// What `plan` takes.
///
/// # Errors
/// Where the plan contradicts the contract, the catalogue or the model, where the engine cannot do what it asks, and
/// where this version does not plan it yet: the field, what is wrong with it, what to do.
pub fn estimate(plan: &Plan) -> Result<Estimate, PlanError> {
    let question = Question::of(plan)?;
    let mut estimate = answer(&question)?;
    if !estimate.fits {
        estimate.advice = advice::advice(plan, &question);
    }
    Ok(estimate)
}

/// The estimate without advice.
pub(crate) fn answer(question: &Question) -> Result<Estimate, PlanError> {
    let peaks = candle::peaks(&question.model, &question.request)?;
    let mut estimate = Estimate::empty(EngineVersion {
        name: EngineName::Candle,
        version: CANDLE_VERSION.to_owned(),
        variant: Some("stock".to_owned()),
    });
    let on_gpu = question.request.device == Device::Cuda;
    estimate.per_gpu = components(&peaks, on_gpu);
    let allocated = largest_peak(&peaks);
    let runtime = estimate.per_gpu.runtime;
    estimate.totals = Totals { allocated, reserved: allocated + runtime, process: estimate.per_gpu.total };
    estimate.capacity_bytes = question.capacity.unwrap_or(Bytes::ZERO);
    estimate.fits = question.capacity.is_none_or(|capacity| estimate.per_gpu.total <= capacity);
    estimate.kv = KvEstimate { bytes_per_token: kv_bytes_per_token(question)?, ..KvEstimate::default() };
    estimate.phases = Some(
        [("load", peaks.load_peak), ("prefill", peaks.prefill_peak), ("decode", peaks.decode_peak)]
            .map(|(phase, peak_bytes)| PhasePeak { phase: phase.to_owned(), peak_bytes })
            .to_vec(),
    );
    estimate.speed = speed::speed(question, &peaks);
    estimate.error_band = band(&estimate.per_gpu, on_gpu);
    estimate.warnings.clone_from(&question.warnings);
    if estimate.speed.is_some() {
        estimate.warnings.push(Warning {
            code: "speed-is-a-bound".to_owned(),
            message: "Speed is what memory bandwidth and arithmetic of the GPU allow at best; stock Candle is slower."
                .to_owned(),
        });
    }
    Ok(estimate)
}

/// Only whether it fits and how large it is: what the solvers ask again and again.
pub(crate) fn total(question: &Question) -> Result<Bytes, PlanError> {
    let peaks = candle::peaks(&question.model, &question.request)?;
    Ok(components(&peaks, question.request.device == Device::Cuda).total)
}

fn largest_peak(peaks: &CandlePeaks) -> Bytes {
    peaks.load_peak.max(peaks.prefill_peak).max(peaks.decode_peak)
}

/// The largest peak by component. The cache is counted as the contract says, at the end of the last token; where the
/// peak comes earlier, the room that the cache has yet to take is in use by activations, so that the parts still add up
/// to the peak.
fn components(peaks: &CandlePeaks, on_gpu: bool) -> Components {
    let allocated = largest_peak(peaks);
    let rest = allocated - peaks.weights_bytes - peaks.kv_cache_bytes;
    let temporary = peaks.peak.temporary.min(rest);
    let (runtime, context) = if on_gpu { (CUDA_RUNTIME, CUDA_CONTEXT) } else { (Bytes::ZERO, Bytes::ZERO) };
    let mut parts = Components {
        weights: peaks.weights_bytes,
        kv_cache: peaks.kv_cache_bytes,
        activations: rest - temporary,
        temporary,
        runtime,
        context,
        ..Components::default()
    };
    parts.total = parts.weights + parts.kv_cache + parts.activations + parts.temporary + runtime + context;
    parts
}

/// Bytes of one sequence of `max_model_len` tokens divided by its tokens, rounded up. A cache that is allocated in
/// steps has spare room at its end, which is no cost of a token.
fn kv_bytes_per_token(question: &Question) -> Result<Bytes, PlanError> {
    let tokens = question.max_model_len.0.max(1);
    let mut request = question.request.clone();
    (request.batch, request.prompt, request.generate) = (1, Tokens(tokens), Tokens(0));
    let held = candle::peaks(&question.model, &request)?.kv_cache_bytes;
    let every_token = Bytes(question.model.cache_elements_per_token()) * request.activations.bytes();
    Ok(every_token.min(Bytes(held.0.div_ceil(tokens))))
}

/// How sure the total is.
fn band(parts: &Components, on_gpu: bool) -> ErrorBand {
    let tensors = parts.total - parts.runtime - parts.context;
    let three_percent = Bytes(tensors.0 / 100 * 3);
    if on_gpu {
        let assumed = parts.runtime + parts.context;
        ErrorBand {
            low: tensors - three_percent + Bytes(assumed.0 / 2),
            high: tensors + three_percent + assumed * 2,
            basis: format!(
                "tensors counted from Candle {CANDLE_VERSION}'s source, ±3 %; context and runtime assumed, from half to \
                 twice; no measured GPU runs yet"
            ),
        }
    } else {
        ErrorBand {
            low: tensors - three_percent,
            high: tensors + three_percent,
            basis: format!(
                "tensors counted from Candle {CANDLE_VERSION}'s source, ±3 %: the error that the tests allow against \
                 the allocator's count; the process itself is not in it"
            ),
        }
    }
}

#[cfg(test)]
mod tests;

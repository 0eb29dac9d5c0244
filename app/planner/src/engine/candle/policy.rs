//! Candle as an engine of plans: its stock models, and Plimsoll's decoder.

use std::sync::{Mutex, PoisonError};

use super::storage::{Storage, storage, storage_of_decoder};
use super::{CANDLE_VERSION, cache_held, peaks};
use crate::bytes::{Bytes, Tokens};
use crate::document::estimate::{Components, EngineVersion, Estimate, PhasePeak, Warning};
use crate::document::plan::{Attention, CacheKind, EngineName, Parallelism, Plan, Workload};
use crate::document::precision::CachePrecision;
use crate::engine::accept;
use crate::engine::policy::{Breakdown, Numbers, Policy, Spread};
use crate::engine::request::{
    CacheElement, CandlePeaks, CandleRequest, CandleTask, Decoder, Device, WeightStorage,
};
use crate::engine::resolved::Resolved;
use crate::error::PlanError;
use crate::model::{Dtype, Head, Model};
use crate::pattern::{Pattern, Visibility};

/// What the CUDA context and Candle's kernels take beside tensors. Assumed, not measured: the band carries it.
pub(super) const CUDA_CONTEXT: Bytes = Bytes::from_mib(450);
/// cuBLAS workspaces and what the driver's pool holds beyond the tensors. Assumed, not measured: the band carries it.
pub(super) const CUDA_RUNTIME: Bytes = Bytes::from_mib(64);

/// Sequences, and the tokens of each prompt and output.
type Asked = (u64, Tokens, Tokens);

struct Candle {
    model: Model,
    request: CandleRequest,
    warnings: Vec<Warning>,
    /// The last answer: an estimate asks for its peaks, then for their phases.
    last: Mutex<Option<(Asked, CandlePeaks)>>,
}

/// Prepares a plan for candle-transformers' models or for Plimsoll's decoder.
///
/// # Errors
/// What Candle cannot do, and what is not planned of it.
pub(crate) fn prepare(resolved: &Resolved) -> Result<Box<dyn Policy>, PlanError> {
    let plan = &resolved.plan;
    let mut warnings = Vec::new();
    let variant = check_version(plan, &resolved.model)?;
    check_layout(&plan.parallelism)?;
    let device = if resolved.gpu.is_some() { Device::Cuda } else { Device::Cpu };
    let task = match &plan.workload {
        Workload::Serve(serve) => {
            accept::absent(
                "Candle",
                &[
                    ("workload.max_batched_tokens", serve.max_batched_tokens.is_some()),
                    ("workload.max_sequences", serve.max_sequences.is_some()),
                    ("workload.memory_fraction", serve.memory_fraction.is_some()),
                    ("workload.gpu_layers", serve.gpu_layers.is_some()),
                ],
            )?;
            CandleTask::Generate
        }
        Workload::Embed { .. } => {
            check_encoder(plan, &resolved.model, &mut warnings)?;
            CandleTask::Embed
        }
        Workload::Train(train) => {
            if plan.engine.variant.as_deref() == Some("stock") {
                return Err(PlanError::unsupported(
                    "engine.variant",
                    "candle-transformers' models have operations without a backward pass",
                    "give plimsoll, or leave it out",
                ));
            }
            // There is one that trains, so leaving the variant out needs no warning.
            warnings.retain(|w: &Warning| w.code != "variant-stock");
            return super::training::prepare(resolved, train, device, warnings);
        }
    };
    let (Storage { weights, compute }, decoder) = match variant {
        Variant::Stock => {
            check_attention(plan)?;
            (storage(plan, &resolved.model, device, &mut warnings)?, None)
        }
        Variant::Plimsoll => {
            let found = storage_of_decoder(plan, &resolved.model, device, &mut warnings)?;
            let decoder = decoder(plan, &resolved.model, found.compute)?;
            (found, Some(decoder))
        }
    };
    let numbers = resolved.numbers;
    if task == CandleTask::Embed {
        check_mask(&weights)?;
    }
    let request = CandleRequest {
        task,
        weights,
        loaded_from: plan.model.loaded_from,
        activations: compute,
        batch: numbers.sequences,
        prompt: length(task, &numbers),
        generate: numbers.output,
        device,
        host: plan.host.clone(),
        attention: plan.attention.clone(),
        decoder,
    };
    Ok(Box::new(Candle { model: resolved.model.clone(), request, warnings, last: Mutex::default() }))
}

/// Tokens of each sequence that a pass begins with.
const fn length(task: CandleTask, numbers: &Numbers) -> Tokens {
    match task {
        CandleTask::Generate => numbers.prompt,
        CandleTask::Embed => numbers.sequence,
    }
}

impl Candle {
    const fn on_gpu(&self) -> bool {
        matches!(self.request.device, Device::Cuda)
    }

    fn peaks(&self, numbers: &Numbers) -> Result<CandlePeaks, PlanError> {
        let asked: Asked = (numbers.sequences, length(self.request.task, numbers), numbers.output);
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, peaks)) = last().filter(|(of, _)| *of == asked) {
            return Ok(peaks);
        }
        let mut request = self.request.clone();
        (request.batch, request.prompt, request.generate) = asked;
        let found = peaks(&self.model, &request)?;
        *last() = Some((asked, found));
        Ok(found)
    }

    /// Bytes of one sequence of `max_model_len` tokens divided by its tokens, rounded up. A cache that is allocated in
    /// steps has spare room at its end, which is no cost of a token.
    fn kv_bytes_per_token(&self, numbers: &Numbers) -> Result<Bytes, PlanError> {
        let tokens = numbers.max_model_len.0.max(1);
        let one = CandleRequest { batch: 1, prompt: Tokens(tokens), ..self.request.clone() };
        let held = cache_held(&self.model, &one)?;
        // A scale for each head of a key and of a value beside 8-bit integers is less than a byte an element.
        let bytes = match self.request.decoder.map(|d| d.element) {
            None => self.request.activations.bytes(),
            Some(CacheElement::F32) => 4,
            Some(CacheElement::Bf16 | CacheElement::F16 | CacheElement::Int8) => 2,
            Some(CacheElement::Fp8) => 1,
        };
        let every_token = Bytes(self.model.cache_elements_per_token()) * bytes;
        Ok(every_token.min(Bytes(held.0.div_ceil(tokens))))
    }
}

impl Policy for Candle {
    fn engine(&self) -> EngineVersion {
        EngineVersion {
            name: EngineName::Candle,
            version: CANDLE_VERSION.to_owned(),
            variant: Some(if self.request.decoder.is_some() { "plimsoll" } else { "stock" }.to_owned()),
        }
    }

    fn breakdown(&self, numbers: &Numbers) -> Result<Breakdown, PlanError> {
        let peaks = self.peaks(numbers)?;
        let parts = components(&peaks, self.on_gpu());
        let allocated = largest_peak(&peaks);
        Ok(Breakdown {
            parts,
            allocated,
            reserved: allocated + parts.runtime,
            capacity: numbers.free_memory(),
            ..Breakdown::default()
        })
    }

    fn complete(&self, numbers: &Numbers, estimate: &mut Estimate) -> Result<(), PlanError> {
        let peaks = self.peaks(numbers)?;
        let all = [("load", peaks.load_peak), ("prefill", peaks.prefill_peak), ("decode", peaks.decode_peak)];
        // Embedding is a prefill that nothing follows.
        let phases = match self.request.task {
            CandleTask::Generate => &all[..],
            CandleTask::Embed => &all[..2],
        };
        estimate.phases = Some(
            phases
                .iter()
                .map(|&(phase, peak_bytes)| PhasePeak { phase: phase.to_owned(), peak_bytes })
                .collect(),
        );
        if self.request.task == CandleTask::Generate {
            estimate.kv.bytes_per_token = self.kv_bytes_per_token(numbers)?;
        }
        Ok(())
    }

    fn warnings(&self, _numbers: &Numbers) -> Vec<Warning> {
        self.warnings.clone()
    }

    fn spread(&self) -> Spread {
        let basis = if self.on_gpu() {
            format!(
                "tensors counted from Candle {CANDLE_VERSION}'s source, ±3 %; context and runtime assumed, from half to \
                 twice; no measured GPU runs yet"
            )
        } else {
            format!(
                "tensors counted from Candle {CANDLE_VERSION}'s source, ±3 %: the error that the tests allow against \
                 the allocator's count; the process itself is not in it"
            )
        };
        Spread { weights: 0.03, cache: 0.03, activations: 0.03, states: 0.03, overhead: 0.5, basis }
    }
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
    Components {
        weights: peaks.weights_bytes,
        kv_cache: peaks.kv_cache_bytes,
        activations: rest - temporary,
        temporary,
        runtime,
        context,
        ..Components::default()
    }
}

/// What of an `embed` plan Candle cannot do: the models that it embeds with are BERT's.
fn check_encoder(plan: &Plan, model: &Model, warnings: &mut Vec<Warning>) -> Result<(), PlanError> {
    super::embeds(model)?;
    accept::absent(
        "Candle's BERT",
        &[("cache", plan.cache.is_some()), ("precision.kv_cache", plan.precision.kv_cache.is_some())],
    )?;
    if matches!(model.head, Head::Classifier { .. }) {
        warnings.push(Warning::new(
            "classifier-left-out",
            "Candle's BERT loads neither pooler nor classifier: planned as an encoder of vectors, which gives no scores.",
        ));
    }
    Ok(())
}

/// `bert.rs`, `get_extended_attention_mask` multiplies `1 − mask` by `f32::MIN` in the weights' format. In 16 bit that is
/// minus infinity, and a visible token's `0 · −∞` makes every hidden state NaN.
fn check_mask(weights: &WeightStorage) -> Result<(), PlanError> {
    match weights {
        WeightStorage::Dense(Dtype::F32) => Ok(()),
        WeightStorage::Dense(dtype) => Err(PlanError::unsupported(
            "precision.weights",
            format!(
                "in {}, Candle {CANDLE_VERSION}'s BERT answers nothing but NaN: its mask multiplies 0 by f32::MIN, which is \
                 minus infinity there",
                dtype.as_str()
            ),
            "give fp32, or the engine transformers or vllm",
        )),
        WeightStorage::Fp8 => Err(PlanError::unsupported(
            "precision.weights",
            "candle-transformers' BERT reads no fp8 weights",
            "give fp32",
        )),
        WeightStorage::Gguf { .. } => Err(PlanError::unsupported(
            "precision.weights",
            "candle-transformers' BERT reads no GGUF weights",
            "give fp32",
        )),
    }
}

/// Which of Candle's decoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    Stock,
    Plimsoll,
}

fn check_version(plan: &Plan, model: &Model) -> Result<Variant, PlanError> {
    if let Some(version) = plan.engine.version.as_deref().filter(|v| *v != CANDLE_VERSION) {
        let shown: String = version.chars().take(40).collect();
        return Err(PlanError::not_planned_yet(
            "engine.version",
            format!("Candle {shown}"),
            format!("give {CANDLE_VERSION}, or leave it out"),
        ));
    }
    match plan.engine.variant.as_deref() {
        Some("plimsoll") => Ok(Variant::Plimsoll),
        None if matches!(plan.workload, Workload::Embed { .. }) => Ok(Variant::Stock),
        None if super::plimsoll::computes(model.architecture) => Ok(Variant::Plimsoll),
        Some("stock") | None => Ok(Variant::Stock),
        Some(other) => {
            let shown: String = other.chars().take(40).collect();
            Err(PlanError::invalid(
                "engine.variant",
                format!("\"{shown}\" is unknown"),
                "give stock or plimsoll, or leave it out",
            ))
        }
    }
}

/// What of Plimsoll's decoder a plan asks for.
fn decoder(plan: &Plan, model: &Model, compute: Dtype) -> Result<Decoder, PlanError> {
    let attention = plan.attention.clone().unwrap_or(Attention::Eager);
    let growth = match plan.cache {
        None => CacheKind::Slab,
        Some(cache) if cache.page_tokens.is_some() || cache.kind == CacheKind::Paged => {
            return Err(PlanError::unsupported(
                "cache.kind",
                "Plimsoll's decoder has no pages",
                "give growing, slab or rotating, without page_tokens",
            ));
        }
        Some(cache) => cache.kind,
    };
    let pattern = Pattern::of(&attention);
    let windowed = |l: &crate::model::Layer| {
        let window = l.attention().and_then(|a| a.window).map(|w| w.0);
        Visibility { pattern, window }.reach().is_some()
    };
    if growth == CacheKind::Rotating
        && matches!(pattern, Pattern::Longformer { .. } | Pattern::BigBird { .. })
    {
        return Err(PlanError::unsupported(
            "cache.kind",
            "a rotating cache drops what this attention still sees",
            "give growing or slab",
        ));
    }
    if growth == CacheKind::Rotating && !model.layers.iter().any(windowed) {
        return Err(PlanError::unsupported(
            "cache.kind",
            "a rotating cache holds a window, and no layer of this model has one",
            "give growing or slab, or attention sliding-window",
        ));
    }
    let element = match (plan.precision.kv_cache, compute) {
        (Some(CachePrecision::Fp32), _) | (None, Dtype::F32) => CacheElement::F32,
        (Some(CachePrecision::Bf16), _) | (None, Dtype::Bf16) => CacheElement::Bf16,
        (Some(CachePrecision::Fp16), _) | (None, Dtype::F16) => CacheElement::F16,
        (Some(CachePrecision::Fp8), _) => CacheElement::Fp8,
        (Some(CachePrecision::Int8), _) => CacheElement::Int8,
        (Some(other), _) => {
            return Err(PlanError::unsupported(
                "precision.kv_cache",
                format!("{other}: Plimsoll's decoder does not write it"),
                "give fp32, bf16, fp16, fp8 or int8",
            ));
        }
    };
    Ok(Decoder { growth, element })
}

/// Candle's models run on one device.
fn check_layout(parallelism: &Parallelism) -> Result<(), PlanError> {
    let Parallelism {
        tensor,
        pipeline,
        data,
        expert,
        context,
        sequence,
        pipeline_schedule,
        zero_stage,
        offload,
    } = parallelism;
    let default = Parallelism::default();
    let one_device = [
        ("parallelism.tensor", *tensor > 1),
        ("parallelism.pipeline", *pipeline > 1),
        ("parallelism.data", *data > 1),
        ("parallelism.expert", *expert > 1),
        ("parallelism.context", *context > 1),
        ("parallelism.sequence", *sequence),
        ("parallelism.pipeline_schedule", *pipeline_schedule != default.pipeline_schedule),
        ("parallelism.zero_stage", *zero_stage != default.zero_stage),
        ("parallelism.offload", *offload != default.offload),
    ];
    match one_device.into_iter().find(|(_, asked)| *asked) {
        Some((field, _)) => Err(PlanError::unsupported(
            field,
            "Candle's models run whole on one device",
            "leave it out, or give another engine",
        )),
        None => Ok(()),
    }
}

fn check_attention(plan: &Plan) -> Result<(), PlanError> {
    match &plan.attention {
        None | Some(Attention::Eager) => {}
        Some(other) => {
            let kind = match other {
                Attention::Eager => "eager",
                Attention::MemoryEfficient => "memory-efficient",
                Attention::Flash => "flash",
                Attention::SlidingWindow { .. } => "sliding-window",
                Attention::Longformer { .. } => "longformer",
                Attention::BigBird { .. } => "big-bird",
            };
            return Err(PlanError::not_planned_yet(
                "attention.kind",
                format!("{kind} attention in stock Candle"),
                "give eager, or leave attention out; a model's own windows always apply",
            ));
        }
    }
    match plan.cache {
        None => Ok(()),
        Some(cache) if cache.kind == CacheKind::Growing && cache.page_tokens.is_none() => Ok(()),
        Some(cache) if cache.kind == CacheKind::Growing => {
            Err(PlanError::invalid("cache.page_tokens", "given for a cache without pages", "leave it out"))
        }
        Some(_) => Err(PlanError::unsupported(
            "cache.kind",
            "stock Candle's cache grows by copy",
            "give growing, or leave cache out",
        )),
    }
}

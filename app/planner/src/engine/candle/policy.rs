//! Candle's stock models as an engine of plans.

use super::storage::{Storage, storage};
use super::{CANDLE_VERSION, peaks};
use crate::bytes::{Bytes, Tokens};
use crate::document::estimate::{Components, EngineVersion, Estimate, PhasePeak, Warning};
use crate::document::plan::{Attention, CacheKind, EngineName, Parallelism, Plan, Workload};
use crate::engine::policy::{Breakdown, Numbers, Policy, Spread};
use crate::engine::request::{CandlePeaks, CandleRequest, Device};
use crate::engine::resolved::Resolved;
use crate::error::PlanError;
use crate::model::Model;

/// What the CUDA context and Candle's kernels take beside tensors. Assumed, not measured: the band carries it.
const CUDA_CONTEXT: Bytes = Bytes::from_mib(450);
/// cuBLAS workspaces and what the driver's pool holds beyond the tensors. Assumed, not measured: the band carries it.
const CUDA_RUNTIME: Bytes = Bytes::from_mib(64);

struct Candle {
    model: Model,
    request: CandleRequest,
    warnings: Vec<Warning>,
}

/// Prepares a plan for candle-transformers' models.
///
/// # Errors
/// What Candle cannot do, and what is not planned of it.
pub(crate) fn prepare(resolved: &Resolved) -> Result<Box<dyn Policy>, PlanError> {
    let plan = &resolved.plan;
    let mut warnings = Vec::new();
    check_version(plan, &mut warnings)?;
    check_layout(&plan.parallelism)?;
    check_attention(plan)?;
    let Workload::Serve(serve) = &plan.workload else {
        let what = if matches!(plan.workload, Workload::Train(_)) {
            "training in Candle"
        } else {
            "embedding in Candle"
        };
        return Err(PlanError::not_planned_yet("workload.kind", what, "give serve, or another engine"));
    };
    let absent = [
        ("workload.max_batched_tokens", serve.max_batched_tokens.is_some()),
        ("workload.max_sequences", serve.max_sequences.is_some()),
        ("workload.memory_fraction", serve.memory_fraction.is_some()),
        ("workload.gpu_layers", serve.gpu_layers.is_some()),
    ];
    if let Some((field, _)) = absent.into_iter().find(|(_, given)| *given) {
        return Err(PlanError::unsupported(field, "Candle has no such setting", "leave it out"));
    }
    let Storage { weights, compute } = storage(plan, &resolved.model, &mut warnings)?;
    let device = if resolved.gpu.is_some() { Device::Cuda } else { Device::Cpu };
    let numbers = resolved.numbers;
    let request = CandleRequest {
        weights,
        activations: compute,
        batch: numbers.sequences,
        prompt: numbers.prompt,
        generate: numbers.output,
        device,
        isa: plan.host.isa.clone(),
        threads: plan.host.threads,
        attention: plan.attention.clone(),
    };
    Ok(Box::new(Candle { model: resolved.model.clone(), request, warnings }))
}

impl Candle {
    const fn on_gpu(&self) -> bool {
        matches!(self.request.device, Device::Cuda)
    }

    fn peaks(&self, numbers: &Numbers) -> Result<CandlePeaks, PlanError> {
        let mut request = self.request.clone();
        (request.batch, request.prompt, request.generate) =
            (numbers.sequences, numbers.prompt, numbers.output);
        peaks(&self.model, &request)
    }

    /// Bytes of one sequence of `max_model_len` tokens divided by its tokens, rounded up. A cache that is allocated in
    /// steps has spare room at its end, which is no cost of a token.
    fn kv_bytes_per_token(&self, numbers: &Numbers) -> Result<Bytes, PlanError> {
        let tokens = numbers.max_model_len.0.max(1);
        let one = Numbers { sequences: 1, prompt: Tokens(tokens), output: Tokens(0), ..*numbers };
        let held = self.peaks(&one)?.kv_cache_bytes;
        let every_token = Bytes(self.model.cache_elements_per_token()) * self.request.activations.bytes();
        Ok(every_token.min(Bytes(held.0.div_ceil(tokens))))
    }
}

impl Policy for Candle {
    fn engine(&self) -> EngineVersion {
        EngineVersion {
            name: EngineName::Candle,
            version: CANDLE_VERSION.to_owned(),
            variant: Some("stock".to_owned()),
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
        estimate.phases = Some(
            [("load", peaks.load_peak), ("prefill", peaks.prefill_peak), ("decode", peaks.decode_peak)]
                .map(|(phase, peak_bytes)| PhasePeak { phase: phase.to_owned(), peak_bytes })
                .to_vec(),
        );
        estimate.kv.bytes_per_token = self.kv_bytes_per_token(numbers)?;
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

fn check_version(plan: &Plan, warnings: &mut Vec<Warning>) -> Result<(), PlanError> {
    if let Some(version) = plan.engine.version.as_deref().filter(|v| *v != CANDLE_VERSION) {
        let shown: String = version.chars().take(40).collect();
        return Err(PlanError::not_planned_yet(
            "engine.version",
            format!("Candle {shown}"),
            format!("give {CANDLE_VERSION}, or leave it out"),
        ));
    }
    match plan.engine.variant.as_deref() {
        Some("stock") => Ok(()),
        None => {
            warnings.push(Warning::new(
                "variant-stock",
                "Planned as candle-transformers' own models (variant stock); Plimsoll's decoder is not planned yet.",
            ));
            Ok(())
        }
        Some("plimsoll") => Err(PlanError::not_planned_yet(
            "engine.variant",
            "the variant plimsoll",
            "give stock, or leave it out",
        )),
        Some(other) => {
            let shown: String = other.chars().take(40).collect();
            Err(PlanError::invalid(
                "engine.variant",
                format!("\"{shown}\" is unknown"),
                "give stock, or leave it out",
            ))
        }
    }
}

/// Candle's stock models run on one device.
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
            "Candle's stock models run whole on one device",
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

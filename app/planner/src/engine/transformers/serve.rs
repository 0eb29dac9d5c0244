//! Generation with `model.generate`.
//!
//! Everything is allocated by `PyTorch`. The cache grows by concatenation: for every token, a layer's keys and values are
//! copied into tensors one token longer (`DynamicLayer.update` in `cache_utils.py`), so that two copies of one layer's keys
//! are alive for a moment. Before 4.36, and in models whose code travels with the checkpoint and still passes tuples (the
//! first Qwen), the old tensors of all layers live until the pass ends: twice the cache.

pub(super) mod activations;
pub(super) mod cache;
pub(super) mod weights;

use self::activations::Widths;
use self::cache::{Cache, Growth};
use self::weights::Stored;
use crate::bytes::{Bytes, Tokens};
use crate::document::estimate::{Components, EngineVersion, Estimate, KvEstimate, PhasePeak, Warning};
use crate::document::plan::{Attention, CacheKind, EngineName, Plan, Serve};
use crate::document::precision::CachePrecision;
use crate::engine::policy::{Breakdown, Numbers, Policy, Spread};
use crate::engine::resolved::Resolved;
use crate::engine::{accept, torch};
use crate::error::PlanError;
use crate::model::Dtype;

/// The version whose source was read.
pub(super) const VERSION: &str = "4.57";

struct Transformers {
    version: String,
    model: String,
    weights: Bytes,
    cache: Cache,
    widths: Widths,
    /// What a product of many tokens dequantizes.
    dequantized: Bytes,
    /// A workspace that the quantized kernels keep.
    kept: Bytes,
    cublas: Bytes,
    tensor: u32,
    pipeline: u32,
}

/// Prepares a plan that serves.
///
/// # Errors
/// The field that Transformers refuses, and what it accepts.
pub(super) fn prepare(resolved: &Resolved, serve: &Serve) -> Result<Box<dyn Policy>, PlanError> {
    let (plan, model, layout) = (&resolved.plan, &resolved.model, resolved.layout());
    let gpu = torch::gpu("Transformers", resolved.gpu)?;
    accept::no_training_layout("Transformers", layout)?;
    accept::absent(
        "Transformers",
        &[
            ("parallelism.context", layout.context > 1),
            ("parallelism.expert", layout.expert > 1),
            ("workload.max_batched_tokens", serve.max_batched_tokens.is_some()),
            ("workload.max_sequences", serve.max_sequences.is_some()),
            ("workload.memory_fraction", serve.memory_fraction.is_some()),
            ("workload.gpu_layers", serve.gpu_layers.is_some()),
        ],
    )?;
    accept::attention("Transformers", plan, &["eager", "memory-efficient", "flash"])?;
    accept::cache("Transformers", plan, CacheKind::Growing)?;
    let version = plan.engine.version.as_deref().unwrap_or(VERSION);
    let at_least = |minor: u64| at_least(version, minor);
    let remote = model.architecture.model_type() == "qwen";
    let growth = if remote || !at_least(36) { Growth::Tuples } else { Growth::ByLayer };
    let compute = torch::compute(plan);
    let stored = Stored::of(plan, model, compute)?;
    let (tensor, pipeline) = (u64::from(layout.tensor), u64::from(layout.pipeline));
    let held = stored.heaviest_stage(model, tensor, pipeline);
    let attention = match plan.attention {
        Some(Attention::Eager) => activations::Scores::Eager,
        Some(Attention::Flash) => activations::Scores::Flash,
        _ => activations::Scores::Sdpa,
    };
    Ok(Box::new(Transformers {
        version: version.chars().take(40).collect(),
        model: model.name.clone(),
        weights: held.bytes,
        cache: Cache::of(
            model,
            element_bytes(plan, compute)?,
            compute,
            tensor,
            pipeline,
            growth,
            at_least(56),
        ),
        widths: Widths::of(model, compute.bytes(), tensor, attention, remote || !at_least(45)),
        dequantized: held.dequantized,
        kept: held.kept,
        cublas: torch::cublas_workspace(gpu),
        tensor: layout.tensor,
        pipeline: layout.pipeline,
    }))
}

/// Whether a version is 4.`minor` or later. What cannot be read is taken for the newest.
pub(super) fn at_least(version: &str, minor: u64) -> bool {
    let mut numbers = version.trim_start_matches('v').split('.').map_while(|part| part.parse::<u64>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(4), Some(given)) => given >= minor,
        (Some(major), _) => major > 4,
        _ => true,
    }
}

pub(super) fn element_bytes(plan: &Plan, compute: Dtype) -> Result<u64, PlanError> {
    let given = match plan.precision.kv_cache {
        None => return Ok(compute.bytes()),
        Some(CachePrecision::Fp32) => Dtype::F32,
        Some(CachePrecision::Bf16) => Dtype::Bf16,
        Some(CachePrecision::Fp16) => Dtype::F16,
        Some(other) => {
            return Err(PlanError::unsupported(
                "precision.kv_cache",
                format!("a cache in {other} is a choice of generate's that is not planned"),
                format!("give {}, or leave it out", compute.as_str()),
            ));
        }
    };
    if given == compute {
        return Ok(given.bytes());
    }
    Err(PlanError::unsupported(
        "precision.kv_cache",
        format!("Transformers keeps keys and values as it computes them, in {}", compute.as_str()),
        "give that, or leave it out",
    ))
}

/// Bytes alive at the two peaks.
struct Peaks {
    prefill: Bytes,
    decode: Bytes,
    /// The caches at the end.
    end: Bytes,
    /// Copies, dequantized matrices and workspaces at the larger peak.
    temporary: Bytes,
}

impl Transformers {
    fn peaks(&self, numbers: &Numbers) -> Peaks {
        let (batch, prompt) = (numbers.sequences, numbers.prompt.0);
        let end = numbers.sequence_end().0;
        let tokens = prompt.saturating_mul(batch);
        let whole = self.cache.unbounded(prompt) * batch;
        let kept = self.cache.kept(end) * batch;
        let dequantized = if tokens > 1 { self.dequantized } else { Bytes::ZERO };
        let fixed = self.cublas + self.kept;
        let prefill_temporary = fixed + dequantized;
        let prefill =
            self.weights + whole + self.widths.pass(batch, prompt, prompt, true) + prefill_temporary;
        let growth = if numbers.output > Tokens(0) { self.cache.copies(end) * batch } else { Bytes::ZERO };
        let decode_temporary = fixed + growth;
        let decode = if numbers.output > Tokens(0) {
            self.weights + kept + self.widths.pass(batch, 1, end, false) + decode_temporary
        } else {
            Bytes::ZERO
        };
        let temporary = if decode >= prefill { decode_temporary } else { prefill_temporary };
        Peaks { prefill, decode, end: kept, temporary }
    }
}

impl Policy for Transformers {
    fn engine(&self) -> EngineVersion {
        EngineVersion { name: EngineName::Transformers, version: self.version.clone(), variant: None }
    }

    fn breakdown(&self, numbers: &Numbers) -> Result<Breakdown, PlanError> {
        let Peaks { prefill, decode, end, temporary } = self.peaks(numbers);
        let allocated = prefill.max(decode).max(self.weights);
        let state = self.cache.state(numbers.sequences);
        // The cache is counted at its end; where the peak comes before, activations are in the room it has yet to take.
        let rest = allocated - self.weights - end;
        let temporary = temporary.min(rest);
        Ok(Breakdown {
            parts: Components {
                weights: self.weights,
                kv_cache: end,
                recurrent_state: state,
                activations: rest - temporary,
                temporary,
                context: torch::CONTEXT,
                ..Components::default()
            },
            allocated: allocated + state,
            reserved: allocated + state,
            kv: KvEstimate { bytes_per_token: self.cache.per_token(numbers), ..KvEstimate::default() },
            capacity: numbers.free_memory(),
            ..Breakdown::default()
        })
    }

    fn complete(&self, numbers: &Numbers, estimate: &mut Estimate) -> Result<(), PlanError> {
        let Peaks { prefill, decode, .. } = self.peaks(numbers);
        let peaks = [("load", self.weights), ("prefill", prefill), ("decode", decode)];
        estimate.phases = Some(
            peaks.map(|(phase, bytes)| PhasePeak { phase: phase.to_owned(), peak_bytes: bytes }).to_vec(),
        );
        Ok(())
    }

    fn warnings(&self, numbers: &Numbers) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if self.cache.growth == Growth::Tuples && numbers.output > Tokens(0) {
            warnings.push(Warning::new(
                "cache-twice",
                "The cache is passed as tuples here: old and new tensors of all layers are alive in every step, twice \
                 the cache.",
            ));
        }
        if self.widths.eager() {
            warnings.push(Warning::new(
                "scores-materialised",
                "Eager attention holds the scores of a layer three times, once in fp32: they grow with the square of the \
                 prompt.",
            ));
        }
        warnings
    }

    fn spread(&self) -> Spread {
        Spread {
            weights: 0.005,
            cache: 0.02,
            activations: 0.25,
            states: 0.0,
            overhead: 0.5,
            basis: "tensors counted from the source of Transformers; 6 published totals of 2 models on an A100 lie within \
                    9 %, 2.5 % on average; the CUDA context, and what the allocator holds idle, are assumed"
                .to_owned(),
        }
    }

    fn command(&self, _numbers: &Numbers) -> Option<String> {
        // It runs on one GPU what it is given.
        (self.tensor == 1 && self.pipeline == 1).then(|| format!("transformers chat {}", self.model))
    }
}

#[cfg(test)]
mod tests;

//! TensorRT-LLM, its `PyTorch` backend.
//!
//! The pool is what the device has left after a forward pass of the longest step, times `free_gpu_memory_fraction`:
//! `KvCacheCreator._cal_max_memory` in `tensorrt_llm/_torch/pyexecutor/_util.py` takes
//! `(total - peak + temporary cache) × fraction`, where the peak is `PyTorch`'s largest allocation in a step of
//! `max_num_tokens` context tokens plus whatever the process holds outside `PyTorch`. Pages are of `tokens_per_block` (32)
//! tokens and a sequence takes whole ones.

mod activations;
mod pool;
mod weights;

use std::fmt::Write as _;

use self::pool::Cache;
use super::fitted::Constant;
use super::policy::{Breakdown, Numbers, Policy, Pool, Spread};
use super::resolved::Resolved;
use super::{accept, serving};
use crate::bytes::{Bytes, Tokens};
use crate::document::estimate::{Components, EngineVersion, KvEstimate, Warning};
use crate::document::plan::{CacheKind, EngineName, Plan};
use crate::document::precision::{ActivationPrecision, CachePrecision};
use crate::error::PlanError;
use crate::model::Dtype;

/// The version whose source was read (`_util.py`, `resource_manager.py`, `llm_args.py`); the rules are the same since 1.0.
const VERSION: &str = "1.2.0";
/// `KvCacheConfig.free_gpu_memory_fraction`.
const FRACTION: f64 = 0.9;
/// `BuildConfig.max_num_tokens`.
const MAX_NUM_TOKENS: Tokens = Tokens(8192);
/// `BuildConfig.max_batch_size`.
const MAX_BATCH: u64 = 2048;

/// CUDA context with its modules. Assumed; of [`Constant::TensorRtOutside`] nothing is known but the sum.
const CONTEXT: Bytes = Bytes::from_mib(600);
struct TensorRtLlm {
    version: String,
    model: String,
    weights: Bytes,
    cache: Cache,
    /// Bytes of activations at the peak for each token of a step.
    per_token: u64,
    /// Bytes of logits for each sequence that ends in a step.
    per_sequence: u64,
    runtime: Bytes,
    tensor: u32,
    pipeline: u32,
    expert: u32,
    fp8_cache: bool,
    windows: bool,
    /// Host memory for blocks.
    host: Bytes,
}

/// Prepares a plan.
///
/// # Errors
/// The field that the engine refuses, and what it accepts.
pub(crate) fn prepare(resolved: &Resolved) -> Result<Box<dyn Policy>, PlanError> {
    let plan = &resolved.plan;
    let layout = resolved.layout();
    if resolved.embeds() {
        return Err(accept::embedding_not_planned("TensorRT-LLM"));
    }
    let Some(serve) = resolved.serve() else {
        return Err(PlanError::unsupported(
            "workload.kind",
            "TensorRT-LLM does not train",
            "give serve, or another engine",
        ));
    };
    let Some(gpu) = resolved.gpu else {
        return Err(PlanError::unsupported("gpu.id", "TensorRT-LLM needs a GPU", "give a GPU of NVIDIA's"));
    };
    accept::no_training_layout("TensorRT-LLM", layout)?;
    accept::absent(
        "TensorRT-LLM's PyTorch backend",
        &[("parallelism.context", layout.context > 1), ("workload.gpu_layers", serve.gpu_layers.is_some())],
    )?;
    accept::attention("TensorRT-LLM", plan, &["flash"])?;
    accept::cache("TensorRT-LLM", plan, CacheKind::Paged)?;
    let version = version(plan)?;
    let block = block(plan)?;
    let compute = compute(plan)?;
    let stored = weights::stored(plan, &resolved.model, compute)?;
    let (tensor, pipeline) = (u64::from(layout.tensor), u64::from(layout.pipeline));
    // Within one replica, experts are divided over at most its own ranks.
    let expert = u64::from(layout.expert).min(tensor);
    let held = weights::heaviest_stage(&resolved.model, &stored, tensor, expert, pipeline);
    let cache = Cache::of(&resolved.model, cache_bytes(plan, compute)?, compute, tensor, pipeline, block);
    let fitted = |constant| Bytes(resolved.fitted.whole(constant));
    let doubling = if gpu.name.contains("B200") || gpu.name.contains("B300") {
        fitted(Constant::TensorRtDoublingBlackwell)
    } else {
        fitted(Constant::TensorRtDoublingHopper)
    };
    let doublings = u64::from(u64::from(layout.tensor).max(1).ilog2());
    let fp8 = stored.eight_bit_inputs;
    Ok(Box::new(TensorRtLlm {
        version,
        model: resolved.model.name.clone(),
        weights: held,
        per_token: activations::per_token(&resolved.model, compute.bytes(), fp8, tensor, expert),
        per_sequence: activations::per_sequence(&resolved.model, compute.bytes()),
        windows: cache.has_windows(),
        cache,
        runtime: fitted(Constant::TensorRtOutside) - CONTEXT + doubling * doublings,
        tensor: layout.tensor,
        pipeline: layout.pipeline,
        expert: layout.expert,
        fp8_cache: plan.precision.kv_cache == Some(CachePrecision::Fp8),
        host: serving::host_cache(resolved),
    }))
}

fn version(plan: &Plan) -> Result<String, PlanError> {
    match plan.engine.version.as_deref() {
        None => Ok(VERSION.to_owned()),
        Some(given) if given.strip_prefix('v').unwrap_or(given).starts_with("1.") => Ok(given.to_owned()),
        Some(given) => {
            let shown: String = given.chars().take(40).collect();
            Err(PlanError::not_planned_yet(
                "engine.version",
                format!("TensorRT-LLM {shown}"),
                format!("give a version from 1.0 on, for example {VERSION}, or leave it out"),
            ))
        }
    }
}

fn block(plan: &Plan) -> Result<u64, PlanError> {
    match plan.cache.and_then(|c| c.page_tokens) {
        None => Ok(32),
        Some(n) if n.is_power_of_two() && (2..=512).contains(&n) => Ok(u64::from(n)),
        Some(n) => Err(PlanError::invalid(
            "cache.page_tokens",
            format!("{n} is no size of a block"),
            "give a power of two from 2 to 512, or leave it out for 32",
        )),
    }
}

fn compute(plan: &Plan) -> Result<Dtype, PlanError> {
    match plan.precision.activations {
        None | Some(ActivationPrecision::Bf16) => Ok(Dtype::Bf16),
        Some(ActivationPrecision::Fp16) => Ok(Dtype::F16),
        Some(other) => Err(PlanError::unsupported(
            "precision.activations",
            format!("TensorRT-LLM computes in 16 bit, not {other}"),
            "give bf16 or fp16, or leave it out",
        )),
    }
}

/// Bytes of an element of the cache.
fn cache_bytes(plan: &Plan, compute: Dtype) -> Result<u64, PlanError> {
    match plan.precision.kv_cache {
        None => Ok(compute.bytes()),
        Some(CachePrecision::Bf16 | CachePrecision::Fp16) => Ok(2),
        // One scale a tensor, in the weights.
        Some(CachePrecision::Fp8 | CachePrecision::Int8) => Ok(1),
        Some(other) => Err(PlanError::unsupported(
            "precision.kv_cache",
            format!("TensorRT-LLM has no {other} cache"),
            "give bf16, fp16, fp8 or int8, or leave it out",
        )),
    }
}

impl TensorRtLlm {
    fn activations(&self, numbers: &Numbers) -> (Bytes, Bytes) {
        let tokens = numbers.max_batched_tokens.unwrap_or(MAX_NUM_TOKENS).0.max(1);
        // The profiled step is filled with prompts of the longest length, of which few end in it.
        (Bytes(self.per_token) * tokens, Bytes(self.per_sequence))
    }
}

impl Policy for TensorRtLlm {
    fn engine(&self) -> EngineVersion {
        EngineVersion { name: EngineName::TensorrtLlm, version: self.version.clone(), variant: None }
    }

    fn breakdown(&self, numbers: &Numbers) -> Result<Breakdown, PlanError> {
        let (activations, logits) = self.activations(numbers);
        let peak = self.weights + activations + logits;
        let outside = self.runtime + CONTEXT;
        let free = numbers.free_memory();
        let slots = numbers.max_sequences.unwrap_or(MAX_BATCH).min(numbers.sequences);
        let state = Bytes(self.cache.state_per_sequence) * slots;
        let fraction = numbers.memory_fraction.unwrap_or(FRACTION);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a size, saturating at its type's ends"
        )]
        let budget = Bytes(((free - peak - outside).0 as f64 * fraction) as u64) - state;
        let longest = self.cache.sequence(numbers.max_model_len.0);
        let asked = self.cache.sequence(numbers.sequence_end().0);
        let blocks = self.cache.blocks(budget.0, longest.count, longest.bytes);
        // Blocks of what all sequences begin with are reused (`enable_block_reuse`, on by default).
        let common = self.cache.common(numbers.common().0);
        let needed =
            Bytes(asked.bytes) * numbers.sequences - Bytes(common) * numbers.sequences.saturating_sub(1);
        let pool = if free == Bytes::ZERO {
            Pool::None
        } else if budget == Bytes::ZERO {
            Pool::Negative
        } else if blocks.bytes < longest.bytes || blocks.bytes < needed.0 {
            Pool::Short
        } else {
            Pool::Enough
        };
        Ok(Breakdown {
            parts: Components {
                weights: self.weights,
                kv_cache: needed,
                recurrent_state: state,
                activations,
                temporary: logits,
                runtime: self.runtime,
                context: CONTEXT,
                ..Components::default()
            },
            allocated: peak + Bytes(blocks.bytes).max(needed) + state,
            reserved: peak + Bytes(blocks.bytes).max(needed) + state,
            kv: KvEstimate {
                bytes_per_token: Bytes(longest.bytes.div_ceil(numbers.max_model_len.0.max(1))),
                pool_bytes: Bytes(blocks.bytes),
                pool_tokens: blocks.tokens,
                max_concurrent_sequences: blocks.bytes.checked_div(longest.bytes).unwrap_or(0),
            },
            host: serving::host_memory(
                self.host,
                longest.bytes.checked_div(numbers.max_model_len.0).unwrap_or(0)
                    * u64::from(self.tensor)
                    * u64::from(self.pipeline),
            ),
            capacity: free,
            pool,
            ..Breakdown::default()
        })
    }

    fn warnings(&self, _numbers: &Numbers) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if u64::from(self.tensor) > self.cache.kv_heads && self.cache.kv_heads > 0 {
            warnings.push(Warning::new(
                "kv-heads-replicated",
                format!(
                    "{} key heads over {} ranks: each rank keeps one, and they repeat.",
                    self.cache.kv_heads, self.tensor
                ),
            ));
        }
        if self.windows {
            warnings.push(Warning::new(
                "window-pools",
                "Layers with a window have their own pool, as versions from 1.2 on divide it; older ones keep every \
                 token unless max_attention_window is set.",
            ));
        }
        warnings
    }

    fn spread(&self) -> Spread {
        Spread {
            weights: 0.005,
            cache: 0.01,
            activations: 0.2,
            states: 0.0,
            overhead: 0.1,
            basis: "weights and pages counted; what the process holds outside is found from 36 published capacity counts \
                    of 2 models on H100 and GB300: mean error 0.1 %, and 0.6 % with each model left out in turn; \
                    how it divides into context, workspaces and graphs is not known"
                .to_owned(),
        }
    }

    fn command(&self, numbers: &Numbers) -> Option<String> {
        let mut command =
            format!("trtllm-serve {} --tp_size {} --pp_size {}", self.model, self.tensor, self.pipeline);
        // Writing to a string does not fail.
        if self.expert > 1 {
            let _ = write!(command, " --ep_size {}", self.expert);
        }
        let _ = write!(
            command,
            " --max_seq_len {} --max_num_tokens {} --max_batch_size {} --kv_cache_free_gpu_memory_fraction {}",
            numbers.max_model_len,
            numbers.max_batched_tokens.unwrap_or(MAX_NUM_TOKENS),
            numbers.max_sequences.unwrap_or(MAX_BATCH),
            numbers.memory_fraction.unwrap_or(FRACTION),
        );
        let mut options = Vec::new();
        if self.fp8_cache {
            options.push("dtype: fp8".to_owned());
        }
        if self.host > Bytes::ZERO {
            // Each rank's own.
            let ranks = u64::from(self.tensor) * u64::from(self.pipeline);
            options.push(format!("host_cache_size: {}", self.host.0 / ranks.max(1)));
        }
        if !options.is_empty() {
            // A kv_cache_config replaces the whole of what the command line says of it.
            let fraction = numbers.memory_fraction.unwrap_or(FRACTION);
            options.push(format!("free_gpu_memory_fraction: {fraction}"));
            let _ = write!(
                command,
                " --extra_llm_api_options <(echo 'kv_cache_config: {{{}}}')",
                options.join(", ")
            );
        }
        Some(command)
    }
}

#[cfg(test)]
mod tests;

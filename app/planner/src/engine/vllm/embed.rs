//! Embedding (`--runner pooling`).
//!
//! A decoder is run as for a prompt, cache and all, without output head or sampler (`_create_pooling_model_cls`,
//! `model_executor/models/adapters.py`). An encoder's attention has no cache (`EncoderOnlyAttention.get_kv_cache_spec` is
//! none), and then nothing is profiled and no pool made (`EngineCore._initialize_kv_caches`, `v1/engine/core.py`: "Attention
//! free models don't need memory for kv cache"): what counts are the steps that are really asked. No step cuts an encoder's
//! sequence, as its tokens see each other (`ModelConfig.is_chunked_prefill_supported`).

use super::version::Version;
use super::{Limits, Task, Vllm};
use crate::bytes::{Bytes, Tokens};
use crate::document::estimate::{Components, KvEstimate};
use crate::engine::accept;
use crate::engine::policy::{Breakdown, Numbers, Pool, Spread};
use crate::engine::resolved::Resolved;
use crate::error::PlanError;
use crate::model::{Architecture, Head, Role};

/// The release from which the second engine embeds; `--task embed` became `--runner pooling` in the next.
const OLDEST_MINOR: u32 = 10;

/// What vLLM cannot embed, or what is not planned of it.
pub(super) fn check(resolved: &Resolved, task: Task, version: &Version) -> Result<(), PlanError> {
    if version.minor < OLDEST_MINOR {
        return Err(PlanError::not_planned_yet(
            "engine.version",
            format!("embedding in vLLM before 0.{OLDEST_MINOR}"),
            format!("give 0.{OLDEST_MINOR} or later, or leave it out"),
        ));
    }
    if task != Task::EmbedEncoder {
        return Ok(());
    }
    let (plan, family) = (&resolved.plan, resolved.model.architecture);
    if matches!(family, Architecture::MpNet | Architecture::DistilBert) {
        return Err(PlanError::unsupported(
            "model",
            format!("vLLM has no model of the family {family}"),
            "give a BERT, RoBERTa, XLM-RoBERTa, ModernBERT or Nomic model, or the engine transformers",
        ));
    }
    if resolved.layout().pipeline > 1 {
        return Err(PlanError::unsupported(
            "parallelism.pipeline",
            "vLLM's encoders run in one stage",
            "leave it out, or give parallelism.tensor",
        ));
    }
    accept::absent(
        "An encoder in vLLM",
        &[("cache", plan.cache.is_some()), ("precision.kv_cache", plan.precision.kv_cache.is_some())],
    )
}

/// Whether a tensor is loaded: the adapters delete a decoder's head, and encoders are made without the pooler of their
/// pre-training (`BertEmbeddingModel`) unless a classifier follows it.
pub(super) const fn loads(role: Role, head: Head) -> bool {
    match role {
        Role::OutputHead => false,
        Role::Pooler | Role::PoolerBias => matches!(head, Head::Classifier { .. }),
        _ => true,
    }
}

/// The flag of the command.
pub(super) const fn flag(task: Task, version: &Version) -> &'static str {
    match task {
        Task::Generate => "",
        _ if version.minor <= OLDEST_MINOR => " --task embed",
        _ => " --runner pooling",
    }
}

/// `EngineArgs._set_default_max_num_seqs_and_batched_tokens_args`: at least one whole sequence where none is cut, at most
/// as many tokens as the admitted sequences have. An encoder fills no share of the memory; vLLM still wants the share to be
/// free when it starts, so it is lowered to what is.
pub(super) fn limits(limits: Limits, task: Task, numbers: &Numbers) -> Limits {
    let longest = numbers.max_model_len.0.max(1);
    let (mut tokens, mut fraction) = (limits.tokens, limits.fraction);
    if task == Task::EmbedEncoder {
        tokens = tokens.max(longest);
        if numbers.memory > Bytes::ZERO {
            let free = numbers.free_memory().0 as f64 / numbers.memory.0 as f64;
            fraction = fraction.min(libm::floor(free * 100.0) / 100.0);
        }
    }
    Limits { tokens: tokens.min(limits.sequences.saturating_mul(longest)).max(1), fraction, ..limits }
}

/// How sure the figures are: no published run of an embedding model names them.
pub(super) fn spread() -> Spread {
    Spread {
        weights: 0.02,
        cache: 0.05,
        activations: 0.5,
        states: 0.0,
        overhead: 0.5,
        basis: "unmeasured: from vLLM's source and what generating models take; no published run of an embedding model"
            .to_owned(),
    }
}

impl Vllm {
    /// The numbers of an embedding as those of prompts without output.
    pub(super) fn asked(&self, numbers: &Numbers) -> Numbers {
        if self.task == Task::Generate {
            return *numbers;
        }
        Numbers { prompt: numbers.sequence, output: Tokens(0), max_model_len: numbers.sequence, ..*numbers }
    }

    /// An encoder: the fullest step of whole sequences, or the warm-up with a token for each admitted sequence
    /// (`Worker.compile_or_warm_up_model`).
    pub(super) fn encoder(&self, numbers: &Numbers, limits: Limits) -> Result<Breakdown, PlanError> {
        let Some(stage) = self.stages.first() else {
            return Err(PlanError::invalid("parallelism.pipeline", "there are no stages", "give at least 1"));
        };
        let length = numbers.prompt.0.max(1);
        let asked = numbers.sequences.div_ceil(self.data.max(1));
        let sequences = asked.min(limits.sequences).min((limits.tokens / length).max(1));
        let tokens = sequences.saturating_mul(length).max(limits.sequences.min(limits.tokens));
        let (activations, temporary) = stage.profile.peak(tokens, limits.sequences);
        let graphs = stage.graphs.bytes(&self.version, limits.sequences, limits.tokens);
        let parts = Components {
            weights: Bytes(stage.weights),
            activations: Bytes(activations),
            temporary: Bytes(temporary),
            cuda_graphs: Bytes(graphs),
            runtime: Bytes(self.runtime),
            context: Bytes(super::overhead::CONTEXT),
            ..Components::default()
        };
        let allocated = parts.weights + parts.activations + parts.temporary;
        Ok(Breakdown {
            parts,
            allocated,
            reserved: allocated,
            kv: KvEstimate::default(),
            capacity: numbers.free_memory(),
            pool: Pool::None,
            ..Breakdown::default()
        })
    }
}

#[cfg(test)]
mod tests;

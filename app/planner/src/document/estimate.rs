//! The estimate: what a plan takes. Names are those of the plan contract, version 1.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::plan::{EngineName, SCHEMA, is_zero};
use crate::bytes::Bytes;

/// What a plan takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Estimate {
    /// Version of the document, [`SCHEMA`].
    pub schema: u32,
    /// The engine and the version that was planned.
    pub engine: EngineVersion,
    /// Whether every GPU's total is within its capacity and the pool, if any, holds what is asked.
    pub fits: bool,
    /// Visible memory of one GPU, less what is in use, less what the engine leaves free.
    pub capacity_bytes: Bytes,
    /// The GPU that carries most, by component.
    pub per_gpu: Components,
    /// The same memory by how one would measure it.
    pub totals: Totals,
    /// Host memory.
    pub host: HostMemory,
    /// The KV cache and its pool.
    pub kv: KvEstimate,
    /// Peak bytes by phase, in the order of the phases; null where the engine's phases are not modelled.
    pub phases: Option<Vec<PhasePeak>>,
    /// Speed; null where nothing is known of the GPU.
    pub speed: Option<Speed>,
    /// Energy; null where power or speed is not known.
    pub energy: Option<Energy>,
    /// Cost; null where price or speed is not known.
    pub cost: Option<Cost>,
    /// What the weights' precision costs in quality; null where nothing is published.
    pub quality: Option<Quality>,
    /// Agent memory; null where the plan has none.
    pub agent: Option<AgentEstimate>,
    /// How sure the total is.
    pub error_band: ErrorBand,
    /// Single changes that would make the plan fit.
    pub advice: Vec<Advice>,
    /// What the reader should know.
    pub warnings: Vec<Warning>,
    /// The command that runs the plan, where it fits and one command does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// An engine and its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EngineVersion {
    /// The engine.
    pub name: EngineName,
    /// The version that was planned.
    pub version: String,
    /// Candle only: `stock` or `plimsoll`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Memory of one GPU by component, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Components {
    /// Parameters and persistent buffers.
    pub weights: Bytes,
    /// The KV cache of the concurrent sequences, in whole pages.
    pub kv_cache: Bytes,
    /// State of recurrent layers.
    pub recurrent_state: Bytes,
    /// Activations alive at the peak.
    pub activations: Bytes,
    /// Workspaces, sampler, communication buffers, upcasts.
    pub temporary: Bytes,
    /// Gradients.
    pub gradients: Bytes,
    /// Optimizer states and masters.
    pub optimizer: Bytes,
    /// Teacher, embedding model, vector index, vision tower's buffers.
    pub auxiliary: Bytes,
    /// Captured CUDA graphs.
    pub cuda_graphs: Bytes,
    /// Outside tensors, after the context exists.
    pub runtime: Bytes,
    /// The CUDA context.
    pub context: Bytes,
    /// All of the above, with the pool where it is larger than the cache.
    pub total: Bytes,
}

/// One memory by three ways of measuring it, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Totals {
    /// Tensors alive at the peak.
    pub allocated: Bytes,
    /// The allocator's pool.
    pub reserved: Bytes,
    /// What `nvidia-smi` shows for the process.
    pub process: Bytes,
}

/// Host memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostMemory {
    /// Weights kept on the host.
    pub weights: Bytes,
    /// Cache kept on the host.
    pub kv_cache: Bytes,
    /// Optimizer states kept on the host.
    pub optimizer: Bytes,
    /// Tokens that the host's cache holds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub kv_tokens: u64,
    /// All of the above.
    pub total: Bytes,
}

/// The KV cache and its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KvEstimate {
    /// Per GPU, summed over layers, averaged over the tokens of one sequence of `max_model_len`.
    pub bytes_per_token: Bytes,
    /// What the engine sets aside.
    pub pool_bytes: Bytes,
    /// What the engine prints.
    pub pool_tokens: u64,
    /// Sequences of `max_model_len` that the pool holds.
    pub max_concurrent_sequences: u64,
}

/// Peak of one phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PhasePeak {
    /// `load`, `prefill`, `decode`, `forward`, `backward`, `step`.
    pub phase: String,
    /// Bytes allocated at its peak.
    pub peak_bytes: Bytes,
}

/// Speed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Speed {
    /// TTFT in milliseconds.
    pub time_to_first_token_ms: f64,
    /// TPOT in milliseconds.
    pub time_per_output_token_ms: f64,
    /// Serve: output tokens; train: trained tokens; of the whole job.
    pub tokens_per_second: f64,
    /// One step in milliseconds.
    pub step_ms: f64,
    /// What holds it back.
    pub bound: Bound,
}

/// What holds the speed back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// Memory bandwidth.
    Memory,
    /// Arithmetic.
    Compute,
    /// Links between GPUs.
    Interconnect,
}

/// Energy of a plan at its full speed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Energy {
    /// Power of all GPUs, in watts.
    pub watts: f64,
    /// Joules of one token that is generated (serve), trained (train) or read (embed).
    pub joules_per_token: f64,
    /// Kilowatt hours of a million such tokens.
    pub kwh_per_million_tokens: f64,
    /// Where the power comes from.
    pub basis: String,
}

/// Cost of a plan at its full speed, in the currency of `gpu.price_per_hour`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cost {
    /// Of all GPUs for an hour.
    pub per_hour: f64,
    /// Of a million tokens that are generated (serve), trained (train) or read (embed).
    pub per_million_tokens: f64,
}

/// What a precision of the weights costs in quality, as published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Quality {
    /// How much.
    pub class: QualityClass,
    /// Growth of the perplexity against 16 bit, in percent, on the model of `source`.
    pub perplexity_percent: Option<f64>,
    /// Mean Kullback-Leibler divergence of the next token's distribution from that of 16 bit, in nats.
    pub kl_divergence: Option<f64>,
    /// Where it was published, and for which model. Smaller models lose more.
    pub source: String,
}

/// Classes of quality, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum QualityClass {
    /// As the checkpoint.
    Reference,
    /// Perplexity grows by less than 0.5 %: within what a benchmark can tell.
    NearLossless,
    /// By less than 2 %.
    Small,
    /// By less than 10 %.
    Noticeable,
    /// By more.
    Heavy,
}

/// An agent's memory over a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentEstimate {
    /// Tokens held in the context of one conversation after each turn.
    pub tokens_after_turn: Vec<u64>,
    /// The first turn, counted from 1, whose context is longer than the model, the engine or the GPU's memory takes; null
    /// where every turn fits.
    pub exhausted_turn: Option<u32>,
    /// Tokens of all turns that are prefilled again because the prefix before them changed.
    pub reprefill_tokens: u64,
    /// Weights of the embedding model.
    pub embedding_bytes: Bytes,
    /// The vector index.
    pub index_bytes: Bytes,
}

/// How sure a total is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorBand {
    /// Low end of the total.
    pub low: Bytes,
    /// High end of the total.
    pub high: Bytes,
    /// What the band rests on.
    pub basis: String,
}

/// A change that would help.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Advice {
    /// The fields of the plan to change, merged into it.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub change: Value,
    /// The total after it.
    pub total_bytes: Bytes,
    /// Whether it fits after it.
    pub fits: bool,
    /// What it costs.
    pub cost: String,
}

/// Something the reader should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Warning {
    /// A stable name.
    pub code: String,
    /// A sentence.
    pub message: String,
}

impl Warning {
    /// A warning of a stable name and a sentence.
    #[must_use]
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

impl Estimate {
    /// An estimate of nothing yet, for the engine given.
    #[must_use]
    pub fn empty(engine: EngineVersion) -> Self {
        Self {
            schema: SCHEMA,
            engine,
            fits: false,
            capacity_bytes: Bytes::ZERO,
            per_gpu: Components::default(),
            totals: Totals::default(),
            host: HostMemory::default(),
            kv: KvEstimate::default(),
            phases: None,
            speed: None,
            energy: None,
            cost: None,
            quality: None,
            agent: None,
            error_band: ErrorBand { low: Bytes::ZERO, high: Bytes::ZERO, basis: String::new() },
            advice: Vec::new(),
            warnings: Vec::new(),
            command: None,
        }
    }
}

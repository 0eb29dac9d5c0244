//! The plan: what is to run where. Names are those of the plan contract, version 1.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::precision::{ActivationPrecision, CachePrecision, WeightPrecision};
pub use super::serving::{Images, LoraAdapters, Speculation};
use crate::bytes::{Bytes, Tokens};
use crate::model::Dtype;

/// The version of the contract that this crate speaks.
pub const SCHEMA: u32 = 1;

/// A plan: one what-if.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Version of the document, [`SCHEMA`].
    pub schema: u32,
    /// What runs.
    pub model: ModelRef,
    /// Where it runs.
    pub gpu: GpuRef,
    /// What runs it.
    #[serde(default)]
    pub engine: EngineRef,
    /// How weights, cache and activations are stored.
    #[serde(default)]
    pub precision: Precisions,
    /// The attention variant; left out: the engine's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<Attention>,
    /// The cache's allocation; left out: the engine's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// How the model is spread over GPUs.
    #[serde(default, skip_serializing_if = "Parallelism::is_default")]
    pub parallelism: Parallelism,
    /// What it does.
    pub workload: Workload,
    /// Pruning.
    #[serde(default, skip_serializing_if = "Compression::is_default")]
    pub compression: Compression,
    /// An agent's memory over a conversation's turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_memory: Option<AgentMemory>,
    /// Facts of the host that Candle's CPU kernels depend on.
    #[serde(default, skip_serializing_if = "Host::is_default")]
    pub host: Host,
}

/// Which model: by catalogue id, by configuration, or by a file's header (CLI only).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ModelRef {
    /// A catalogue id, for example `meta-llama/Llama-3.1-8B`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A name for a model that the catalogue lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A Hugging Face `config.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub config: Option<Value>,
    /// Exact sizes by storage type, read from a GGUF or safetensors header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Vec<StoredBlock>>,
    /// Number format of safetensors that Candle converts or quantises while loading, which takes more for a moment; left
    /// out: weights are read as they are held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub loaded_from: Option<Dtype>,
    /// Path of a GGUF file; only the CLI reads it, then it becomes `name`, `config` and `stored`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gguf: Option<String>,
    /// Path of a safetensors file or index; only the CLI reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safetensors: Option<String>,
}

impl ModelRef {
    /// A model of the catalogue.
    #[must_use]
    pub fn catalogue(id: impl Into<String>) -> Self {
        Self { id: Some(id.into()), ..Self::default() }
    }

    /// What a command calls it: its id, its owner's name for it, or `placeholder` where it has neither.
    pub(crate) fn called<'a>(&'a self, placeholder: &'a str) -> &'a str {
        self.id.as_deref().or(self.name.as_deref()).unwrap_or(placeholder)
    }
}

/// Parameters of one storage type in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StoredBlock {
    /// Storage type as the file's format calls it, lower case: `q4_k`, `f32`, `bf16`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Number of parameters stored so.
    pub parameters: u64,
    /// Bytes they take.
    pub bytes: Bytes,
}

/// Which GPU, how many, and what is known of them beside the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GpuRef {
    /// A catalogue id; `cpu` plans Candle in host memory.
    pub id: String,
    /// Number of GPUs; left out: tensor · pipeline · data · context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Memory that a program sees in MiB, where it differs from the catalogue's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
    /// Already taken by others, in MiB.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub in_use_mib: u64,
    /// GPUs in one node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus_per_node: Option<u32>,
    /// Price of one GPU for an hour, in the reader's currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<f64>,
    /// Power of one GPU under load, in watts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_w: Option<f64>,
}

impl GpuRef {
    /// One GPU of the catalogue.
    #[must_use]
    pub fn one(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            count: None,
            memory_mib: None,
            in_use_mib: 0,
            gpus_per_node: None,
            price_per_hour: None,
            power_w: None,
        }
    }
}

/// Which engine, version and variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EngineRef {
    /// The engine.
    #[serde(default)]
    pub name: EngineName,
    /// Its version; left out: the newest in the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Candle only: `stock` (candle-transformers) or `plimsoll` (our decoder); left out: plimsoll where it has the model's
    /// family, else stock, which the estimate names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Default for EngineRef {
    fn default() -> Self {
        Self { name: EngineName::Candle, version: None, variant: None }
    }
}

/// The engines that the contract names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EngineName {
    /// Candle.
    #[default]
    Candle,
    /// vLLM.
    Vllm,
    /// TensorRT-LLM.
    TensorrtLlm,
    /// `SGLang`.
    Sglang,
    /// llama.cpp.
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
    /// Hugging Face Transformers.
    Transformers,
    /// `LitGPT`.
    Litgpt,
    /// torchtune.
    Torchtune,
    /// torchtitan.
    Torchtitan,
    /// Megatron-LM.
    Megatron,
    /// `DeepSpeed`.
    Deepspeed,
}

/// How weights, cache and activations are stored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Precisions {
    /// Left out: the checkpoint's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub weights: Option<WeightPrecision>,
    /// Left out: as `activations`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub kv_cache: Option<CachePrecision>,
    /// Left out: bf16 (Candle on GGUF weights computes in fp32 whatever is asked).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub activations: Option<ActivationPrecision>,
}

/// The attention variant computed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields, remote = "Self")]
pub enum Attention {
    /// Scores are materialised.
    Eager,
    /// Blocked online softmax.
    MemoryEfficient,
    /// `FlashAttention`.
    Flash,
    /// Each token sees the last `window`.
    SlidingWindow {
        /// Window in tokens.
        window: Tokens,
    },
    /// Longformer (arXiv 2004.05150).
    Longformer {
        /// Window in tokens.
        window: Tokens,
        /// Tokens that see and are seen by all.
        global_tokens: Tokens,
    },
    /// `BigBird` (arXiv 2007.14062).
    BigBird {
        /// Block in tokens.
        block: Tokens,
        /// Blocks of the window.
        window_blocks: u32,
        /// Global blocks.
        global_blocks: u32,
        /// Random blocks.
        random_blocks: u32,
    },
}

/// How the KV cache is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// The way it grows.
    pub kind: CacheKind,
    /// Tokens of a page, for a paged cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_tokens: Option<u32>,
}

/// The ways a KV cache is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CacheKind {
    /// Grown by copy: old and new live together.
    Growing,
    /// One allocation for the whole length.
    Slab,
    /// A ring of the window's length.
    Rotating,
    /// Pages of n tokens.
    Paged,
}

impl CacheKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[Self::Growing, Self::Slab, Self::Rotating, Self::Paged];

    /// As the contract spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Growing => "growing",
            Self::Slab => "slab",
            Self::Rotating => "rotating",
            Self::Paged => "paged",
        }
    }
}

/// How the model is spread over GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Parallelism {
    /// Tensor parallel ranks.
    pub tensor: u32,
    /// Pipeline stages.
    pub pipeline: u32,
    /// Data parallel replicas.
    pub data: u32,
    /// Expert parallel ranks, a divisor of data · tensor.
    pub expert: u32,
    /// Context parallel ranks.
    pub context: u32,
    /// Sequence parallelism (arXiv 2205.05198).
    pub sequence: bool,
    /// Schedule of pipeline microbatches.
    pub pipeline_schedule: PipelineSchedule,
    /// 0, 1, 2 or 3 (arXiv 1910.02054).
    pub zero_stage: u8,
    /// What is kept outside the GPU.
    pub offload: Offload,
}

impl Default for Parallelism {
    fn default() -> Self {
        Self {
            tensor: 1,
            pipeline: 1,
            data: 1,
            expert: 1,
            context: 1,
            sequence: false,
            pipeline_schedule: PipelineSchedule::OneFOneB,
            zero_stage: 0,
            offload: Offload::default(),
        }
    }
}

impl Parallelism {
    /// Whether nothing is spread.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Schedule of pipeline microbatches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", deny_unknown_fields, remote = "Self")]
pub enum PipelineSchedule {
    /// One forward, one backward.
    #[serde(rename = "1f1b")]
    OneFOneB,
    /// All forwards, then all backwards.
    #[serde(rename = "gpipe")]
    Gpipe,
    /// 1F1B over virtual stages.
    #[serde(rename = "interleaved")]
    Interleaved {
        /// Virtual stages of one rank.
        virtual_stages: u32,
    },
}

/// What is kept outside the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Offload {
    /// Optimizer states.
    pub optimizer: OffloadTo,
    /// Parameters.
    pub parameters: OffloadTo,
}

/// Where something is offloaded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OffloadTo {
    /// It stays on the GPU.
    #[default]
    None,
    /// Host memory.
    Cpu,
    /// A disk.
    Nvme,
}

/// What the model does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Workload {
    /// Prefill and decode.
    Serve(Serve),
    /// Training.
    Train(Train),
    /// An encoder over whole sequences.
    Embed {
        /// Tokens of a sequence.
        sequence_tokens: Tokens,
        /// Sequences at once.
        batch: u32,
    },
}

/// Prefill and decode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Serve {
    /// Tokens of each prompt; required of a plan that is to be estimated (published rows of weights alone lack it).
    #[serde(default)]
    pub prompt_tokens: Tokens,
    /// Tokens generated after it.
    #[serde(default)]
    pub output_tokens: Tokens,
    /// Sequences at once.
    #[serde(default = "one")]
    pub concurrent_sequences: u64,
    /// Longest sequence the engine admits; left out: prompt + output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<Tokens>,
    /// Tokens of one step: vLLM and TensorRT-LLM `max_num_(batched_)tokens`, llama.cpp ubatch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_batched_tokens: Option<Tokens>,
    /// The scheduler's limit of sequences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sequences: Option<u64>,
    /// Share of memory the engine may fill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_fraction: Option<f64>,
    /// llama.cpp `-ngl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_layers: Option<u32>,
    /// Tokens that every prompt begins with, a part of `prompt_tokens`: the cache holds them once.
    #[serde(default, skip_serializing_if = "Tokens::is_zero")]
    pub shared_prefix_tokens: Tokens,
    /// Images in each prompt, whose tokens come on top of `prompt_tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Images>,
    /// Adapters served beside the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora_adapters: Option<LoraAdapters>,
    /// Speculative decoding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speculation: Option<Speculation>,
    /// Host memory for cache that leaves the GPU, of all GPUs together, in MiB: vLLM `--kv-offloading-size`, `SGLang`
    /// `--hicache-size`, TensorRT-LLM `host_cache_size`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub host_cache_mib: u64,
}

impl Serve {
    /// Tokens that each sequence holds at its end.
    #[must_use]
    pub fn sequence_tokens(&self) -> Tokens {
        self.prompt_tokens + self.output_tokens
    }
}

/// Training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "the contract's switches, each independent of the others")]
pub struct Train {
    /// What is trained.
    pub method: TrainMethod,
    /// Tokens of a sequence.
    pub sequence_tokens: Tokens,
    /// Sequences in one forward pass.
    #[serde(default = "one")]
    pub micro_batch: u64,
    /// Forward passes to one step.
    #[serde(default = "one")]
    pub gradient_accumulation: u64,
    /// The optimizer.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// 16-bit compute.
    #[serde(default = "yes")]
    pub mixed_precision: bool,
    /// fp32 master weights.
    #[serde(default = "yes")]
    pub master_weights: bool,
    /// Activation checkpointing.
    #[serde(default)]
    pub checkpointing: Checkpointing,
    /// Step each parameter as its gradient is ready.
    #[serde(default)]
    pub optimizer_in_backward: bool,
    /// Cross-entropy without materialised logits.
    #[serde(default)]
    pub fused_cross_entropy: bool,
    /// Saved activations go to the host.
    #[serde(default)]
    pub activation_offload: bool,
    /// Compiled graph.
    #[serde(default)]
    pub compile: bool,
    /// fp8 linear layers.
    #[serde(default)]
    pub float8_linear: bool,
    /// Overlapped tensor parallel communication.
    #[serde(default)]
    pub async_tensor_parallel: bool,
    /// Adapters; required for lora and qlora.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
    /// The teacher; distill only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<Teacher>,
}

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum TrainMethod {
    /// Every parameter.
    Full,
    /// Low-rank adapters (arXiv 2106.09685).
    Lora,
    /// Adapters on NF4 weights (arXiv 2305.14314).
    Qlora,
    /// A student beside its teacher.
    Distill,
}

/// The optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names are the field's own")]
pub enum Optimizer {
    #[default]
    Adamw,
    #[serde(rename = "adamw-8bit")]
    Adamw8bit,
    #[serde(rename = "paged-adamw-8bit")]
    PagedAdamw8bit,
    Sgd,
    SgdMomentum,
    Adafactor,
    Lion,
    Muon,
}

/// Activation checkpointing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Checkpointing {
    /// Everything is saved.
    #[default]
    None,
    /// The attention core is recomputed.
    Selective,
    /// Only each layer's input is saved.
    Full,
}

/// Low-rank adapters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// Rank of each adapter.
    pub rank: u32,
    /// Module suffixes of the checkpoint.
    pub targets: Vec<String>,
    /// Whether the embeddings are trained too.
    #[serde(default)]
    pub train_embeddings: bool,
}

/// The teacher of a distillation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Teacher {
    /// Its model.
    pub model: ModelRef,
    /// How its weights are stored.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub precision: WeightPrecision,
}

/// Compression of the model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Compression {
    /// Pruning.
    pub prune: Prune,
}

impl Compression {
    /// Whether nothing is compressed.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Pruning.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields, remote = "Self")]
pub enum Prune {
    /// Nothing is pruned.
    #[default]
    None,
    /// Single weights; saves nothing in dense storage.
    Unstructured {
        /// Share of weights that are zero.
        sparsity: f64,
    },
    /// Two of four, with metadata.
    #[serde(rename = "2:4")]
    TwoOfFour,
    /// Whole layers.
    Depth {
        /// Layers removed.
        layers: u32,
    },
    /// Hidden width.
    Width {
        /// Share of the hidden size removed.
        hidden: f64,
    },
}

/// An agent's memory over a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AgentMemory {
    /// Turns of the conversation.
    pub turns: u32,
    /// Tokens that each turn adds.
    pub tokens_per_turn: Tokens,
    /// Tokens of the system prompt.
    #[serde(default)]
    pub system_tokens: Tokens,
    /// What is kept.
    pub policy: MemoryPolicy,
    /// The vector store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<VectorStore>,
    /// The embedding model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_model: Option<ModelRef>,
}

/// What an agent keeps of its history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields, remote = "Self")]
#[allow(missing_docs, reason = "the contract's fields, described there")]
pub enum MemoryPolicy {
    /// Everything.
    FullHistory,
    /// The last tokens.
    Window { tokens: Tokens },
    /// Summaries of old turns.
    Consolidate { every_turns: u32, ratio: f64, keep_recent_turns: u32 },
    /// Recent turns and retrieved chunks.
    Retrieve { top_k: u32, chunk_tokens: Tokens, keep_recent_turns: u32 },
}

/// A vector store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VectorStore {
    /// Number of vectors.
    pub vectors: u64,
    /// Dimensions of each.
    pub dimensions: u32,
    /// Element type.
    pub element: VectorElement,
    /// The index.
    pub index: VectorIndex,
    /// Whether it is on the GPU.
    #[serde(default)]
    pub on_gpu: bool,
}

/// Element type of a vector store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names are the field's own")]
pub enum VectorElement {
    Fp32,
    Fp16,
    Int8,
    Binary,
    Pq,
}

/// Index of a vector store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields, remote = "Self")]
pub enum VectorIndex {
    /// Exhaustive.
    Flat,
    /// A navigable small-world graph (arXiv 1603.09320).
    Hnsw {
        /// Links of a node.
        m: u32,
    },
    /// Inverted lists with product quantization.
    IvfPq,
}

/// Facts of the host that Candle's CPU kernels depend on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Instruction set: `avx2`, `avx512`, `neon`, `generic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isa: Option<String>,
    /// Threads that compute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// Level 1 data cache in KiB, divided by the hardware threads that share it: products are cut by it, so their workspaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l1d_cache_kib: Option<u32>,
    /// Level 2 cache in KiB, divided by the hardware threads that share it: as much stays with each thread that multiplied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l2_cache_kib: Option<u32>,
    /// Level 3 cache in KiB, undivided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l3_cache_kib: Option<u32>,
}

impl Host {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

super::strict::strict!(Attention, PipelineSchedule, Prune, MemoryPolicy, VectorIndex);

fn one() -> u64 {
    1
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(super) fn is_zero(n: &u64) -> bool {
    *n == 0
}

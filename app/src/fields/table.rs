//! The table.

use planner::agent::presets::PresetKind;
use serde_json::Value;

use super::choices::{encoders, engine_name, engines, gpus, models, teachers, weights};
use super::{Condition, ENGINE, Field, GPU, Kind, Most, text_at};
use crate::format;

/// Fields that stand together.
#[derive(Debug)]
pub struct Group {
    /// A stable name.
    pub id: &'static str,
    /// Its heading; empty for the first screen, which has none.
    pub title: &'static str,
    /// What it is set to, in a few words.
    pub told: fn(&Value) -> String,
    /// Its fields.
    pub fields: &'static [Field],
    /// The known systems whose settings it offers, and the workload that they are for.
    pub presets: Option<(PresetKind, &'static str)>,
}

const fn is(path: &'static str, any: &'static [&'static str]) -> Condition {
    Condition { path, any }
}

const WORKLOAD: &str = "workload.kind";
const SERVES: Condition = is(WORKLOAD, &["serve"]);
const TRAINS: Condition = is(WORKLOAD, &["train"]);
const EMBEDS: Condition = is(WORKLOAD, &["embed"]);
const ADAPTS: Condition = is("workload.method", &["lora", "qlora"]);
const DISTILS: Condition = is("workload.method", &["distill"]);
const CANDLE: Condition = is(ENGINE, &["candle"]);
const SCHEDULES: Condition = is(ENGINE, &["vllm", "sglang", "tensorrt-llm", "llama.cpp"]);
/// Engines whose cache may be of another precision than what they compute in.
const CACHES: Condition = is(ENGINE, &["candle", "vllm", "sglang", "tensorrt-llm", "llama.cpp"]);
const POOLS: Condition = is(ENGINE, &["vllm", "sglang", "tensorrt-llm"]);
/// Engines that hold what prompts have in common once, and cache in host memory.
const SHARES: Condition = is(ENGINE, &["vllm", "sglang", "tensorrt-llm"]);
const SEES: Condition = is(ENGINE, &["vllm", "sglang"]);
const ACCOMPANIES: Condition = is(ENGINE, &["vllm", "sglang", "llama.cpp", "transformers"]);
const IMAGES: Condition = is("workload.images.per_prompt", &[]);
const ADAPTERS: Condition = is("workload.lora_adapters.count", &[]);
const SPECULATION: &str = "workload.speculation.kind";
const DRAFTS: Condition = is(SPECULATION, &["draft-model"]);
const LLAMA_CPP: Condition = is(ENGINE, &["llama.cpp"]);
const SERVERS: &[&str] = &["candle", "vllm", "sglang", "tensorrt-llm", "llama.cpp", "transformers"];
/// Engines that compute in another precision than the weights'.
const COMPUTES: Condition = is(
    ENGINE,
    &[
        "vllm",
        "sglang",
        "tensorrt-llm",
        "transformers",
        "litgpt",
        "torchtune",
        "torchtitan",
        "megatron",
        "deepspeed",
    ],
);
const SPREADS: Condition = is(
    ENGINE,
    &[
        "vllm",
        "sglang",
        "tensorrt-llm",
        "llama.cpp",
        "transformers",
        "litgpt",
        "torchtune",
        "torchtitan",
        "megatron",
        "deepspeed",
    ],
);
const TENSOR: Condition =
    is(ENGINE, &["vllm", "sglang", "tensorrt-llm", "llama.cpp", "torchtitan", "megatron"]);
const PIPELINE: Condition =
    is(ENGINE, &["vllm", "sglang", "tensorrt-llm", "transformers", "torchtitan", "megatron", "llama.cpp"]);
const REPLICAS: Condition = is(
    ENGINE,
    &[
        "vllm",
        "sglang",
        "tensorrt-llm",
        "transformers",
        "litgpt",
        "torchtune",
        "torchtitan",
        "megatron",
        "deepspeed",
    ],
);
const EXPERTS: Condition = is(ENGINE, &["vllm", "sglang", "tensorrt-llm", "torchtitan", "megatron"]);
const CONTEXTS: Condition = is(ENGINE, &["torchtitan", "megatron"]);
const SHARDS: Condition =
    is(ENGINE, &["transformers", "litgpt", "torchtune", "torchtitan", "megatron", "deepspeed"]);
const OFFLOADS: Condition = is(ENGINE, &["torchtitan", "megatron", "deepspeed"]);
const OFFLOADS_WEIGHTS: Condition = is(ENGINE, &["torchtitan", "deepspeed"]);
const COMPILES: Condition = is(ENGINE, &["torchtune", "torchtitan", "transformers", "litgpt"]);
const AGENT: Condition = is("agent_memory.turns", &[]);
const STORE: Condition = is("agent_memory.store.vectors", &[]);
const POLICY: &str = "agent_memory.policy.kind";

const fn field(
    path: &'static str,
    label: &'static str,
    hint: &'static str,
    kind: Kind,
    when: &'static [Condition],
) -> Field {
    Field { path, key: "", label, hint, kind, when }
}

const fn keyed(
    key: &'static str,
    path: &'static str,
    label: &'static str,
    hint: &'static str,
    kind: Kind,
    when: &'static [Condition],
) -> Field {
    Field { path, key, label, hint, kind, when }
}

const ELSEWHERE: &[(&str, &str)] = &[("none", "on the GPU"), ("cpu", "host memory"), ("nvme", "NVMe disk")];

/// Every field, by group; the first group is the first screen.
pub static GROUPS: [Group; 10] = [
    Group {
        id: "first",
        title: "",
        told: |_| String::new(),
        fields: &[
            keyed("model", "model.id", "Model", "", Kind::Choice { by: WORKLOAD, from: models }, &[]),
            keyed("gpu", "gpu.id", "GPU", "", Kind::Choice { by: "", from: gpus }, &[]),
            keyed(
                "weights",
                "precision.weights",
                "Weights",
                "",
                Kind::Choice { by: ENGINE, from: weights },
                &[],
            ),
            keyed(
                "context",
                "workload.prompt_tokens",
                "Context",
                "",
                Kind::Amount { unit: "tokens of prompt", most: Most::Model },
                &[SERVES],
            ),
            keyed(
                "batch",
                "workload.concurrent_sequences",
                "Sequences at once",
                "",
                Kind::Amount { unit: "", most: Most::Fixed(256) },
                &[SERVES],
            ),
            field(
                "workload.sequence_tokens",
                "Context",
                "",
                Kind::Amount { unit: "tokens a sequence", most: Most::Model },
                &[is(WORKLOAD, &["train", "embed"])],
            ),
            field(
                "workload.micro_batch",
                "Micro-batch",
                "",
                Kind::Amount { unit: "sequences a pass", most: Most::Fixed(128) },
                &[TRAINS],
            ),
            field(
                "workload.batch",
                "Batch",
                "",
                Kind::Amount { unit: "sequences at once", most: Most::Fixed(4096) },
                &[EMBEDS],
            ),
        ],
        presets: None,
    },
    Group {
        id: "workload",
        title: "Workload and training",
        told: workload,
        fields: &[
            field(
                WORKLOAD,
                "Workload",
                "",
                Kind::OneOf(&[
                    ("serve", "Serve: prompt in, text out"),
                    ("train", "Train"),
                    ("embed", "Embed: encode whole sequences"),
                ]),
                &[],
            ),
            keyed(
                "output",
                "workload.output_tokens",
                "Output",
                "",
                Kind::Amount { unit: "tokens after the prompt", most: Most::Model },
                &[SERVES],
            ),
            field(
                "workload.method",
                "Method",
                "",
                Kind::OneOf(&[
                    ("full", "Full: every parameter"),
                    ("lora", "LoRA: low-rank adapters"),
                    ("qlora", "QLoRA: adapters on NF4 weights"),
                    ("distill", "Distil: a student beside its teacher"),
                ]),
                &[TRAINS],
            ),
            field("workload.lora.rank", "Rank", "of each adapter", Kind::Whole, &[TRAINS, ADAPTS]),
            field(
                "workload.lora.train_embeddings",
                "Train embeddings too",
                "",
                Kind::Switch,
                &[TRAINS, ADAPTS, is(ENGINE, &["transformers", "deepspeed"])],
            ),
            field(
                "workload.lora.targets",
                "Adapted modules",
                "suffixes in the checkpoint: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj",
                Kind::Words,
                &[TRAINS, ADAPTS],
            ),
            field(
                "workload.teacher.model.id",
                "Teacher",
                "",
                Kind::Choice { by: "", from: models },
                &[TRAINS, DISTILS],
            ),
            field(
                "workload.teacher.precision",
                "Teacher's weights",
                "",
                Kind::Choice { by: "", from: teachers },
                &[TRAINS, DISTILS],
            ),
            field(
                "workload.optimizer",
                "Optimizer",
                "",
                Kind::Few(&[
                    ("adamw", "AdamW"),
                    ("adamw-8bit", "AdamW 8-bit"),
                    ("paged-adamw-8bit", "paged AdamW 8-bit"),
                    ("sgd", "SGD"),
                    ("sgd-momentum", "SGD, momentum"),
                    ("adafactor", "Adafactor"),
                    ("lion", "Lion"),
                    ("muon", "Muon"),
                ]),
                &[TRAINS],
            ),
            field(
                "workload.checkpointing",
                "Checkpointing",
                "",
                Kind::Few(&[("none", "none"), ("selective", "selective"), ("full", "full")]),
                &[TRAINS],
            ),
            field("workload.gradient_accumulation", "Accumulation", "passes a step", Kind::Whole, &[TRAINS]),
            field(
                "workload.mixed_precision",
                "Mixed precision: compute in 16 bits",
                "",
                Kind::Switch,
                &[
                    TRAINS,
                    is(ENGINE, &["transformers", "litgpt", "torchtitan", "megatron", "deepspeed", "candle"]),
                ],
            ),
            field(
                "workload.master_weights",
                "fp32 master weights",
                "",
                Kind::Switch,
                &[TRAINS, is(ENGINE, &["transformers", "litgpt", "deepspeed", "candle"])],
            ),
            field(
                "workload.fused_cross_entropy",
                "Fused cross-entropy: no logits in memory",
                "",
                Kind::Switch,
                &[TRAINS, is(ENGINE, &["transformers", "litgpt", "torchtune", "megatron", "deepspeed"])],
            ),
            field(
                "workload.optimizer_in_backward",
                "Optimizer step inside backward",
                "",
                Kind::Switch,
                &[TRAINS, is("workload.method", &["full", "distill"]), is(ENGINE, &["torchtune"])],
            ),
            field(
                "workload.activation_offload",
                "Activations offloaded to the host",
                "",
                Kind::Switch,
                &[TRAINS, is(ENGINE, &["transformers", "torchtune", "deepspeed"])],
            ),
            field("workload.compile", "Compiled graph", "", Kind::Switch, &[TRAINS, COMPILES]),
            field(
                "workload.float8_linear",
                "fp8 linear layers",
                "",
                Kind::Switch,
                &[TRAINS, is(ENGINE, &["torchtitan", "megatron"])],
            ),
            field(
                "workload.async_tensor_parallel",
                "Overlapped tensor parallelism",
                "",
                Kind::Switch,
                &[TRAINS, is(ENGINE, &["torchtitan"])],
            ),
        ],
        presets: Some((PresetKind::Training, "train")),
    },
    Group {
        id: "engine",
        title: "Engine",
        told: engine,
        fields: &[
            keyed("engine", ENGINE, "Engine", "", Kind::Choice { by: WORKLOAD, from: engines }, &[]),
            field("engine.version", "Version", "empty: newest known", Kind::Text, &[]),
            keyed(
                "variant",
                "engine.variant",
                "Variant",
                "",
                Kind::Few(&[("", "default"), ("plimsoll", "plimsoll"), ("stock", "stock")]),
                &[CANDLE],
            ),
            field(
                "model.loaded_from",
                "Converted from",
                "the checkpoint's format, converted on loading",
                Kind::Few(&[("", "nothing"), ("fp32", "fp32"), ("bf16", "bf16"), ("fp16", "fp16")]),
                &[CANDLE, is(WORKLOAD, &["serve", "embed"])],
            ),
            keyed(
                "max_len",
                "workload.max_model_len",
                "Longest sequence",
                "empty: prompt + output",
                Kind::Optional,
                &[SERVES, is(ENGINE, SERVERS)],
            ),
            field(
                "workload.max_batched_tokens",
                "Tokens a step",
                "empty: its default",
                Kind::Optional,
                &[SERVES, SCHEDULES],
            ),
            field(
                "workload.max_sequences",
                "Sequence limit",
                "empty: its default",
                Kind::Optional,
                &[SERVES, SCHEDULES],
            ),
            field(
                "workload.memory_fraction",
                "Memory fraction",
                "0 to 1; empty: its default",
                Kind::OptionalDecimal,
                &[SERVES, POOLS],
            ),
            field(
                "workload.gpu_layers",
                "Layers on the GPU",
                "-ngl; empty: all",
                Kind::Optional,
                &[SERVES, LLAMA_CPP],
            ),
        ],
        presets: None,
    },
    Group {
        id: "cache",
        title: "Cache and attention",
        told: cache,
        fields: &[
            keyed(
                "kv",
                "precision.kv_cache",
                "KV cache",
                "",
                Kind::Few(&[
                    ("", "as activations"),
                    ("fp32", "fp32"),
                    ("bf16", "bf16"),
                    ("fp16", "fp16"),
                    ("fp8", "fp8"),
                    ("int8", "int8"),
                    ("q8_0", "q8_0"),
                    ("q5_1", "q5_1"),
                    ("q5_0", "q5_0"),
                    ("q4_1", "q4_1"),
                    ("q4_0", "q4_0"),
                ]),
                &[SERVES, CACHES],
            ),
            keyed(
                "activations",
                "precision.activations",
                "Activations",
                "",
                Kind::Few(&[
                    ("", "engine's own"),
                    ("fp32", "fp32"),
                    ("tf32", "tf32"),
                    ("bf16", "bf16"),
                    ("fp16", "fp16"),
                ]),
                &[COMPUTES],
            ),
            field(
                "attention.kind",
                "Attention",
                "a model's own windows always apply",
                Kind::OneOf(&[
                    ("", "the engine's own"),
                    ("eager", "eager: scores in memory"),
                    ("memory-efficient", "memory-efficient"),
                    ("flash", "flash"),
                    ("sliding-window", "sliding window"),
                    ("longformer", "Longformer"),
                    ("big-bird", "BigBird"),
                ]),
                &[is(
                    ENGINE,
                    &[
                        "candle",
                        "llama.cpp",
                        "transformers",
                        "litgpt",
                        "torchtune",
                        "torchtitan",
                        "megatron",
                        "deepspeed",
                    ],
                )],
            ),
            field(
                "attention.window",
                "Window",
                "tokens",
                Kind::Whole,
                &[is("attention.kind", &["sliding-window", "longformer"])],
            ),
            field(
                "attention.global_tokens",
                "Global tokens",
                "seen by all",
                Kind::Whole,
                &[is("attention.kind", &["longformer"])],
            ),
            field("attention.block", "Block", "tokens", Kind::Whole, &[is("attention.kind", &["big-bird"])]),
            field(
                "attention.window_blocks",
                "Window blocks",
                "",
                Kind::Whole,
                &[is("attention.kind", &["big-bird"])],
            ),
            field(
                "attention.global_blocks",
                "Global blocks",
                "",
                Kind::Whole,
                &[is("attention.kind", &["big-bird"])],
            ),
            field(
                "attention.random_blocks",
                "Random blocks",
                "",
                Kind::Whole,
                &[is("attention.kind", &["big-bird"])],
            ),
            field(
                "cache.kind",
                "Cache allocation",
                "",
                Kind::OneOf(&[
                    ("", "the engine's own"),
                    ("growing", "growing: by copy"),
                    ("slab", "slab: one allocation"),
                    ("rotating", "rotating: a ring"),
                    ("paged", "paged"),
                ]),
                &[SERVES, is(ENGINE, &["candle", "vllm", "sglang", "tensorrt-llm"])],
            ),
            field(
                "cache.page_tokens",
                "Page",
                "tokens; empty: its default",
                Kind::Optional,
                &[SERVES, is("cache.kind", &["paged"])],
            ),
        ],
        presets: None,
    },
    Group {
        id: "beside",
        title: "Beside the model",
        told: beside,
        fields: &[
            field(
                "workload.shared_prefix_tokens",
                "Shared prefix",
                "tokens of every prompt, held once",
                Kind::Optional,
                &[SERVES, SHARES],
            ),
            field(
                "workload.host_cache_mib",
                "Cache on the host",
                "MiB, of all GPUs together",
                Kind::Optional,
                &[SERVES, SHARES],
            ),
            field("workload.images", "Images in the prompt", "", Kind::Part, &[SERVES, SEES]),
            field("workload.images.per_prompt", "Images", "of each prompt", Kind::Whole, &[IMAGES]),
            field(
                "workload.images.width",
                "Width",
                "pixels; empty: the tower's own, 1024 where it is free",
                Kind::Optional,
                &[IMAGES],
            ),
            field("workload.images.height", "Height", "pixels; empty: as wide", Kind::Optional, &[IMAGES]),
            field("workload.lora_adapters", "Serve LoRA adapters", "", Kind::Part, &[SERVES, ACCOMPANIES]),
            field("workload.lora_adapters.count", "Adapters", "on the GPU at once", Kind::Whole, &[ADAPTERS]),
            field("workload.lora_adapters.rank", "Largest rank", "", Kind::Whole, &[ADAPTERS]),
            field(
                "workload.lora_adapters.targets",
                "Adapted modules",
                "suffixes in the checkpoint; empty: every linear module",
                Kind::OptionalWords,
                &[ADAPTERS, is(ENGINE, &["sglang", "llama.cpp", "transformers"])],
            ),
            field(
                SPECULATION,
                "Speculation",
                "",
                Kind::OneOf(&[
                    ("", "none"),
                    ("draft-model", "a draft model proposes"),
                    ("mtp", "the model's own further layers (MTP)"),
                    ("ngram", "n-grams of the prompt"),
                ]),
                &[SERVES, ACCOMPANIES],
            ),
            field(
                "workload.speculation.model.id",
                "Draft",
                "",
                Kind::Choice { by: WORKLOAD, from: models },
                &[DRAFTS],
            ),
            field(
                "workload.speculation.precision",
                "Draft's weights",
                "",
                Kind::Choice { by: ENGINE, from: weights },
                &[DRAFTS],
            ),
            field(
                "workload.speculation.tokens",
                "Proposed",
                "tokens at once",
                Kind::Whole,
                &[is(SPECULATION, &[])],
            ),
            field(
                "workload.speculation.acceptance",
                "Accepted",
                "share, 0 to 1; empty: not in the speed",
                Kind::OptionalDecimal,
                &[is(SPECULATION, &[])],
            ),
        ],
        presets: None,
    },
    Group {
        id: "gpus",
        title: "GPUs and parallelism",
        told: layout,
        fields: &[
            field("parallelism.tensor", "Tensor", "ranks", Kind::Whole, &[TENSOR]),
            field("parallelism.pipeline", "Pipeline", "stages", Kind::Whole, &[PIPELINE]),
            field("parallelism.data", "Data", "replicas", Kind::Whole, &[REPLICAS]),
            field("parallelism.context", "Context", "ranks", Kind::Whole, &[CONTEXTS]),
            field("parallelism.expert", "Expert", "of data · tensor", Kind::Whole, &[EXPERTS]),
            field("gpu.gpus_per_node", "GPUs a node", "empty: one node", Kind::Optional, &[SPREADS]),
            field(
                "parallelism.sequence",
                "Sequence parallelism",
                "",
                Kind::Switch,
                &[TRAINS, is(ENGINE, &["torchtitan", "megatron"])],
            ),
            field(
                "parallelism.pipeline_schedule.kind",
                "Pipeline schedule",
                "",
                Kind::Few(&[("1f1b", "1F1B"), ("gpipe", "GPipe"), ("interleaved", "interleaved")]),
                &[TRAINS, PIPELINE],
            ),
            field(
                "parallelism.pipeline_schedule.virtual_stages",
                "Virtual stages",
                "of one rank",
                Kind::Whole,
                &[is("parallelism.pipeline_schedule.kind", &["interleaved"])],
            ),
            field(
                "parallelism.zero_stage",
                "ZeRO",
                "",
                Kind::OneOf(&[
                    ("0", "none"),
                    ("1", "1: states"),
                    ("2", "2: + gradients"),
                    ("3", "3: + weights (FSDP)"),
                ]),
                &[TRAINS, SHARDS],
            ),
            field(
                "parallelism.offload.optimizer",
                "Optimizer lives in",
                "",
                Kind::Few(ELSEWHERE),
                &[TRAINS, OFFLOADS],
            ),
            field(
                "parallelism.offload.parameters",
                "Weights live in",
                "",
                Kind::Few(ELSEWHERE),
                &[TRAINS, OFFLOADS_WEIGHTS],
            ),
        ],
        presets: None,
    },
    Group {
        id: "memory",
        title: "Memory, price and power",
        told: memory,
        fields: &[
            keyed(
                "memory_mib",
                "gpu.memory_mib",
                "Visible memory",
                "MiB; empty: catalogue",
                Kind::Optional,
                &[],
            ),
            keyed("in_use_mib", "gpu.in_use_mib", "Used by others", "MiB", Kind::Optional, &[]),
            field("gpu.price_per_hour", "Price an hour", "of one GPU", Kind::OptionalDecimal, &[]),
            field("gpu.power_w", "Power", "watts; empty: catalogue", Kind::OptionalDecimal, &[]),
        ],
        presets: None,
    },
    Group {
        id: "compression",
        title: "Compression",
        told: compression,
        fields: &[
            field(
                "compression.prune.kind",
                "Pruning",
                "",
                Kind::OneOf(&[
                    ("none", "none"),
                    ("unstructured", "unstructured: single weights"),
                    ("2:4", "2:4: two of four"),
                    ("depth", "depth: whole layers"),
                    ("width", "width: hidden size"),
                ]),
                &[],
            ),
            field(
                "compression.prune.sparsity",
                "Sparsity",
                "share that is zero, 0 to 1",
                Kind::Decimal,
                &[is("compression.prune.kind", &["unstructured"])],
            ),
            field(
                "compression.prune.layers",
                "Layers removed",
                "",
                Kind::Whole,
                &[is("compression.prune.kind", &["depth"])],
            ),
            field(
                "compression.prune.hidden",
                "Width removed",
                "share, 0 to 1",
                Kind::Decimal,
                &[is("compression.prune.kind", &["width"])],
            ),
        ],
        presets: None,
    },
    Group {
        id: "agent",
        title: "Agent memory",
        told: agent,
        fields: &[
            field("agent_memory", "Plan an agent's memory", "", Kind::Part, &[SERVES]),
            field("agent_memory.turns", "Turns", "", Kind::Whole, &[AGENT]),
            field("agent_memory.tokens_per_turn", "Tokens a turn", "", Kind::Whole, &[AGENT]),
            field("agent_memory.system_tokens", "System prompt", "tokens", Kind::Whole, &[AGENT]),
            field(
                POLICY,
                "What is kept",
                "",
                Kind::OneOf(&[
                    ("full-history", "everything"),
                    ("window", "a window of the last tokens"),
                    ("consolidate", "recent turns and summaries"),
                    ("retrieve", "recent turns and what is retrieved"),
                ]),
                &[AGENT],
            ),
            field("agent_memory.policy.tokens", "Window", "tokens", Kind::Whole, &[is(POLICY, &["window"])]),
            field(
                "agent_memory.policy.every_turns",
                "Summary every",
                "turns",
                Kind::Whole,
                &[is(POLICY, &["consolidate"])],
            ),
            field(
                "agent_memory.policy.ratio",
                "Summary is",
                "share of the text",
                Kind::Decimal,
                &[is(POLICY, &["consolidate"])],
            ),
            field(
                "agent_memory.policy.top_k",
                "Retrieved",
                "chunks a turn",
                Kind::Whole,
                &[is(POLICY, &["retrieve"])],
            ),
            field(
                "agent_memory.policy.chunk_tokens",
                "Chunk",
                "tokens",
                Kind::Whole,
                &[is(POLICY, &["retrieve"])],
            ),
            field(
                "agent_memory.policy.keep_recent_turns",
                "Kept verbatim",
                "last turns",
                Kind::Whole,
                &[is(POLICY, &["consolidate", "retrieve"])],
            ),
            field(
                "agent_memory.embedding_model.id",
                "Embedding model",
                "",
                Kind::Choice { by: "", from: encoders },
                &[AGENT],
            ),
            field("agent_memory.store", "Plan a vector store", "", Kind::Part, &[AGENT]),
            field("agent_memory.store.vectors", "Vectors", "", Kind::Whole, &[STORE]),
            field("agent_memory.store.dimensions", "Dimensions", "", Kind::Whole, &[STORE]),
            field(
                "agent_memory.store.element",
                "Element",
                "",
                Kind::Few(&[
                    ("fp32", "fp32"),
                    ("fp16", "fp16"),
                    ("int8", "int8"),
                    ("binary", "binary"),
                    ("pq", "PQ"),
                ]),
                &[STORE],
            ),
            field(
                "agent_memory.store.index.kind",
                "Index",
                "",
                Kind::Few(&[("flat", "flat"), ("hnsw", "HNSW"), ("ivf-pq", "IVF-PQ")]),
                &[STORE],
            ),
            field(
                "agent_memory.store.index.m",
                "Links of a node",
                "m",
                Kind::Whole,
                &[is("agent_memory.store.index.kind", &["hnsw"])],
            ),
            field("agent_memory.store.on_gpu", "On the GPU", "", Kind::Switch, &[STORE]),
        ],
        presets: Some((PresetKind::AgentMemory, "serve")),
    },
    Group {
        id: "host",
        title: "Processor",
        told: host,
        fields: &[
            field(
                "host.isa",
                "Instruction set",
                "Candle's kernels depend on it",
                Kind::OneOf(&[
                    ("", "not said: AVX2"),
                    ("generic", "none (generic)"),
                    ("avx2", "AVX2"),
                    ("avx-vnni", "AVX-VNNI"),
                    ("avx512", "AVX-512 VNNI"),
                    ("avx512-amx", "AVX-512 with AMX"),
                    ("neon", "NEON"),
                ]),
                &[is(GPU, &["cpu"])],
            ),
            field(
                "host.threads",
                "Threads that compute",
                "their workspaces count",
                Kind::Optional,
                &[is(GPU, &["cpu"])],
            ),
            field(
                "host.l1d_cache_kib",
                "Level 1 data cache",
                "KiB of a hardware thread; products are cut by it",
                Kind::Optional,
                &[is(GPU, &["cpu"])],
            ),
            field(
                "host.l2_cache_kib",
                "Level 2 cache",
                "KiB of a hardware thread, which keeps as much",
                Kind::Optional,
                &[is(GPU, &["cpu"])],
            ),
            field(
                "host.l3_cache_kib",
                "Level 3 cache",
                "KiB, of all that share it",
                Kind::Optional,
                &[is(GPU, &["cpu"])],
            ),
        ],
        presets: None,
    },
];

fn number(document: &Value, path: &str) -> u64 {
    text_at(document, path).parse().unwrap_or(0)
}

fn counted(document: &Value, path: &str) -> String {
    format::count(number(document, path))
}

fn workload(document: &Value) -> String {
    match text_at(document, WORKLOAD).as_str() {
        "train" => {
            let method = match text_at(document, "workload.method").as_str() {
                "lora" => "LoRA",
                "qlora" => "QLoRA",
                "distill" => "distil",
                _ => "full",
            };
            format!("train, {method}, {}", text_at(document, "workload.optimizer"))
        }
        "embed" => "embed".to_owned(),
        _ => format!("serve, {} tokens out", counted(document, "workload.output_tokens")),
    }
}

fn engine(document: &Value) -> String {
    let name = text_at(document, ENGINE);
    [engine_name(&name).to_owned(), text_at(document, "engine.version"), text_at(document, "engine.variant")]
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn cache(document: &Value) -> String {
    let said: Vec<String> = ["precision.kv_cache", "attention.kind", "cache.kind"]
        .into_iter()
        .map(|path| text_at(document, path))
        .filter(|text| !text.is_empty())
        .collect();
    if said.is_empty() { "the engine's own".to_owned() } else { said.join(", ") }
}

fn beside(document: &Value) -> String {
    let mut said = Vec::new();
    for (path, what) in [
        ("workload.shared_prefix_tokens", "tokens shared"),
        ("workload.images.per_prompt", "images"),
        ("workload.lora_adapters.count", "adapters"),
        ("workload.speculation.tokens", "tokens proposed"),
    ] {
        match number(document, path) {
            0 => {}
            1 => said.push(format!("1 {}", what.replacen("tokens", "token", 1).trim_end_matches('s'))),
            n => said.push(format!("{} {what}", format::count(n))),
        }
    }
    let host = number(document, "workload.host_cache_mib");
    said.extend((host > 0).then(|| format!("{} on the host", planner::Bytes::from_mib(host))));
    if said.is_empty() { "nothing".to_owned() } else { said.join(", ") }
}

fn layout(document: &Value) -> String {
    let axes: Vec<(&str, u64)> = ["tensor", "pipeline", "data", "context"]
        .into_iter()
        .map(|axis| (axis, number(document, &format!("parallelism.{axis}")).max(1)))
        .collect();
    let gpus = axes.iter().fold(1u64, |product, (_, n)| product.saturating_mul(*n));
    if gpus == 1 {
        return "one".to_owned();
    }
    let zero = number(document, "parallelism.zero_stage");
    let mut said: Vec<String> =
        axes.iter().filter(|(_, n)| *n > 1).map(|(axis, n)| format!("{axis} {n}")).collect();
    said.extend((zero > 0).then(|| format!("ZeRO-{zero}")));
    format!("{}: {}", format::count(gpus), said.join(" · "))
}

fn memory(document: &Value) -> String {
    let mut said = Vec::new();
    match number(document, "gpu.memory_mib") {
        0 => said.extend(
            planner::catalogue::gpu(&text_at(document, GPU)).map(|gpu| format::gib(gpu.visible().bytes())),
        ),
        mib => said.push(format::gib(planner::Bytes::from_mib(mib))),
    }
    let in_use = number(document, "gpu.in_use_mib");
    said.extend((in_use > 0).then(|| format!("{} in use", planner::Bytes::from_mib(in_use))));
    let price = text_at(document, "gpu.price_per_hour");
    said.extend((!price.is_empty()).then(|| format!("{price} an hour")));
    if said.is_empty() { "not said".to_owned() } else { said.join(", ") }
}

fn compression(document: &Value) -> String {
    text_at(document, "compression.prune.kind")
}

fn agent(document: &Value) -> String {
    match number(document, "agent_memory.turns") {
        0 => "off".to_owned(),
        turns => format!("{} turns, {}", format::count(turns), text_at(document, POLICY).replace('-', " ")),
    }
}

fn host(document: &Value) -> String {
    let isa = text_at(document, "host.isa");
    let isa = if isa.is_empty() { "AVX2 assumed".to_owned() } else { isa };
    let threads = match number(document, "host.threads") {
        0 => String::new(),
        threads => format!(", {threads} threads"),
    };
    let caches = ["host.l1d_cache_kib", "host.l2_cache_kib", "host.l3_cache_kib"];
    let said = if caches.iter().any(|path| number(document, path) > 0) { ", its caches" } else { "" };
    format!("{isa}{threads}{said}")
}

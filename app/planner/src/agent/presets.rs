//! Agent memories and training recipes under the names that people know, as fields of a plan.

use serde_json::{Value, json};

/// A set of a plan's fields that a library's name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Its name, as people write it.
    pub name: &'static str,
    /// What it is for.
    pub kind: PresetKind,
    /// What the library does.
    pub behaviour: &'static str,
    /// Where that is documented.
    pub source: &'static str,
}

/// What a preset fills in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PresetKind {
    /// `agent_memory.policy`.
    AgentMemory,
    /// `parallelism` and `workload` of a training plan.
    Training,
}

const fn memory(name: &'static str, behaviour: &'static str, source: &'static str) -> Preset {
    Preset { name, kind: PresetKind::AgentMemory, behaviour, source }
}

const fn training(name: &'static str, behaviour: &'static str, source: &'static str) -> Preset {
    Preset { name, kind: PresetKind::Training, behaviour, source }
}

/// Every preset.
pub const PRESETS: &[Preset] = &[
    memory(
        "LangChain ConversationBufferMemory",
        "keeps every message",
        "langchain/memory/buffer.py: load_memory_variables returns the whole buffer",
    ),
    memory(
        "LangChain ConversationTokenBufferMemory",
        "keeps the last 2000 tokens (max_token_limit)",
        "langchain/memory/token_buffer.py: max_token_limit = 2000, save_context pops the oldest messages",
    ),
    memory(
        "LangChain ConversationBufferWindowMemory",
        "keeps the last 5 turns (k)",
        "langchain/memory/buffer_window.py: k = 5, messages[-k * 2:]",
    ),
    memory(
        "LangChain ConversationSummaryMemory",
        "folds every turn into a running summary",
        "langchain/memory/summary.py: predict_new_summary after each save_context",
    ),
    memory(
        "LangChain ConversationSummaryBufferMemory",
        "summarises what is older than the recent messages",
        "langchain/memory/summary_buffer.py: prune moves the oldest messages into moving_summary_buffer",
    ),
    memory(
        "LangChain VectorStoreRetrieverMemory",
        "shows the 4 nearest pieces of the past (the retriever's k)",
        "langchain/memory/vectorstore.py; langchain_core/vectorstores/base.py: similarity_search(k=4)",
    ),
    memory(
        "Letta (MemGPT)",
        "summarises the older messages when the context fills, keeps the rest",
        "MemGPT, arXiv 2310.08560, section 2.2: at the warning the queue manager evicts half of the messages into a recursive summary",
    ),
    memory(
        "Zep",
        "retrieves facts from a graph (20 edges) beside the last 4 messages",
        "Zep, arXiv 2501.13956, section 3.1: search returns the 20 most relevant edges; section 2.2.1: the last n = 4 messages",
    ),
    memory(
        "Hindsight",
        "recalls facts within a token budget and keeps the latest turn",
        "Hindsight, arXiv 2512.12818, section on recall: memories are returned until a token budget is filled",
    ),
    training(
        "DeepSpeed ZeRO-1",
        "optimizer states divided over data ranks",
        "arXiv 1910.02054, section 5.1 (P_os)",
    ),
    training("DeepSpeed ZeRO-2", "gradients too", "arXiv 1910.02054, section 5.2 (P_os+g)"),
    training("DeepSpeed ZeRO-3", "parameters too", "arXiv 1910.02054, section 5.3 (P_os+g+p)"),
    training("DeepSpeed ZeRO-Offload", "stage 2 with the optimizer in host memory", "arXiv 2101.06840"),
    training(
        "DeepSpeed ZeRO-Infinity",
        "stage 3 with optimizer and parameters on NVMe",
        "arXiv 2104.07857, section 5",
    ),
    training(
        "PyTorch FSDP full shard",
        "parameters, gradients and states divided, as stage 3",
        "arXiv 2304.11277; torch.distributed.fsdp ShardingStrategy.FULL_SHARD",
    ),
    training(
        "PyTorch FSDP shard grad op",
        "gradients and states divided, parameters kept between forward and backward",
        "torch.distributed.fsdp ShardingStrategy.SHARD_GRAD_OP",
    ),
    training(
        "Megatron selective recomputation",
        "attention recomputed, sequence parallel",
        "arXiv 2205.05198, sections 4 and 5",
    ),
    training("Apex AMP O0", "all in fp32", "NVIDIA Apex, apex.amp: opt_level O0, FP32 training"),
    training(
        "Apex AMP O1",
        "16-bit products by patching functions, weights stay fp32",
        "NVIDIA Apex, apex.amp: opt_level O1; as torch.cuda.amp autocast",
    ),
    training(
        "Apex AMP O2",
        "16-bit weights with fp32 masters",
        "NVIDIA Apex, apex.amp: opt_level O2, master_weights True",
    ),
    training(
        "Apex AMP O3",
        "all in 16 bit, no masters",
        "NVIDIA Apex, apex.amp: opt_level O3, master_weights False",
    ),
];

/// The fields that a preset's name stands for, to be merged into a plan (RFC 7396); none for an unknown name. Letters' case does
/// not matter.
#[must_use]
pub fn fields(name: &str) -> Option<Value> {
    let policy = |policy: Value| Some(json!({ "agent_memory": { "policy": policy } }));
    let zero = |stage: u8, offload: Option<Value>| {
        let mut parallelism = json!({ "zero_stage": stage });
        if let Some(offload) = offload {
            parallelism["offload"] = offload;
        }
        Some(json!({ "parallelism": parallelism }))
    };
    let precision = |mixed: bool, masters: bool, weights: &str| {
        Some(json!({
            "precision": { "weights": weights },
            "workload": { "mixed_precision": mixed, "master_weights": masters }
        }))
    };
    match PRESETS.iter().find(|p| p.name.eq_ignore_ascii_case(name))?.name {
        "LangChain ConversationBufferMemory" => policy(json!({ "kind": "full-history" })),
        "LangChain ConversationTokenBufferMemory" => policy(json!({ "kind": "window", "tokens": 2000 })),
        // A window of turns instead of tokens: recent turns, and nothing retrieved.
        "LangChain ConversationBufferWindowMemory" => {
            policy(json!({ "kind": "retrieve", "top_k": 0, "chunk_tokens": 0, "keep_recent_turns": 5 }))
        }
        "LangChain ConversationSummaryMemory" => {
            policy(json!({ "kind": "consolidate", "every_turns": 1, "ratio": 0.2, "keep_recent_turns": 0 }))
        }
        "LangChain ConversationSummaryBufferMemory" => {
            policy(json!({ "kind": "consolidate", "every_turns": 1, "ratio": 0.2, "keep_recent_turns": 5 }))
        }
        "LangChain VectorStoreRetrieverMemory" => {
            policy(json!({ "kind": "retrieve", "top_k": 4, "chunk_tokens": 256, "keep_recent_turns": 1 }))
        }
        "Letta (MemGPT)" => {
            policy(json!({ "kind": "consolidate", "every_turns": 10, "ratio": 0.2, "keep_recent_turns": 5 }))
        }
        "Zep" => {
            policy(json!({ "kind": "retrieve", "top_k": 20, "chunk_tokens": 64, "keep_recent_turns": 4 }))
        }
        "Hindsight" => {
            policy(json!({ "kind": "retrieve", "top_k": 16, "chunk_tokens": 256, "keep_recent_turns": 1 }))
        }
        "DeepSpeed ZeRO-1" => zero(1, None),
        "DeepSpeed ZeRO-2" | "PyTorch FSDP shard grad op" => zero(2, None),
        "DeepSpeed ZeRO-3" | "PyTorch FSDP full shard" => zero(3, None),
        "DeepSpeed ZeRO-Offload" => zero(2, Some(json!({ "optimizer": "cpu" }))),
        "DeepSpeed ZeRO-Infinity" => zero(3, Some(json!({ "optimizer": "nvme", "parameters": "nvme" }))),
        "Megatron selective recomputation" => {
            Some(json!({ "parallelism": { "sequence": true }, "workload": { "checkpointing": "selective" } }))
        }
        "Apex AMP O0" => precision(false, true, "fp32"),
        "Apex AMP O1" => precision(true, true, "fp32"),
        "Apex AMP O2" => precision(true, true, "fp16"),
        "Apex AMP O3" => precision(false, false, "fp16"),
        _ => None,
    }
}

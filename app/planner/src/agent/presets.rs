//! Agent memories and training recipes under the names that people know, as fields of a plan.

use serde::Serialize;
use serde_json::{Value, json};

use crate::document::merge;
use crate::error::PlanError;

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
    /// What the source does not say and is assumed.
    pub assumed: Option<&'static str>,
}

/// What a preset fills in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PresetKind {
    /// `agent_memory.policy` of a plan that serves.
    AgentMemory,
    /// `parallelism`, `precision` and `workload` of a plan that trains.
    Training,
}

/// A preset as the command line and the REST interface list it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Listed {
    /// Its name, as people write it. Case and punctuation do not matter where it is asked for.
    pub name: &'static str,
    /// What it is for.
    pub kind: PresetKind,
    /// What the library does.
    pub behaviour: &'static str,
    /// Where that is documented.
    pub source: &'static str,
    /// What the source does not say and is assumed; null: nothing.
    pub assumed: Option<&'static str>,
    /// The fields that it sets, to be merged into a plan (RFC 7396).
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub fields: Value,
}

const fn memory(name: &'static str, behaviour: &'static str, source: &'static str) -> Preset {
    Preset { name, kind: PresetKind::AgentMemory, behaviour, source, assumed: None }
}

const fn training(name: &'static str, behaviour: &'static str, source: &'static str) -> Preset {
    Preset { name, kind: PresetKind::Training, behaviour, source, assumed: None }
}

impl Preset {
    const fn assuming(self, assumed: &'static str) -> Self {
        Self { assumed: Some(assumed), ..self }
    }
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
    )
    .assuming("the summary is a fifth of the text"),
    memory(
        "LangChain ConversationSummaryBufferMemory",
        "summarises what is older than the recent messages",
        "langchain/memory/summary_buffer.py: prune moves the oldest messages into moving_summary_buffer",
    )
    .assuming("the summary is a fifth of the text, and five turns are recent: the library counts 2000 tokens (max_token_limit)"),
    memory(
        "LangChain VectorStoreRetrieverMemory",
        "shows the 4 nearest pieces of the past (the retriever's k)",
        "langchain/memory/vectorstore.py; langchain_core/vectorstores/base.py: similarity_search(k=4)",
    )
    .assuming("a piece has 256 tokens, and the prompt has the latest turn"),
    memory(
        "Letta (MemGPT)",
        "summarises the older messages when the context fills, keeps the rest",
        "MemGPT, arXiv 2310.08560, section 2.2: the queue manager evicts messages into a recursive summary; letta-ai/letta, \
         letta/settings.py (commit 5a27ab5): partial_evict_summarizer_percentage = 0.30 of the messages",
    )
    .assuming("a preset knows no context that fills: every 10 turns, the latest 5 kept, the summary a fifth of the text"),
    memory(
        "Zep",
        "retrieves the 20 nearest facts of a graph, 1600 tokens with their entities, beside the last 6 messages",
        "Zep, arXiv 2501.13956, section 4: the 20 most relevant edges and entity nodes, 1.6 thousand tokens of context on \
         average (table 2); help.getzep.com/using-memory: the last 4 to 6 messages of the thread beside them",
    ),
    memory(
        "Hindsight",
        "recalls the most relevant facts up to 4096 tokens",
        "vectorize-io/hindsight (commit da9a588), hindsight_api/api/http.py: RecallRequest.max_tokens = 4096; \
         hindsight-docs/docs/developer/api/recall.mdx: facts in order of relevance until the budget is exhausted",
    )
    .assuming("the prompt has the latest turn; the 4096 tokens stand as 16 pieces of 256"),
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

/// Every preset with its fields.
#[must_use]
pub fn list() -> Vec<Listed> {
    let listed = |preset: &Preset| {
        let Preset { name, kind, behaviour, source, assumed } = *preset;
        Listed { name, kind, behaviour, source, assumed, fields: fields(name).unwrap_or_default() }
    };
    PRESETS.iter().map(listed).collect()
}

/// The preset of a name; case and punctuation do not matter (`deepspeed-zero-3`).
#[must_use]
pub fn find(name: &str) -> Option<&'static Preset> {
    let plain = |text: &str| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
    };
    let wanted = plain(name);
    PRESETS.iter().find(|preset| plain(preset.name) == wanted)
}

/// A conversation to start from, for a plan that has none: 200 turns of 350 tokens after a system prompt of 800.
#[must_use]
pub fn conversation() -> Value {
    json!({
        "turns": 200, "tokens_per_turn": 350, "system_tokens": 800, "policy": { "kind": "full-history" }
    })
}

/// Writes the fields of the preset of `name` into a plan's document. A memory's policy takes the place of the one that is there;
/// where the document has no conversation, [`conversation`] is written too.
///
/// # Errors
/// `preset`, where the name is unknown (all names are given) or the preset is for another workload.
pub fn apply(document: &mut Value, name: &str) -> Result<(), PlanError> {
    let shown: String = name.chars().take(80).collect();
    let found = find(name).and_then(|preset| Some((preset, fields(preset.name)?)));
    let Some((preset, change)) = found else {
        let known: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        let remedy = format!("give one of {}", known.join(", "));
        return Err(PlanError::invalid("preset", format!("\"{shown}\" is unknown"), remedy));
    };
    let kind = document.pointer("/workload/kind").and_then(Value::as_str).unwrap_or("serve");
    let wanted = match preset.kind {
        PresetKind::AgentMemory => "serve",
        PresetKind::Training => "train",
    };
    if kind != wanted {
        let problem = format!("\"{}\" is for a plan with workload.kind {wanted}, not {kind}", preset.name);
        return Err(PlanError::invalid("preset", problem, format!("give workload.kind {wanted}")));
    }
    if preset.kind == PresetKind::AgentMemory {
        if document.get("agent_memory").is_none_or(Value::is_null) {
            document["agent_memory"] = conversation();
        }
        // Fields of another policy would be unknown to this one.
        document["agent_memory"]["policy"] = Value::Null;
    }
    merge(document, &change);
    Ok(())
}

/// The fields that a preset's name stands for, to be merged into a plan (RFC 7396); none for an unknown name. Case and
/// punctuation do not matter.
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
    match find(name)?.name {
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
            policy(json!({ "kind": "retrieve", "top_k": 20, "chunk_tokens": 80, "keep_recent_turns": 3 }))
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

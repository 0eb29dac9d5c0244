//! Lists to choose from.

use std::sync::OnceLock;

use planner::catalogue::{self, CPU};
use planner::document::precision::WeightPrecision;
use serde::{Deserialize, Serialize};

use crate::{format, link};

/// One of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// As the plan spells it.
    pub value: String,
    /// As people read it.
    pub label: String,
    /// What it stands under in the list; empty: under nothing.
    pub group: String,
}

impl Choice {
    fn new(value: impl Into<String>, label: impl Into<String>) -> Self {
        Self { value: value.into(), label: label.into(), group: String::new() }
    }
}

/// A model as the lists have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    id: String,
    parameters: u64,
    /// Whether it generates.
    generates: bool,
}

static OFFERED: OnceLock<Vec<Offered>> = OnceLock::new();

/// Every model of the catalogue; read once, because a shape takes a moment to lay out.
#[must_use]
pub fn offered() -> &'static [Offered] {
    // In the browser the page brings the list, and the catalogue comes with the planner's module.
    #[cfg(feature = "hydrate")]
    let read = Vec::new;
    #[cfg(not(feature = "hydrate"))]
    let read = || {
        let of = |entry: &planner::catalogue::ModelEntry| {
            let generates = entry.model().ok()?.is_decoder();
            Some(Offered { id: entry.id.clone(), parameters: entry.parameters, generates })
        };
        catalogue::models().iter().filter_map(of).collect()
    };
    OFFERED.get_or_init(read)
}

/// Takes the list of a page; the first counts, as all are the same.
pub fn offer(models: Vec<Offered>) {
    let _ = OFFERED.set(models);
}

/// Models that can do a workload: all of them embed, what generates serves and is trained.
#[must_use]
pub fn models(workload: &str) -> Vec<Choice> {
    offered().iter().filter(|entry| entry.generates || workload == "embed").map(model).collect()
}

/// The smallest model of the same maker that generates with the vocabulary of another: what can draft for it.
pub(super) fn draft(model: &str) -> Option<&'static str> {
    let maker = model.split_once('/').map_or(model, |(maker, _)| maker);
    let vocabulary = |id: &str| Some(catalogue::model(id)?.model().ok()?.vocab);
    let wanted = vocabulary(model)?;
    offered()
        .iter()
        .filter(|entry| entry.generates && entry.id != model)
        .filter(|entry| entry.id.split_once('/').is_some_and(|(own, _)| own == maker))
        .filter(|entry| vocabulary(&entry.id) == Some(wanted))
        .min_by_key(|entry| entry.parameters)
        .map(|entry| entry.id.as_str())
}

/// Models that embed texts for a store: the encoders, and none.
pub(super) fn encoders(_: &str) -> Vec<Choice> {
    let encoders = offered().iter().filter(|entry| !entry.generates).map(model);
    std::iter::once(Choice::new("", "none")).chain(encoders).collect()
}

fn model(entry: &Offered) -> Choice {
    let (owner, name) = entry.id.split_once('/').unwrap_or(("", &entry.id));
    let billions = entry.parameters as f64 / 1e9;
    let size = if billions < 0.0995 {
        format!("{} M", format::figure(billions * 1e3))
    } else {
        format!("{} B", format::figure(billions))
    };
    Choice { value: entry.id.clone(), label: format!("{name} · {size}"), group: owner.to_owned() }
}

/// Every GPU, the processor, and slices of GPUs.
#[must_use]
pub fn gpus(_: &str) -> Vec<Choice> {
    let gpus = catalogue::gpus().iter().map(|gpu| Choice::new(gpu.id.clone(), gpu.name.clone()));
    let slices = catalogue::slices().iter().map(|slice| {
        let group = "Slices (MIG)".to_owned();
        Choice { value: slice.id.clone(), label: slice.name.clone(), group }
    });
    gpus.chain([Choice::new(CPU, link::gpu_name(CPU))]).chain(slices).collect()
}

/// Engines of a workload.
pub(super) fn engines(workload: &str) -> Vec<Choice> {
    engines_of(workload).iter().map(|name| Choice::new(*name, engine_name(name))).collect()
}

/// Engines of a workload as plans spell them, those first that people reach for first.
pub(super) const fn engines_of(workload: &str) -> &'static [&'static str] {
    match workload.as_bytes() {
        b"train" => &["torchtune", "transformers", "torchtitan", "deepspeed", "megatron", "litgpt", "candle"],
        b"embed" => &["transformers", "vllm", "candle"],
        _ => &["candle", "vllm", "sglang", "tensorrt-llm", "llama.cpp", "transformers"],
    }
}

/// An engine as its makers write it.
#[must_use]
pub fn engine_name(name: &str) -> &str {
    match name {
        "candle" => "Candle",
        "vllm" => "vLLM",
        "sglang" => "SGLang",
        "tensorrt-llm" => "TensorRT-LLM",
        "transformers" => "Transformers",
        "litgpt" => "LitGPT",
        "megatron" => "Megatron-LM",
        "deepspeed" => "DeepSpeed",
        other => other,
    }
}

/// Weights of which an engine can make something.
pub(super) fn weights(engine: &str) -> Vec<Choice> {
    let named = |precision: &WeightPrecision| {
        let spelled = precision.as_str();
        let (group, label) = match spelled {
            "w8a8" => ("8 bits", "w8a8, int8 per channel".to_owned()),
            "int4-g128" => ("4 bits", "int4, groups of 128 (AWQ, GPTQ)".to_owned()),
            "nf4" => ("4 bits", "NF4".to_owned()),
            "nf4-dq" => ("4 bits", "NF4, double quantized".to_owned()),
            "mxfp4" | "nvfp4" => ("4 bits", spelled.to_uppercase()),
            "fp8" | "int8" => ("8 bits", spelled.to_owned()),
            gguf if gguf.starts_with("gguf:") => ("GGUF", gguf.trim_start_matches("gguf:").to_uppercase()),
            other => ("Floating point", other.to_owned()),
        };
        Choice { value: spelled.to_owned(), label, group: group.to_owned() }
    };
    let held = WeightPrecision::ALL.iter().filter(|precision| holds(engine, precision.as_str()));
    std::iter::once(Choice::new("", "as the checkpoint is stored")).chain(held.map(named)).collect()
}

/// Whether an engine can make something of weights so stored. What it refuses all the same for one model or GPU, the
/// planner says.
pub(super) fn holds(engine: &str, weights: &str) -> bool {
    let gguf = weights.strip_prefix("gguf:");
    match (engine, gguf) {
        ("candle", Some(kind)) => {
            !matches!(kind, "f32" | "f16" | "bf16" | "q3_k_l") && !kind.starts_with("iq") && kind != "q2_k_s"
        }
        ("candle", None) => matches!(weights, "fp32" | "bf16" | "fp16" | "fp8"),
        ("llama.cpp", kind) => kind.is_some(),
        (_, Some(_)) => false,
        ("vllm" | "sglang" | "tensorrt-llm", None) => weights != "tf32",
        ("transformers", None) => weights != "w8a8" && weights != "nvfp4",
        // Engines that train: what is trained, and NF4 below adapters.
        (_, None) => matches!(weights, "fp32" | "tf32" | "bf16" | "fp16" | "nf4" | "nf4-dq"),
    }
}

/// Whether an engine has any use for a value of a field. What it refuses all the same for one plan, the planner says.
#[must_use]
pub fn offers(engine: &str, path: &str, value: &str) -> bool {
    let any: &[&str] = match (path, engine) {
        ("precision.kv_cache", "vllm" | "sglang") => &["", "fp32", "bf16", "fp16", "fp8"],
        ("precision.kv_cache", "tensorrt-llm") => &["", "bf16", "fp16", "fp8", "int8"],
        ("precision.kv_cache", "llama.cpp") => {
            &["", "fp32", "bf16", "fp16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
        }
        ("precision.kv_cache", "candle") => &["", "fp32", "bf16", "fp16", "fp8", "int8"],
        ("precision.activations", "tensorrt-llm") => &["", "bf16", "fp16"],
        ("attention.kind", "llama.cpp") => &["", "eager", "flash"],
        ("attention.kind", "torchtitan") => &["", "memory-efficient", "flash"],
        ("attention.kind", "megatron") => &["", "eager", "flash", "sliding-window"],
        ("attention.kind", "transformers" | "litgpt" | "torchtune" | "deepspeed") => {
            &["", "eager", "memory-efficient", "flash"]
        }
        ("cache.kind", "vllm" | "sglang" | "tensorrt-llm") => &["", "paged"],
        ("compression.prune.kind", "candle") => &["none", "unstructured", "depth", "width"],
        ("compression.prune.kind", "litgpt" | "torchtune" | "deepspeed") => &["none"],
        ("parallelism.zero_stage", "transformers" | "litgpt" | "torchtune" | "torchtitan") => &["0", "3"],
        ("parallelism.zero_stage", "megatron") => &["0", "1"],
        ("parallelism.offload.optimizer" | "parallelism.offload.parameters", "torchtitan" | "megatron") => {
            &["none", "cpu"]
        }
        ("workload.speculation.kind", "llama.cpp" | "transformers") => &["", "draft-model"],
        ("workload.method", "torchtitan" | "megatron") => &["full"],
        ("workload.method", "litgpt" | "candle") => &["full", "lora", "qlora"],
        ("workload.optimizer", "candle") => &["adamw", "sgd"],
        ("workload.checkpointing", "candle") => &["none", "full"],
        ("workload.optimizer", "torchtitan") => &["adamw"],
        ("workload.optimizer", "megatron") => &["adamw", "sgd", "sgd-momentum"],
        _ => return true,
    };
    any.contains(&value)
}

/// Precisions of a teacher.
pub(super) fn teachers(_: &str) -> Vec<Choice> {
    ["bf16", "fp16", "fp32", "fp8", "int8", "nf4", "nf4-dq"].map(|p| Choice::new(p, p)).to_vec()
}

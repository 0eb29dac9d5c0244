//! A plan as a document that can be changed field by field and stays a plan.
//!
//! What hangs together changes together: another kind brings the numbers that it needs, another engine drops the settings
//! that it does not have, another model is not asked for longer sequences than it takes.

use planner::agent::presets;
use planner::document::plan::{ModelRef, Plan};
use planner::{Compiled, Model, PlanError, PlanErrorKind, catalogue};
use serde_json::{Map, Value, json};

use super::choices::{draft, engines_of, holds};
use super::{ENGINE, Field, GPU, Kind, all, at, text_at};

/// Fields that decide what others there are, in the order in which they must be set.
const DECIDING: [&str; 18] = [
    "model.id",
    "workload.kind",
    GPU,
    ENGINE,
    "precision.weights",
    "workload.method",
    "attention.kind",
    "cache.kind",
    "parallelism.pipeline_schedule.kind",
    "compression.prune.kind",
    "workload.images",
    "workload.lora_adapters",
    "workload.speculation.kind",
    "workload.speculation.model.id",
    "agent_memory",
    "agent_memory.policy.kind",
    "agent_memory.store",
    "agent_memory.store.index.kind",
];

/// Where a field stands in the order in which several must be set.
#[must_use]
pub fn rank(field: &Field) -> usize {
    DECIDING.iter().position(|path| *path == field.path).unwrap_or(DECIDING.len())
}

/// The whole document of a plan, with what a written plan leaves out because it is as by default.
#[must_use]
pub fn of(plan: &Plan) -> Value {
    let mut document = serde_json::to_value(plan).unwrap_or_default();
    if let Value::Object(map) = &mut document {
        let mut fill = |key: &str, value: serde_json::Result<Value>| {
            map.insert(key.to_owned(), value.unwrap_or_default());
        };
        fill("parallelism", serde_json::to_value(&plan.parallelism));
        fill("compression", serde_json::to_value(&plan.compression));
    }
    document
}

/// The plan with a field changed, and with it whatever depends on it.
///
/// # Errors
/// The field, where the value is none that it can have.
pub fn changed(plan: &Plan, field: &Field, value: Value) -> Result<Plan, PlanError> {
    let mut document = of(plan);
    set(&mut document, field, value);
    read(document, field)
}

/// The plan of a document after `field` was set in it.
///
/// # Errors
/// As [`changed`].
pub fn read(document: Value, field: &Field) -> Result<Plan, PlanError> {
    Plan::from_value(document).map_err(|error| PlanError { field: field.path.to_owned(), ..error })
}

/// The plan with every field of a change set: a part of a document, as a preset gives it. None where the result is no plan.
#[must_use]
pub fn applied(plan: &Plan, change: &Value) -> Option<Plan> {
    let mut document = of(plan);
    if change.get("agent_memory").is_some() && at(&document, "agent_memory").is_none_or(Value::is_null) {
        put(&mut document, "agent_memory", template("agent_memory", ""));
    }
    let mut fields: Vec<(&Field, Value)> = all()
        .filter(|field| !matches!(field.kind, Kind::Part))
        .filter_map(|field| Some((field, at(change, field.path)?.clone())))
        .collect();
    fields.sort_by_key(|(field, _)| rank(field));
    for (field, value) in fields {
        set(&mut document, field, value);
    }
    Plan::from_value(document).ok()
}

/// Sets a field and whatever depends on it; null leaves it out.
pub fn set(document: &mut Value, field: &Field, value: Value) {
    let path = field.path;
    if at(document, path).unwrap_or(&Value::Null) == &value {
        return;
    }
    let text = value.as_str().unwrap_or_default().to_owned();
    match path {
        "model.id" => choose_model(document, &text),
        "workload.kind" => choose_workload(document, &text),
        GPU => choose_gpu(document, &text),
        ENGINE => choose_engine(document, &text),
        "precision.weights" => {
            put(document, path, value);
            if text_at(document, ENGINE) == "candle" {
                // It computes in what its weights are in. Its own decoder's cache may differ, the stock models' not.
                put(document, "precision.activations", Value::Null);
                drop_refused(document, "precision.kv_cache");
                if text_at(document, "workload.kind") == "train" {
                    settle(document);
                }
            }
        }
        "workload.method" => choose_method(document, &text),
        "attention.kind" | "cache.kind" | "compression.prune.kind" => {
            let whole = path.trim_end_matches(".kind");
            put(document, whole, if text.is_empty() { Value::Null } else { template(path, &text) });
        }
        "parallelism.pipeline_schedule.kind"
        | "agent_memory.policy.kind"
        | "agent_memory.store.index.kind" => {
            put(document, path.trim_end_matches(".kind"), template(path, &text));
        }
        "workload.speculation.kind" if text.is_empty() => put(document, "workload.speculation", Value::Null),
        "workload.speculation.kind" => {
            let mut speculation = template(path, &text);
            if text == "draft-model" {
                let model = text_at(document, "model.id");
                let draft = draft(&model).map_or(model.clone(), str::to_owned);
                put(&mut speculation, "model.id", draft.into());
            }
            put(document, "workload.speculation", speculation);
        }
        "workload.speculation.model.id" => put(document, "workload.speculation.model", json!({ "id": text })),
        "agent_memory" | "agent_memory.store" | "workload.images" | "workload.lora_adapters" => {
            let there = value == Value::Bool(true);
            match (there, at(document, path).is_some_and(|part| !part.is_null())) {
                (true, false) => put(document, path, template(path, "")),
                (false, _) => put(document, path, Value::Null),
                (true, true) => {}
            }
        }
        "agent_memory.embedding_model.id" if text.is_empty() => {
            put(document, "agent_memory.embedding_model", Value::Null);
        }
        "agent_memory.embedding_model.id" => {
            put(document, "agent_memory.embedding_model", json!({ "id": text }));
            // The store holds what the model gives.
            if let Some(width) =
                catalogue::model(&text).and_then(|entry| entry.config.get("hidden_size")).cloned()
                && at(document, "agent_memory.store").is_some_and(Value::is_object)
            {
                put(document, "agent_memory.store.dimensions", width);
            }
        }
        "workload.teacher.model.id" => put(document, "workload.teacher.model", json!({ "id": text })),
        "workload.prompt_tokens" | "workload.output_tokens" => {
            put(document, path, value);
            lengthen(document);
        }
        "parallelism.tensor" | "parallelism.pipeline" | "parallelism.data" | "parallelism.context" => {
            put(document, path, value);
            // It must equal their product, and follows from it where it is left out.
            put(document, "gpu.count", Value::Null);
        }
        _ => put(document, path, value),
    }
}

/// Writes a value at a path, making the objects on the way; null removes what is there.
fn put(document: &mut Value, path: &str, value: Value) {
    let mut place = document;
    let mut segments = path.split('.').peekable();
    while let Some(segment) = segments.next() {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(map) = place else { return };
        if segments.peek().is_none() {
            if value.is_null() {
                map.remove(segment);
            } else {
                map.insert(segment.to_owned(), value);
            }
            return;
        }
        if value.is_null() && !map.contains_key(segment) {
            return;
        }
        place = map.entry(segment.to_owned()).or_insert_with(|| Value::Object(Map::new()));
    }
}

/// A valid part of a document for a kind, with numbers to start from.
fn template(path: &str, kind: &str) -> Value {
    match (path, kind) {
        ("attention.kind", "sliding-window") => json!({ "kind": kind, "window": 4096 }),
        ("attention.kind", "longformer") => json!({ "kind": kind, "window": 512, "global_tokens": 64 }),
        ("attention.kind", "big-bird") => json!({
            "kind": kind, "block": 64, "window_blocks": 3, "global_blocks": 2, "random_blocks": 3
        }),
        ("parallelism.pipeline_schedule.kind", "interleaved") => json!({ "kind": kind, "virtual_stages": 2 }),
        ("compression.prune.kind", "unstructured") => json!({ "kind": kind, "sparsity": 0.5 }),
        ("compression.prune.kind", "depth") => json!({ "kind": kind, "layers": 8 }),
        ("compression.prune.kind", "width") => json!({ "kind": kind, "hidden": 0.25 }),
        ("agent_memory.policy.kind", "window") => json!({ "kind": kind, "tokens": 8192 }),
        ("agent_memory.policy.kind", "consolidate") => json!({
            "kind": kind, "every_turns": 10, "ratio": 0.2, "keep_recent_turns": 5
        }),
        ("agent_memory.policy.kind", "retrieve") => json!({
            "kind": kind, "top_k": 8, "chunk_tokens": 256, "keep_recent_turns": 3
        }),
        ("agent_memory.store.index.kind", "hnsw") => json!({ "kind": kind, "m": 16 }),
        ("workload.speculation.kind", "mtp") => json!({ "kind": kind, "tokens": 1 }),
        ("workload.speculation.kind", _) => json!({ "kind": kind, "tokens": 4 }),
        ("workload.images", _) => json!({ "per_prompt": 1 }),
        ("workload.lora_adapters", _) => json!({ "count": 1, "rank": 16 }),
        ("agent_memory", _) => presets::conversation(),
        ("agent_memory.store", _) => json!({
            "vectors": 1_000_000, "dimensions": 384, "element": "fp32", "index": { "kind": "hnsw", "m": 16 },
            "on_gpu": false
        }),
        _ => json!({ "kind": kind }),
    }
}

fn choose_model(document: &mut Value, id: &str) {
    if id.is_empty() {
        return;
    }
    put(document, "model", json!({ "id": id }));
    suit(document);
}

/// The plan for another model, asked only what that model can do.
#[must_use]
pub fn with_model(plan: &Plan, model: ModelRef) -> Plan {
    let mut document = of(plan);
    put(&mut document, "model", serde_json::to_value(&model).unwrap_or_default());
    suit(&mut document);
    Plan::from_value(document).unwrap_or_else(|_| Plan { model, ..plan.clone() })
}

/// Asks of a model that was chosen only what it can do: no longer sequences than it takes, and no text of an encoder.
fn suit(document: &mut Value) {
    let model = at(document, "model").cloned().and_then(|model| serde_json::from_value(model).ok());
    let Some(model) = model.and_then(|model| Model::from_ref(&model).ok()) else { return };
    if !model.is_decoder() && text_at(document, "workload.kind") != "embed" {
        choose_workload(document, "embed");
    }
    let most = model.max_tokens.0;
    let number = |document: &Value, path: &str| at(document, path).and_then(Value::as_u64);
    match text_at(document, "workload.kind").as_str() {
        "serve" => {
            let output = number(document, "workload.output_tokens").unwrap_or(0).min(most / 2);
            let prompt = number(document, "workload.prompt_tokens").unwrap_or(1).min(most - output);
            put(document, "workload.output_tokens", output.into());
            put(document, "workload.prompt_tokens", prompt.into());
            put(document, "workload.max_model_len", Value::Null);
        }
        _ => {
            if number(document, "workload.sequence_tokens").is_some_and(|tokens| tokens > most) {
                put(document, "workload.sequence_tokens", most.into());
            }
        }
    }
}

fn choose_workload(document: &mut Value, kind: &str) {
    let workload = match kind {
        "train" => json!({ "kind": "train", "method": "full", "sequence_tokens": 2048 }),
        "embed" => json!({ "kind": "embed", "sequence_tokens": 512, "batch": 32 }),
        _ => {
            json!({ "kind": "serve", "prompt_tokens": 2048, "output_tokens": 512, "concurrent_sequences": 1 })
        }
    };
    put(document, "workload", workload);
    if kind != "serve" {
        put(document, "agent_memory", Value::Null);
        put(document, "cache", Value::Null);
        put(document, "precision.kv_cache", Value::Null);
    }
    drop_useless(document);
    let engines = engines_of(kind);
    let engine = text_at(document, ENGINE);
    // Who serves with Candle trains elsewhere, but on a processor.
    let leaves_candle = kind == "train" && engine == "candle" && text_at(document, GPU) != catalogue::CPU;
    let stays = engines.contains(&engine.as_str()) && !leaves_candle;
    if !stays {
        let answers = |engine: &&&str| {
            let mut tried = document.clone();
            choose_engine(&mut tried, engine);
            Plan::from_value(tried).is_ok_and(|plan| Compiled::new(&plan).is_ok())
        };
        let engine = engines.iter().find(answers).or(engines.first());
        if let Some(engine) = engine {
            choose_engine(document, engine);
        }
    }
    settle(document);
}

/// Removes a setting that the document's engine refuses.
fn drop_refused(document: &mut Value, path: &str) {
    if at(document, path).is_none_or(Value::is_null) {
        return;
    }
    let Ok(plan) = Plan::from_value(document.clone()) else { return };
    if Compiled::new(&plan).is_err_and(|error| error.field == path) {
        put(document, path, Value::Null);
    }
}

/// Sets the switches as the engine has them where it has no other way: torchtune, for one, knows no mixed precision, and
/// Candle computes fp32 in no other.
fn settle(document: &mut Value) {
    // Each pass settles one switch; there are not more of them.
    for _ in 0..8 {
        let Ok(plan) = Plan::from_value(document.clone()) else { return };
        let Err(error) = Compiled::new(&plan).and_then(|compiled| compiled.estimate()) else { return };
        let switch = all().find(|field| matches!(field.kind, Kind::Switch) && field.path == error.field);
        let is_settled = matches!(error.kind, PlanErrorKind::Unsupported | PlanErrorKind::Invalid);
        let Some(field) = switch.filter(|_| is_settled) else { return };
        let on = text_at(document, field.path) == "true";
        put(document, field.path, (!on).into());
    }
}

fn choose_gpu(document: &mut Value, id: &str) {
    if let Some(Value::Object(gpu)) = document.get_mut("gpu") {
        gpu.insert("id".to_owned(), id.into());
        // Facts of the GPU that was there.
        for fact in ["memory_mib", "in_use_mib", "price_per_hour", "power_w"] {
            gpu.remove(fact);
        }
    }
    if id == catalogue::CPU {
        if text_at(document, ENGINE) != "candle" {
            choose_engine(document, "candle");
        }
    } else {
        put(document, "host", Value::Null);
    }
}

fn choose_engine(document: &mut Value, engine: &str) {
    put(document, "engine", json!({ "name": engine }));
    for part in ["cache", "attention"] {
        put(document, part, Value::Null);
    }
    put(document, "precision.kv_cache", Value::Null);
    put(document, "precision.activations", Value::Null);
    let weights = text_at(document, "precision.weights");
    if !weights.is_empty() && !holds(engine, &weights) {
        let nearest = nearest(engine, &weights).map_or(Value::Null, Value::from);
        put(document, "precision.weights", nearest);
    }
    drop_useless(document);
    settle(document);
}

/// Weights of an engine that are most like those of another.
fn nearest(engine: &str, weights: &str) -> Option<&'static str> {
    let like: &[&'static str] = match weights.trim_start_matches("gguf:") {
        "fp32" | "f32" | "tf32" => &["fp32", "gguf:f32"],
        "bf16" | "fp16" | "f16" => &["bf16", "gguf:bf16"],
        "fp8" | "int8" | "w8a8" | "q8_0" | "q6_k" => &["int8", "fp8", "gguf:q8_0"],
        _ => &["int4-g128", "nf4", "gguf:q4_k_m"],
    };
    like.iter().copied().find(|weights| holds(engine, weights))
}

/// Removes the settings that the document's engine and GPU do not have.
fn drop_useless(document: &mut Value) {
    for field in all().filter(|field| !field.when.is_empty()) {
        if !field.is_useful(document) {
            // A choice without its kind would be none.
            put(document, field.path.strip_suffix(".kind").unwrap_or(field.path), Value::Null);
        }
    }
}

fn choose_method(document: &mut Value, method: &str) {
    put(document, "workload.method", method.into());
    if matches!(method, "lora" | "qlora") {
        if at(document, "workload.lora").is_none_or(Value::is_null) {
            let targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
            put(
                document,
                "workload.lora",
                json!({ "rank": 16, "targets": targets, "train_embeddings": false }),
            );
        }
    } else {
        put(document, "workload.lora", Value::Null);
    }
    if method == "distill" {
        let own = text_at(document, "model.id");
        let teacher = if own.is_empty() { "meta-llama/Llama-3.1-8B" } else { &own };
        put(document, "workload.teacher", json!({ "model": { "id": teacher }, "precision": "bf16" }));
    } else {
        put(document, "workload.teacher", Value::Null);
    }
    // What adapters alone are trained beside: Candle has no NF4, and keeps it in GGUF's blocks.
    let (frozen, least) =
        if text_at(document, ENGINE) == "candle" { ("gguf:", "gguf:q4_0") } else { ("nf4", "nf4") };
    let is_frozen = text_at(document, "precision.weights").starts_with(frozen);
    match (method, is_frozen) {
        ("qlora", false) => put(document, "precision.weights", least.into()),
        ("qlora", true) | (_, false) => {}
        (_, true) => put(document, "precision.weights", "bf16".into()),
    }
    settle(document);
}

/// Leaves the longest sequence out where the plan's own have outgrown it.
fn lengthen(document: &mut Value) {
    let number = |path: &str| at(document, path).and_then(Value::as_u64).unwrap_or(0);
    let sequence = number("workload.prompt_tokens").saturating_add(number("workload.output_tokens"));
    if number("workload.max_model_len") < sequence {
        put(document, "workload.max_model_len", Value::Null);
    }
}

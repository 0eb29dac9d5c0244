use planner::Plan;
use serde_json::json;

use super::*;
use crate::link;

fn plan(query: &str) -> Plan {
    link::read(query).unwrap_or_else(|error| panic!("{query}: {error}"))
}

#[test]
fn a_path_and_a_key_are_there_once() {
    let mut names = std::collections::BTreeSet::new();
    for field in all() {
        assert!(names.insert(field.path), "{} is there twice", field.path);
        assert!(field.key.is_empty() || names.insert(field.key), "{} is there twice", field.key);
    }
}

#[test]
fn a_document_is_its_plan() {
    for query in ["", "gpu=cpu&threads=3", "engine=vllm&workload.kind=train&workload.method=distill"] {
        let plan = plan(query);
        assert_eq!(Plan::from_value(document::of(&plan)).unwrap(), plan, "{query}");
    }
}

/// Every leaf of the richest documents has a field, so that nothing of the contract is without a control.
#[test]
fn every_field_of_the_contract_has_a_control() {
    let documents = [
        json!({
            "model": { "id": "" }, "gpu": { "id": "", "memory_mib": 1, "in_use_mib": 1, "gpus_per_node": 1,
                "price_per_hour": 1.0, "power_w": 1.0 },
            "engine": { "name": "", "version": "", "variant": "" },
            "precision": { "weights": "", "kv_cache": "", "activations": "" },
            "cache": { "kind": "", "page_tokens": 1 },
            "workload": { "kind": "", "prompt_tokens": 1, "output_tokens": 1, "concurrent_sequences": 1,
                "max_model_len": 1, "max_batched_tokens": 1, "max_sequences": 1, "memory_fraction": 0.5, "gpu_layers": 1,
                "shared_prefix_tokens": 1, "host_cache_mib": 1, "images": { "per_prompt": 1, "width": 1, "height": 1 },
                "lora_adapters": { "count": 1, "rank": 1, "targets": [""] },
                "speculation": { "kind": "", "model": { "id": "" }, "precision": "", "tokens": 1, "acceptance": 0.5 } },
            "host": { "isa": "", "threads": 1 }
        }),
        document::of(&plan(
            "workload.kind=train&workload.method=lora&parallelism.pipeline_schedule.kind=interleaved\
             &attention.kind=longformer&compression.prune.kind=unstructured",
        )),
        document::of(&plan(
            "workload.kind=train&workload.method=distill&attention.kind=big-bird&compression.prune.kind=depth",
        )),
        document::of(&plan("workload.kind=embed&compression.prune.kind=width")),
        document::of(&plan("agent_memory=true&agent_memory.policy.kind=consolidate&agent_memory.store=true")),
        document::of(&plan(
            "agent_memory=true&agent_memory.policy.kind=retrieve\
             &agent_memory.embedding_model.id=sentence-transformers/all-MiniLM-L6-v2",
        )),
        document::of(&plan("agent_memory=true&agent_memory.policy.kind=window")),
    ];
    for document in &documents {
        leaves("", document, &mut |path| {
            assert!(path == "schema" || find(path).is_some(), "no control for {path}");
        });
    }
}

fn leaves(path: &str, value: &Value, each: &mut impl FnMut(&str)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(&path, value, each);
            }
        }
        _ => each(path),
    }
}

/// Whatever is chosen from a list of the page, the document stays a plan.
#[test]
fn every_choice_makes_a_plan() {
    for start in [
        "",
        "engine=vllm&agent_memory=true&agent_memory.store=true",
        "engine=vllm&workload.images=true&workload.lora_adapters=true&workload.speculation.kind=draft-model",
        "workload.kind=train",
        "workload.kind=embed",
    ] {
        let plan = plan(start);
        let document = document::of(&plan);
        for field in all().filter(|field| field.is_shown(&document)) {
            let values: Vec<String> = match field.kind {
                Kind::Few(list) | Kind::OneOf(list) => {
                    list.iter().map(|(value, _)| (*value).to_owned()).collect()
                }
                Kind::Choice { by, from } => {
                    from(&text_at(&document, by)).into_iter().map(|choice| choice.value).collect()
                }
                Kind::Switch | Kind::Part => vec!["true".to_owned(), "false".to_owned()],
                _ => Vec::new(),
            };
            for value in values {
                let parsed =
                    field.parse(&value).unwrap_or_else(|error| panic!("{} = {value}: {error:?}", field.path));
                let changed = document::changed(&plan, field, parsed);
                assert!(changed.is_ok(), "{start}: {} = {value}: {changed:?}", field.path);
            }
        }
    }
}

/// The estimate without advice, which takes many more.
fn estimate(plan: &Plan) -> Result<planner::Estimate, planner::PlanError> {
    planner::Compiled::new(plan)?.estimate()
}

/// What an engine is offered it does not refuse as a setting that it lacks; what hangs on other fields is left to the planner.
#[test]
fn an_engine_is_offered_what_it_has() {
    const HANGS: [&str; 9] = [
        // Not every model has layers for further tokens.
        "workload.speculation.kind",
        "workload.kind",
        "engine.variant",
        // Only Candle's own decoder has them all.
        "attention.kind",
        "cache.kind",
        // Transformers serves a pruned model and trains none.
        "compression.prune.kind",
        "parallelism.pipeline_schedule.kind",
        "parallelism.offload.optimizer",
        "parallelism.offload.parameters",
    ];
    let engine = find("engine.name").unwrap();
    for start in ["", "workload.kind=train", "workload.kind=train&workload.method=lora"] {
        let start = plan(start);
        let Kind::Choice { by, from } = engine.kind else { panic!("a list") };
        for chosen in from(&text_at(&document::of(&start), by)) {
            let plan = document::changed(&start, engine, chosen.value.clone().into()).unwrap();
            if estimate(&plan).is_err() {
                continue;
            }
            let document = document::of(&plan);
            for field in all().filter(|f| f.is_shown(&document) && !HANGS.contains(&f.path)) {
                let values: Vec<&str> = match field.kind {
                    Kind::Few(list) | Kind::OneOf(list) => list
                        .iter()
                        .map(|(value, _)| *value)
                        .filter(|v| offers(&chosen.value, field.path, v))
                        .collect(),
                    Kind::Switch if field.path != "workload.async_tensor_parallel" => vec!["true"],
                    _ => continue,
                };
                for value in values {
                    let changed = document::changed(&plan, field, field.parse(value).unwrap()).unwrap();
                    if let Err(error) = estimate(&changed) {
                        assert!(
                            !field.is_at(&error.field),
                            "{}: {} = {value}: {error}",
                            chosen.value,
                            field.path
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn every_weight_that_candle_is_offered_is_planned() {
    let weights = find("weights").unwrap();
    let start = plan("batch=1&weights=bf16&context=2048&output=512");
    let Kind::Choice { from, .. } = weights.kind else { panic!("a list") };
    for choice in from("candle") {
        let plan = document::changed(&start, weights, weights.parse(&choice.value).unwrap()).unwrap();
        assert!(planner::estimate(&plan).is_ok(), "{}: {:?}", choice.value, planner::estimate(&plan));
    }
}

#[test]
fn what_hangs_together_changes_together() {
    let set = |plan: &Plan, name: &str, text: &str| {
        let field = find(name).unwrap();
        document::changed(plan, field, field.parse(text).unwrap()).unwrap()
    };
    let text = |plan: &Plan, path: &str| text_at(&document::of(plan), path);
    let start = plan("");
    // A small model is not asked for more tokens than it takes.
    let small = set(&set(&start, "context", "100000"), "model", "HuggingFaceTB/SmolLM2-135M");
    assert!(planner::estimate(&small).is_ok(), "{:?}", planner::estimate(&small));
    // An encoder embeds.
    let encoder = set(&start, "model", "sentence-transformers/all-MiniLM-L6-v2");
    assert_eq!(text(&encoder, "workload.kind"), "embed");
    // The processor is Candle's, and knows no price.
    let served = set(&set(&start, "engine", "vllm"), "gpu.price_per_hour", "2.5");
    let cpu = set(&served, "gpu", "cpu");
    assert_eq!(
        (text(&cpu, "engine.name"), text(&cpu, "gpu.price_per_hour")),
        ("candle".into(), String::new())
    );
    // QLoRA is on four bits, and full fine-tuning is not.
    let qlora = set(&set(&start, "workload.kind", "train"), "workload.method", "qlora");
    assert_eq!(text(&qlora, "precision.weights"), "nf4");
    let full = set(&qlora, "workload.method", "full");
    assert_eq!(
        (text(&full, "precision.weights"), text(&full, "workload.lora.rank")),
        ("bf16".into(), String::new())
    );
    // Another engine drops what it has no setting for, and holds weights that are most alike.
    let many = set(&set(&start, "engine", "vllm"), "parallelism.tensor", "4");
    let four = set(&set(&many, "workload.memory_fraction", "0.8"), "weights", "int4-g128");
    let llama = set(&four, "engine", "llama.cpp");
    assert_eq!(text(&llama, "workload.memory_fraction"), "");
    assert_eq!(text(&llama, "precision.weights"), "gguf:q4_k_m");
    let candle = set(&llama, "engine", "candle");
    assert_eq!(text(&candle, "parallelism.tensor"), "1");
    // A draft speaks the model's language, and goes with the engine.
    let drafted = set(
        &set(&set(&start, "engine", "vllm"), "model", "meta-llama/Llama-3.1-8B"),
        "workload.speculation.kind",
        "draft-model",
    );
    assert_eq!(text(&drafted, "workload.speculation.model.id"), "meta-llama/Llama-3.2-1B");
    assert!(planner::estimate(&drafted).is_ok(), "{:?}", planner::estimate(&drafted));
    let adapted = set(&set(&drafted, "workload.lora_adapters", "true"), "workload.images", "true");
    assert_eq!(text(&adapted, "workload.lora_adapters.rank"), "16");
    let candle = set(&adapted, "engine", "candle");
    for gone in ["workload.speculation.tokens", "workload.lora_adapters.count", "workload.images.per_prompt"]
    {
        assert_eq!(text(&candle, gone), "", "{gone}");
    }
    // The longest sequence is left out once the plan has outgrown it.
    let longest = set(&set(&start, "max_len", "4096"), "context", "8000");
    assert_eq!(text(&longest, "workload.max_model_len"), "");
}

#[test]
fn an_error_stands_at_its_field() {
    for (name, error, there) in [
        ("weights", "precision.weights", true),
        ("weights", "precision", true),
        ("attention.kind", "attention", true),
        ("workload.lora.targets", "workload.lora.targets[2]", true),
        ("gpu", "gpu.id", true),
        ("gpu", "gpu.count", false),
        ("parallelism.tensor", "parallelism.tensor", true),
        ("parallelism.tensor", "parallelism.tensors", false),
    ] {
        assert_eq!(find(name).unwrap().is_at(error), there, "{name}: {error}");
    }
}

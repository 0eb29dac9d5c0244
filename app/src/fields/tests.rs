use planner::Plan;

use super::*;
use crate::link;

mod full;

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

/// Fields of a plan that no control sets, and what does.
const ELSEWHERE: [(&str, &str); 7] = [
    ("schema", "the version of the document"),
    ("model.name", "a model of one's own, pasted or dropped"),
    ("model.config", "the same"),
    ("model.stored", "the same"),
    ("model.gguf", "a path, which the command line alone reads"),
    ("model.safetensors", "the same"),
    ("gpu.count", "the product of the parallel ranks, and refused where it is another number"),
];

/// Documents that together have every field that the types have: a field that is new does not compile here until it is given
/// a value, and has no control until it is in the table.
#[test]
fn every_field_of_a_plan_has_a_control() {
    let mut missing = std::collections::BTreeSet::new();
    let mut seen = std::collections::BTreeSet::new();
    for plan in full::plans() {
        leaves("", &document::of(&plan), &mut |path| {
            seen.insert(path.to_owned());
            if find(path).is_none() && !ELSEWHERE.iter().any(|(elsewhere, _)| *elsewhere == path) {
                missing.insert(path.to_owned());
            }
        });
    }
    assert!(missing.is_empty(), "no control for {missing:?}");
    for (path, _) in ELSEWHERE {
        assert!(seen.contains(path) && find(path).is_none(), "{path} is no exception");
    }
    // What is there or not, and what is chosen with its parts, has no text of its own in a document.
    let whole = |field: &Field| matches!(field.kind, Kind::Part);
    for field in all().filter(|field| !whole(field)) {
        assert!(seen.contains(field.path), "{} is no field of a plan", field.path);
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
fn candle_trains_with_its_own_decoder() {
    let set = |plan: &Plan, name: &str, text: &str| {
        let field = find(name).unwrap();
        document::changed(plan, field, field.parse(text).unwrap()).unwrap()
    };
    let text = |plan: &Plan, path: &str| text_at(&document::of(plan), path);
    let served = plan("model=HuggingFaceTB/SmolLM2-135M&gpu=h100-sxm-80gb&weights=bf16");
    let trained = set(&served, "workload.kind", "train");
    assert_eq!(text(&trained, "engine.name"), "torchtune", "what people train with");
    let candle = set(&trained, "engine", "candle");
    assert!(estimate(&candle).is_ok(), "{:?}", estimate(&candle));
    // Its weights are what it computes in, and mixed precision follows from them.
    let single = set(&candle, "weights", "fp32");
    assert_eq!(text(&single, "workload.mixed_precision"), "false");
    assert!(estimate(&single).is_ok(), "{:?}", estimate(&single));
    let half = set(&single, "weights", "fp16");
    assert_eq!(text(&half, "workload.mixed_precision"), "true");
    assert!(estimate(&half).is_ok(), "{:?}", estimate(&half));
    let qlora = set(&candle, "workload.method", "qlora");
    assert_eq!(text(&qlora, "precision.weights"), "gguf:q4_0");
    assert!(estimate(&qlora).is_ok(), "{:?}", estimate(&qlora));
    let lora = set(&qlora, "workload.method", "lora");
    assert_eq!(text(&lora, "precision.weights"), "bf16");
    assert!(estimate(&lora).is_ok(), "{:?}", estimate(&lora));
    // Nothing else trains on a processor.
    let on_cpu = set(&set(&served, "gpu", "cpu"), "workload.kind", "train");
    assert_eq!(text(&on_cpu, "engine.name"), "candle");
    assert!(estimate(&on_cpu).is_ok(), "{:?}", estimate(&on_cpu));
    let named = plan("model=HuggingFaceTB/SmolLM2-135M&weights=bf16&engine=candle&workload.kind=train");
    assert_eq!(text(&named, "engine.name"), "candle", "a link that names it gets it");
}

#[test]
fn candles_cache_is_of_a_precision_of_its_own() {
    let set = |plan: &Plan, name: &str, text: &str| {
        let field = find(name).unwrap();
        document::changed(plan, field, field.parse(text).unwrap()).unwrap()
    };
    let text = |plan: &Plan, path: &str| text_at(&document::of(plan), path);
    let start = plan("model=HuggingFaceTB/SmolLM2-135M&gpu=h100-sxm-80gb&weights=bf16&batch=4&context=1024");
    assert_eq!(text(&start, "engine.name"), "candle");
    let small = set(&start, "kv", "int8");
    let held = |plan: &Plan| estimate(plan).unwrap().per_gpu.kv_cache;
    assert!(held(&small) < held(&start));
    // It stays with other weights, and goes where the stock models' follows the weights.
    assert_eq!(text(&set(&small, "weights", "gguf:q8_0"), "precision.kv_cache"), "int8");
    let stock = set(&set(&start, "variant", "stock"), "kv", "bf16");
    assert_eq!(text(&set(&stock, "weights", "fp32"), "precision.kv_cache"), "");
    // What is converted takes more while it is loaded.
    let converted = set(&start, "model.loaded_from", "fp32");
    let load = |plan: &Plan| {
        let phases = estimate(plan).unwrap().phases.unwrap();
        phases.into_iter().find(|phase| phase.phase == "load").unwrap().peak_bytes
    };
    assert!(load(&converted) > load(&start));
    assert_eq!(
        text(&set(&converted, "engine", "vllm"), "model.loaded_from"),
        "",
        "vLLM has no such phase here"
    );
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

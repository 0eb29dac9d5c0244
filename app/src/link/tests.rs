use planner::Tokens;
use planner::document::plan::Workload;
use serde_json::json;

use super::*;

fn prompt(plan: &Plan) -> (u64, u64, u64) {
    let Workload::Serve(serve) = &plan.workload else { panic!("not serve: {plan:?}") };
    (serve.prompt_tokens.0, serve.output_tokens.0, serve.concurrent_sequences)
}

#[test]
fn an_empty_query_is_the_first_plan() {
    assert_eq!(read("").unwrap(), first_plan().unwrap());
    assert!(planner::estimate(&first_plan().unwrap()).is_ok());
}

#[test]
fn what_is_left_out_is_filled() {
    let plan = read("?model=Qwen/Qwen3-0.6B&gpu=&weights=fp32").unwrap();
    assert_eq!(plan.model.id.as_deref(), Some("Qwen/Qwen3-0.6B"));
    assert_eq!(plan.gpu.id, "h100-sxm-80gb");
    assert_eq!(prompt(&plan), (2048, 512, 1));
    let plan = read("model=Qwen/Qwen3-0.6B&gpu=l4-24gb&context=100").unwrap();
    assert_eq!((prompt(&plan), plan.precision.weights), ((100, 0, 1), None));
}

#[test]
fn a_link_of_any_plan_is_read_back() {
    let mut plan = first_plan().unwrap();
    plan.host.isa = Some("avx2".to_owned());
    plan.host.threads = Some(2);
    plan.gpu.id = "cpu".to_owned();
    assert_eq!(read(&planner::link::to_query(&plan)).unwrap(), plan);
    let own = catalogue::model("Qwen/Qwen3-0.6B").unwrap().config.clone();
    plan.model = ModelRef { name: Some("mine".to_owned()), config: Some(own), ..ModelRef::default() };
    assert_eq!(read(&planner::link::to_query(&plan)).unwrap(), plan);
    if let Workload::Serve(serve) = &mut plan.workload {
        serve.output_tokens = Tokens(0);
    }
    assert_eq!(read(&planner::link::to_query(&plan)).unwrap(), plan);
}

/// The pairs that the page's form sends for a plan, with some of them as a reader changed them.
fn form(plan: &Plan, typed: &[(&str, &str)]) -> String {
    let document = document::of(plan);
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("base", &base(plan));
    for field in fields::all().filter(|field| field.is_shown(&document)) {
        let text = typed.iter().find(|(name, _)| *name == field.name()).map(|(_, text)| (*text).to_owned());
        let text = text.unwrap_or_else(|| field.text(&document));
        if matches!(field.kind, Kind::Switch | Kind::Part) {
            form.append_pair(field.name(), "false");
            if text == "true" {
                form.append_pair(field.name(), "true");
            }
        } else {
            form.append_pair(field.name(), &text);
        }
    }
    form.append_pair("config", "").finish()
}

#[test]
fn the_form_says_the_same_as_the_link() {
    let mut plan = first_plan().unwrap();
    plan.attention = Some(planner::document::plan::Attention::Eager);
    plan.gpu.id = "cpu".to_owned();
    plan.host.threads = Some(2);
    assert_eq!(read(&form(&plan, &[])).unwrap(), plan);
    for query in [
        "engine=vllm&workload.memory_fraction=0.85&parallelism.tensor=2&max_len=8192",
        "engine=torchtune&workload.kind=train&workload.method=lora&workload.compile=true",
        "workload.kind=train&engine.name=megatron&parallelism.pipeline=2&parallelism.pipeline_schedule.kind=interleaved",
        "agent_memory=true&agent_memory.policy.kind=retrieve&agent_memory.store=true&compression.prune.kind=depth",
    ] {
        let plan = read(query).unwrap();
        assert_eq!(read(&form(&plan, &[])).unwrap(), plan, "{query}");
        assert_eq!(read(&planner::link::to_query(&plan)).unwrap(), plan, "{query}");
    }
}

#[test]
fn the_form_changes_what_was_typed() {
    let plan = first_plan().unwrap();
    let typed = read(&form(&plan, &[("workload.kind", "train")])).unwrap();
    let Workload::Train(train) = &typed.workload else { panic!("{typed:?}") };
    assert_eq!(train.sequence_tokens, Tokens(2048));
    let off =
        read(&form(&typed, &[("workload.mixed_precision", "false"), ("workload.sequence_tokens", "4,096")]));
    let Workload::Train(train) = off.unwrap().workload else { panic!() };
    assert_eq!((train.mixed_precision, train.sequence_tokens), (false, Tokens(4096)));
    let windowed = read(&form(&plan, &[("attention.kind", "sliding-window")])).unwrap();
    // Numbers of the kind that was there go with it.
    let flash = read(&form(&windowed, &[("attention.kind", "flash")])).unwrap();
    assert_eq!(flash.attention, Some(planner::document::plan::Attention::Flash));
}

#[test]
fn every_known_system_is_a_plan() {
    for preset in presets::PRESETS {
        let workload = match preset.kind {
            presets::PresetKind::Training => "train",
            presets::PresetKind::AgentMemory => "serve",
        };
        let start = read(&format!("workload.kind={workload}")).unwrap();
        let typed = form(&start, &[]) + &format!("&preset={}", preset.name.replace(' ', "+"));
        let plan = read(&typed).unwrap_or_else(|error| panic!("{}: {error}", preset.name));
        let change = presets::fields(preset.name).unwrap();
        let document = document::of(&plan);
        for field in fields::all() {
            let wanted = fields::text_at(&change, field.path);
            assert!(wanted.is_empty() || field.text(&document) == wanted, "{}: {}", preset.name, field.path);
        }
    }
    assert_eq!(read("preset=none").unwrap_err().field, "preset");
}

#[test]
fn the_form_of_the_first_version_is_read_still() {
    let query = "model=meta-llama/Llama-3.1-8B&gpu=cpu&weights=bf16&context=2048&output=512&batch=4&memory_mib=&isa=&threads=2";
    let plan = read(query).unwrap();
    assert_eq!((plan.host.threads, plan.gpu.id.as_str()), (Some(2), "cpu"));
}

#[test]
fn a_pasted_config_is_a_model() {
    let config = catalogue::model("Qwen/Qwen3-0.6B").unwrap().config.to_string();
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("config", &config).finish();
    let plan = read(&query).unwrap();
    assert_eq!(plan.model.name.as_deref(), Some("pasted model"));
    for (config, field) in
        [("{", "model.config"), ("[]", "model"), ("{\"model_type\":\"llama\",\"hidden_size\":-1}", "model")]
    {
        let error = pasted(config).unwrap_err();
        assert!(error.field.starts_with(field), "{config}: {error}");
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    for (query, field) in [
        ("context=many", "workload.prompt_tokens"),
        ("weights=fp7", "precision.weights"),
        ("modle=x", "modle"),
        ("threads=x", "host.threads"),
        ("parallelism.tensor=x", "parallelism.tensor"),
        ("workload.memory_fraction=much", "workload.memory_fraction"),
        ("workload.prompt_tokens=", "workload.prompt_tokens"),
        // Conflicts.
        ("context=100&workload.prompt_tokens=200", "workload.prompt_tokens"),
        ("workload.kind=train&batch=3", "workload.concurrent_sequences"),
        ("attention.window=512", "attention.window"),
        ("parallelism.tensor=2&parallelism.tensor=4", "parallelism.tensor"),
        ("agent_memory.turns=5", "agent_memory.turns"),
    ] {
        assert_eq!(read(query).unwrap_err().field, field, "{query}");
    }
}

#[test]
fn advice_is_merged() {
    let mut plan = first_plan().unwrap();
    plan.gpu.memory_mib = Some(100);
    let change = json!({"gpu": {"id": "cpu", "memory_mib": null}, "workload": {"concurrent_sequences": 2}});
    let advised = advised(&plan, &change).unwrap();
    assert_eq!((advised.gpu.id.as_str(), advised.gpu.memory_mib, prompt(&advised).2), ("cpu", None, 2));
}

#[test]
fn a_plan_is_compared_with_another_in_one_address() {
    let a = first_plan().unwrap();
    let b = read("gpu=l4-24gb&weights=gguf:q4_k_m&attention.kind=sliding-window").unwrap();
    let href = compare_href(&a, Some(&b));
    let query = href.strip_prefix("/planner").unwrap();
    assert_eq!((read(query).unwrap(), against(query).unwrap()), (a.clone(), Some(b.clone())), "{href}");
    assert_eq!((compare_href(&a, None), against("?model=x").unwrap()), (planner_href(&a), None));
    let diff = diff_href(&a, &b);
    let (of_a, of_b) = (value(&diff[14..], "a").unwrap(), value(&diff[14..], "b").unwrap());
    assert_eq!((read(&of_a).unwrap(), read(&of_b).unwrap()), (a, b), "{diff}");
    assert_eq!(against("b=gpu%3Dl4-24gb%26context%3Dmany").unwrap_err().field, "b.workload.prompt_tokens");
}

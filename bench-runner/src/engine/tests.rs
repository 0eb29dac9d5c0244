//! What is refused, and why, before anything is loaded.

use contract::case::{CaseSpec, Device, Variant};
use planner::Tokens;
use planner::document::plan::{Attention, CacheKind};
use planner::document::precision::CachePrecision;

use super::{Runs, prepare};
use crate::model::Model;

fn spec() -> CaseSpec {
    CaseSpec {
        model: "m".into(),
        precision: "bf16".into(),
        variant: Some(Variant::Stock),
        device: Device::Cpu,
        batch: 1,
        prompt_tokens: Tokens(8),
        generate_tokens: Tokens(4),
        repetitions: 1,
        ..CaseSpec::default()
    }
}

#[test]
fn what_cannot_run_is_refused_with_the_reason() {
    const LLAMA: &str = "HuggingFaceTB/SmolLM2-135M";
    const BERT: &str = "sentence-transformers/all-MiniLM-L6-v2";
    type Change = fn(&mut CaseSpec);
    let table: [(&str, Change, &str); 22] = [
        (LLAMA, |s| s.batch = 0, "batch 0"),
        (LLAMA, |s| s.prompt_tokens = Tokens(0), "prompt of 0 tokens"),
        (LLAMA, |s| s.prompt_tokens = Tokens(8190), "8194 tokens, more than the 8192"),
        (
            LLAMA,
            |s| (s.precision, s.prompt_tokens) = ("gguf:q8_0".into(), Tokens(4094)),
            "4098 tokens, more than the 4096",
        ),
        (LLAMA, |s| (s.precision, s.batch) = ("gguf:q8_0".into(), 2), "accepted: batch 1"),
        (
            LLAMA,
            |s| s.precision = "int3".into(),
            "precision int3: unknown; accepted: native, fp32, bf16, fp16, fp8, gguf:q8_0",
        ),
        (LLAMA, |s| s.precision = "fp8".into(), "stock models compute no fp8"),
        (LLAMA, |s| s.precision = "tf32".into(), "which cpu does not have; accepted: fp32"),
        (LLAMA, |s| s.cache = Some(CacheKind::Slab), "its cache is its own, slab cannot be asked of it"),
        (LLAMA, |s| s.kv_cache = Some(CachePrecision::Fp8), "fp8 cannot be asked of it"),
        (LLAMA, |s| s.precision = "gguf:iq1_s".into(), "not a type that Candle can quantise to"),
        (
            LLAMA,
            |s| s.attention = Some(Attention::Flash),
            "attention flash is not computed by candle's stock llama on cpu",
        ),
        (LLAMA, |s| s.attention = Some(Attention::MemoryEfficient), "accepted: eager, default"),
        ("Qwen/Qwen3-0.6B", |s| s.attention = Some(Attention::Eager), "accepted: flash, default"),
        (
            "Qwen/Qwen3-0.6B",
            |s| (s.precision, s.batch) = ("gguf:q4_k".into(), 2),
            "no cache for more than one sequence",
        ),
        (
            "microsoft/Phi-3-mini-4k-instruct",
            |s| s.precision = "gguf:q4_k".into(),
            "accepted: llama, mistral",
        ),
        (
            BERT,
            |s| s.precision = "fp32".into(),
            "generate 4: sentence-transformers/all-MiniLM-L6-v2 is an encoder (bert)",
        ),
        (BERT, |s| s.generate_tokens = Tokens(0), "NaN in 16 bit"),
        (BERT, |s| s.precision = "gguf:q8_0".into(), "quantised synthetic weights of bert: not made"),
        (
            BERT,
            |s| (s.precision, s.generate_tokens, s.prompt_tokens) = ("fp32".into(), Tokens(0), Tokens(513)),
            "513 tokens, more than the 512",
        ),
        ("thenlper/gte-base", |s| s.precision = "native".into(), "the checkpoint is in 16 bit"),
        ("sentence-transformers/all-mpnet-base-v2", |_| {}, "mpnet: not run by this engine"),
    ];
    for (id, change, part) in table {
        let model = Model::resolve(id, None).unwrap();
        let mut spec = spec();
        change(&mut spec);
        let refusal = prepare(&spec, &model).expect_err(part).to_string();
        assert!(refusal.contains(part), "{part}: {refusal}");
    }
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_was_not_built_in_is_refused() {
    let model = Model::resolve("HuggingFaceTB/SmolLM2-135M", None).unwrap();
    let refusal = prepare(&CaseSpec { device: Device::Cuda(0), ..spec() }, &model).unwrap_err().to_string();
    assert!(refusal.contains("accepted: cpu"), "{refusal}");
}

#[test]
fn what_a_module_computes_by_itself_is_accepted() {
    for (id, attention) in
        [("HuggingFaceTB/SmolLM2-135M", Attention::Eager), ("Qwen/Qwen3-0.6B", Attention::Flash)]
    {
        let model = Model::resolve(id, None).unwrap();
        let prepared = prepare(&CaseSpec { attention: Some(attention), ..spec() }, &model).unwrap();
        assert!(
            matches!(prepared.runs, Runs::Stock { flash: false, .. }),
            "{id}: there is no switch on a CPU"
        );
    }
}

/// Every model of the catalogue whose family candle-transformers has a module for has a configuration that candle's
/// structures take, or a shape that the module's arithmetic excludes, which the refusal says.
#[test]
fn every_model_of_the_catalogue_that_has_a_module_can_be_prepared() {
    let excluded = ["it takes a head's size as hidden ÷ heads", "its cache takes one key-value head only"];
    let (mut modules, mut refused) = (std::collections::BTreeSet::new(), Vec::new());
    for entry in planner::catalogue::models() {
        let model = Model::resolve(&entry.id, None).unwrap();
        if super::Stock::choose(&model, super::Precision::Dense(candle_core::DType::BF16)).is_err() {
            continue;
        }
        let spec = if model.shape.architecture.is_encoder() {
            CaseSpec { precision: "fp32".into(), generate_tokens: Tokens(0), ..spec() }
        } else {
            spec()
        };
        match prepare(&spec, &model) {
            Ok(prepared) => {
                let Runs::Stock { module, .. } = prepared.runs else { panic!("{}", entry.id) };
                modules.insert(module.module());
            }
            Err(refusal) if excluded.iter().any(|why| refusal.to_string().contains(why)) => {}
            Err(refusal) => refused.push(format!("{}: {refusal}", entry.id)),
        }
    }
    assert!(refused.is_empty(), "{refused:#?}");
    assert_eq!(modules, ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "bert"].into());
}

#[test]
fn a_sweep_that_names_no_decoder_gets_ours_where_it_computes_all_its_models() {
    let [llama, bert, gpt2] =
        ["HuggingFaceTB/SmolLM2-135M", "sentence-transformers/all-MiniLM-L6-v2", "openai-community/gpt2"]
            .map(|id| Model::resolve(id, None).unwrap());
    assert_eq!(super::default_variant([&llama]), Variant::Plimsoll);
    for models in [vec![&bert], vec![&llama, &bert], vec![&gpt2]] {
        assert_eq!(super::default_variant(models), Variant::Stock);
    }
    // What was stored before there was a choice ran stock.
    assert_eq!(CaseSpec { variant: None, ..spec() }.decoder(), Variant::Stock);
    let old = prepare(&CaseSpec { variant: None, ..spec() }, &llama).unwrap();
    assert!(matches!(old.runs, Runs::Stock { .. }), "{:?}", old.runs);
}

#[test]
fn every_precision_that_is_advertised_can_be_prepared() {
    let mut offered = 0;
    for entry in planner::catalogue::models() {
        let model = Model::resolve(&entry.id, None).unwrap();
        let generate_tokens = Tokens(if model.shape.architecture.is_encoder() { 0 } else { 4 });
        for precision in super::precisions(&model) {
            let with = |variant| {
                let spec = CaseSpec { precision: precision.clone(), variant, generate_tokens, ..spec() };
                prepare(&spec, &model)
            };
            let best = with(Some(super::default_variant([&model])));
            assert!(best.is_ok(), "{} in {precision}: {:?}", entry.id, best.err());
            offered += 1;
        }
    }
    assert!(offered > 500, "{offered} precisions of all models");
}

#[test]
fn a_request_survives_its_way_to_the_child() {
    let model = Model::resolve("HuggingFaceTB/SmolLM2-135M", None).unwrap();
    for precision in ["native", "fp32", "gguf:q4_k"] {
        let prepared = prepare(&CaseSpec { precision: precision.into(), ..spec() }, &model).unwrap();
        let text = serde_json::to_string(&prepared).unwrap();
        let read: super::Prepared = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (read.precision, &read.runs, &read.source),
            (prepared.precision, &prepared.runs, &prepared.source)
        );
    }
}

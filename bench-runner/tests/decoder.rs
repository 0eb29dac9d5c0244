//! Sweeps of our decoder by the binary: every case ends in a result, and the planner says what each takes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use contract::case::{Case, CaseStatus, Variant};
use contract::measurement::Phase;
use planner::document::plan::Attention;

/// A Llama, Mixtral or Gemma 2 of two layers whose rows are whole blocks of every type.
fn shape(dir: &Path, family: &str, hidden: u32) -> String {
    let mut config = serde_json::json!({
        "model_type": family, "hidden_size": hidden, "intermediate_size": 2 * hidden, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": hidden / 4, "vocab_size": 512,
        "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "torch_dtype": "float32",
        "tie_word_embeddings": family == "gemma2"
    });
    if family == "mixtral" {
        config["num_local_experts"] = 4.into();
        config["num_experts_per_tok"] = 2.into();
    }
    if family == "gemma2" {
        config["hidden_activation"] = "gelu_pytorch_tanh".into();
        config["query_pre_attn_scalar"] = 64.into();
        config["sliding_window"] = 100.into();
        config["attn_logit_softcapping"] = 50.0.into();
        config["final_logit_softcapping"] = 30.0.into();
    }
    let folder = dir.join(format!("{family}-{hidden}"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    format!("{family}-{hidden}/config.json")
}

/// A sweep over these options, one repetition of each case on one thread: which threads get work, and so keep a workspace,
/// is left to chance where there are more.
fn sweep(dir: &Path, model: &str, options: &[&str]) -> Vec<Case> {
    let fixed = ["run", "--model", model, "--generate", "4", "--repetitions", "1"];
    let output = ["--threads", "1", "--no-db", "--json", "--quiet"];
    let arguments: Vec<&str> = fixed.iter().chain(options).chain(&output).copied().collect();
    let ended = common::output(&mut common::runner(dir, &arguments));
    common::detail(&ended).cases
}

const PRECISIONS: &str = "fp32,bf16,fp16,fp8,gguf:q8_0,gguf:q6_k,gguf:q5_k,gguf:q5_1,gguf:q5_0,gguf:q4_k,gguf:q4_1,\
                          gguf:q4_0,gguf:q3_k,gguf:q2_k";
const ATTENTIONS: &str = "eager,memory-efficient,flash,sliding-window:16,longformer:16:4,big-bird:8:2:1:1";

#[test]
fn every_case_of_every_axis_ends_in_a_result() {
    let dir = tempfile::tempdir().unwrap();
    let model = shape(dir.path(), "llama", 256);
    let cases = sweep(
        dir.path(),
        &model,
        &[
            "--variant",
            "stock,plimsoll",
            "--precision",
            PRECISIONS,
            "--attention",
            ATTENTIONS,
            "--cache",
            "growing,slab,rotating",
            "--prompt",
            "40",
        ],
    );
    assert_eq!(cases.len(), 2 * 14 * 6 * 3);
    for case in &cases {
        let key = case.spec.key();
        match (case.spec.variant, case.status) {
            (Some(Variant::Plimsoll), CaseStatus::Ok) => {
                assert!(case.engine.ends_with(" plimsoll llama"), "{key}: {}", case.engine);
                let measured = case.measurement.as_ref().unwrap();
                assert!(measured.peak_allocated().unwrap().0 > 0, "{key}");
            }
            // Only a window's attention rotates here.
            (Some(Variant::Plimsoll), CaseStatus::Refused) => {
                assert!(key.contains(" rotating "), "{key}: {:?}", case.error);
                assert!(!key.contains("sliding-window"), "{key}: {:?}", case.error);
            }
            (Some(Variant::Stock), CaseStatus::Refused) => {
                assert!(case.error.as_deref().unwrap().contains("candle's stock"), "{key}: {:?}", case.error);
            }
            other => panic!("{key}: {other:?}, {:?}", case.error),
        }
    }
    let ran = cases.iter().filter(|c| c.status == CaseStatus::Ok).count();
    assert_eq!(ran, 14 * (6 * 2 + 1), "every precision by every attention, two caches, and a rotating one");
}

#[test]
fn stock_runs_what_it_has_and_every_cache_holds_every_number() {
    let dir = tempfile::tempdir().unwrap();
    let model = shape(dir.path(), "llama", 256);
    let stock = sweep(
        dir.path(),
        &model,
        &["--variant", "stock", "--precision", PRECISIONS, "--attention", ATTENTIONS, "--prompt", "40"],
    );
    assert_eq!(stock.len(), 14 * 6);
    for case in &stock {
        let key = case.spec.key();
        // It computes no fp8, and no attention but its own.
        let has = case.spec.precision != "fp8" && case.spec.attention == Some(Attention::Eager);
        if has {
            assert_eq!(case.status, CaseStatus::Ok, "{key}: {:?}", case.error);
            assert!(case.measurement.as_ref().unwrap().peak_allocated().unwrap().0 > 0, "{key}");
        } else {
            assert_eq!(case.status, CaseStatus::Refused, "{key}: {:?}", case.error);
            assert!(case.error.as_deref().unwrap().contains("candle's stock"), "{key}: {:?}", case.error);
        }
    }
    let numbers = "fp32,bf16,fp16,fp8,int8";
    let ours = sweep(
        dir.path(),
        &model,
        &[
            "--variant",
            "plimsoll",
            "--precision",
            "bf16,gguf:q8_0",
            "--attention",
            ATTENTIONS,
            "--cache",
            "growing,slab",
            "--kv-cache",
            numbers,
            "--prompt",
            "40",
        ],
    );
    assert_eq!(ours.len(), 2 * 6 * 2 * 5);
    for case in &ours {
        let key = case.spec.key();
        assert_eq!(case.status, CaseStatus::Ok, "{key}: {:?}", case.error);
    }
}

/// Most mean absolute error over all cases, in percent.
const MEAN_LIMIT: f64 = 1.0;
/// Most error of any one case, in percent.
const WORST_LIMIT: f64 = 5.0;

#[test]
fn the_planner_predicts_our_decoders_peaks() {
    let dir = tempfile::tempdir().unwrap();
    let (tiny, small) = (shape(dir.path(), "llama", 256), shape(dir.path(), "llama", 512));
    let (windowed, experts) = (shape(dir.path(), "gemma2", 256), shape(dir.path(), "mixtral", 256));
    let mut cases = Vec::new();
    for (model, precisions, attentions, caches, numbers, batch) in [
        (&tiny, "fp32,bf16,fp8,gguf:q8_0", "eager,memory-efficient,flash", "growing,slab", "fp32,int8", "1"),
        (&tiny, "fp32,bf16", "longformer:64:8,big-bird:32:2:1:2", "slab", "bf16,fp8", "2"),
        (&tiny, "fp16", "sliding-window:100", "growing,slab,rotating", "fp16,fp8", "1"),
        (&small, "fp32,bf16,gguf:q4_k", "eager,memory-efficient,flash", "slab", "fp32,fp8", "1"),
        (&windowed, "fp32,bf16", "eager,memory-efficient,flash", "slab,rotating", "fp32,int8", "1"),
        (&experts, "fp32,bf16,fp8,gguf:q8_0", "eager,flash", "slab", "fp32", "1"),
    ] {
        cases.extend(sweep(
            dir.path(),
            model,
            &[
                "--variant",
                "plimsoll",
                "--precision",
                precisions,
                "--attention",
                attentions,
                "--cache",
                caches,
                "--kv-cache",
                numbers,
                "--batch",
                batch,
                "--prompt",
                "300",
            ],
        ));
    }
    assert!(cases.len() >= 100, "{} cases", cases.len());
    hold(&cases);
}

/// A folder with the weights of a Llama of [`shape`], stored in `dtype`.
fn checkpoint(dir: &Path, model: &str, dtype: DType) -> String {
    let text = std::fs::read_to_string(dir.join(model)).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    let number = |name: &str| usize::try_from(config[name].as_u64().unwrap()).unwrap();
    let (hidden, inner, vocabulary) =
        (number("hidden_size"), number("intermediate_size"), number("vocab_size"));
    let keys = number("num_key_value_heads") * number("head_dim");
    let mut shapes = vec![
        ("model.embed_tokens".to_owned(), vec![vocabulary, hidden]),
        ("model.norm".to_owned(), vec![hidden]),
        ("lm_head".to_owned(), vec![vocabulary, hidden]),
    ];
    for layer in 0..number("num_hidden_layers") {
        for (name, shape) in [
            ("input_layernorm", vec![hidden]),
            ("post_attention_layernorm", vec![hidden]),
            ("self_attn.q_proj", vec![hidden, hidden]),
            ("self_attn.k_proj", vec![keys, hidden]),
            ("self_attn.v_proj", vec![keys, hidden]),
            ("self_attn.o_proj", vec![hidden, hidden]),
            ("mlp.gate_proj", vec![inner, hidden]),
            ("mlp.up_proj", vec![inner, hidden]),
            ("mlp.down_proj", vec![hidden, inner]),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}"), shape));
        }
    }
    let tensors: HashMap<String, Tensor> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let values = Tensor::rand(-0.05f32, 0.05, shape, &Device::Cpu).unwrap();
            (format!("{name}.weight"), values.to_dtype(dtype).unwrap())
        })
        .collect();
    let folder = format!("{}-{}", model.trim_end_matches("/config.json"), dtype.as_str());
    std::fs::create_dir_all(dir.join(&folder)).unwrap();
    std::fs::write(dir.join(&folder).join("config.json"), text).unwrap();
    candle_core::safetensors::save(&tensors, dir.join(&folder).join("model.safetensors")).unwrap();
    folder
}

/// What is converted or quantised while it is read takes more for a moment than what it becomes.
#[test]
fn the_planner_predicts_what_loading_a_checkpoint_takes() {
    let dir = tempfile::tempdir().unwrap();
    let model = shape(dir.path(), "llama", 512);
    let mut cases = Vec::new();
    for dtype in [DType::BF16, DType::F32] {
        let folder = checkpoint(dir.path(), &model, dtype);
        let precisions = "fp32,bf16,fp16,fp8,gguf:q8_0,gguf:q4_k,gguf:q2_k";
        let options = ["--variant", "plimsoll", "--precision", precisions, "--prompt", "8"];
        cases.extend(sweep(dir.path(), &folder, &options));
    }
    assert_eq!(cases.len(), 14);
    assert!(cases.iter().all(|case| case.plan.as_ref().unwrap().model.loaded_from.is_some()));
    hold(&cases);
}

/// Holds every phase of the cases against what the planner said.
fn hold(cases: &[Case]) {
    let mut errors = Vec::new();
    for case in cases {
        let key = case.spec.key();
        assert_eq!(case.status, CaseStatus::Ok, "{key}: {:?}", case.error);
        let measured = case.measurement.as_ref().unwrap();
        let estimate = case.estimate.as_ref().unwrap_or_else(|| panic!("{key}: no estimate"));
        assert_eq!(estimate.engine.variant.as_deref(), Some("plimsoll"), "{key}");
        let phases = estimate.phases.as_ref().unwrap();
        for phase in [Phase::Load, Phase::Prefill, Phase::Decode] {
            let counted = measured.phase(phase).unwrap().peak_allocated.0;
            let said = phases.iter().find(|p| p.phase == phase.as_str()).unwrap().peak_bytes.0;
            let error = (said as f64 / counted as f64 - 1.0) * 100.0;
            println!("{said:>10} {counted:>10} {error:>+7.3} %  {key} {}", phase.as_str());
            errors.push((error, format!("{key} {}", phase.as_str())));
        }
    }
    let mean = errors.iter().map(|(e, _)| e.abs()).sum::<f64>() / errors.len() as f64;
    println!("{} cases, {} peaks: mean absolute error {mean:.3} %", cases.len(), errors.len());
    assert!(mean <= MEAN_LIMIT, "mean absolute error {mean:.3} %");
    for (error, what) in errors {
        assert!(error.abs() <= WORST_LIMIT, "{what}: {error:+.2} %");
    }
}

#[test]
fn memory_of_attention_in_blocks_grows_with_the_sequence_and_not_with_its_square() {
    let dir = tempfile::tempdir().unwrap();
    let model = shape(dir.path(), "llama", 256);
    // What a prefill takes beside the weights, by attention, for 1024 and 4096 tokens.
    let attentions = "eager,memory-efficient,flash,sliding-window:16,longformer:16:4,big-bird:8:2:1:1";
    let cases = sweep(
        dir.path(),
        &model,
        &["--variant", "plimsoll", "--precision", "fp32", "--attention", attentions, "--prompt", "1024,4096"],
    );
    for pair in cases.chunks(2) {
        let [short, long] = pair else { panic!("{} cases", cases.len()) };
        let taken = |case: &Case| {
            let measured = case.measurement.as_ref().unwrap();
            let weights = measured.phase(Phase::Load).unwrap().live_at_end.0;
            (measured.phase(Phase::Prefill).unwrap().peak_allocated.0 - weights) as f64
        };
        let growth = taken(long) / taken(short);
        let key = long.spec.key();
        if key.contains("\"eager\"") {
            assert!(growth > 10.0, "{key}: {growth}, four times the tokens");
        } else {
            assert!(growth < 4.5, "{key}: {growth}, four times the tokens");
        }
    }
}

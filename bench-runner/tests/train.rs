//! Training steps by the binary: each ends in a result, and the planner says what each phase takes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use std::path::Path;

use contract::case::{Case, CaseStatus};
use contract::measurement::Phase;
use contract::statistics::CaseSpeed;
use planner::document::plan::Workload;

/// A shape of two layers whose rows are whole blocks of every type.
fn shape(dir: &Path, family: &str, hidden: u32, vocabulary: u32) -> String {
    let config = serde_json::json!({
        "model_type": family, "hidden_size": hidden, "intermediate_size": 2 * hidden, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": hidden / 4, "vocab_size": vocabulary,
        "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "torch_dtype": "float32",
        "tie_word_embeddings": family == "qwen3"
    });
    let folder = dir.join(format!("{family}-{hidden}"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    format!("{family}-{hidden}/config.json")
}

/// A sweep over these options on one thread: which threads keep a workspace is left to chance where there are more.
fn sweep(dir: &Path, model: &str, options: &[&str]) -> Vec<Case> {
    let fixed = ["run", "--model", model];
    let output = ["--threads", "1", "--no-db", "--json", "--quiet"];
    let arguments: Vec<&str> = fixed.iter().chain(options).chain(&output).copied().collect();
    let ended = common::output(&mut common::runner(dir, &arguments));
    assert!(!ended.stdout.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
    common::detail(&ended).cases
}

/// Most mean absolute error over all peaks, in percent.
const MEAN_LIMIT: f64 = 1.0;
/// Most error of any one, in percent.
const WORST_LIMIT: f64 = 5.0;

#[test]
fn the_planner_predicts_the_peaks_of_every_phase() {
    let dir = tempfile::tempdir().unwrap();
    let llama = shape(dir.path(), "llama", 256, 512);
    let small = shape(dir.path(), "llama", 512, 2048);
    let tied = shape(dir.path(), "qwen3", 256, 1024);
    let biased = shape(dir.path(), "qwen2", 256, 512);
    let mut cases = Vec::new();
    for (model, methods, precisions, batch, tokens, more) in [
        (
            &llama,
            "full,lora:8",
            "fp32",
            "1",
            "128",
            &["--optimizer", "adamw,sgd", "--checkpointing", "none,full"][..],
        ),
        (&llama, "full,lora:8", "bf16,fp16", "2", "100", &["--mixed", "--checkpointing", "none,full"]),
        (&llama, "qlora:8", "gguf:q8_0,gguf:q4_0", "1", "200", &["--optimizer", "adamw,sgd"]),
        (
            &llama,
            "qlora:4:q_proj+v_proj",
            "gguf:q4_0",
            "2",
            "64",
            &["--mixed", "--checkpointing", "none,full"],
        ),
        (&small, "full,lora:16:q_proj+v_proj", "fp32,bf16", "1,2", "96", &["--checkpointing", "none,full"]),
        (&tied, "full,lora:8", "fp32", "2", "80", &["--accumulate", "1,2", "--checkpointing", "none,full"]),
        (&biased, "full,lora:8", "fp32", "1", "150", &["--accumulate", "1,3"]),
    ] {
        let axes = ["--train", methods, "--precision", precisions, "--batch", batch, "--prompt", tokens];
        let options: Vec<&str> = ["--repetitions", "1"].iter().chain(&axes).chain(more).copied().collect();
        cases.extend(sweep(dir.path(), model, &options));
    }
    assert!(cases.len() >= 24, "{} cases", cases.len());
    let mut errors = Vec::new();
    for case in &cases {
        let key = case.spec.key();
        assert_eq!(case.status, CaseStatus::Ok, "{key}: {:?}", case.error);
        let measured = case.measurement.as_ref().unwrap();
        let estimate = case.estimate.as_ref().unwrap_or_else(|| panic!("{key}: no estimate"));
        let phases = estimate.phases.as_ref().unwrap();
        for (phase, name) in
            [(Phase::Forward, "forward"), (Phase::Backward, "backward"), (Phase::Optimizer, "step")]
        {
            let counted = measured.phase(phase).unwrap().peak_allocated.0;
            let said = phases.iter().find(|p| p.phase == name).unwrap().peak_bytes.0;
            let error = (said as f64 / counted as f64 - 1.0) * 100.0;
            println!("{said:>10} {counted:>10} {error:>+7.3} %  {key} {name}");
            errors.push((error, format!("{key} {name}")));
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
fn a_step_is_measured_phase_by_phase() {
    let dir = tempfile::tempdir().unwrap();
    let model = shape(dir.path(), "llama", 256, 512);
    let cases = sweep(
        dir.path(),
        &model,
        &[
            "--train",
            "full",
            "--accumulate",
            "2",
            "--precision",
            "fp32",
            "--prompt",
            "32",
            "--repetitions",
            "2",
        ],
    );
    let [case] = cases.as_slice() else { panic!("{} cases", cases.len()) };
    assert!(case.spec.key().contains(" train:full:adamw:acc2 "), "{}", case.spec.key());
    assert!(case.engine.ends_with(" plimsoll llama"), "{}", case.engine);
    assert!(matches!(case.plan.as_ref().unwrap().workload, Workload::Train(_)));
    let measured = case.measurement.as_ref().unwrap();
    let phases: Vec<Phase> = measured.phases.iter().map(|p| p.phase).collect();
    assert_eq!(phases, [Phase::Load, Phase::Forward, Phase::Backward, Phase::Optimizer]);
    assert_eq!((measured.samples.len(), measured.steps.len()), (0, 2));
    for step in &measured.steps {
        assert!(step.forward_ms > 0.0 && step.backward_ms > 0.0 && step.optimizer_ms > 0.0);
    }
    // The same tokens again and again: the loss falls from that of a model that knows nothing.
    assert!(measured.steps[1].loss < measured.steps[0].loss && measured.steps[0].loss < 512f64.ln() + 0.5);
    let speed = CaseSpeed::of(&case.spec, measured);
    assert!(speed.training_tokens_per_second.is_some() && speed.prefill_tokens_per_second.is_none());
}

#[test]
fn what_the_step_cannot_do_ends_with_2_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let llama = shape(dir.path(), "llama", 256, 512);
    let gemma = "google/gemma-2-2b-it".to_owned();
    for (model, options, part) in [
        (&llama, &["--train", "full", "--generate", "4"][..], "a training step generates nothing"),
        (&llama, &["--train", "full", "--variant", "stock"], "accepted: variant plimsoll"),
        (&llama, &["--train", "full", "--mixed"], "accepted precisions: bf16, fp16"),
        (&llama, &["--train", "full", "--precision", "fp16"], "accepted: mixed precision, or bf16"),
        (&llama, &["--train", "lora:8", "--precision", "gguf:q8_0"], "or method qlora"),
        (&llama, &["--train", "qlora:8", "--precision", "bf16"], "accepted precisions: gguf:q8_0"),
        (&llama, &["--train", "lora:300"], "accepted: 1 to 256"),
        (&llama, &["--train", "lora:8:lm_head"], "no module lm_head; accepted: q_proj"),
        (&llama, &["--train", "full", "--attention", "flash"], "accepted: eager"),
        (&llama, &["--train", "full", "--cache", "slab"], "it has no cache"),
        (&gemma, &["--train", "full"], "accepted: dense models of llama, mistral, qwen2, qwen3"),
        (&llama, &["--optimizer", "sgd"], "--train"),
    ] {
        let fixed = ["run", "--model", model, "--prompt", "16", "--repetitions", "1", "--no-db"];
        let arguments: Vec<&str> = fixed.iter().chain(options).copied().collect();
        let ended = common::output(&mut common::runner(dir.path(), &arguments));
        let said =
            format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert_eq!(ended.status.code(), Some(2), "{options:?}: {said}");
        assert!(said.contains(part), "{options:?}: {said}");
    }
}

//! `bench-runner run --quality` on a real model: SmolLM2-135M-Instruct's `Q4_1`, as `make test` puts it into
//! `PLIMSOLL_TEST_MODELS`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use bench_runner::case::FAULT_VARIABLE;
use contract::case::CaseStatus;
use contract::measurement::Quality;
use contract::run::RunDetail;

fn smollm2() -> PathBuf {
    let folder = std::env::var("PLIMSOLL_TEST_MODELS").expect("PLIMSOLL_TEST_MODELS: make test sets it");
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let is_it = |path: &PathBuf| {
        path.extension().is_some_and(|e| e == "gguf") && path.to_string_lossy().contains("SmolLM2")
    };
    files.into_iter().find(is_it).unwrap_or_else(|| panic!("no SmolLM2*.gguf in {folder}"))
}

/// A run of the model on a short prompt, in `dir`.
fn command(dir: &Path, options: &[&str]) -> Command {
    let model = smollm2();
    let fixed = ["run", "--model", model.to_str().unwrap(), "--prompt", "8", "--generate", "1"];
    let measured = ["--repetitions", "1", "--no-db", "--json", "--quiet"];
    let arguments: Vec<&str> = fixed.iter().chain(options).chain(&measured).copied().collect();
    common::runner(dir, &arguments)
}

/// A sweep of the model, its quality over one short window.
fn sweep(options: &[&str]) -> RunDetail {
    let dir = tempfile::tempdir().unwrap();
    let options: Vec<&str> = options.iter().chain(&["--quality", "128"]).copied().collect();
    common::detail(&common::output(&mut command(dir.path(), &options)))
}

fn qualities(run: &RunDetail) -> Vec<&Quality> {
    run.cases
        .iter()
        .map(|case| {
            let key = case.spec.key();
            assert_eq!(case.status, CaseStatus::Ok, "{key}: {:?}", case.error);
            let measured = case.measurement.as_ref().unwrap();
            measured.quality.as_ref().unwrap_or_else(|| panic!("{key}: {:?}", measured.no_quality))
        })
        .collect()
}

#[test]
fn what_a_model_loses_is_measured_against_itself_unquantised() {
    let run = sweep(&[
        "--variant",
        "plimsoll",
        "--attention",
        "eager",
        "--cache",
        "slab",
        "--kv-cache",
        "fp32",
        "--precision",
        "native,gguf:q8_0,gguf:q2_k",
    ]);
    let [native, eight, two] = qualities(&run)[..] else { panic!("{} cases", run.cases.len()) };
    // The reference itself, computed twice.
    assert_eq!((native.kl_mean, native.kl_p99, native.top1_agreement), (0.0, 0.0, 1.0));
    assert!((native.perplexity / native.reference_perplexity - 1.0).abs() < 1e-9, "{native:?}");
    assert_eq!(native.reference, "native plimsoll, attention eager, cache slab fp32");
    assert_eq!((native.tokens, native.window), (63, 128));
    assert_eq!(native.method, "a window in one pass");
    // llama.cpp over the same window: 67.38 ± 28.74 (llama-cpp-python 0.3.36, logits of all places, the file's own blocks on one
    // thread). Its quantised products round activations to 8 bits in other places than candle's.
    assert!((native.perplexity / 67.38 - 1.0).abs() < 0.05, "{native:?}");
    assert!((native.perplexity_error / 28.74 - 1.0).abs() < 0.05, "{native:?}");
    // Eight bits keep nearly all of it, two do not.
    assert!(eight.kl_mean > 0.0 && eight.kl_mean < 0.01, "{eight:?}");
    assert!(eight.top1_agreement > 0.9, "{eight:?}");
    assert!(two.kl_mean > 20.0 * eight.kl_mean, "{two:?} against {eight:?}");
    assert!(two.top1_agreement < eight.top1_agreement, "{two:?} against {eight:?}");
    assert!(two.perplexity > native.perplexity, "{two:?}");
    for quality in [native, eight, two] {
        assert!((quality.reference_perplexity - native.perplexity).abs() < 1e-9, "one reference for all");
    }
}

#[test]
fn candles_own_model_is_asked_token_by_token_and_its_memory_is_not_changed_by_it() {
    let with = sweep(&["--variant", "stock"]);
    let [stock] = qualities(&with)[..] else { panic!("{} cases", with.cases.len()) };
    assert_eq!(stock.method, "half a window in one pass, then token by token");
    // Two implementations of one model.
    assert!(stock.kl_mean < 0.01 && stock.top1_agreement > 0.9, "{stock:?}");
    let dir = tempfile::tempdir().unwrap();
    let without = common::detail(&common::output(&mut command(dir.path(), &["--variant", "stock"])));
    let phases = |run: &RunDetail| run.cases[0].measurement.as_ref().unwrap().phases.clone();
    for (a, b) in phases(&with).iter().zip(phases(&without)) {
        let apart = a.peak_allocated.0.abs_diff(b.peak_allocated.0);
        assert!(apart < 4096, "{:?}: {} and {}", a.phase, a.peak_allocated, b.peak_allocated);
    }
    assert_eq!(without.cases[0].measurement.as_ref().unwrap().quality, None);
    assert!(with.cases[0].spec.key().contains(" quality:128 "));
}

#[test]
fn what_has_no_quality_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let shape = common::shape(dir.path());
    let weights = common::weights(dir.path());
    for (model, part) in [(shape, "random weights have no quality"), (weights, "tokenizer.json")] {
        let out = common::output(&mut common::runner(
            dir.path(),
            &["run", "--model", model.to_str().unwrap(), "--prompt", "8", "--quality", "--no-db", "--quiet"],
        ));
        assert_eq!(out.status.code(), Some(2));
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_measurement_stays_where_the_reference_dies() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(dir.path(), &["--quality", "128"]);
    // The reference is the only one with a prompt of one token.
    let run = common::detail(&common::output(command.env(FAULT_VARIABLE, "abort@ p1 g0 ")));
    let [case] = &run.cases[..] else { panic!("{} cases", run.cases.len()) };
    assert_eq!(case.status, CaseStatus::Ok, "{:?}", case.error);
    let measured = case.measurement.as_ref().unwrap();
    assert_eq!((measured.samples.len(), &measured.quality), (1, &None));
    let why = measured.no_quality.as_deref().unwrap();
    assert!(why.starts_with("the reference (native plimsoll") && why.contains("SIGABRT"), "{why}");
}

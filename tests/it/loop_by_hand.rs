//! The loop without a server: a real model measured, stored, exported, and held against the planner.

use contract::case::CaseStatus;
use contract::run::RunDetail;
use planner::MeasurementRow;
use tests::process::{Server, run_to_end};
use tests::{HarnessError, Result, smollm2};

#[test]
fn a_real_gguf_is_measured_stored_exported_and_validated() -> Result<()> {
    let dir = tempfile::tempdir()
        .map_err(|source| HarnessError::Io { what: "make a temporary folder".to_owned(), source })?;
    let model = smollm2()?;
    let (code, _, err) = run_to_end(
        "bench-runner",
        &[
            "run",
            "--model",
            &model.to_string_lossy(),
            "--prompt",
            "16,32",
            "--generate",
            "8",
            "--repetitions",
            "2",
            "--db",
            "plimsoll.db",
        ],
        dir.path(),
    )?;
    assert_eq!(code, Some(0), "{err}");

    let (code, run, err) =
        run_to_end("bench-runner", &["export", "--db", "plimsoll.db", "--format", "run"], dir.path())?;
    assert_eq!(code, Some(0), "{err}");
    let run: RunDetail = serde_json::from_str(&run).unwrap_or_else(|e| panic!("{e}: {run}"));
    assert_eq!(run.cases.len(), 2);
    for case in &run.cases {
        assert_eq!(case.status, CaseStatus::Ok, "{:?}", case.error);
        let measured = case.measurement.as_ref().unwrap_or_else(|| panic!("not measured"));
        assert_eq!(measured.samples.len(), 2, "repetitions, the warm-up not among them");
        for sample in &measured.samples {
            assert_eq!(sample.token_ms.len(), 7, "the first of 8 tokens is TTFT's");
            assert!(sample.ttft_ms >= sample.prefill_ms);
        }
    }

    let (code, rows, err) =
        run_to_end("bench-runner", &["export", "--db", "plimsoll.db", "--format", "rows"], dir.path())?;
    assert_eq!(code, Some(0), "{err}");
    for line in rows.lines() {
        let row: MeasurementRow = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(row.measured.total.is_some(), "{line}");
    }
    std::fs::write(dir.path().join("rows.jsonl"), &rows)
        .map_err(|source| HarnessError::Io { what: "write rows.jsonl".to_owned(), source })?;
    let (code, report, err) = run_to_end("bench-runner", &["validate", "rows.jsonl", "--json"], dir.path())?;
    assert_eq!(code, Some(0), "{err}");
    assert!(report.contains("candle"), "{report}");

    // The same file, served: the run made by hand has its page.
    let server = Server::start(dir.path(), &[])?;
    let (status, page) = tests::api::page(&format!("{}/runs/{}", server.url, run.run.id))?;
    assert_eq!(status, 200);
    assert!(page.contains("SmolLM2"), "the run's page names its model");
    Ok(())
}

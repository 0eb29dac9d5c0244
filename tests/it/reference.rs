//! The planner against published measurements of other engines: every row answered, every mean error within its limit, and
//! the tables in the documentation those that come out today.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tests::process::run_to_end;
use tests::{HarnessError, Result};

#[derive(Debug, Deserialize)]
struct Report {
    rows: usize,
    answered: usize,
    components: Vec<Component>,
    refused: Vec<serde_json::Value>,
    fits: Vec<Fit>,
}

/// What was read off the rows, fitted again.
#[derive(Debug, Deserialize)]
struct Fit {
    what: String,
    rows: usize,
    used_error_percent: f64,
    fitted_error_percent: f64,
    by_start_error_percent: Vec<f64>,
    left_out_error_percent: Option<f64>,
    left_out_rows: usize,
}

#[derive(Debug, Deserialize)]
struct Component {
    engine: String,
    #[serde(rename = "component")]
    name: String,
    n: usize,
    mean_absolute_error_percent: f64,
    median_absolute_error_percent: f64,
}

/// Which figure of a component is held to its limit.
#[derive(Debug, Clone, Copy)]
enum Of {
    Mean,
    Median,
}

/// Engine, start of the component's name, rows at least, which figure, most error in percent.
const LIMITS: [(&str, &str, usize, Of, f64); 16] = [
    ("vllm", "weights", 31, Of::Mean, 0.5),
    ("vllm", "kv_bytes_per_token", 1, Of::Mean, 2.0),
    ("vllm", "kv_pool_bytes", 29, Of::Mean, 2.0),
    ("vllm", "kv_pool_tokens", 30, Of::Mean, 2.0),
    ("vllm", "activations", 30, Of::Mean, 8.0),
    ("vllm", "runtime", 30, Of::Mean, 20.0),
    ("vllm", "cuda_graphs", 29, Of::Mean, 20.0),
    ("tensorrt-llm", "max_concurrent_sequences", 36, Of::Mean, 2.0),
    ("llama.cpp", "weights", 13, Of::Mean, 1.0),
    ("megatron", "total", 6, Of::Mean, 3.0),
    ("torchtitan", "total", 7, Of::Mean, 6.0),
    ("transformers", "total", 30, Of::Mean, 8.0),
    ("deepspeed", "total", 18, Of::Mean, 8.0),
    ("litgpt", "total", 15, Of::Mean, 8.0),
    ("torchtune", "total", 2, Of::Mean, 8.0),
    ("", "tokens_per_second", 32, Of::Median, 25.0),
];

/// A fit's name begins so; rows; most error with the constants that estimates use, with those fitted to all rows, and without a
/// row's model, in percent; rows that are predicted so. Each limit is the table's figure and about a tenth.
const FITS: [(&str, usize, f64, f64, f64, usize); 8] = [
    ("vLLM: CUDA graphs", 29, 3.7, 3.4, 3.6, 29),
    ("vLLM: memory outside tensors", 30, 2.7, 2.65, 2.85, 28),
    ("TensorRT-LLM: memory outside tensors", 35, 0.08, 0.07, 0.13, 11),
    ("Transformers, DeepSpeed (training)", 42, 4.1, 4.1, 4.9, 42),
    ("torchtitan: holes", 7, 0.66, 0.65, 0.65, 7),
    ("LitGPT (serving)", 7, 4.4, 3.1, 3.7, 7),
    ("Transformers (serving)", 6, 8.6, 8.6, 9.8, 6),
    ("training speed", 24, 5.4, 2.15, 8.9, 18),
];

/// How much worse than the constants that estimates use a search may be, in points: they are one choice among those that it
/// looks through, so that it must come below unless it gets stuck.
const STUCK: f64 = 0.005;
/// How far apart the errors from different starts may be, in points.
const BY_START: f64 = 0.01;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn validate(extra: &[&str]) -> Result<String> {
    let rows = root().join("tests/data/reference_measurements.jsonl");
    let rows = rows.to_string_lossy().into_owned();
    let mut arguments = vec!["validate", rows.as_str()];
    arguments.extend(extra);
    let (code, out, err) = run_to_end("bench-runner", &arguments, &root())?;
    assert_eq!(code, Some(0), "{err}");
    Ok(out)
}

fn report() -> Result<Report> {
    let out = validate(&["--json"])?;
    serde_json::from_str(&out).map_err(|e| HarnessError::Answer {
        url: "bench-runner validate --json".to_owned(),
        status: 0,
        body: e.to_string(),
    })
}

#[test]
fn the_planner_is_as_right_as_it_says() -> Result<()> {
    let report = report()?;
    assert_eq!(report.rows, 173);
    assert_eq!(report.answered, report.rows, "refused: {:?}", report.refused);
    let mut beyond = Vec::new();
    for (engine, component, least, of, limit) in LIMITS {
        let group: Vec<&Component> = report
            .components
            .iter()
            .filter(|c| (engine.is_empty() || c.engine == engine) && c.name.starts_with(component))
            .collect();
        let n: usize = group.iter().map(|c| c.n).sum();
        assert!(n >= least, "{engine} {component}: {n} figures, {least} are there");
        let figure = |c: &Component| match of {
            Of::Mean => c.mean_absolute_error_percent,
            Of::Median => c.median_absolute_error_percent,
        };
        let error = group.iter().map(|c| figure(c) * c.n as f64).sum::<f64>() / n as f64;
        if error > limit {
            beyond.push(format!("{engine} {component}: {error:.2} % of {limit} %"));
        }
    }
    assert!(beyond.is_empty(), "{beyond:#?}");
    Ok(())
}

#[test]
fn what_was_read_off_measurements_predicts_models_that_it_has_not_seen() -> Result<()> {
    let report = report()?;
    assert_eq!(report.fits.len(), FITS.len());
    for ((what, rows, used, fitted, left_out, predicted), fit) in FITS.into_iter().zip(&report.fits) {
        assert!(fit.what.starts_with(what) && fit.rows == rows, "{what}: {fit:?}");
        assert!(fit.used_error_percent < used, "{fit:?}");
        assert!(fit.fitted_error_percent < fitted, "{fit:?}");
        assert!(fit.left_out_error_percent.is_some_and(|error| error < left_out), "{fit:?}");
        assert_eq!(fit.left_out_rows, predicted, "{fit:?}");
        // The search begins elsewhere and must come at least as far as those who chose the constants, from each start.
        assert!(fit.fitted_error_percent < fit.used_error_percent + STUCK, "{fit:?}");
        let apart = fit.by_start_error_percent.iter().map(|error| error - fit.fitted_error_percent);
        assert!(apart.fold(0.0, f64::max) < BY_START, "{fit:?}");
    }
    Ok(())
}

#[test]
fn the_documented_tables_are_todays() -> Result<()> {
    let table = validate(&["--markdown"])?;
    let page = root().join("app/docs/accuracy.md");
    let text = std::fs::read_to_string(&page)
        .map_err(|source| HarnessError::Io { what: format!("read {}", page.display()), source })?;
    // Errors by component, and what was fitted with each model left out.
    let tables: Vec<&str> = table.trim().split("\n\n").collect();
    assert_eq!(tables.len(), 2, "{table}");
    for table in tables {
        assert!(
            text.contains(table.trim()),
            "{} differs from `bench-runner validate tests/data/reference_measurements.jsonl --markdown`:\n{table}",
            page.display()
        );
    }
    Ok(())
}

//! Bad input at the prompt: each a clear error on standard error, exit code 2, and nothing else.

use std::path::Path;

use tests::process::run_to_end;
use tests::{HarnessError, Result};

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes)
        .map_err(|source| HarnessError::Io { what: format!("write {}", path.display()), source })
}

#[test]
fn bad_input_is_named() -> Result<()> {
    let dir = tempfile::tempdir()
        .map_err(|source| HarnessError::Io { what: "make a temporary folder".to_owned(), source })?;
    // A GGUF header that claims 2^40 tensors, one that ends early, and a safetensors header longer than its file.
    let mut lying = b"GGUF".to_vec();
    lying.extend(3u32.to_le_bytes());
    lying.extend((1u64 << 40).to_le_bytes());
    lying.extend(0u64.to_le_bytes());
    write(&dir.path().join("lying.gguf"), &lying)?;
    write(&dir.path().join("short.gguf"), b"GGUF\x03\x00\x00\x00\x01")?;
    write(&dir.path().join("not.gguf"), b"PK\x03\x04 a wheel, not a model, whatever its name says")?;
    let weights = dir.path().join("weights");
    std::fs::create_dir(&weights)
        .map_err(|source| HarnessError::Io { what: "make a folder".to_owned(), source })?;
    let mut long = u64::MAX.to_le_bytes().to_vec();
    long.extend(b"{}");
    write(&weights.join("model.safetensors"), &long)?;
    write(&weights.join("config.json"), br#"{"model_type":"llama","hidden_size":-1}"#)?;

    let shape = "HuggingFaceTB/SmolLM2-135M";
    let table: [(&str, &[&str], &str); 16] = [
        ("lying GGUF", &["run", "--model", "lying.gguf", "--no-db"], "lying.gguf"),
        ("truncated GGUF", &["run", "--model", "short.gguf", "--no-db"], "short.gguf"),
        ("no GGUF at all", &["run", "--model", "not.gguf", "--no-db"], "GGUF"),
        ("negative field", &["run", "--model", "weights", "--no-db"], "hidden_size"),
        ("no such file", &["run", "--model", "absent.gguf", "--no-db"], "absent.gguf"),
        ("unknown precision", &["run", "--model", shape, "--precision", "fp7", "--no-db"], "fp7"),
        ("batch 0", &["run", "--model", shape, "--batch", "0", "--no-db"], "--batch"),
        ("empty range", &["run", "--model", shape, "--batch", "8..1", "--no-db"], "--batch"),
        ("prompt 0", &["run", "--model", shape, "--prompt", "0", "--no-db"], "--prompt"),
        ("unknown device", &["run", "--model", shape, "--device", "tpu", "--no-db"], "--device"),
        ("unknown option", &["run", "--modle", shape], "--model"),
        ("no document", &["plan", "--json", "absent.json"], "absent.json"),
        ("no rows", &["validate", "absent.jsonl"], "absent.jsonl"),
        ("no question", &["solve", "--json", "absent.json"], "absent.json"),
        (
            "a price of no GPU",
            &["solve", "cheapest-gpu", "--model", shape, "--price", "h1000=1"],
            "\"h1000\" is not in the catalogue",
        ),
        ("unknown preset", &["plan", "--model", shape, "--preset", "zeppelin"], "zeppelin"),
    ];
    for (what, arguments, said) in table {
        let (code, out, err) = run_to_end("bench-runner", arguments, dir.path())?;
        assert_eq!(code, Some(2), "{what}: {err}");
        assert!(err.contains(said), "{what}: {err:?} does not say {said:?}");
        assert!(!err.contains("panicked"), "{what}: {err}");
        assert!(out.is_empty(), "{what}: errors go to standard error: {out}");
    }
    Ok(())
}

#[test]
fn a_prompt_beyond_the_context_is_refused_as_a_result() -> Result<()> {
    let dir = tempfile::tempdir()
        .map_err(|source| HarnessError::Io { what: "make a temporary folder".to_owned(), source })?;
    let (code, out, err) = run_to_end(
        "bench-runner",
        &[
            "run",
            "--model",
            "HuggingFaceTB/SmolLM2-135M",
            "--precision",
            "bf16",
            "--prompt",
            "8,1000000",
            "--generate",
            "2",
            "--repetitions",
            "1",
            "--no-db",
            "--json",
        ],
        dir.path(),
    )?;
    assert_eq!(code, Some(0), "the sweep goes on: {err}");
    let run: contract::run::RunDetail = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"));
    let refused = &run.cases[1];
    assert_eq!(refused.status, contract::case::CaseStatus::Refused);
    let reason = refused.error.as_deref().unwrap_or_default();
    assert!(reason.contains("1000000") || reason.contains("1000002"), "the reason has the number: {reason}");
    assert_eq!(run.cases[0].status, contract::case::CaseStatus::Ok);
    Ok(())
}

#[test]
fn a_sweep_that_is_refused_whole_is_bad_input() -> Result<()> {
    let dir = tempfile::tempdir()
        .map_err(|source| HarnessError::Io { what: "make a temporary folder".to_owned(), source })?;
    let sweep = ["run", "--model", "HuggingFaceTB/SmolLM2-135M", "--prompt", "1000000,2000000", "--no-db"];
    let (code, out, err) = run_to_end("bench-runner", &sweep, dir.path())?;
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("every case was refused"), "{err}");
    for tokens in ["1000032", "2000032"] {
        assert!(out.contains(&format!("is {tokens} tokens, more than the 8192")), "{out}");
    }
    Ok(())
}

#[test]
fn a_line_of_plans_answers_a_line_of_estimates_in_order() -> Result<()> {
    let dir = tempfile::tempdir()
        .map_err(|source| HarnessError::Io { what: "make a temporary folder".to_owned(), source })?;
    let good = r#"{"schema":1,"model":{"id":"meta-llama/Llama-3.1-8B"},"gpu":{"id":"h100-sxm-80gb"},"workload":{"kind":"serve","prompt_tokens":2048,"output_tokens":512}}"#;
    let bad = r#"{"schema":1,"model":{"id":"no/such"},"gpu":{"id":"h100-sxm-80gb"},"workload":{"kind":"serve","prompt_tokens":1}}"#;
    let unknown = r#"{"schema":1,"modle":{}}"#;
    write(
        &dir.path().join("plans.jsonl"),
        format!("{good}\n{bad}\nnot json\n{unknown}\n{good}\n").as_bytes(),
    )?;
    let (_, out, err) = run_to_end("bench-runner", &["plan", "--jsonl", "plans.jsonl"], dir.path())?;
    let lines: Vec<serde_json::Value> =
        out.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect();
    assert_eq!(lines.len(), 5, "{out}{err}");
    assert!(lines[0]["per_gpu"]["total"].as_u64() > Some(15 << 30), "{}", lines[0]);
    assert!(lines[1]["error"]["message"].as_str().is_some_and(|m| m.contains("no/such")), "{}", lines[1]);
    assert!(lines[2]["error"].is_object(), "{}", lines[2]);
    assert!(lines[3]["error"]["message"].as_str().is_some_and(|m| m.contains("modle")), "{}", lines[3]);
    assert_eq!(lines[0], lines[4]);
    Ok(())
}

//! `bench-runner run` from end to end: real child processes, random and stored weights, crashes, resuming.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use bench_runner::case::FAULT_VARIABLE;
use common::{detail, output, runner, shape, weights};
use contract::case::CaseStatus;
use contract::measurement::Phase;
use contract::run::RunStatus;

#[test]
fn random_weights_are_measured_in_every_precision() {
    let dir = tempfile::tempdir().unwrap();
    let model = shape(dir.path());
    let out = output(&mut runner(
        dir.path(),
        &[
            "run",
            "--model",
            model.to_str().unwrap(),
            "--precision",
            "fp32,bf16,fp16,gguf:q8_0,gguf:q4_0",
            "--batch",
            "1,2",
            "--prompt",
            "8",
            "--generate",
            "4",
            "--repetitions",
            "2",
            "--no-db",
            "--json",
        ],
    ));
    let run = detail(&out);
    assert_eq!(run.cases.len(), 10);
    assert_eq!(run.run.status, RunStatus::Finished);
    let mut loaded = std::collections::HashMap::new();
    for case in &run.cases {
        let key = case.spec.key();
        if case.spec.precision.starts_with("gguf") && case.spec.batch > 1 {
            assert_eq!(case.status, CaseStatus::Refused, "{key}");
            assert!(case.error.as_deref().is_some_and(|e| e.contains("batch 1")), "{key}: {:?}", case.error);
            continue;
        }
        assert_eq!(case.status, CaseStatus::Ok, "{key}: {:?}", case.error);
        let measured = case.measurement.as_ref().unwrap();
        assert_eq!(measured.samples.len(), 2, "{key}");
        for sample in &measured.samples {
            assert_eq!(sample.token_ms.len(), 3, "{key}: the first of 4 tokens is in TTFT");
            assert!(sample.ttft_ms >= sample.prefill_ms && sample.prefill_ms > 0.0, "{key}");
        }
        assert_eq!(
            measured.phases.iter().map(|p| p.phase).collect::<Vec<_>>(),
            [Phase::Load, Phase::Prefill, Phase::Decode]
        );
        let load = measured.phase(Phase::Load).unwrap();
        let prefill = measured.phase(Phase::Prefill).unwrap();
        assert!(
            prefill.peak_allocated >= prefill.live_at_end && prefill.live_at_end > load.live_at_end,
            "{key}"
        );
        assert!(load.process.is_some_and(|p| p.0 > 1 << 20), "{key}");
        assert_eq!(measured.threads, Some(2));
        loaded.insert((case.spec.precision.clone(), case.spec.batch), load.live_at_end.0);
        assert!(case.engine.starts_with("candle 0."), "{}", case.engine);
    }
    // The type's size decides what is alive after loading, beside the rotary tables and the handles.
    let halves = loaded[&("bf16".to_owned(), 1)] as f64 / loaded[&("fp32".to_owned(), 1)] as f64;
    assert!((0.45..0.6).contains(&halves), "bf16 takes {halves} of fp32");
    // A few bytes are the request's own text.
    let same = |a: (&str, u32), b: (&str, u32)| {
        let [a, b] = [a, b].map(|(precision, batch)| loaded[&(precision.to_owned(), batch)]);
        assert!(a.abs_diff(b) < 1024, "{a} and {b}");
    };
    same(("fp16", 1), ("bf16", 1));
    same(("fp32", 2), ("fp32", 1));
}

#[test]
fn stored_weights_take_what_their_parameters_take() {
    let dir = tempfile::tempdir().unwrap();
    let model = weights(dir.path());
    let out = output(&mut runner(
        dir.path(),
        &[
            "run",
            "--model",
            model.to_str().unwrap(),
            "--prompt",
            "8",
            "--generate",
            "1",
            "--repetitions",
            "1",
            "--no-db",
            "--json",
        ],
    ));
    let run = detail(&out);
    let case = &run.cases[0];
    assert_eq!(case.status, CaseStatus::Ok, "{:?}", case.error);
    let measured = case.measurement.as_ref().unwrap();
    assert_eq!(measured.phases.len(), 2, "nothing was generated after the first token");
    let parameters = planner::Model::from_config("tiny", &serde_json::from_str(common::TINY).unwrap())
        .unwrap()
        .parameters()
        .total;
    // The rotary tables: sine and cosine of 128 positions for half a head of 16.
    let tables = 2 * 128 * 8 * 4;
    let live = measured.phase(Phase::Load).unwrap().live_at_end.0;
    let exact = parameters * 4 + tables;
    assert!(live >= exact && live < exact + exact / 10, "{live} alive after loading, {exact} in tensors");
}

#[test]
fn a_case_that_dies_is_a_result_and_the_sweep_goes_on() {
    for (fault, status, part) in [
        ("abort", CaseStatus::Crashed, "SIGABRT"),
        ("exit", CaseStatus::Crashed, "code 7"),
        // Where the kernel counts whom it kills for memory, it is known not to have been the kernel.
        ("kill", CaseStatus::Crashed, "SIGKILL"),
        ("allocate", CaseStatus::OutOfMemory, "refused an allocation"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let model = shape(dir.path());
        let out = output(
            runner(
                dir.path(),
                &[
                    "run",
                    "--model",
                    model.to_str().unwrap(),
                    "--batch",
                    "1,2,3",
                    "--prompt",
                    "4",
                    "--generate",
                    "2",
                    "--repetitions",
                    "1",
                    "--json",
                ],
            )
            .env(FAULT_VARIABLE, format!("{fault}@ b2 ")),
        );
        assert_eq!(out.status.code(), Some(0), "{fault}: {}", String::from_utf8_lossy(&out.stderr));
        let run = detail(&out);
        let statuses: Vec<CaseStatus> = run.cases.iter().map(|c| c.status).collect();
        assert_eq!(statuses, [CaseStatus::Ok, status, CaseStatus::Ok], "{fault}");
        let error = run.cases[1].error.as_deref().unwrap();
        assert!(error.contains(part), "{fault}: {error}");
        assert!(run.cases[1].measurement.is_none());
    }
}

#[test]
fn the_error_of_a_case_is_a_sentence_whatever_backtraces_are_asked() {
    let dir = tempfile::tempdir().unwrap();
    let model = weights(dir.path());
    let file = model.join("model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let name = b"model.norm.weight";
    let at = bytes.windows(name.len()).position(|w| w == name).unwrap();
    bytes[at..at + name.len()].copy_from_slice(b"model.gone.weight");
    std::fs::write(&file, bytes).unwrap();
    let arguments = ["run", "--model", model.to_str().unwrap(), "--prompt", "4", "--no-db", "--json"];
    let out =
        output(runner(dir.path(), &arguments).env("RUST_BACKTRACE", "1").env("RUST_LIB_BACKTRACE", "1"));
    assert_eq!(out.status.code(), Some(1), "tried and failed: {}", String::from_utf8_lossy(&out.stderr));
    let run = detail(&out);
    assert_eq!(run.cases[0].status, CaseStatus::Failed);
    assert_eq!(run.cases[0].error.as_deref(), Some("cannot find tensor model.norm.weight"));
}

#[test]
fn what_was_measured_is_printed_where_it_cannot_be_stored() {
    let dir = tempfile::tempdir().unwrap();
    let model = shape(dir.path());
    // No file may grow beyond 1024 of the shell's blocks, and the signal that says so is ignored: a write fails, as on a
    // full disk. The cases are refused, so that nothing is computed.
    let script = format!("trap '' XFSZ; ulimit -f 1024; exec {} \"$@\"", env!("CARGO_BIN_EXE_bench-runner"));
    let arguments =
        ["run", "--model", model.to_str().unwrap(), "--prompt", "200", "--batch", "1..200", "--json"];
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script, "sh"]).args(arguments).current_dir(dir.path()).stdin(Stdio::null());
    let out = output(&mut shell);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("results cannot be stored"), "{said}");
    let printed = detail(&out);
    assert_eq!(printed.run.status, RunStatus::Running, "it can be resumed");
    // The last is the one that found no room.
    let stored = detail(&output(&mut runner(dir.path(), &["export", "--format", "run"])));
    assert!(!stored.cases.is_empty() && printed.cases.len() < 200, "{} cases", stored.cases.len());
    assert_eq!(printed.cases.len(), stored.cases.len() + 1);
    assert_eq!(printed.cases[..stored.cases.len()], stored.cases);
}

#[test]
fn kill_9_loses_nothing_and_resume_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let model = shape(dir.path());
    let sweep = [
        "run",
        "--model",
        model.to_str().unwrap(),
        "--batch",
        "1..6",
        "--prompt",
        "8",
        "--generate",
        "4",
        "--repetitions",
        "2",
    ];
    let mut first = runner(dir.path(), &sweep).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(first.stderr.take().unwrap()).lines();
    assert!(lines.any(|l| l.unwrap().starts_with("[2/6]")), "two cases end");
    first.kill().unwrap();
    first.wait().unwrap();

    let mut again = sweep.to_vec();
    again.extend(["--resume", "--json"]);
    let out = output(&mut runner(dir.path(), &again));
    let run = detail(&out);
    assert_eq!(run.cases.iter().map(|c| c.position).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(run.run.status, RunStatus::Finished);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("resuming run") && !said.contains("[1/6]"), "{said}");

    // Finished now: nothing to resume, a new run.
    let fresh = detail(&output(&mut runner(dir.path(), &again)));
    assert_ne!(fresh.run.id, run.run.id);
}

#[test]
fn export_validate_and_the_table_speak_of_the_same_run() {
    let dir = tempfile::tempdir().unwrap();
    let model = shape(dir.path());
    let out = output(&mut runner(
        dir.path(),
        &[
            "run",
            "--model",
            model.to_str().unwrap(),
            "--prompt",
            "4,200",
            "--generate",
            "2",
            "--repetitions",
            "1",
        ],
    ));
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let table = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(table.contains("prefill tok/s") && table.contains("MiB"), "{table}");
    assert!(table.contains("prompt 200 + generate 2 is 202 tokens, more than the 128"), "{table}");

    let whole = output(&mut runner(dir.path(), &["export", "--format", "run"]));
    assert_eq!(detail(&whole).cases.len(), 2);
    let rows = output(&mut runner(dir.path(), &["export"]));
    assert_eq!(String::from_utf8_lossy(&rows.stdout).lines().count(), 1, "the refused case is no row");
    std::fs::write(dir.path().join("rows.jsonl"), &rows.stdout).unwrap();
    let report = output(&mut runner(dir.path(), &["validate", "rows.jsonl", "--json"]));
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!((&report["rows"], &report["answered"]), (&1.into(), &1.into()), "{report}");
}

#[test]
fn bad_input_ends_with_2_and_names_the_option() {
    let dir = tempfile::tempdir().unwrap();
    let model = shape(dir.path());
    let model = model.to_str().unwrap();
    std::fs::write(dir.path().join("text.db"), "not a database, and long enough to be looked at as one")
        .unwrap();
    for (arguments, part) in [
        (vec!["run", "--model", "nothing.gguf"], "nothing.gguf"),
        (vec!["run", "--model", model, "--batch", "0"], "--batch"),
        (
            vec!["run", "--model", model, "--precision", "fp9"],
            "accepted: native, fp32, bf16, fp16, fp8, gguf:q8_0",
        ),
        (vec!["run", "--model", model, "--device", "cuda:0"], "--features cuda"),
        (vec!["run", "--model", model, "--db", "text.db"], "not a SQLite database"),
        (vec!["run", "--model", model, "--db", "absent/new.db"], "--db: cannot open absent/new.db"),
        (vec!["export", "--db", "tiny"], "--db: cannot open tiny"),
        (vec!["run", "--model", model, "--repetitions", "0"], "--repetitions"),
        (vec!["plan", "--model", model, "--json", "x"], "cannot be used with"),
        (vec!["plan", "--model", "meta-llama/Llama-3.1-8B", "--gpu", "h1000"], "h1000"),
        (vec!["export", "--db", "absent.db"], "absent.db"),
        (vec!["daemon", "--server", "localhost", "--token", "t"], "accepted: http://"),
    ] {
        let out = output(&mut runner(dir.path(), &arguments));
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
        assert!(out.stdout.is_empty());
    }
}

#[test]
fn options_are_read_from_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let model = shape(dir.path());
    let out = output(
        runner(dir.path(), &["run"])
            .env("PLIMSOLL_MODEL", &model)
            .env("PLIMSOLL_PROMPT", "4")
            .env("PLIMSOLL_GENERATE", "1")
            .env("PLIMSOLL_REPETITIONS", "1")
            .env("PLIMSOLL_THREADS", "1")
            .env("PLIMSOLL_NO_DB", "true")
            .env("PLIMSOLL_JSON", "true"),
    );
    let run = detail(&out);
    assert_eq!(run.cases[0].spec.prompt_tokens.0, 4);
    assert_eq!(run.cases[0].measurement.as_ref().unwrap().threads, Some(1));
    assert!(!dir.path().join("plimsoll.db").exists());
}

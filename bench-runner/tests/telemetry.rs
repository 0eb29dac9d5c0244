//! What is recorded beside times and peaks, from end to end: rows, traces, `bench-runner monitor`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use std::path::Path;

use common::{detail, output, runner, shape};
use contract::case::{Case, CaseStatus};
use contract::measurement::{Measurement, Phase};
use contract::telemetry::MemoryTrace;
use planner::Bytes;
use serde_json::Value;

/// Two cases of the tiny shape, the second refused.
fn run(dir: &Path, more: &[&str]) -> Vec<Case> {
    let model = shape(dir);
    let mut arguments =
        vec!["run", "--model", model.to_str().unwrap(), "--prompt", "16,200", "--generate", "6"];
    // One thread: the scratch of several is alive together or not, as it happens.
    arguments.extend(["--repetitions", "3", "--threads", "1", "--no-db", "--json"]);
    arguments.extend(more);
    detail(&output(&mut runner(dir, &arguments))).cases
}

fn measured(cases: &[Case]) -> &Measurement {
    assert_eq!(cases.iter().map(|c| c.status).collect::<Vec<_>>(), [CaseStatus::Ok, CaseStatus::Refused]);
    cases[0].measurement.as_ref().unwrap()
}

#[test]
fn a_trace_is_written_and_changes_no_peak() {
    let dir = tempfile::tempdir().unwrap();
    let plain = run(dir.path(), &[]);
    let plain = measured(&plain);
    assert_eq!(plain.memory_trace, None);
    let telemetry = plain.telemetry.as_ref().unwrap();
    assert!(telemetry.looks >= 6, "one at the end of each timed phase: {telemetry:?}");
    for figure in ["clock_mhz", "energy"] {
        assert!(telemetry.methods.contains_key(figure), "{telemetry:?}");
    }
    assert_eq!(plain.energy.is_empty(), telemetry.methods["energy"].starts_with("not available: "));
    assert_eq!(telemetry.clock_mhz.is_none(), telemetry.methods["clock_mhz"].starts_with("not available: "));

    let traced = run(dir.path(), &["--trace", "run.trace.json", "--memory-trace"]);
    let traced_measurement = measured(&traced);
    for (with, without) in traced_measurement.phases.iter().zip(&plain.phases) {
        assert_eq!(with.phase, without.phase);
        // A few bytes are the request's own text.
        let apart = with.peak_allocated.0.abs_diff(without.peak_allocated.0);
        assert!(apart < 1024, "{:?}: {} and {}", with.phase, with.peak_allocated, without.peak_allocated);
    }
    check_memory(traced_measurement);
    check_file(&dir.path().join("run.trace.json"), &traced);
}

fn check_memory(measurement: &Measurement) {
    let trace: &MemoryTrace = measurement.memory_trace.as_ref().unwrap();
    assert!((1..=512).contains(&trace.at_us.len()), "{}", trace.at_us.len());
    assert!(trace.at_us.is_sorted());
    assert_eq!((trace.allocated.len(), trace.process.len()), (trace.at_us.len(), trace.at_us.len()));
    let most = trace.allocated.iter().max().copied().unwrap();
    let peak = measurement.peak_allocated().unwrap();
    let loaded = measurement.phase(Phase::Load).unwrap().live_at_end;
    assert!(most <= Bytes(peak.0 + 1024) && most >= Bytes(loaded.0 - 1024), "{loaded} to {peak}: {most}");
    let spans: Vec<_> = trace.spans.iter().map(|span| (span.phase, span.warm_up)).collect();
    let pass = |warm_up| [(Phase::Prefill, warm_up), (Phase::Decode, warm_up)];
    assert_eq!(spans[0], (Phase::Load, false));
    assert_eq!(spans[1..], [pass(true), pass(false), pass(false), pass(false)].concat());
    assert!(trace.spans.windows(2).all(|pair| pair[0].end_us <= pair[1].begin_us));
}

fn check_file(path: &Path, cases: &[Case]) {
    let events: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let slices = |process: u64, category: &str| {
        let of = |e: &&Value| e["pid"] == process && e["ph"] == "X" && e["cat"] == category;
        events.iter().filter(of).collect::<Vec<_>>()
    };
    let end = |slice: &Value| slice["ts"].as_i64().unwrap() + slice["dur"].as_i64().unwrap();
    for (process, case) in (1..).zip(cases) {
        let [whole] = slices(process, "case")[..] else { panic!("one slice a case: {events:?}") };
        assert_eq!(
            (&whole["name"], &whole["args"]["status"]),
            (&case.spec.key().into(), &case.status.as_str().into())
        );
        let phases = slices(process, "phase");
        assert_eq!(phases.len(), if case.status == CaseStatus::Ok { 9 } else { 0 });
        for phase in phases {
            assert!(
                phase["ts"].as_i64() >= whole["ts"].as_i64() && end(phase) <= end(whole),
                "{phase} in {whole}"
            );
        }
    }
    let counted = events.iter().filter(|e| e["ph"] == "C" && e["name"] == "allocated");
    assert!(counted.filter_map(|e| e["args"]["bytes"].as_u64()).any(|bytes| bytes > 100_000));
}

#[test]
fn settings_of_a_gpu_are_refused_on_a_processor() {
    let dir = tempfile::tempdir().unwrap();
    let model = shape(dir.path());
    for (option, value, part) in [
        ("--release-threshold", "max", "--release-threshold: a setting of a CUDA device"),
        ("--event-tracking", "off", "--event-tracking: a setting of a CUDA device"),
        ("--release-threshold", "1", "accepted: default, 0, max"),
        ("--trace", "absent/run.json", "--trace absent/run.json: No such file"),
    ] {
        let arguments = ["run", "--model", model.to_str().unwrap(), "--no-db", option, value];
        let out = output(&mut runner(dir.path(), &arguments));
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{said}");
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn monitor_prints_a_line_of_json_for_each_look() {
    let dir = tempfile::tempdir().unwrap();
    let out = output(&mut runner(dir.path(), &["monitor", "--json", "--count", "2", "--interval", "250ms"]));
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8_lossy(&out.stdout);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [first, second] = &lines[..] else { panic!("{text}") };
    assert!(first["host"]["cpu_percent"].is_null() && second["host"]["cpu_percent"].is_number(), "{text}");
    assert!(second["at"].as_i64() >= first["at"].as_i64().map(|at| at + 250), "{text}");
    let gpus = first["gpus"].as_array().unwrap();
    assert_eq!(gpus.is_empty(), first["note"].is_string(), "a machine without GPUs says why: {text}");
    let runners = first["runners"].as_array().unwrap();
    assert!(
        runners.iter().any(|p| p["name"] == "bench-runner" && p["bytes"].as_u64() > Some(1 << 20)),
        "{text}"
    );

    let out = output(&mut runner(dir.path(), &["monitor"]));
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("give --json"));
}

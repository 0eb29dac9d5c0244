//! The memory limit and the edge of what fits, by the binary: against trying every value, and against the planner.

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
use contract::edge::{Edge, EdgeAxis};
use contract::run::RunDetail;

/// A sweep on one thread (which threads get work, and so keep a workspace, is left to chance where there are more).
fn sweep(dir: &Path, options: &[&str]) -> RunDetail {
    let model = shape(dir);
    let fixed = ["run", "--model", model.to_str().unwrap(), "--threads", "1", "--json"];
    let arguments: Vec<&str> = fixed.iter().chain(options).copied().collect();
    detail(&output(&mut runner(dir, &arguments)))
}

fn edge(case: &Case) -> &Edge {
    case.measurement.as_ref().and_then(|m| m.edge.as_ref()).unwrap_or_else(|| panic!("{case:?}"))
}

#[test]
fn the_edges_found_are_those_of_trying_every_value() {
    let dir = tempfile::tempdir().unwrap();
    for (variant, axis, limit, at, values) in [
        ("stock", EdgeAxis::Batch, "3MiB", ["--prompt", "64"], 1..=24u64),
        ("plimsoll", EdgeAxis::Batch, "3MiB", ["--prompt", "64"], 1..=24),
        ("stock", EdgeAxis::Context, "2MB", ["--batch", "4"], 4..=104),
    ] {
        let common = ["--no-db", "--variant", variant, "--memory-limit", limit, "--generate", "3", "--force"];
        let common: Vec<&str> = common.iter().chain(&at).copied().collect();
        let listed: Vec<String> = match axis {
            EdgeAxis::Batch => vec!["--batch".to_owned(), format!("1..{}", values.end())],
            // Every fourth; the search's own neighbours are tried below.
            EdgeAxis::Context => vec!["--prompt".to_owned(), format!("1..{}+4", values.end() - 3)],
        };
        let every: Vec<&str> = common.iter().copied().chain(listed.iter().map(String::as_str)).collect();
        let brute = sweep(dir.path(), &[&every[..], &["--repetitions", "1"]].concat());
        let value = |case: &Case| match axis {
            EdgeAxis::Batch => u64::from(case.spec.batch),
            EdgeAxis::Context => (case.spec.prompt_tokens + case.spec.generate_tokens).0,
        };
        let fits = |case: &&Case| case.status == CaseStatus::Ok;
        let largest = brute.cases.iter().filter(fits).map(value).max().unwrap();
        let fails = brute.cases.iter().filter(|c| !fits(c)).map(value).min().unwrap();
        assert!(largest < fails, "{variant} {axis}: memory grows with it");
        for case in brute.cases.iter().filter(|c| !fits(c)) {
            assert_eq!(case.status, CaseStatus::OutOfMemory);
            assert!(case.error.as_deref().unwrap().contains("the memory limit of"), "{:?}", case.error);
        }

        let searched =
            sweep(dir.path(), &[&common[..], &["--repetitions", "2", "--edge", axis.as_str()]].concat());
        let [case] = &searched.cases[..] else { panic!("{} cases", searched.cases.len()) };
        assert_eq!(case.status, CaseStatus::Ok, "{:?}", case.error);
        let found = edge(case);
        println!("{variant} {axis} within {limit}: {largest} fits, {fails} fails by trying; {found:?}");
        assert_eq!(found.axis, axis);
        assert!(
            (largest..fails).contains(&found.largest),
            "{variant} {axis}: {} of {largest}..{fails}",
            found.largest
        );
        assert_eq!(found.smallest_failed, Some(found.largest + 1), "exact");
        // What was measured is the largest, with all repetitions, beside the plan of just that.
        let measured = case.measurement.as_ref().unwrap();
        assert_eq!(measured.samples.len(), 2);
        let room = case.spec.memory_limit.unwrap();
        assert!(measured.peak_allocated().unwrap() <= room);
        let estimate = case.estimate.as_ref().unwrap().totals.allocated;
        let error = estimate.0 as f64 / measured.peak_allocated().unwrap().0 as f64 - 1.0;
        assert!(error.abs() < 0.03, "the estimate is of the largest: {error}");
        // The planner's own edge, and how few trials it left.
        let predicted = found.predicted.unwrap();
        assert!(
            predicted.abs_diff(found.largest) <= found.largest.div_ceil(20),
            "{predicted} for {}",
            found.largest
        );
        assert_eq!(found.probes[0].value, predicted, "begun where the planner says");
        assert!(found.probes.len() <= 8, "{:?}", found.probes);
        for probe in &found.probes {
            let ended = if probe.value <= found.largest { CaseStatus::Ok } else { CaseStatus::OutOfMemory };
            assert_eq!(
                (probe.status, probe.peak_allocated.is_some()),
                (ended, ended == CaseStatus::Ok),
                "{probe:?}"
            );
        }
    }
}

#[test]
fn what_failed_is_not_tried_again_at_a_larger_size_and_everything_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    // Their memory does not grow enough from one length to the next for another edge: 20 sequences fit of neither.
    let options = ["--edge", "batch", "--memory-limit", "3MiB", "--prompt", "64,65", "--generate", "2"];
    let run = sweep(dir.path(), &[&options[..], &["--repetitions", "1", "--edge-resolution", "1"]].concat());
    let [short, long] = &run.cases[..] else { panic!("{} cases", run.cases.len()) };
    let (first, second) = (edge(short), edge(long));
    assert!(second.largest <= first.largest);
    assert_eq!(
        second.probes[0].inferred_from,
        Some(short.spec.at(EdgeAxis::Batch, first.smallest_failed.unwrap()).key())
    );
    assert!(second.probes[1..].iter().all(|p| p.value < first.smallest_failed.unwrap()), "{second:?}");
    let shown = String::from_utf8(output(&mut runner(dir.path(), &["show"])).stdout).unwrap();
    assert!(shown.contains("2 cases: 2 ok") && shown.contains("fails at"), "{shown}");
    let row = shown.lines().find(|line| line.starts_with("batch ")).unwrap();
    assert!(row.contains(&format!(" {} ", first.largest)) && row.contains("prompt 64 + 2"), "{row}");
    // The rows that are exported are of the largest, whose plan they have.
    let rows = String::from_utf8(output(&mut runner(dir.path(), &["export"])).stdout).unwrap();
    let row: serde_json::Value = serde_json::from_str(rows.lines().next().unwrap()).unwrap();
    assert_eq!(row["plan"]["workload"]["concurrent_sequences"], first.largest);
    assert_eq!(row["measured"]["total"], short.measurement.as_ref().unwrap().peak_allocated().unwrap().0);
}

#[test]
fn an_edge_ends_at_its_limit_at_what_the_engine_takes_and_at_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let of = |options: &[&str]| {
        let fixed = ["--no-db", "--repetitions", "1", "--generate", "2"];
        let run = sweep(dir.path(), &[&fixed, options].concat());
        run.cases.into_iter().next().unwrap()
    };
    let limited = of(&["--edge", "batch", "--prompt", "8", "--edge-limit", "3", "--memory-limit", "1GiB"]);
    let found = edge(&limited);
    assert_eq!((found.largest, found.smallest_failed, found.probes.len()), (3, None, 1), "{found:?}");

    // The tiny shape was made for 128 tokens.
    let context = of(&["--edge", "context", "--memory-limit", "1GiB"]);
    let found = edge(&context);
    assert_eq!(
        (found.largest, found.smallest_failed, found.predicted),
        (128, Some(129), Some(128)),
        "{found:?}"
    );
    assert_eq!(found.probes.last().unwrap().status, CaseStatus::Refused);

    let nothing = of(&["--edge", "context", "--memory-limit", "1MiB", "--batch", "512", "--force"]);
    assert_eq!(nothing.status, CaseStatus::OutOfMemory, "{nothing:?}");
    let found = edge(&nothing);
    assert_eq!((found.largest, found.smallest_failed), (0, Some(3)), "{found:?}");
    assert!(
        nothing.error.as_deref().unwrap().contains("not even a context of 3 fits"),
        "{:?}",
        nothing.error
    );
}

#[test]
fn a_child_that_dies_of_something_else_ends_the_search() {
    let dir = tempfile::tempdir().unwrap();
    let model = shape(dir.path());
    let arguments = ["run", "--model", model.to_str().unwrap(), "--edge", "batch", "--edge-limit", "4"];
    let rest = ["--memory-limit", "1GiB", "--prompt", "8", "--repetitions", "1", "--json"];
    let arguments: Vec<&str> = arguments.iter().chain(&rest).copied().collect();
    let fault = bench_runner::case::FAULT_VARIABLE;
    let run = detail(&output(runner(dir.path(), &arguments).env(fault, "abort@ b4 ")));
    assert_eq!(run.cases[0].status, CaseStatus::Crashed);
    let error = run.cases[0].error.as_deref().unwrap();
    assert!(error.starts_with("at batch 4: ") && error.contains("SIGABRT"), "{error}");
    // Nothing is known of the edge; tried again it is found.
    let again: Vec<&str> = arguments.iter().chain(&["--resume", "--retry-failed"]).copied().collect();
    let healed = detail(&output(&mut runner(dir.path(), &again)));
    assert_eq!(healed.run.id, run.run.id);
    assert_eq!((healed.cases[0].status, edge(&healed.cases[0]).largest), (CaseStatus::Ok, 4));
}

#[test]
fn what_cannot_fit_is_predicted_and_not_run_unless_forced() {
    let dir = tempfile::tempdir().unwrap();
    let options = [
        "--batch",
        "1,64",
        "--prompt",
        "100",
        "--generate",
        "2",
        "--repetitions",
        "1",
        "--memory-limit",
        "3MiB",
    ];
    let run = sweep(dir.path(), &options);
    let statuses = |run: &RunDetail| run.cases.iter().map(|c| c.status).collect::<Vec<_>>();
    assert_eq!(statuses(&run), [CaseStatus::Ok, CaseStatus::PredictedOutOfMemory]);
    let predicted = &run.cases[1];
    let error = predicted.error.as_deref().unwrap();
    assert!(
        error.contains("the planner says") && error.contains("3.0 MiB") && error.contains("--force"),
        "{error}"
    );
    let estimate = predicted.estimate.as_ref().unwrap();
    assert!(!estimate.fits && predicted.measurement.is_none());
    assert_eq!(estimate.capacity_bytes.0, 3 << 20, "the plan sees a device of that size");

    // Resumed as it is, nothing is left; forced, it is tried and really does not fit.
    let again = sweep(dir.path(), &[&options[..], &["--resume", "--retry-failed", "--force"]].concat());
    assert_eq!(again.run.id, run.run.id);
    assert_eq!(statuses(&again), [CaseStatus::Ok, CaseStatus::OutOfMemory]);
    assert_eq!(again.cases[0], run.cases[0]);
}

#[test]
fn a_time_budget_leaves_a_run_that_can_be_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let model = shape(dir.path());
    let sweep = ["run", "--model", model.to_str().unwrap(), "--prompt", "4..40", "--generate", "2"];
    let arguments = |more: &[&'static str]| -> Vec<String> {
        sweep.iter().chain(&["--repetitions", "1", "--json"]).chain(more).map(|s| (*s).to_owned()).collect()
    };
    let run = |more| {
        let arguments = arguments(more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        output(&mut runner(dir.path(), &arguments))
    };
    // The first case takes longer than all the time there is, and is not cut short.
    let out = run(&["--time-budget", "5ms"]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(3), "{said}");
    assert!(said.contains("1 of 37 cases are done") && said.contains("--resume"), "{said}");
    let stopped = detail(&out);
    assert_eq!(stopped.cases.len(), 1);
    let out = run(&["--time-budget", "1h", "--resume"]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let finished = detail(&out);
    assert_eq!((finished.run.id, finished.cases.len()), (stopped.run.id, 37));
    assert_eq!(finished.cases[0], stopped.cases[0]);
}

#[test]
fn limits_and_edges_that_make_no_sense_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let model = shape(dir.path());
    for (options, part) in [
        (vec!["--memory-limit", "12 parsecs"], "600MiB"),
        (vec!["--memory-limit", "600"], "--memory-limit: 600 B is out of range"),
        (vec!["--edge", "batch"], "--memory-limit: left out"),
        (vec!["--edge", "length"], "accepted: batch, context"),
        (vec!["--edge", "batch", "--memory-limit", "1GB", "--batch", "2,4"], "--batch: 2, 4 is out of range"),
        (
            vec!["--edge", "context", "--memory-limit", "1GB", "--prompt", "64"],
            "--prompt: 64 is out of range",
        ),
        (vec!["--edge", "batch", "--memory-limit", "1GB", "--edge-limit", "0"], "--edge-limit: 0"),
        (vec!["--edge", "batch", "--memory-limit", "1GB", "--edge-resolution", "0"], "--edge-resolution: 0"),
        (vec!["--edge-limit", "5"], "--edge"),
        (vec!["--retry-failed"], "--resume"),
        (vec!["--time-budget", "soon"], "--time-budget"),
    ] {
        let fixed = ["run", "--model", model.to_str().unwrap(), "--no-db"];
        let kept = if options.contains(&"--retry-failed") { &fixed[..3] } else { &fixed[..] };
        let arguments: Vec<&str> = kept.iter().chain(&options).copied().collect();
        let out = output(&mut runner(dir.path(), &arguments));
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{options:?}: {said}");
        assert!(said.contains(part), "{options:?}: {said}");
    }
}

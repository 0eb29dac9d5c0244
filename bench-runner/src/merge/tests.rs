//! Shards of a sweep put together, in whatever order, how often, and from wherever they come.

use contract::case::{Case, CaseStatus};
use contract::ids::{CaseId, RunId, UnixMillis};
use contract::measurement::Measurement;
use contract::run::{Run, RunDetail, RunOrigin, RunStatus};
use contract::shard::Shard;
use contract::sweep::{Sweep, first_benchmark};
use uuid::Uuid;

use super::{Merged, Source, merge};

fn machine(name: &str) -> contract::machine::Machine {
    let mut machine = crate::machine::machine(Some(name));
    machine.id = contract::ids::MachineId(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()));
    machine
}

/// A run of a shard, or of the whole, whose cases end one after another from `from` on.
fn run(id: u128, shard: Option<Shard>, node: &str, from: i64) -> RunDetail {
    let sweep = Sweep { shard, ..first_benchmark() };
    let (machine, run_id) = (machine(node), RunId(Uuid::from_u128(id)));
    let case = |(position, spec): (u32, contract::case::CaseSpec)| Case {
        id: CaseId::derive(run_id, &spec.key()),
        run_id,
        position,
        spec,
        engine: "candle".into(),
        plan: None,
        estimate: None,
        status: CaseStatus::Ok,
        error: None,
        measurement: Some(Measurement { load_ms: from as f64, ..Measurement::default() }),
        finished_at: UnixMillis(from + i64::from(position)),
    };
    RunDetail {
        cases: (0..).zip(sweep.cases()).map(case).collect(),
        run: Run {
            id: run_id,
            name: "array".into(),
            job_id: None,
            machine_id: machine.id,
            sweep,
            runner: crate::build_info::build(),
            status: RunStatus::Finished,
            origin: RunOrigin::Local,
            started_at: UnixMillis(from),
            finished_at: Some(UnixMillis(from + 100)),
        },
        machine,
    }
}

fn shard(index: u32, from: i64) -> RunDetail {
    run(u128::from(index), Some(Shard { index, of: 3 }), "node", from)
}

fn source(name: &str, runs: Vec<RunDetail>) -> Source {
    Source { name: name.into(), runs }
}

fn only(mut merged: Vec<Merged>) -> Merged {
    assert_eq!(merged.len(), 1);
    merged.remove(0)
}

#[test]
fn shards_become_the_whole_run_in_the_order_of_its_grid() {
    let sources: Vec<Source> =
        (1..=3).map(|i| source(&i.to_string(), vec![shard(i, 10 * i64::from(i))])).collect();
    let merged = only(merge(&[], &sources));
    let whole = first_benchmark();
    let keys: Vec<String> = merged.detail.cases.iter().map(|case| case.spec.key()).collect();
    assert_eq!(keys, whole.cases().iter().map(contract::case::CaseSpec::key).collect::<Vec<_>>());
    for (place, case) in (0..).zip(&merged.detail.cases) {
        assert_eq!((case.position, case.run_id), (place, merged.detail.run.id));
        assert_eq!(case.id, CaseId::derive(merged.detail.run.id, &case.spec.key()));
    }
    let run = &merged.detail.run;
    assert_eq!((run.status, run.started_at, &run.sweep), (RunStatus::Finished, UnixMillis(10), &whole));
    assert_eq!(run.finished_at, merged.detail.cases.iter().map(|case| case.finished_at).max());
    assert_eq!((merged.new, merged.total, merged.notes.len()), (8, 8, 0));
    assert_eq!(run.machine_id, merged.detail.machine.id);
}

#[test]
fn merging_again_or_in_steps_comes_to_the_same() {
    let parts: Vec<Source> =
        (1..=3).map(|i| source(&i.to_string(), vec![shard(i, 10 * i64::from(i))])).collect();
    let at_once = only(merge(&[], &parts)).detail;
    let again = only(merge(std::slice::from_ref(&at_once), &parts));
    assert_eq!((&again.detail, again.new, again.notes.len()), (&at_once, 0, 0));
    let mut target: Vec<RunDetail> = Vec::new();
    for (index, part) in parts.into_iter().rev().enumerate() {
        let step = only(merge(&target, &[part]));
        let done = if index == 2 { RunStatus::Finished } else { RunStatus::Running };
        assert_eq!(step.detail.run.status, done, "after {} of 3", index + 1);
        assert_eq!(step.detail.run.finished_at.is_some(), index == 2);
        target = vec![step.detail];
    }
    assert_eq!(target[0], at_once);
}

#[test]
fn of_a_case_measured_twice_the_first_result_stays_and_that_is_said() {
    // Shard 1 ran twice: its task was put back into the queue.
    let (late, early) = (shard(1, 500), run(9, Some(Shard { index: 1, of: 3 }), "node", 20));
    let merged = only(merge(&[], &[source("late.db", vec![late.clone()]), source("early.db", vec![early])]));
    let kept: Vec<f64> =
        merged.detail.cases.iter().map(|case| case.measurement.as_ref().unwrap().load_ms).collect();
    assert!(kept.iter().all(|ms| (ms - 20.0).abs() < f64::EPSILON), "{kept:?}");
    assert_eq!(merged.notes.len(), merged.detail.cases.len());
    assert!(
        merged.notes[0]
            .ends_with("measured twice; the result of early.db stays, that of late.db is left out"),
        "{:?}",
        merged.notes
    );
    // What is in the target was first, whatever comes after it.
    let target = only(merge(&[], &[source("late.db", vec![late])])).detail;
    let early = run(9, Some(Shard { index: 1, of: 3 }), "node", 20);
    let merged = only(merge(std::slice::from_ref(&target), &[source("early.db", vec![early])]));
    assert_eq!(merged.detail.cases, target.cases);
    assert!(merged.notes[0].contains("the result of the target stays"), "{:?}", merged.notes);
}

#[test]
fn what_failed_gives_way_to_a_later_attempt_that_did_not() {
    let well = || source("well.db", vec![shard(1, 500)]);
    let failed = || {
        let mut run = run(9, Some(Shard { index: 1, of: 3 }), "node", 20);
        for case in &mut run.cases {
            (case.status, case.measurement) = (CaseStatus::Crashed, None);
        }
        source("failed.db", vec![run])
    };
    let measured = only(merge(&[], &[well()])).detail.cases;
    // Together, in either order.
    for sources in [[well(), failed()], [failed(), well()]] {
        let merged = only(merge(&[], &sources));
        assert_eq!((&merged.detail.cases, merged.notes.len()), (&measured, 0));
    }
    // One after the other: the target has the failures, and a copy of them comes again later.
    let mut target = Vec::new();
    for (next, new) in [(failed(), measured.len()), (well(), measured.len()), (failed(), 0)] {
        let merged = only(merge(&target, &[next]));
        assert_eq!((merged.new, merged.notes.len()), (new, 0));
        target = vec![merged.detail];
    }
    assert_eq!(target[0].cases, measured);
}

#[test]
fn nodes_of_one_kind_are_one_machine_and_others_are_not() {
    let of = |index| Some(Shard { index, of: 3 });
    let (one, two) = (run(1, of(1), "n1", 0), run(2, of(2), "n2", 0));
    let mut other = run(3, of(3), "big", 0);
    other.machine.cpu.logical_cores += 64;
    let merged = merge(&[], &[source("a", vec![two, other]), source("b", vec![one])]);
    let mut names: Vec<&str> = merged.iter().map(|m| m.detail.machine.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["big", "n1, n2"]);
    assert!(merged.iter().all(|m| m.detail.run.status == RunStatus::Running));
    assert_eq!(merged.iter().map(|m| m.detail.cases.len()).sum::<usize>(), 8);
}

#[test]
fn what_is_not_of_one_array_job_stays_apart() {
    // Other names, other numbers of shards, and runs of the whole sweep.
    let mut named = shard(2, 0);
    named.run.name = "another".into();
    let halved = run(5, Some(Shard { index: 1, of: 2 }), "node", 0);
    let (whole, later) = (run(6, None, "node", 0), run(7, None, "node", 50));
    let merged = merge(&[], &[source("a", vec![shard(1, 0), named, halved, whole.clone(), later])]);
    assert_eq!(merged.len(), 5);
    let kept = merged.iter().find(|m| m.detail.run.id == whole.run.id).unwrap();
    assert_eq!(kept.detail, whole, "a run of its own is taken as it is");
}

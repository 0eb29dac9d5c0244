use contract::case::{Case, CaseSpec, CaseStatus};
use contract::ids::{CaseId, RunId, UnixMillis};
use contract::measurement::Phase;
use contract::telemetry::Telemetry;
use planner::Bytes;
use serde_json::Value;
use uuid::Uuid;

use super::{Recording, RunTrace, memory_trace};
use crate::telemetry::recorder::{Record, Span};
use crate::telemetry::series::Point;

fn record(points: Vec<Point>) -> Record {
    let span = |phase, warm_up, begin_us, end_us| Span { phase, warm_up, begin_us, end_us };
    Record {
        started_us: 0,
        telemetry: Telemetry::default(),
        energy: Vec::new(),
        points,
        spans: vec![span(Phase::Load, false, 100, 200), span(Phase::Prefill, true, 300, 400)],
    }
}

fn point(at_us: u64, allocated: u64) -> Point {
    Point { at_us, allocated: Some(allocated), process: Some(allocated * 2), ..Point::default() }
}

#[test]
fn a_stored_trace_begins_with_loading_and_keeps_its_maxima() {
    let points = (0..5000).map(|at| point(at, if at == 3333 { 9999 } else { 7 })).collect();
    let trace = memory_trace(&record(points)).unwrap();
    assert!((256..=512).contains(&trace.at_us.len()), "{}", trace.at_us.len());
    assert_eq!(trace.allocated.len(), trace.at_us.len());
    assert_eq!(trace.process.len(), trace.at_us.len());
    assert!(trace.at_us.is_sorted());
    assert_eq!(trace.at_us.last(), Some(&4899), "since 100");
    let highest = trace.allocated.iter().position(|b| *b == Bytes(9999)).unwrap();
    assert!(trace.at_us[highest].abs_diff(3233) < 10);
    let spans: Vec<_> = trace.spans.iter().map(|s| (s.phase, s.warm_up, s.begin_us, s.end_us)).collect();
    assert_eq!(spans, [(Phase::Load, false, 0, 100), (Phase::Prefill, true, 200, 300)]);
}

#[test]
fn what_was_not_seen_is_not_in_a_stored_trace() {
    assert_eq!(memory_trace(&record(Vec::new())), None);
    let unseen = Point { at_us: 150, ..Point::default() };
    assert_eq!(memory_trace(&record(vec![unseen])), None);
    let mut half = vec![point(150, 1), point(160, 2)];
    half[1].process = None;
    let trace = memory_trace(&record(half)).unwrap();
    assert_eq!((trace.allocated.len(), trace.process.len()), (2, 0));
}

fn case(position: u32) -> Case {
    Case {
        id: CaseId(Uuid::from_u128(1)),
        run_id: RunId(Uuid::from_u128(2)),
        position,
        spec: CaseSpec { model: "m".to_owned(), precision: "bf16".to_owned(), ..CaseSpec::default() },
        engine: "candle".to_owned(),
        plan: None,
        estimate: None,
        status: CaseStatus::OutOfMemory,
        error: None,
        measurement: None,
        finished_at: UnixMillis(0),
    }
}

#[test]
fn a_file_holds_a_process_for_each_case_with_its_phases_and_counters() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.json");
    std::fs::write(&path, "what was there before").unwrap();
    let recording =
        Recording { trace: Some(RunTrace::create(&path, "a \"run\"").unwrap()), memory_trace: false };
    let trace = recording.trace.as_ref().unwrap();
    let asked = recording.of_case(4);
    assert!(asked.keeps_looks() && !Recording::default().of_case(4).keeps_looks());

    let power = Point { power_mw: Some(1500), clock_mhz: Some(900), ..point(150, 10) };
    let record = Record { started_us: trace.zero_us + 1000, ..record(vec![power]) };
    asked.trace.unwrap().write(&record).unwrap();
    trace.case(&case(4), trace.zero_us + 500).unwrap();
    let open = std::fs::read_to_string(&path).unwrap();
    trace.finish().unwrap();

    let text = std::fs::read_to_string(&path).unwrap();
    let events: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(text.trim_end(), format!("{open}\n]"), "a runner that was killed lacks the bracket only");
    assert_eq!(events[0]["args"]["name"], "a \"run\"");
    let find = |name: &str, kind: &str| {
        let mut found = events.iter().filter(|e| e["name"] == name && e["ph"] == kind);
        let event = found.next().unwrap_or_else(|| panic!("no {name} in {text}"));
        assert!(found.next().is_none() && event["pid"] == 5, "{event}");
        event
    };
    let (prefill, load) = (find("prefill", "X"), find("load", "X"));
    assert_eq!((&load["ts"], &load["dur"]), (&1100.into(), &100.into()));
    assert_eq!((&prefill["ts"], &prefill["args"]["warm_up"]), (&1300.into(), &true.into()));
    assert_eq!(find("allocated", "C")["args"]["bytes"], 10);
    assert_eq!(find("process", "C")["args"]["bytes"], 20);
    assert_eq!(find("power", "C")["args"]["watts"], 1.5);
    assert_eq!(find("clock", "C")["ts"], 1150);
    assert!(!text.contains("\"device\""), "it was not seen");
    let whole = find(&case(4).spec.key(), "X");
    assert_eq!((&whole["args"]["status"], &whole["ts"]), (&"out-of-memory".into(), &500.into()));
}

#[test]
fn a_file_that_cannot_be_made_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    assert!(RunTrace::create(&folder.path().join("absent/run.json"), "r").is_err());
}

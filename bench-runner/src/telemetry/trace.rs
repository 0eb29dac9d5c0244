//! Memory over time: stored with a row, and as a file for Perfetto (`ui.perfetto.dev`) or `chrome://tracing`.
//!
//! The file is an array of trace events ("Trace Event Format", Google, 2016): `M` names, `X` slices, `C` counters, times in
//! microseconds. The runner and the cases' children append to it, so that what was written before a crash is there; the
//! format allows that the closing bracket is missing.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use contract::case::Case;
use contract::measurement::Phase;
use contract::telemetry::{MemoryTrace, TraceSpan};
use planner::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::recorder::Record;
use super::series::{Point, thinned};
use crate::clock;

/// Points of a stored trace, at most.
const STORED_POINTS: usize = 512;

/// Spans of a stored trace, at most.
const STORED_SPANS: usize = 64;

/// Tracks of a case in the file: the case as the runner saw it, and its phases.
const CASE_TRACK: u32 = 1;
const PHASE_TRACK: u32 = 2;

/// What of a run is recorded over time.
#[derive(Debug, Default)]
pub struct Recording {
    /// A file of the whole run.
    pub trace: Option<RunTrace>,
    /// Whether each row keeps its memory over time.
    pub memory_trace: bool,
}

impl Recording {
    /// What the child of the case at `position` is asked.
    #[must_use]
    pub fn of_case(&self, position: u32) -> CaseRecording {
        CaseRecording {
            trace: self.trace.as_ref().map(|trace| trace.target(position)),
            memory_trace: self.memory_trace,
        }
    }
}

/// What a child is asked to record over time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseRecording {
    /// A file to append to.
    #[serde(default)]
    pub trace: Option<TraceTarget>,
    /// Whether the row keeps its memory over time.
    #[serde(default)]
    pub memory_trace: bool,
}

impl CaseRecording {
    /// Whether looks must be kept.
    #[must_use]
    pub const fn keeps_looks(&self) -> bool {
        self.trace.is_some() || self.memory_trace
    }
}

/// A trace's file and the case's place in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceTarget {
    path: PathBuf,
    /// Microseconds since 1970 of the trace's zero.
    zero_us: i64,
    /// Number of the case's process in the trace.
    process: u32,
}

/// The trace of a run.
#[derive(Debug)]
pub struct RunTrace {
    path: PathBuf,
    zero_us: i64,
}

impl RunTrace {
    /// Creates the file, or empties it.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn create(path: &Path, run: &str) -> std::io::Result<Self> {
        let first = json!({ "name": "process_name", "ph": "M", "pid": 0, "args": { "name": run } });
        File::create(path)?.write_all(format!("[\n{first}").as_bytes())?;
        // Children have the same folder, but need not keep it.
        Ok(Self { path: std::path::absolute(path)?, zero_us: clock::now_us() })
    }

    fn target(&self, position: u32) -> TraceTarget {
        TraceTarget { path: self.path.clone(), zero_us: self.zero_us, process: position.saturating_add(1) }
    }

    /// Adds a case that ended, begun at `begun_us` microseconds since 1970.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn case(&self, case: &Case, begun_us: i64) -> std::io::Result<()> {
        let target = self.target(case.position);
        let pid = target.process;
        let key = case.spec.key();
        let named = |what: &str, tid: u32, name: &str| json!({ "name": what, "ph": "M", "pid": pid, "tid": tid, "args": { "name": name } });
        target.append(&[
            named("process_name", CASE_TRACK, &key),
            json!({ "name": "process_sort_index", "ph": "M", "pid": pid, "args": { "sort_index": pid } }),
            named("thread_name", CASE_TRACK, "case"),
            named("thread_name", PHASE_TRACK, "phases"),
            json!({
                "name": key, "cat": "case", "ph": "X", "pid": pid, "tid": CASE_TRACK,
                "ts": begun_us - self.zero_us, "dur": clock::now_us() - begun_us,
                "args": { "status": case.status.as_str(), "engine": case.engine },
            }),
        ])
    }

    /// Closes the file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn finish(&self) -> std::io::Result<()> {
        OpenOptions::new().append(true).open(&self.path)?.write_all(b"\n]\n")
    }
}

impl TraceTarget {
    /// Adds a case's phases and counters.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, record: &Record) -> std::io::Result<()> {
        let mut events = Vec::with_capacity(record.spans.len() + 4 * record.points.len());
        let from = record.started_us - self.zero_us;
        let at = |us: u64| from.saturating_add_unsigned(us);
        for span in &record.spans {
            events.push(json!({
                "name": span.phase.as_str(), "cat": "phase", "ph": "X", "pid": self.process, "tid": PHASE_TRACK,
                "ts": at(span.begin_us), "dur": span.end_us.saturating_sub(span.begin_us),
                "args": { "warm_up": span.warm_up },
            }));
        }
        for point in &record.points {
            for (name, unit, value) in counters(point) {
                events.push(json!({
                    "name": name, "ph": "C", "pid": self.process, "ts": at(point.at_us), "args": { unit: value },
                }));
            }
        }
        self.append(&events)
    }

    /// One write, so that what is there stays whole.
    fn append(&self, events: &[Value]) -> std::io::Result<()> {
        let mut text = Vec::new();
        for event in events {
            write!(text, ",\n{event}")?;
        }
        OpenOptions::new().append(true).open(&self.path)?.write_all(&text)
    }
}

/// Name, unit and value of what is known at a point.
fn counters(point: &Point) -> impl Iterator<Item = (&'static str, &'static str, Value)> {
    [
        ("allocated", "bytes", point.allocated.map(Value::from)),
        ("process", "bytes", point.process.map(Value::from)),
        ("device", "bytes", point.device.map(Value::from)),
        ("power", "watts", point.power_mw.map(|mw| Value::from(f64::from(mw) / 1e3))),
        ("clock", "MHz", point.clock_mhz.map(Value::from)),
    ]
    .into_iter()
    .filter_map(|(name, unit, value)| Some((name, unit, value?)))
}

/// A record's memory over time, small enough for a row. None where no bytes were seen.
#[must_use]
pub fn memory_trace(record: &Record) -> Option<MemoryTrace> {
    let zero = record.spans.iter().find(|span| span.phase == Phase::Load)?.begin_us;
    let since: Vec<Point> = record.points.iter().filter(|point| point.at_us > zero).copied().collect();
    let points = thinned(&since, STORED_POINTS);
    let bytes =
        |of: fn(&Point) -> Option<u64>| points.iter().map(|p| of(p).map(Bytes)).collect::<Option<Vec<_>>>();
    let allocated = bytes(|point| point.allocated).filter(|list| !list.is_empty())?;
    let span = |span: &super::recorder::Span| TraceSpan {
        phase: span.phase,
        warm_up: span.warm_up,
        begin_us: span.begin_us - zero,
        end_us: span.end_us - zero,
    };
    Some(MemoryTrace {
        at_us: points.iter().map(|point| point.at_us - zero).collect(),
        allocated,
        process: bytes(|point| point.process).unwrap_or_default(),
        spans: record.spans.iter().take(STORED_SPANS).map(span).collect(),
    })
}

#[cfg(test)]
mod tests;

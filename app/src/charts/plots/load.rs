//! What fits, over batch and context: cases that did and did not, and where the planner draws the line.

use std::collections::BTreeMap;

use contract::case::{Case, CaseStatus};
use contract::edge::EdgeAxis;
use contract::explore::{CaseLine, Task};
use contract::ids::CaseId;
use contract::points::{CasePoint, CasePoints};
use planner::solve::LoadPoint;
use planner::{Bytes, Compiled, Plan, PlanError};

use super::draft::{Draft, chart, how, mark, said, swept, table_of};
use super::{Across, Plot};
use crate::charts::chart::{Area, Axis, Line, Mark, Marks, Point, Scale, Series};
use crate::charts::palette::Colour;
use crate::charts::run::short_model;
use crate::components::batches;
use crate::engine;

/// How a case ended, as far as memory goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Fit,
    DidNotFit,
    Predicted,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Fit, Self::DidNotFit, Self::Predicted];

    const fn title(self) -> &'static str {
        match self {
            Self::Fit => "ran",
            Self::DidNotFit => "had no memory for it",
            Self::Predicted => "predicted not to fit, not run",
        }
    }

    /// Style of the mark, and its colour.
    const fn look(self) -> (usize, Colour) {
        match self {
            Self::Fit => (0, Colour::OK),
            Self::DidNotFit => (3, Colour::BAD),
            Self::Predicted => (1, Colour::INK_3),
        }
    }

    fn of(point: &CasePoint) -> Result<Self, &'static str> {
        match point.line.status {
            _ if point.line.task == Task::Training => Err("are training steps"),
            CaseStatus::Ok => Ok(Self::Fit),
            CaseStatus::OutOfMemory => Ok(Self::DidNotFit),
            CaseStatus::PredictedOutOfMemory => Ok(Self::Predicted),
            CaseStatus::Crashed | CaseStatus::Refused | CaseStatus::Failed => {
                Err("ended for reasons that tell nothing of memory")
            }
        }
    }
}

/// What has one load line: the same model, stored and computed alike, on one device.
fn key(line: &CaseLine) -> (String, String, String, String) {
    (line.model.clone(), line.precision.clone(), how(line), line.device.clone())
}

/// The key that most cases have; of equals the one of the newest case.
fn most_frequent(points: &CasePoints) -> Option<(String, String, String, String)> {
    let mut counts = BTreeMap::new();
    let tell = |point: &&CasePoint| Outcome::of(point).is_ok();
    for point in points.items.iter().filter(tell) {
        *counts.entry(key(&point.line)).or_insert(0usize) += 1;
    }
    let most = counts.values().copied().max()?;
    points.items.iter().filter(tell).map(|point| key(&point.line)).find(|key| counts.get(key) == Some(&most))
}

/// The newest case of those that are shown: its plan gives the line.
pub(super) fn newest(points: &CasePoints) -> Option<CaseId> {
    let shown = most_frequent(points)?;
    let newest = points.items.iter().filter(|point| Outcome::of(point).is_ok() && key(&point.line) == shown);
    newest.max_by_key(|point| point.line.finished_at).map(|point| point.line.id)
}

pub(super) fn draw(mut draft: Draft<'_>, planned: Option<&Case>) -> Plot {
    let shown = most_frequent(draft.points);
    let found = draft.gather(|point| {
        let outcome = Outcome::of(point)?;
        if Some(key(&point.line)) == shown {
            Ok(outcome)
        } else {
            Err("are of another model, precision or device than most; filter to see them")
        }
    });
    let n = found.len();
    let table = table_of(&found, &["Outcome"], |_, outcome| vec![outcome.title().to_owned()]);
    let largest = found.iter().map(|(point, _)| point.batch()).max().unwrap_or(1);
    let edge = planned.and_then(|case| case.plan.as_ref()).map(|plan| Edge::of(plan, &batches(largest)));
    let mut series = Vec::new();
    let mut areas = Vec::new();
    match edge {
        Some(Ok(edge)) => {
            series.push(Series {
                name: "the planner's load line".into(),
                style: 0,
                colour: Some(Colour::LINE),
                mark: Mark::None,
                line: Line::Solid,
                points: drawn(&edge.line).map(|(x, y)| Point::at(x, y)).collect(),
            });
            areas.extend(edge.band());
            draft.notes.push(format!(
                "The line is the longest context for each batch that the planner says fits in {}; its \
                 ground is the estimate's band.",
                edge.capacity
            ));
        }
        Some(Err(error)) => draft.notes.push(format!("There is no line: {error}.")),
        None => draft.notes.push("There is no line: the newest case has no plan.".into()),
    }
    for outcome in Outcome::ALL {
        let (style, colour) = outcome.look();
        let points = found
            .iter()
            .filter(|(_, one)| *one == outcome)
            .map(|(point, _)| mark(point, point.batch() as f64, point.context() as f64, outcome.title()));
        let mut points: Vec<Point> = points.collect();
        if outcome == Outcome::DidNotFit {
            // What a search of the edge saw fail is such a point too.
            points.extend(found.iter().filter_map(|(point, _)| failed(point)));
        }
        if !points.is_empty() {
            let name = outcome.title().to_owned();
            series.push(Series {
                name,
                style,
                colour: Some(colour),
                mark: Mark::Filled,
                line: Line::None,
                points,
            });
        }
    }
    let along = |pick: fn(&Point) -> f64| -> Vec<f64> {
        series.iter().flat_map(|s| s.points.iter().map(pick)).collect()
    };
    let x = Axis { scale: Scale::Logarithmic, ..swept(Across::Batch.title(), along(|p| p.x).into_iter()) };
    let y = Axis { label: Across::Context.title().into(), scale: Scale::Logarithmic, marks: Marks::Round };
    let title = shown.map_or_else(
        || "Load line".to_owned(),
        |(model, precision, how, device)| {
            let how = if how.is_empty() { how } else { format!(", {how}") };
            format!("Load line of {} {precision}{how} on {device}", short_model(&model))
        },
    );
    let mut chart = chart(title, x, y, series);
    chart.areas = areas;
    draft.done(n, chart, table)
}

/// The smallest that a case's search saw fail.
fn failed(point: &CasePoint) -> Option<Point> {
    let edge = point.detail.edge.as_ref()?;
    let value = edge.smallest_failed?;
    let (batch, context) = match edge.axis {
        EdgeAxis::Batch => (value, point.context()),
        EdgeAxis::Context => (point.batch(), value),
    };
    let mut mark = mark(point, batch as f64, context as f64, "");
    mark.said = said(&point.line, batch, context, "had no memory for it, in a search of the edge");
    Some(mark)
}

/// The load line of a plan, and the lines at the ends of its band.
struct Edge {
    capacity: Bytes,
    line: Vec<LoadPoint>,
    /// Where memory that is scarcer, and more plentiful, by the band would put it.
    ends: Option<(Vec<LoadPoint>, Vec<LoadPoint>)>,
}

impl Edge {
    fn of(plan: &Plan, batches: &[u64]) -> Result<Self, PlanError> {
        let line = engine::line(plan, batches)?;
        let compiled = Compiled::new(plan)?;
        let (memory, estimate) = (compiled.numbers().memory, compiled.estimate()?);
        let (capacity, total) = (estimate.capacity_bytes, estimate.per_gpu.total);
        // An estimate that is too low by so much is as good as a capacity that is smaller by it.
        let with = |end: Bytes| -> Result<Vec<LoadPoint>, PlanError> {
            let capacity_then = capacity.0 as f64 * total.0 as f64 / end.0.max(1) as f64;
            let bytes = memory.0 as f64 + capacity_then - capacity.0 as f64;
            let mut other = plan.clone();
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "at least one MiB of memory"
            )]
            let mib = (bytes / f64::from(1 << 20)).max(1.0) as u64;
            other.gpu.memory_mib = Some(mib);
            engine::line(&other, batches)
        };
        let (low, high) = (estimate.error_band.low, estimate.error_band.high);
        // Where the memory of an end cannot be planned, there is no band; the line stands.
        let ends = with(high).ok().zip(with(low).ok()).filter(|_| low > Bytes::ZERO);
        Ok(Self { capacity, line, ends })
    }

    fn band(&self) -> Option<Area> {
        let (scarce, plentiful) = self.ends.as_ref()?;
        let points = scarce
            .iter()
            .zip(plentiful)
            .filter(|(low, _)| low.context.0 > 0)
            .map(|(low, high)| (low.batch as f64, low.context.0 as f64, high.context.0 as f64))
            .collect();
        Some(Area { name: "its band".into(), colour: Colour::LINE, points })
    }
}

/// Where the line is: not where nothing fits.
fn drawn(line: &[LoadPoint]) -> impl Iterator<Item = (f64, f64)> {
    line.iter().filter(|p| p.context.0 > 0).map(|p| (p.batch as f64, p.context.0 as f64))
}

//! Peaks, measured and estimated, over batch or lengths.

use super::Plot;
use super::draft::{Draft, axis_of, chart, mark, medians, swept, table_of};
use crate::charts::chart::{Line, Mark, Series};
use crate::format;

pub(super) fn draw(mut draft: Draft<'_>) -> Plot {
    let found = draft.gather(|point| {
        let peak = point.line.peak_allocated.filter(|peak| peak.0 > 0);
        if point.is_measured() {
            peak.ok_or("have no measured peak")
        } else {
            Err("ended without a measurement")
        }
    });
    let (n, x) = (found.len(), draft.across(&found));
    let largest = found.iter().flat_map(|(p, peak)| [Some(*peak), p.line.estimated]).flatten().max();
    let unit = draft.unit(largest);
    let (in_unit, unit) = (|bytes| unit.figure(bytes), unit.as_str());
    let said = |bytes| format!("{} {unit}", format::figure(in_unit(bytes)));
    let figures = [format!("Measured, {unit}"), format!("Estimated, {unit}"), "Residual".to_owned()];
    let table = table_of(&found, &figures.each_ref().map(String::as_str), |point, peak| {
        let estimated = point.line.estimated.map_or_else(none, |bytes| format::figure(in_unit(bytes)));
        let residual = point.residual().map_or_else(none, |share| format::signed_percent(100.0 * share));
        vec![format::figure(in_unit(*peak)), estimated, residual]
    });
    let across = swept(x.title(), found.iter().map(|(point, _)| x.of(point)));
    let up = axis_of(
        format!("peak, {unit}"),
        found.iter().flat_map(|(p, peak)| [Some(*peak), p.line.estimated]).flatten().map(in_unit),
    );
    let unplanned = found.iter().filter(|(point, _)| point.line.estimated.is_none()).count();
    let mut series = Vec::new();
    for (style, group) in draft.series(found).into_iter().enumerate() {
        let estimates = group.cases.iter().filter_map(|(point, _)| {
            Some((x.of(point), in_unit(point.line.estimated.filter(|bytes| bytes.0 > 0)?)))
        });
        let marks = group.cases.iter().map(|(point, peak)| {
            let answer = point
                .line
                .estimated
                .map_or_else(|| "not estimated".to_owned(), |b| format!("{} estimated", said(b)));
            mark(point, x.of(point), in_unit(*peak), &format!("{} measured, {answer}", said(*peak)))
        });
        let of =
            |mark, line, points| Series { name: group.name.clone(), style, colour: None, mark, line, points };
        series.push(of(Mark::None, Line::Dashed, medians(estimates)));
        series.push(of(Mark::Filled, Line::None, marks.collect()));
    }
    draft.notes.push(
        "Marks are measured peaks of what the allocator gave out; broken lines join \
         the medians of what the planner had said of them."
            .into(),
    );
    if unplanned > 0 {
        draft.notes.push(format!("{} had no estimate.", format::count(unplanned as u64)));
    }
    let title = format!("Peak of allocated memory, measured and estimated, by {}", x.title());
    draft.done(n, chart(title, across, up, series), table)
}

fn none() -> String {
    "–".to_owned()
}

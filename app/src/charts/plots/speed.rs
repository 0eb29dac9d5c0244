//! Rates and latencies over batch or lengths.

use super::draft::{Draft, axis_of, chart, mark, medians, swept, table_of};
use super::{Across, Plot};
use crate::charts::chart::{Line, Mark, Series};
use crate::format;

pub(super) fn draw(mut draft: Draft<'_>) -> Plot {
    let y = draft.asked.y;
    let found = draft.measured(|point| y.of(point).ok_or(y.lacking()));
    let x = draft.across(&found);
    let n = found.len();
    let table = table_of(&found, &[y.title()], |_, figure| vec![format::figure(*figure)]);
    let across = swept(x.title(), found.iter().map(|(point, _)| x.of(point)));
    let up = axis_of(y.title(), found.iter().map(|(_, figure)| *figure));
    let mut series = Vec::new();
    for (style, group) in draft.series(found).into_iter().enumerate() {
        let line = medians(group.cases.iter().map(|(point, figure)| (x.of(point), *figure)));
        let marks = group.cases.iter().map(|(point, figure)| {
            mark(point, x.of(point), *figure, &format!("{} {}", format::figure(*figure), y.unit()))
        });
        let of =
            |mark, line, points| Series { name: group.name.clone(), style, colour: None, mark, line, points };
        series.push(of(Mark::None, Line::Solid, line));
        series.push(of(Mark::Filled, Line::None, marks.collect()));
    }
    draft
        .notes
        .push("Marks are cases, medians over their repetitions; lines join the medians of cases.".into());
    let other = match x {
        Across::Batch => "lengths",
        Across::Context => "batches",
    };
    draft.notes.push(format!("Cases of all {other} that match are in one line: filter to part them."));
    let title = format!("{} by {}", capital(y.title()), x.title());
    draft.done(n, chart(title, across, up, series), table)
}

/// With a capital first.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

//! What the planner says that a peak is made of, beside what was measured.

use std::collections::BTreeSet;

use planner::Bytes;
use planner::document::estimate::Components;

use super::Plot;
use super::draft::{Draft, Found, chart, how, said, table_of};
use crate::charts::chart::{Axis, Line, Mark, Marks, Point, Scale, Series, Tile};
use crate::charts::palette::Colour;
use crate::charts::run::{case_href, short_model};
use crate::{components, format};

/// Cases shown at most.
const MOST: usize = 24;
/// Height of a bar, and of what is around them.
const HEIGHT: (u32, u32) = (26, 64);

/// What is shown of a case.
struct Stack {
    parts: Components,
    peak: Bytes,
}

/// The newest cases that differ, the largest first.
fn newest<'a>(draft: &mut Draft<'a>) -> Found<'a, Stack> {
    let mut found = draft.gather(|point| {
        let peak = point.line.peak_allocated.filter(|_| point.is_measured());
        let peak = peak.ok_or("ended without a measured peak")?;
        let parts = point.detail.parts.ok_or("had no estimate")?;
        // The allocator gives out neither: they would be in the bar and not in the mark.
        let parts = Components { runtime: Bytes::ZERO, context: Bytes::ZERO, ..parts };
        Ok(Stack { parts, peak })
    });
    let before = found.len();
    let mut seen = BTreeSet::new();
    found.retain(|(point, _)| {
        let line = &point.line;
        seen.insert((
            line.model.clone(),
            line.precision.clone(),
            how(line),
            (line.device.clone(), line.engine.clone()),
            point.batch(),
            line.prompt_tokens,
            line.generate_tokens,
        ))
    });
    draft.leave_out("are older measurements of a case that is shown", (before - found.len()) as u64);
    let beyond = found.len().saturating_sub(MOST);
    draft.leave_out(
        &format!("are older than the newest {MOST} different ones; filter to see others"),
        beyond as u64,
    );
    found.truncate(MOST);
    found.sort_by_key(|(_, stack)| std::cmp::Reverse(stack.peak));
    found
}

pub(super) fn draw(mut draft: Draft<'_>) -> Plot {
    let found = newest(&mut draft);
    let n = found.len();
    let table = table_of(&found, &["Measured, GiB", "Estimated, GiB", "Made of"], |point, stack| {
        let parts = components::parts(&stack.parts, point.detail.pool);
        let sum = parts.iter().map(|(_, _, bytes)| bytes.0).sum();
        let named: Vec<String> =
            parts.iter().map(|(name, _, bytes)| format!("{name} {}", format::gib_figure(*bytes))).collect();
        vec![format::gib_figure(stack.peak), format::gib_figure(Bytes(sum)), named.join(", ")]
    });

    let mut tiles = Vec::new();
    let (mut names, mut measured) = (Vec::new(), Vec::new());
    let mut legend: Vec<(&'static str, Colour)> = Vec::new();
    // The first stands highest.
    for (place, (point, stack)) in found.iter().rev().enumerate() {
        let place = place as f64;
        let line = &point.line;
        let lengths = format!("b{} {}+{}", point.batch(), line.prompt_tokens, line.generate_tokens);
        let words = [short_model(&line.model), &line.precision, &how(line), &lengths];
        names.push(words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "));
        let mut from = 0.0;
        for (name, variable, bytes) in components::parts(&stack.parts, point.detail.pool) {
            let colour = Colour::named(variable).unwrap_or(Colour::INK_3);
            if !legend.contains(&(name, colour)) {
                legend.push((name, colour));
            }
            let to = from + bytes.gib();
            let figures = format!("{name} {} GiB, estimated", format::gib_figure(bytes));
            tiles.push(Tile {
                x: (from, to),
                y: (place - 0.32, place + 0.32),
                colour,
                opacity: 1.0,
                text: Vec::new(),
                said: said(line, point.batch(), point.context(), &figures),
                href: None,
            });
            from = to;
        }
        let figures = format!("{} GiB measured", format::gib_figure(stack.peak));
        let said = said(line, point.batch(), point.context(), &figures);
        measured.push(Point { x: stack.peak.gib(), y: place, said, href: Some(case_href(line)) });
    }
    let of = |name: &str, style, colour, mark, line, points| Series {
        name: name.to_owned(),
        style,
        colour: Some(colour),
        mark,
        line,
        points,
    };
    let mut series = vec![of("measured peak", 0, Colour::INK, Mark::Filled, Line::None, measured)];
    // A square of its colour in the legend.
    series.extend(
        legend.into_iter().map(|(name, colour)| of(name, 1, colour, Mark::Filled, Line::None, Vec::new())),
    );
    draft.notes.push(
        "Bars are what the planner had said, by component; the mark is the \
         measured peak of what the allocator gave out. \
         The CUDA context and what is outside tensors are in neither."
            .into(),
    );
    let x = Axis { label: "GiB".into(), scale: Scale::Linear, marks: Marks::Round };
    let y = Axis { label: String::new(), scale: Scale::Names(names), marks: Marks::Round };
    let mut chart = chart("Estimated components of peaks, and the measured peaks".into(), x, y, series);
    chart.size.1 = HEIGHT.1 + HEIGHT.0 * u32::try_from(n.max(2)).unwrap_or(u32::MAX);
    chart.tiles = tiles;
    draft.done(n, chart, table)
}

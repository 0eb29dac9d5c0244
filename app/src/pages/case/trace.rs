//! Memory over time, phase by phase.

use contract::measurement::Phase;
use contract::telemetry::{MemoryTrace, TraceSpan};
use leptos::prelude::*;
use planner::Bytes;

use super::figures::{mib, phase_title};
use crate::charts::{Axis, Chart, Line, MOST_SERIES, Mark, Marks, Point, Scale, Series};
use crate::format;

/// The plot and its table; none where there are no points.
pub(super) fn card(trace: &MemoryTrace) -> Option<AnyView> {
    let chart = chart(trace)?;
    let drawing = match chart.svg() {
        Ok(svg) => view! { <div class="plot" inner_html=svg></div> }.into_any(),
        Err(error) => view! { <p class="muted">{error.to_string()}</p> }.into_any(),
    };
    let legend: Vec<_> = chart
        .legend()
        .into_iter()
        .map(|entry| {
            view! {
                <li>
                    <span style="display:contents" inner_html=entry.svg()></span>
                    {entry.name}
                </li>
            }
        })
        .collect();
    let rows: Vec<_> = trace
        .spans
        .iter()
        .map(|span| {
            let peak = peak(trace, *span).map_or_else(|| "–".to_owned(), mib);
            let name = phase_title(span.phase);
            let name = if span.warm_up { format!("{name}, warm-up") } else { name.to_owned() };
            view! {
                <tr>
                    <th scope="row">{name}</th>
                    <td class="n">{format::millis(ms(span.begin_us))}</td>
                    <td class="n">{format::millis(ms(span.end_us.saturating_sub(span.begin_us)))}</td>
                    <td class="n">{peak}</td>
                </tr>
            }
        })
        .collect();
    let view = view! {
        <figure class="card" data-test="trace">
            <header>
                <h2>"Memory over time"</h2>
                <small>{format!("{} points, the highest look of each; warm-ups included", trace.at_us.len())}</small>
            </header>
            {drawing} <ul class="legend">{legend}</ul>
            <details class="quiet">
                <summary>"As a table"</summary>
                <table>
                    <thead>
                        <tr>
                            <th scope="col">"Phase"</th>
                            <th scope="col" class="n">"Began"</th>
                            <th scope="col" class="n">"Took"</th>
                            <th scope="col" class="n">"Highest look, MiB"</th>
                        </tr>
                    </thead>
                    <tbody class="num">{rows}</tbody>
                </table>
            </details>
        </figure>
    };
    Some(view.into_any())
}

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

/// Points from the one before a span's begin to its end: a point holds the highest look since the one before it.
fn points(trace: &MemoryTrace, begin_us: u64, end_us: u64) -> impl Iterator<Item = (u64, Bytes)> {
    let first = trace.at_us.partition_point(|at| *at < begin_us).saturating_sub(1);
    let points = trace.at_us.iter().copied().zip(trace.allocated.iter().copied());
    points.skip(first).take_while(move |(at, _)| *at <= end_us)
}

/// The highest point within a span.
fn peak(trace: &MemoryTrace, span: TraceSpan) -> Option<Bytes> {
    points(trace, span.begin_us, span.end_us).filter(|(at, _)| *at >= span.begin_us).map(|p| p.1).max()
}

/// Allocated bytes as one line in the colours of the phases, the process's as a broken one.
fn chart(trace: &MemoryTrace) -> Option<Chart> {
    let end = *trace.at_us.last()?;
    let place = |(at, bytes): (u64, Bytes)| Point::at(at as f64 / 1e6, bytes.mib());
    let line = |name: &str, style, line, points: Vec<Point>| Series {
        name: name.to_owned(),
        style,
        colour: None,
        mark: Mark::None,
        line,
        points,
    };
    let whole = points(trace, 0, end).map(place).collect();
    let mut series = vec![line("between phases", 0, Line::Solid, whole)];
    let mut phases: Vec<Phase> = Vec::new();
    // The plot draws so many lines; what comes after them stays in the colour of the whole.
    for span in trace.spans.iter().take(2 * MOST_SERIES - 2) {
        if !phases.contains(&span.phase) {
            phases.push(span.phase);
        }
        let style = 1 + phases.iter().position(|phase| *phase == span.phase).unwrap_or(0);
        let of_it: Vec<Point> = points(trace, span.begin_us, span.end_us).map(place).collect();
        if !of_it.is_empty() {
            series.push(line(span.phase.as_str(), style, Line::Solid, of_it));
        }
    }
    if !trace.process.is_empty() {
        let of_it = trace.at_us.iter().copied().zip(trace.process.iter().copied()).map(place);
        series.push(line("process", 0, Line::Dashed, of_it.collect()));
    }
    let axis = |label: &str| Axis { label: label.to_owned(), scale: Scale::Linear, marks: Marks::Round };
    Some(Chart {
        title: "Allocated memory over time, by phase".to_owned(),
        size: (480, 300),
        x: axis("seconds since loading began"),
        y: axis("allocated, MiB"),
        window: None,
        areas: Vec::new(),
        tiles: Vec::new(),
        series,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(phase: Phase, begin_us: u64, end_us: u64) -> TraceSpan {
        TraceSpan { phase, warm_up: false, begin_us, end_us }
    }

    #[test]
    fn every_phase_has_its_stretch_of_the_line() {
        let trace = MemoryTrace {
            at_us: vec![0, 10, 20, 30, 40, 50],
            allocated: [1, 5, 9, 4, 6, 2].map(Bytes::from_mib).to_vec(),
            process: Vec::new(),
            spans: vec![
                span(Phase::Load, 0, 20),
                span(Phase::Prefill, 25, 30),
                span(Phase::Decode, 40, 45),
                span(Phase::Prefill, 46, 47),
            ],
        };
        let chart = chart(&trace).unwrap();
        let drawn: Vec<_> = chart.series.iter().map(|s| (s.name.as_str(), s.style, s.points.len())).collect();
        assert_eq!(
            drawn,
            [
                ("between phases", 0, 6),
                ("load", 1, 3),
                ("prefill", 2, 2),
                ("decode", 3, 2),
                ("prefill", 2, 1)
            ]
        );
        let peaks: Vec<_> = trace.spans.iter().map(|s| peak(&trace, *s)).collect();
        let want = [Some(9), Some(4), Some(6), None].map(|peak: Option<u64>| peak.map(Bytes::from_mib));
        assert_eq!(peaks, want, "a phase between two looks was not seen");
        assert!(super::chart(&MemoryTrace::default()).is_none());
    }
}

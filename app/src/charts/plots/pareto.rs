//! Rate of decode against peak memory, with those that no other beats in both.

use contract::points::CasePoint;

use super::draft::{Draft, Found, Group, axis_of, chart, mark, table_of};
use super::{By, Figure, Plot};
use crate::charts::chart::{Line, Mark, Point, Series};
use crate::charts::palette::Colour;
use crate::format;

/// Peak in GiB and decoded tokens per second.
type Both = (f64, f64);

pub(super) fn draw(mut draft: Draft<'_>) -> Plot {
    let found = draft.measured(|point| {
        let peak = Figure::Peak.of(point).ok_or(Figure::Peak.lacking())?;
        let rate = Figure::Decode.of(point).ok_or(Figure::Decode.lacking())?;
        Ok((peak, rate))
    });
    let n = found.len();
    let best = frontier(found.iter().map(|(_, both)| *both));
    let is_best = |both: &Both| best.contains(both);
    let figures =
        ["Decode, tok/s", "Peak, GiB", "KL divergence, nats", "Perplexity to reference", "On the frontier"];
    let table = table_of(&found, &figures, |point, both| {
        let quality = point.detail.quality.as_ref();
        let none = || "–".to_owned();
        vec![
            format::figure(both.1),
            format::figure(both.0),
            quality.map_or_else(none, |q| format::figure(q.kl_mean)),
            quality.map_or_else(none, |q| format!("× {:.3}", q.perplexity / q.reference_perplexity)),
            if is_best(both) { "yes" } else { "no" }.to_owned(),
        ]
    });
    let x = axis_of("peak, GiB", found.iter().map(|(_, both)| both.0));
    let y = axis_of("decode, tok/s", found.iter().map(|(_, both)| both.1));
    let with_quality = found.iter().filter(|(point, _)| point.detail.quality.is_some()).count();
    let line = Series {
        name: "the frontier".into(),
        style: 0,
        colour: Some(Colour::INK_3),
        mark: Mark::None,
        line: Line::Steps,
        points: best.iter().map(|both| Point::at(both.0, both.1)).collect(),
    };
    let mut series = vec![line];
    let groups: Vec<(usize, Option<Colour>, Group<'_, Both>)> = match draft.asked.series {
        Some(By::Facet(_)) => {
            draft.series(found).into_iter().enumerate().map(|(style, group)| (style, None, group)).collect()
        }
        _ => by_quality(found),
    };
    for (style, colour, group) in groups {
        let points = group.cases.iter().map(|(point, both)| {
            let quality = point.detail.quality.as_ref();
            let quality = quality.map(|q| format!(", KL {} nats", format::figure(q.kl_mean)));
            let told = format!(
                "{} tok/s at {} GiB{}",
                format::figure(both.1),
                format::figure(both.0),
                quality.unwrap_or_default()
            );
            mark(point, both.0, both.1, &told)
        });
        let points = points.collect();
        series.push(Series { name: group.name, style, colour, mark: Mark::Filled, line: Line::None, points });
    }
    draft.notes.push(format!(
        "The line joins the {} that no other case beats in both; it is fair among cases of one model and device: \
         filter to these.",
        format::count(best.len() as u64)
    ));
    draft.notes.push(format!("Quality was measured of {}.", format::count(with_quality as u64)));
    draft.done(n, chart("Decode rate against peak memory".into(), x, y, series), table)
}

/// Those that no other beats: least memory first, each faster than the one before.
fn frontier(all: impl Iterator<Item = Both>) -> Vec<Both> {
    let mut sorted: Vec<Both> = all.collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
    let mut best: Vec<Both> = Vec::new();
    for both in sorted {
        if best.last().is_none_or(|last| both.1 > last.1) {
            best.push(both);
        }
    }
    best
}

/// Classes of mean Kullback–Leibler divergence in nats: below which, the name, the colour.
const CLASSES: [(f64, &str, Colour); 4] = [
    (0.01, "KL below 0.01", Colour::OK),
    (0.1, "KL 0.01 to 0.1", Colour::series(5)),
    (1.0, "KL 0.1 to 1", Colour::WARN),
    (f64::INFINITY, "KL of 1 and more", Colour::BAD),
];

fn by_quality(found: Found<'_, Both>) -> Vec<(usize, Option<Colour>, Group<'_, Both>)> {
    let class = |point: &CasePoint| {
        let kl = point.detail.quality.as_ref()?.kl_mean;
        CLASSES.iter().position(|(below, ..)| kl < *below)
    };
    let named = CLASSES.iter().map(|(_, name, colour)| (*name, *colour));
    let mut groups: Vec<(usize, Option<Colour>, Group<'_, Both>)> = named
        .chain([("quality not measured", Colour::INK_3)])
        .enumerate()
        .map(|(style, (name, colour))| {
            (style, Some(colour), Group { name: name.to_owned(), cases: Vec::new() })
        })
        .collect();
    for (point, both) in found {
        let place = class(point).unwrap_or(CLASSES.len());
        groups[place].2.cases.push((point, both));
    }
    groups.retain(|(_, _, group)| !group.cases.is_empty());
    groups
}

#[cfg(test)]
mod tests {
    use super::frontier;

    #[test]
    fn the_frontier_is_what_nothing_beats() {
        let all = [(4.0, 50.0), (2.0, 30.0), (2.0, 40.0), (3.0, 40.0), (3.5, 20.0), (8.0, 60.0), (9.0, 60.0)];
        assert_eq!(frontier(all.into_iter()), [(2.0, 40.0), (4.0, 50.0), (8.0, 60.0)]);
        assert_eq!(frontier([].into_iter()), []);
    }
}

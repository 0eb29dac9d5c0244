//! How far estimates are off.

use contract::statistics::Distribution;

use super::Plot;
use super::draft::{Draft, axis_of, chart, mark, table_of};
use crate::charts::chart::{Area, Axis, Line, Mark, Marks, Scale, Series};
use crate::charts::palette::Colour;
use crate::format;

/// What is shown of a case: its peak in bytes, the residual and the band, as shares of the measured peak.
struct Off {
    peak: planner::Bytes,
    residual: f64,
    band: Option<(f64, f64)>,
}

pub(super) fn draw(mut draft: Draft<'_>) -> Plot {
    let found = draft.gather(|point| {
        let peak = point.line.peak_allocated.filter(|_| point.is_measured());
        let peak = peak.filter(|peak| peak.0 > 0).ok_or("ended without a measured peak")?;
        let residual = point.residual().ok_or("had no estimate")?;
        Ok(Off { peak, residual, band: point.residual_band() })
    });
    let n = found.len();
    let unit = draft.unit(found.iter().map(|(_, off)| off.peak).max());
    let (in_unit, unit) = (|bytes| unit.figure(bytes), unit.as_str());
    let figures = [format!("Measured, {unit}"), "Residual".to_owned(), "Band".to_owned()];
    let table = table_of(&found, &figures.each_ref().map(String::as_str), |_, off| {
        let band = off.band.map_or_else(|| "–".to_owned(), |(low, high)| between(low, high));
        vec![format::figure(in_unit(off.peak)), format::signed_percent(100.0 * off.residual), band]
    });
    let across = axis_of(format!("measured peak, {unit}"), found.iter().map(|(_, off)| in_unit(off.peak)));
    let up = Axis {
        label: "measured less estimated, % of measured".into(),
        scale: Scale::Signed,
        marks: Marks::Round,
    };
    let sizes = || found.iter().map(|(_, off)| in_unit(off.peak));
    let (least, greatest) = (sizes().reduce(f64::min), sizes().reduce(f64::max));
    let ends: Vec<f64> = least.into_iter().chain(greatest).collect();
    let median = |of: fn(&(f64, f64)) -> f64| {
        Distribution::of(found.iter().filter_map(|(_, off)| off.band.as_ref().map(of))).map(|d| 100.0 * d.p50)
    };
    let (low, high) = (median(|band| band.0), median(|band| band.1));
    let areas: Vec<Area> = low
        .zip(high)
        .map(|(low, high)| Area {
            name: format!("the estimates' band, {}", between(low / 100.0, high / 100.0)),
            colour: Colour::INK,
            points: ends.iter().map(|x| (*x, low, high)).collect(),
        })
        .into_iter()
        .collect();
    let banded = found.iter().filter(|(_, off)| off.band.is_some()).count();
    let within = found
        .iter()
        .filter(|(_, off)| off.band.is_some_and(|(low, high)| (low..=high).contains(&off.residual)))
        .count();
    if let Some(spread) = Distribution::of(found.iter().map(|(_, off)| 100.0 * off.residual.abs())) {
        draft.notes.push(format!(
            "{} of {} lie within the band that their estimate had given; off by {} % at the median, {} % at most.",
            format::count(within as u64),
            format::count(banded as u64),
            format::percent_figure(spread.p50),
            format::percent_figure(spread.max)
        ));
    }
    draft.notes.push(
        "The ground is the median band; a mark tells its own. Above zero more was measured than estimated."
            .into(),
    );
    let mut series = Vec::new();
    for (style, group) in draft.series(found).into_iter().enumerate() {
        let points = group.cases.iter().map(|(point, off)| {
            let band = off.band.map(|(low, high)| format!(", its band {}", between(low, high)));
            let told = format!(
                "residual {} of {} {unit}{}",
                format::signed_percent(100.0 * off.residual),
                format::figure(in_unit(off.peak)),
                band.unwrap_or_default()
            );
            mark(point, in_unit(off.peak), 100.0 * off.residual, &told)
        });
        let points = points.collect();
        series.push(Series {
            name: group.name,
            style,
            colour: None,
            mark: Mark::Filled,
            line: Line::None,
            points,
        });
    }
    let mut chart = chart("Residuals of estimated peaks".into(), across, up, series);
    chart.areas = areas;
    draft.done(n, chart, table)
}

/// `−3.1 % to +2.9 %`.
fn between(low: f64, high: f64) -> String {
    format!("{} to {}", format::signed_percent(100.0 * low), format::signed_percent(100.0 * high))
}

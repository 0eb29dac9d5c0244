//! The plots of a run.

use std::collections::HashMap;

use contract::case::CaseStatus;
use contract::explore::CaseLine;
use contract::ids::CaseId;
use planner::Bytes;

use super::chart::{Axis, Chart, Line, Mark, Marks, Point, Scale, Series};
use crate::format;

/// Decode rate over the widest axis of the run; none where nothing was decoded.
#[must_use]
pub fn decode_rate(cases: &[CaseLine]) -> Option<Chart> {
    rate(cases, "Decode", |case| case.decode_tokens_per_second)
}

/// Prefill rate over the widest axis of the run; none where nothing was measured.
#[must_use]
pub fn prefill_rate(cases: &[CaseLine]) -> Option<Chart> {
    rate(cases, "Prefill", |case| case.prefill_tokens_per_second)
}

fn rate(cases: &[CaseLine], what: &str, figure: impl Fn(&CaseLine) -> Option<f64>) -> Option<Chart> {
    let figures: Vec<(&CaseLine, f64)> =
        measured(cases).filter_map(|case| Some((case, figure(case)?))).collect();
    let layout = Layout::of(figures.iter().map(|(case, _)| *case))?;
    let series = layout.series(&figures, "tok/s", Mark::Filled, Line::Solid);
    let scale = if spread(figures.iter().map(|f| f.1)) > 30.0 { Scale::Logarithmic } else { Scale::Linear };
    let title = format!("{what} rate in tokens per second by {}", layout.axis.label());
    Some(layout.chart(title, format!("{}, tok/s", what.to_lowercase()), scale, series))
}

/// Measured peaks as points, estimated ones as broken lines; none where nothing was measured.
#[must_use]
pub fn peak_memory(cases: &[CaseLine]) -> Option<Chart> {
    let peaks: Vec<(&CaseLine, Bytes)> =
        measured(cases).filter_map(|case| Some((case, case.peak_allocated?))).collect();
    let estimates: Vec<(&CaseLine, Bytes)> =
        peaks.iter().filter_map(|(case, _)| Some((*case, case.estimated?))).collect();
    let layout = Layout::of(peaks.iter().map(|(case, _)| *case))?;
    let unit = Unit::of(peaks.iter().chain(&estimates).map(|p| p.1).max()?);
    let (estimates, peaks) = (in_figures(&estimates, unit), in_figures(&peaks, unit));
    let mut series = layout.series(&estimates, unit.as_str(), Mark::None, Line::Dashed);
    series.extend(layout.series(&peaks, unit.as_str(), Mark::Filled, Line::None));
    let scale = if spread(peaks.iter().map(|p| p.1)) > 50.0 { Scale::Logarithmic } else { Scale::Linear };
    let title = format!("Peak of allocated memory, measured and estimated, by {}", layout.axis.label());
    Some(layout.chart(title, format!("peak, {}", unit.as_str()), scale, series))
}

fn in_figures<'a>(of: &[(&'a CaseLine, Bytes)], unit: Unit) -> Vec<(&'a CaseLine, f64)> {
    of.iter().map(|(case, bytes)| (*case, unit.figure(*bytes))).collect()
}

/// The unit of an axis of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// 2^20 bytes.
    Mib,
    /// 2^30 bytes.
    Gib,
}

impl Unit {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Mib, Self::Gib];

    /// As people and addresses spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mib => "MiB",
            Self::Gib => "GiB",
        }
    }

    /// MiB for what is small, GiB for the rest.
    pub(super) fn of(largest: Bytes) -> Self {
        if largest.gib() < 2.0 { Self::Mib } else { Self::Gib }
    }

    /// Bytes counted in it.
    pub(super) fn figure(self, bytes: Bytes) -> f64 {
        match self {
            Self::Mib => bytes.mib(),
            Self::Gib => bytes.gib(),
        }
    }
}

fn measured(cases: &[CaseLine]) -> impl Iterator<Item = &CaseLine> {
    cases.iter().filter(|case| case.status == CaseStatus::Ok)
}

/// Largest over smallest figure.
pub(super) fn spread(figures: impl Iterator<Item = f64>) -> f64 {
    let (min, max) =
        figures.filter(|f| *f > 0.0).fold((f64::MAX, 0f64), |(lo, hi), f| (lo.min(f), hi.max(f)));
    if max > 0.0 { max / min } else { 1.0 }
}

/// The axes of a sweep that are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SweepAxis {
    Batch,
    Prompt,
    Generate,
    /// None of them varies: cases stand side by side.
    Names,
}

impl SweepAxis {
    const NUMBERS: [Self; 3] = [Self::Batch, Self::Prompt, Self::Generate];

    fn value(self, case: &CaseLine) -> u64 {
        match self {
            Self::Batch => u64::from(case.batch),
            Self::Prompt => case.prompt_tokens.0,
            Self::Generate => case.generate_tokens.0,
            Self::Names => 0,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Batch => "sequences at once",
            Self::Prompt => "prompt tokens",
            Self::Generate => "generated tokens",
            Self::Names => "model and precision",
        }
    }

    fn short(self, value: u64) -> String {
        match self {
            Self::Batch => format!("{value} at once"),
            Self::Prompt => format!("prompt {value}"),
            Self::Generate => format!("generate {value}"),
            Self::Names => String::new(),
        }
    }
}

/// Which axis lies along x, and what tells one series from another.
struct Layout {
    axis: SweepAxis,
    /// Names along x, where no number varies.
    names: Vec<String>,
    /// Values along x are far enough apart for a logarithmic axis.
    wide: bool,
    models_vary: bool,
    precisions_vary: bool,
    numbers_vary: Vec<SweepAxis>,
    /// Names of series in the order of the cases.
    series: Vec<String>,
    /// The series of each case.
    places: HashMap<CaseId, usize>,
}

impl Layout {
    fn of<'a>(cases: impl Iterator<Item = &'a CaseLine>) -> Option<Self> {
        let cases: Vec<&CaseLine> = cases.collect();
        let distinct = |axis: SweepAxis| {
            let mut values: Vec<u64> = cases.iter().map(|case| axis.value(case)).collect();
            values.sort_unstable();
            values.dedup();
            values
        };
        let first = cases.first()?;
        // The last of equals wins `max_by_key`; the order of the contract should.
        let (values, widest) = SweepAxis::NUMBERS
            .into_iter()
            .rev()
            .map(|axis| (distinct(axis), axis))
            .max_by_key(|(v, _)| v.len())?;
        let axis = if values.len() > 1 { widest } else { SweepAxis::Names };
        let mut layout = Self {
            axis,
            names: Vec::new(),
            wide: values.first().zip(values.last()).is_some_and(|(lo, hi)| *lo > 0 && hi / lo >= 4),
            models_vary: cases.iter().any(|case| case.model != first.model),
            precisions_vary: cases.iter().any(|case| precision(case) != precision(first)),
            numbers_vary: SweepAxis::NUMBERS
                .into_iter()
                .filter(|a| *a != axis && distinct(*a).len() > 1)
                .collect(),
            series: Vec::new(),
            places: HashMap::with_capacity(cases.len()),
        };
        let mut known = HashMap::new();
        for case in &cases {
            let place = if axis == SweepAxis::Names { &mut layout.names } else { &mut Vec::new() };
            let name = format!("{} {}", short_model(&case.model), precision(case));
            if !place.contains(&name) {
                place.push(name);
            }
            let name = layout.series_name(case);
            let place = *known.entry(name).or_insert_with_key(|name| {
                layout.series.push(name.clone());
                layout.series.len() - 1
            });
            layout.places.insert(case.id, place);
        }
        Some(layout)
    }

    fn series_name(&self, case: &CaseLine) -> String {
        if self.axis == SweepAxis::Names {
            return "every case".to_owned();
        }
        let mut parts = Vec::new();
        if self.models_vary {
            parts.push(short_model(&case.model).to_owned());
        }
        if self.precisions_vary {
            parts.push(precision(case));
        }
        parts.extend(self.numbers_vary.iter().map(|axis| axis.short(axis.value(case))));
        if parts.is_empty() {
            format!("{} {}", short_model(&case.model), precision(case))
        } else {
            parts.join(", ")
        }
    }

    fn x(&self, case: &CaseLine) -> f64 {
        if self.axis == SweepAxis::Names {
            let name = format!("{} {}", short_model(&case.model), precision(case));
            self.names.iter().position(|n| *n == name).unwrap_or(0) as f64
        } else {
            self.axis.value(case) as f64
        }
    }

    fn x_axis(&self) -> Axis {
        let scale = match self.axis {
            SweepAxis::Names => Scale::Names(self.names.clone()),
            _ if self.wide => Scale::Logarithmic,
            _ => Scale::Linear,
        };
        Axis { label: self.axis.label().to_owned(), scale, marks: Marks::Values }
    }

    fn chart(&self, title: String, label: String, scale: Scale, series: Vec<Series>) -> Chart {
        let y = Axis { label, scale, marks: Marks::Round };
        let (areas, tiles) = (Vec::new(), Vec::new());
        // A phone's 360 px still show its text legibly.
        Chart { title, size: (480, 300), x: self.x_axis(), y, window: None, areas, tiles, series }
    }

    fn series(&self, figures: &[(&CaseLine, f64)], unit: &str, mark: Mark, line: Line) -> Vec<Series> {
        let line = if self.axis == SweepAxis::Names && line == Line::Solid { Line::None } else { line };
        let mut by_series: Vec<Vec<(&CaseLine, f64)>> =
            vec![Vec::new(); self.series.len().min(super::MOST_SERIES)];
        for (case, y) in figures {
            let place = self.places.get(&case.id).and_then(|place| by_series.get_mut(*place));
            if let Some(series) = place {
                series.push((*case, *y));
            }
        }
        let of = |cases: &[(&CaseLine, f64)]| {
            let mut points: Vec<Point> = cases
                .iter()
                .map(|(case, y)| Point {
                    said: said(case, *y, unit),
                    href: Some(case_href(case)),
                    ..Point::at(self.x(case), *y)
                })
                .collect();
            points.sort_by(|a, b| a.x.total_cmp(&b.x));
            points
        };
        self.series
            .iter()
            .zip(&by_series)
            .enumerate()
            .map(|(style, (name, cases))| Series {
                name: name.clone(),
                style,
                colour: None,
                mark,
                line,
                points: of(cases),
            })
            .filter(|series| !series.points.is_empty())
            .collect()
    }
}

/// Where a case stands; what of one case is on a page is matched by it.
pub(super) fn case_href(case: &CaseLine) -> String {
    format!("/cases/{}", case.id)
}

/// A point of the plot in words.
fn said(case: &CaseLine, figure: f64, unit: &str) -> String {
    format!(
        "{} {}, {} at once, {} + {} tokens: {} {unit}",
        short_model(&case.model),
        precision(case),
        case.batch,
        case.prompt_tokens,
        case.generate_tokens,
        format::figure(figure)
    )
}

/// A precision, and the training step in it.
fn precision(case: &CaseLine) -> String {
    match &case.training {
        Some(training) => format!("{} {training}", case.precision),
        None => case.precision.clone(),
    }
}

/// A model's name without its organisation.
pub(super) fn short_model(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

//! The plots of a run.

use contract::case::{Case, CaseSpec, CaseStatus};
use contract::statistics::CaseSpeed;
use planner::Bytes;

use super::chart::{Axis, Chart, Line, Mark, Marks, Point, Scale, Series};
use crate::format;

/// Decode rate over the widest axis of the run; none where nothing was decoded.
#[must_use]
pub fn decode_rate(cases: &[Case]) -> Option<Chart> {
    rate(cases, "Decode", |speed| speed.decode_tokens_per_second.map(|d| d.mean))
}

/// Prefill rate over the widest axis of the run; none where nothing was measured.
#[must_use]
pub fn prefill_rate(cases: &[Case]) -> Option<Chart> {
    rate(cases, "Prefill", |speed| speed.prefill_tokens_per_second.map(|d| d.mean))
}

fn rate(cases: &[Case], what: &str, figure: impl Fn(&CaseSpeed) -> Option<f64>) -> Option<Chart> {
    let figures: Vec<(&Case, f64)> = measured(cases)
        .filter_map(|case| {
            let speed = CaseSpeed::of(&case.spec, case.measurement.as_ref()?);
            Some((case, figure(&speed)?))
        })
        .collect();
    let layout = Layout::of(figures.iter().map(|(case, _)| *case))?;
    let series = layout.series(&figures, "tok/s", Mark::Filled, Line::Solid);
    let scale = if spread(figures.iter().map(|f| f.1)) > 30.0 { Scale::Logarithmic } else { Scale::Linear };
    let title = format!("{what} rate in tokens per second by {}", layout.axis.label());
    Some(layout.chart(title, format!("{}, tok/s", what.to_lowercase()), scale, series))
}

/// Measured peaks as points, estimated ones as broken lines; none where nothing was measured.
#[must_use]
pub fn peak_memory(cases: &[Case]) -> Option<Chart> {
    let peaks: Vec<(&Case, Bytes)> = measured(cases)
        .filter_map(|case| Some((case, case.measurement.as_ref()?.peak_allocated()?)))
        .collect();
    let estimates: Vec<(&Case, Bytes)> = peaks
        .iter()
        .filter_map(|(case, _)| Some((*case, case.estimate.as_ref()?.totals.allocated)))
        .collect();
    let layout = Layout::of(peaks.iter().map(|(case, _)| *case))?;
    let largest = peaks.iter().chain(&estimates).map(|p| p.1).max()?;
    let (unit, in_unit) = unit_of(largest);
    let mut series = layout.series(&in_figures(&estimates, in_unit), unit, Mark::None, Line::Dashed);
    series.extend(layout.series(&in_figures(&peaks, in_unit), unit, Mark::Filled, Line::None));
    let scale =
        if spread(peaks.iter().map(|p| in_unit(p.1))) > 50.0 { Scale::Logarithmic } else { Scale::Linear };
    let title = format!("Peak of allocated memory, measured and estimated, by {}", layout.axis.label());
    Some(layout.chart(title, format!("peak, {unit}"), scale, series))
}

/// MiB for what is small, GiB for the rest.
pub(super) fn unit_of(largest: Bytes) -> (&'static str, fn(Bytes) -> f64) {
    if largest.gib() < 2.0 { ("MiB", Bytes::mib) } else { ("GiB", Bytes::gib) }
}

fn in_figures<'a>(of: &[(&'a Case, Bytes)], in_unit: fn(Bytes) -> f64) -> Vec<(&'a Case, f64)> {
    of.iter().map(|(case, bytes)| (*case, in_unit(*bytes))).collect()
}

fn measured(cases: &[Case]) -> impl Iterator<Item = &Case> {
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

    fn value(self, spec: &CaseSpec) -> u64 {
        match self {
            Self::Batch => u64::from(spec.batch),
            Self::Prompt => spec.prompt_tokens.0,
            Self::Generate => spec.generate_tokens.0,
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
}

impl Layout {
    fn of<'a>(cases: impl Iterator<Item = &'a Case>) -> Option<Self> {
        let specs: Vec<&CaseSpec> = cases.map(|case| &case.spec).collect();
        let distinct = |axis: SweepAxis| {
            let mut values: Vec<u64> = specs.iter().map(|spec| axis.value(spec)).collect();
            values.sort_unstable();
            values.dedup();
            values
        };
        let first = specs.first()?;
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
            models_vary: specs.iter().any(|spec| spec.model != first.model),
            precisions_vary: specs.iter().any(|spec| precision(spec) != precision(first)),
            numbers_vary: SweepAxis::NUMBERS
                .into_iter()
                .filter(|a| *a != axis && distinct(*a).len() > 1)
                .collect(),
            series: Vec::new(),
        };
        for spec in &specs {
            let place = if axis == SweepAxis::Names { &mut layout.names } else { &mut Vec::new() };
            let name = format!("{} {}", short_model(&spec.model), precision(spec));
            if !place.contains(&name) {
                place.push(name);
            }
            let name = layout.series_name(spec);
            if !layout.series.contains(&name) {
                layout.series.push(name);
            }
        }
        Some(layout)
    }

    fn series_name(&self, spec: &CaseSpec) -> String {
        if self.axis == SweepAxis::Names {
            return "every case".to_owned();
        }
        let mut parts = Vec::new();
        if self.models_vary {
            parts.push(short_model(&spec.model).to_owned());
        }
        if self.precisions_vary {
            parts.push(precision(spec));
        }
        parts.extend(self.numbers_vary.iter().map(|axis| axis.short(axis.value(spec))));
        if parts.is_empty() {
            format!("{} {}", short_model(&spec.model), precision(spec))
        } else {
            parts.join(", ")
        }
    }

    fn x(&self, spec: &CaseSpec) -> f64 {
        if self.axis == SweepAxis::Names {
            let name = format!("{} {}", short_model(&spec.model), precision(spec));
            self.names.iter().position(|n| *n == name).unwrap_or(0) as f64
        } else {
            self.axis.value(spec) as f64
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
        Chart { title, size: (480, 300), x: self.x_axis(), y, areas, tiles, series }
    }

    fn series(&self, figures: &[(&Case, f64)], unit: &str, mark: Mark, line: Line) -> Vec<Series> {
        let line = if self.axis == SweepAxis::Names && line == Line::Solid { Line::None } else { line };
        let of = |name: &String| {
            let mut points: Vec<Point> = figures
                .iter()
                .filter(|(case, _)| self.series_name(&case.spec) == *name)
                .map(|(case, y)| Point {
                    said: said(&case.spec, *y, unit),
                    ..Point::at(self.x(&case.spec), *y)
                })
                .collect();
            points.sort_by(|a, b| a.x.total_cmp(&b.x));
            points
        };
        self.series
            .iter()
            .enumerate()
            .take(super::MOST_SERIES)
            .map(|(style, name)| Series {
                name: name.clone(),
                style,
                colour: None,
                mark,
                line,
                points: of(name),
            })
            .filter(|series| !series.points.is_empty())
            .collect()
    }
}

/// A point of the plot in words.
fn said(spec: &CaseSpec, figure: f64, unit: &str) -> String {
    format!(
        "{} {}, {} at once, {} + {} tokens: {} {unit}",
        short_model(&spec.model),
        precision(spec),
        spec.batch,
        spec.prompt_tokens,
        spec.generate_tokens,
        format::figure(figure)
    )
}

/// A precision, and the training step in it.
fn precision(spec: &CaseSpec) -> String {
    match &spec.training {
        Some(training) => format!("{} {}", spec.precision, training.name()),
        None => spec.precision.clone(),
    }
}

/// A model's name without its organisation.
pub(super) fn short_model(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

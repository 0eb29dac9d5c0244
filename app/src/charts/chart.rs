//! A chart and its drawing.

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::element::DashedPathElement;
use plotters::prelude::*;

use super::ticks;
use crate::format::figure;

/// Width and height of the view box. Text is 12 px in it, so that a phone's 360 px still show it legibly.
const SIZE: (u32, u32) = (480, 300);
/// Series drawn at most; more cannot be told apart.
pub const MOST_SERIES: usize = 12;
/// Colours of series in the style sheet: `--series-1` and on.
const COLOURS: usize = 6;

/// A plot of series over two axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What it shows, for those who do not see it.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// What is drawn.
    pub series: Vec<Series>,
}

/// An axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// What it counts, with the unit.
    pub label: String,
    /// How it is divided.
    pub scale: Scale,
}

/// How an axis is divided.
#[derive(Debug, Clone, PartialEq)]
pub enum Scale {
    /// Evenly, from zero.
    Linear,
    /// By factors.
    Logarithmic,
    /// By names, at 0, 1, 2, …
    Names(Vec<String>),
}

/// One set of points.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Which colour and mark, from 0; series that belong together share it.
    pub style: usize,
    /// How its points are marked.
    pub mark: Mark,
    /// How they are joined.
    pub line: Line,
    /// Its points by x.
    pub points: Vec<(f64, f64)>,
}

/// How a point is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A filled shape: measured.
    Filled,
    /// Nothing.
    None,
}

/// How points are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// An unbroken line.
    Solid,
    /// A broken line: estimated.
    Dashed,
    /// Nothing.
    None,
}

/// A chart that could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("the plot could not be drawn: {0}")]
pub struct ChartError(String);

impl Chart {
    /// The chart as an `svg` element that takes the width it is given.
    ///
    /// # Errors
    /// The drawing backend refused.
    pub fn svg(&self) -> Result<String, ChartError> {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            self.draw(&area).map_err(|error| ChartError(error.to_string()))?;
            area.present().map_err(|error| ChartError(error.to_string()))?;
        }
        Ok(self.dress(&svg))
    }

    fn draw<'a>(
        &self,
        area: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
    ) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
        let x =
            Divided::of(&self.x.scale, self.series.iter().flat_map(|s| s.points.iter().map(|p| p.0)), true);
        let y =
            Divided::of(&self.y.scale, self.series.iter().flat_map(|s| s.points.iter().map(|p| p.1)), false);
        let (place_x, place_y) = (x.place, y.place);
        let (text_x, text_y) = (x.labels.clone(), y.labels.clone());
        let (marks_x, marks_y) = (x.marks.clone(), y.marks.clone());
        let label = |marks: &[f64], texts: &[String], at: f64| {
            let nearest = marks.iter().position(|mark| (mark - at).abs() < 1e-9);
            nearest.and_then(|i| texts.get(i).cloned()).unwrap_or_default()
        };
        let mut chart = ChartBuilder::on(area)
            .margin_top(10)
            .margin_right(14)
            .margin_left(4)
            .margin_bottom(4)
            .x_label_area_size(42)
            .y_label_area_size(58)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(RULE)
            .axis_style(RULE_2)
            .label_style(("sans-serif", 12, &INK_2))
            .axis_desc_style(("sans-serif", 12, &INK_2))
            .x_desc(self.x.label.as_str())
            .y_desc(self.y.label.as_str())
            .x_label_formatter(&|at| label(&marks_x, &text_x, *at))
            .y_label_formatter(&|at| label(&marks_y, &text_y, *at))
            .draw()?;
        for series in self.series.iter().take(MOST_SERIES * 2) {
            let colour = series_colour(series.style);
            let points: Vec<(f64, f64)> =
                series.points.iter().map(|p| (place_x(p.0), place_y(p.1))).collect();
            match series.line {
                Line::Solid => {
                    chart.draw_series(std::iter::once(PathElement::new(
                        points.clone(),
                        colour.stroke_width(2),
                    )))?;
                }
                Line::Dashed => {
                    let dashed = DashedPathElement::new(points.clone(), 5, 4, colour.stroke_width(2));
                    chart.draw_series(std::iter::once(dashed))?;
                }
                Line::None => {}
            }
            if series.mark == Mark::Filled {
                let points = points.into_iter();
                let filled = colour.filled();
                match series.style % SHAPES {
                    0 => chart.draw_series(points.map(|at| Circle::new(at, 4, filled)))?,
                    1 => {
                        let square = |at| EmptyElement::at(at) + Rectangle::new([(-3, -3), (4, 4)], filled);
                        chart.draw_series(points.map(square))?
                    }
                    2 => chart.draw_series(points.map(|at| TriangleMarker::new(at, 5, filled)))?,
                    _ => chart.draw_series(points.map(|at| Cross::new(at, 4, colour.stroke_width(2))))?,
                };
            }
        }
        Ok(())
    }

    /// Exchanges the drawing's fixed colours for CSS variables, and its fixed size for the width that it is given.
    fn dress(&self, svg: &str) -> String {
        let body = svg.split_once("\">\n").map_or(svg, |(_, body)| body);
        let mut dressed = format!(
            "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n{body}",
            SIZE.0,
            SIZE.1,
            escape(&self.title)
        );
        for (colour, variable) in [(INK_2, "--ink-2"), (RULE, "--rule"), (RULE_2, "--rule-2")] {
            dressed = dressed.replace(&hex(colour), &format!("var({variable})"));
        }
        for i in 0..COLOURS {
            dressed = dressed.replace(&hex(series_colour(i)), &format!("var(--series-{})", i + 1));
        }
        dressed
    }
}

impl Series {
    /// The sample beside the series' name in a legend, as an `svg` element.
    #[must_use]
    pub fn legend_svg(&self) -> String {
        let colour = format!("var(--series-{})", self.style % COLOURS + 1);
        let line = match self.line {
            Line::Solid => format!("<path d=\"M0 6h22\" stroke=\"{colour}\" stroke-width=\"2\"/>"),
            Line::Dashed => {
                format!(
                    "<path d=\"M0 6h22\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"5 4\"/>"
                )
            }
            Line::None => String::new(),
        };
        let shape = match (self.mark, self.style % SHAPES) {
            (Mark::None, _) => String::new(),
            (Mark::Filled, 0) => format!("<circle cx=\"11\" cy=\"6\" r=\"4\" fill=\"{colour}\"/>"),
            (Mark::Filled, 1) => {
                format!("<rect x=\"7.5\" y=\"2.5\" width=\"7\" height=\"7\" fill=\"{colour}\"/>")
            }
            (Mark::Filled, 2) => format!("<path d=\"M11 1l5 8.6H6z\" fill=\"{colour}\"/>"),
            (Mark::Filled, _) => {
                format!("<path d=\"M7 2l8 8M15 2l-8 8\" stroke=\"{colour}\" stroke-width=\"2\"/>")
            }
        };
        format!("<svg viewBox=\"0 0 22 12\" aria-hidden=\"true\">{line}{shape}</svg>")
    }
}

/// Shapes of marks; with [`COLOURS`] not a multiple of it, twelve series have twelve looks.
const SHAPES: usize = 4;

// Stand-ins in the drawing for the style sheet's variables.
const INK_2: RGBColor = RGBColor(0xB0, 0, 1);
const RULE: RGBColor = RGBColor(0xB0, 0, 2);
const RULE_2: RGBColor = RGBColor(0xB0, 0, 3);

fn series_colour(style: usize) -> RGBColor {
    #[allow(clippy::cast_possible_truncation, reason = "below COLOURS")]
    RGBColor(0xA0, 0, (style % COLOURS) as u8)
}

fn hex(colour: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

/// An axis with its marks settled: the coordinate that plotters draws by.
#[derive(Clone)]
struct Divided {
    /// From a value to its place.
    place: fn(f64) -> f64,
    low: f64,
    high: f64,
    marks: Vec<f64>,
    labels: Vec<String>,
}

impl Divided {
    /// `of_values`: whether the marks stand at the values themselves (an axis of a sweep) or at round figures.
    fn of(scale: &Scale, values: impl Iterator<Item = f64>, of_values: bool) -> Self {
        let mut values: Vec<f64> = values.filter(|v| v.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let (min, max) = (values.first().copied().unwrap_or(0.0), values.last().copied().unwrap_or(1.0));
        let place: fn(f64) -> f64 =
            if matches!(scale, Scale::Logarithmic) { f64::log10 } else { std::convert::identity };
        let marks = match scale {
            Scale::Names(names) => (0..names.len()).map(|i| i as f64).collect(),
            _ if of_values && values.len() <= 10 => values,
            Scale::Linear => ticks::linear(max),
            Scale::Logarithmic => ticks::logarithmic(min, max),
        };
        let labels = match scale {
            Scale::Names(names) => names.clone(),
            _ => marks.iter().copied().map(figure_of_mark).collect(),
        };
        let marks: Vec<f64> = marks.into_iter().map(place).collect();
        let (mut low, mut high) = (place(min), place(max));
        if of_values {
            let room = ((high - low) * 0.06).max(if matches!(scale, Scale::Logarithmic) { 0.1 } else { 0.3 });
            (low, high) = (low - room, high + room);
        } else {
            low = marks.first().map_or(low, |m| m.min(low));
            high = marks.last().map_or(high, |m| m.max(high));
            if high - low < 1e-9 {
                (low, high) = (low - 0.5, high + 0.5);
            }
        }
        Self { place, low, high, marks, labels }
    }
}

impl Ranged for Divided {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    #[allow(clippy::cast_possible_truncation, reason = "a place within the drawing, in pixels")]
    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let along = (value - self.low) / (self.high - self.low);
        limit.0 + (along * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

/// The text of a mark: whole numbers without a point.
fn figure_of_mark(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 99.5 { format!("{value:.0}") } else { figure(value) }
}

#[cfg(test)]
mod tests;

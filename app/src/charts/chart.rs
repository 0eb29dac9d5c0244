//! A chart and its drawing.

use std::collections::BTreeMap;
use std::fmt::Write;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::prelude::*;

use super::clip::{Frame, Place};
use super::palette::{self, Colour};
use super::ticks;
use super::window::{Span, Window};
use crate::format::{count, figure};

/// Series drawn at most; more cannot be told apart.
pub const MOST_SERIES: usize = 12;

/// A plot over two axes. What is written first is drawn first: areas, then tiles, lines, marks.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What it shows, for those who do not see it.
    pub title: String,
    /// Width and height of the view box. Text is 12 px in it.
    pub size: (u32, u32),
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// What of it is shown, where that may be a part; else all of it.
    pub window: Option<Window>,
    /// Grounds under everything.
    pub areas: Vec<Area>,
    /// Cells and bars.
    pub tiles: Vec<Tile>,
    /// Lines and marks.
    pub series: Vec<Series>,
}

/// An axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// What it counts, with the unit.
    pub label: String,
    /// How it is divided.
    pub scale: Scale,
    /// Where it is marked.
    pub marks: Marks,
}

/// How an axis is divided.
#[derive(Debug, Clone, PartialEq)]
pub enum Scale {
    /// Evenly, from zero.
    Linear,
    /// Evenly, on both sides of zero.
    Signed,
    /// By factors.
    Logarithmic,
    /// By names, at 0, 1, 2, …
    Names(Vec<String>),
}

/// Where an axis is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// At round figures.
    Round,
    /// At the values themselves, where they are few: an axis of a sweep.
    Values,
}

/// A ground between two lines.
#[derive(Debug, Clone, PartialEq)]
pub struct Area {
    /// Its name in the legend.
    pub name: String,
    /// Its colour, of which a part is laid on.
    pub colour: Colour,
    /// x, the lower line there and the upper one.
    pub points: Vec<(f64, f64, f64)>,
}

/// A rectangle.
#[derive(Debug, Clone, PartialEq)]
pub struct Tile {
    /// From and to along x.
    pub x: (f64, f64),
    /// From and to along y.
    pub y: (f64, f64),
    /// Its colour.
    pub colour: Colour,
    /// How much of the colour is laid on, 0 to 1.
    pub opacity: f64,
    /// What is written in it, a line each.
    pub text: Vec<String>,
    /// What it is, in words.
    pub said: String,
    /// Where it leads.
    pub href: Option<String>,
}

/// One set of points.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Which colour and mark, from 0; series that belong together share it.
    pub style: usize,
    /// Its colour, where it is not that of the style.
    pub colour: Option<Colour>,
    /// How its points are marked.
    pub mark: Mark,
    /// How they are joined.
    pub line: Line,
    /// Its points by x.
    pub points: Vec<Point>,
}

/// One point.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Along the horizontal axis.
    pub x: f64,
    /// Along the vertical axis.
    pub y: f64,
    /// What it is, in words.
    pub said: String,
    /// Where it leads.
    pub href: Option<String>,
}

impl Point {
    /// A place of a line, which says nothing.
    #[must_use]
    pub const fn at(x: f64, y: f64) -> Self {
        Self { x, y, said: String::new(), href: None }
    }
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
    /// Level from one point to the next: what holds until something better.
    Steps,
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
        let (body, frame) = self.body()?;
        // An image hides what is in it from assistive programs; what leads somewhere must be found.
        let leads = self.tiles.iter().any(|t| t.href.is_some())
            || self.series.iter().any(|s| s.points.iter().any(|p| p.href.is_some()));
        let role = if leads { "group" } else { "img" };
        let (width, height) = self.size;
        let title = escape(&self.title);
        Ok(format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"{role}\" aria-label=\"{title}\"{frame}>\n{body}</svg>\n"
        ))
    }

    /// What is in the element, and the attributes that say which of its places are which values.
    pub(super) fn body(&self) -> Result<(String, String), ChartError> {
        let mut svg = String::new();
        let (layers, frame) = {
            let area = SVGBackend::with_string(&mut svg, self.size).into_drawing_area();
            let drawn = self.draw(&area).map_err(|error| ChartError(error.to_string()))?;
            area.present().map_err(|error| ChartError(error.to_string()))?;
            drawn
        };
        let mesh = svg.split_once("\">\n").map_or(svg.as_str(), |(_, body)| body);
        let mesh = mesh.trim_end().strip_suffix("</svg>").unwrap_or(mesh);
        Ok((format!("{}{layers}", palette::with_variables(mesh)), frame))
    }

    /// Draws axes and grid; what lies over them comes back as markup, and the attributes of the frame.
    fn draw<'a>(
        &self,
        area: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
    ) -> Result<(String, String), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
        let points = || self.series.iter().flat_map(|s| &s.points);
        let along_x = points()
            .map(|p| p.x)
            .chain(self.tiles.iter().flat_map(|t| [t.x.0, t.x.1]))
            .chain(self.areas.iter().flat_map(|a| a.points.iter().map(|p| p.0)));
        let along_y = points()
            .map(|p| p.y)
            .chain(self.tiles.iter().flat_map(|t| [t.y.0, t.y.1]))
            .chain(self.areas.iter().flat_map(|a| a.points.iter().flat_map(|p| [p.1, p.2])));
        let window = self.window.unwrap_or_default();
        let x = Divided::of(&self.x, window.x, along_x);
        let y = Divided::of(&self.y, window.y, along_y);
        let (along, up) = (x.clone(), y.clone());
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
            .y_label_area_size(room(&self.y.scale, &y.labels))
            .build_cartesian_2d(x, y)?;
        let mut mesh = chart.configure_mesh();
        if matches!(self.y.scale, Scale::Names(_)) {
            mesh.disable_y_mesh();
        }
        mesh.disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(Colour::RULE.stand_in())
            .axis_style(Colour::RULE_2.stand_in())
            .label_style(("sans-serif", 12, &Colour::INK_2.stand_in()))
            .axis_desc_style(("sans-serif", 12, &Colour::INK_2.stand_in()))
            .x_desc(self.x.label.as_str())
            .y_desc(self.y.label.as_str())
            .x_label_formatter(&|at| label(&along.marks, &along.labels, *at))
            .y_label_formatter(&|at| label(&up.marks, &up.labels, *at))
            .draw()?;
        let at = |place: Place| chart.backend_coord(&place);
        let (least, most) = (at((along.low, up.low)), at((along.high, up.high)));
        let frame = self
            .window
            .map(|_| along.attributes("x", (least.0, most.0)) + &up.attributes("y", (least.1, most.1)));
        Ok((self.layers(&along, &up, at), frame.unwrap_or_default()))
    }

    fn layers(&self, along: &Divided, up: &Divided, at: impl Fn(Place) -> (i32, i32)) -> String {
        let place = |x: f64, y: f64| (along.place(x), up.place(y));
        let frame = Frame { x: (along.low, along.high), y: (up.low, up.high) };
        let window = self.window.unwrap_or_default();
        let mut layers = String::new();
        for area in &self.areas {
            let upper = area.points.iter().map(|p| place(p.0, p.2));
            let lower = area.points.iter().rev().map(|p| place(p.0, p.1));
            let outline = joined(frame.area(upper.chain(lower).collect()).into_iter().map(&at));
            let colour = area.colour.css();
            put(
                &mut layers,
                format_args!("<polygon points=\"{outline}\" fill=\"{colour}\" fill-opacity=\"0.14\"/>\n"),
            );
        }
        for tile in &self.tiles {
            layers.push_str(&tile.markup(&|x, y| at(place(x, y))));
        }
        let groups = self.groups();
        let shown = || self.series.iter().zip(&groups).filter(|(series, _)| !series.points.is_empty());
        for (series, group) in shown().filter(|(series, _)| series.line != Line::None) {
            let lines: Vec<String> = frame
                .line(&series.way(place))
                .into_iter()
                .map(|line| series.path(line.into_iter().map(&at)))
                .collect();
            put(&mut layers, format_args!("<g data-series=\"{group}\">{}</g>\n", lines.concat()));
        }
        for (series, group) in shown().filter(|(series, _)| series.mark == Mark::Filled) {
            put(&mut layers, format_args!("<g data-series=\"{group}\">\n"));
            for point in series.points.iter().filter(|point| window.contains(point.x, point.y)) {
                let (x, y) = at(place(point.x, point.y));
                let shape = shape(series.style, x, y, &series.colour().css());
                put(&mut layers, format_args!("{}\n", marked(&point.said, point.href.as_deref(), &shape)));
            }
            layers.push_str("</g>\n");
        }
        layers
    }

    /// Its marks: those within the window first, then those outside.
    #[must_use]
    pub fn parted(&self) -> (Vec<&Point>, Vec<&Point>) {
        let window = self.window.unwrap_or_default();
        let marked = self.series.iter().filter(|series| series.mark == Mark::Filled);
        marked.flat_map(|series| &series.points).partition(|point| window.contains(point.x, point.y))
    }

    /// What is drawn, each name once.
    #[must_use]
    pub fn legend(&self) -> Vec<Entry> {
        let mut legend: Vec<Entry> = Vec::new();
        let groups = self.groups();
        let series = self.series.iter().zip(groups).map(|(series, group)| {
            let group = (!series.points.is_empty()).then_some(group);
            Entry { name: series.name.clone(), sample: series.sample(), group }
        });
        let areas = self.areas.iter().map(|area| Entry {
            name: area.name.clone(),
            sample: area.sample(),
            group: None,
        });
        for entry in series.chain(areas) {
            match legend.iter_mut().find(|known| known.name == entry.name) {
                // Its line and its marks are one entry.
                Some(known) => {
                    known.sample.push_str(&entry.sample);
                    known.group = known.group.or(entry.group);
                }
                None => legend.push(entry),
            }
        }
        legend
    }

    /// For each series the number of its name: what is shown and hidden together.
    #[must_use]
    pub fn groups(&self) -> Vec<usize> {
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        self.series
            .iter()
            .map(|series| {
                let next = names.len();
                *names.entry(&series.name).or_insert(next)
            })
            .collect()
    }
}

/// An entry of a legend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// What the drawing shows it as, in a box of 22 by 12.
    pub(super) sample: String,
    /// The number of what is shown and hidden together, where that is possible.
    pub group: Option<usize>,
}

impl Entry {
    /// The sample as an `svg` element.
    #[must_use]
    pub fn svg(&self) -> String {
        format!("<svg viewBox=\"0 0 22 12\" aria-hidden=\"true\">{}</svg>", self.sample)
    }
}

/// Writing to a string does not fail.
fn put(to: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = to.write_fmt(what);
}

/// Places as `polyline` takes them.
fn joined(places: impl Iterator<Item = (i32, i32)>) -> String {
    places.map(|(x, y)| format!("{x},{y}")).collect::<Vec<_>>().join(" ")
}

/// A mark with what it says and where it leads.
fn marked(said: &str, href: Option<&str>, shape: &str) -> String {
    let said = escape(said);
    match href {
        Some(href) => {
            let href = escape(href);
            format!(
                "<a class=\"mark\" href=\"{href}\" aria-label=\"{said}\"><title>{said}</title>{shape}</a>"
            )
        }
        None if said.is_empty() => shape.to_owned(),
        None => format!("<g class=\"mark\"><title>{said}</title>{shape}</g>"),
    }
}

/// Width of the labels beside a vertical axis.
fn room(scale: &Scale, labels: &[String]) -> u32 {
    let longest = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    match scale {
        Scale::Names(_) => u32::try_from(longest * 7 + 24).unwrap_or(u32::MAX).clamp(58, 320),
        _ => u32::try_from(longest * 7 + 9).unwrap_or(u32::MAX).clamp(58, 160),
    }
}

impl Tile {
    fn markup(&self, at: &impl Fn(f64, f64) -> (i32, i32)) -> String {
        let ((left, below), (right, above)) = (at(self.x.0, self.y.0), at(self.x.1, self.y.1));
        let (left, width) = (left.min(right), (right - left).abs());
        let (top, height) = (above.min(below), (above - below).abs());
        let colour = self.colour.css();
        let mut shape = format!(
            "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" fill=\"{colour}\" \
             fill-opacity=\"{:.2}\"/>",
            self.opacity
        );
        let middle = left + width / 2;
        let lines = i32::try_from(self.text.len()).unwrap_or(i32::MAX);
        for (line, text) in (0i32..).zip(&self.text) {
            // Between two lines a space, so that they are read as two.
            let between = if line == 0 { "" } else { " " };
            let y = top + height / 2 + 4 - (lines - 1) * 7 + line * 15;
            let (colour, text) = (Colour::INK.css(), escape(text));
            put(
                &mut shape,
                format_args!(
                    "{between}<text x=\"{middle}\" y=\"{y}\" text-anchor=\"middle\" font-family=\"sans-serif\" \
                     font-size=\"12\" fill=\"{colour}\" class=\"strong\">{text}</text>"
                ),
            );
        }
        marked(&self.said, self.href.as_deref(), &shape) + "\n"
    }
}

impl Series {
    /// The colour of its lines and marks.
    #[must_use]
    pub fn colour(&self) -> Colour {
        self.colour.unwrap_or(Colour::series(self.style))
    }

    /// From place to place.
    fn way(&self, place: impl Fn(f64, f64) -> Place) -> Vec<Place> {
        let mut places: Vec<Place> = Vec::new();
        for point in &self.points {
            let place = place(point.x, point.y);
            if let (Line::Steps, Some(last)) = (self.line, places.last()) {
                places.push((place.0, last.1));
            }
            places.push(place);
        }
        places
    }

    fn path(&self, places: impl Iterator<Item = (i32, i32)>) -> String {
        let dashes = if self.line == Line::Dashed { " stroke-dasharray=\"5 4\"" } else { "" };
        format!(
            "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{dashes} points=\"{}\"/>",
            self.colour().css(),
            joined(places)
        )
    }

    /// What its legend shows of a line and of a mark, in a box of 22 by 12.
    fn sample(&self) -> String {
        let colour = self.colour().css();
        let stroke = format!("<path d=\"M0 6h22\" stroke=\"{colour}\" stroke-width=\"2\"");
        let line = match self.line {
            Line::Solid | Line::Steps => format!("{stroke}/>"),
            Line::Dashed => format!("{stroke} stroke-dasharray=\"5 4\"/>"),
            Line::None => String::new(),
        };
        let mark = if self.mark == Mark::Filled { shape(self.style, 11, 6, &colour) } else { String::new() };
        line + &mark
    }
}

impl Area {
    fn sample(&self) -> String {
        format!("<rect width=\"22\" height=\"12\" fill=\"{}\" fill-opacity=\"0.14\"/>", self.colour.css())
    }
}

/// The mark of a style; with six colours and four shapes, twelve series have twelve looks.
fn shape(style: usize, x: i32, y: i32, colour: &str) -> String {
    match style % 4 {
        0 => format!("<circle cx=\"{x}\" cy=\"{y}\" r=\"4\" fill=\"{colour}\"/>"),
        1 => {
            let (left, top) = (f64::from(x) - 3.5, f64::from(y) - 3.5);
            format!("<rect x=\"{left}\" y=\"{top}\" width=\"7\" height=\"7\" fill=\"{colour}\"/>")
        }
        2 => format!("<path d=\"M{x} {}l5 8.6h-10z\" fill=\"{colour}\"/>", y - 5),
        _ => format!(
            "<path d=\"M{} {}l8 8m0-8l-8 8\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            x - 4,
            y - 4
        ),
    }
}

/// Text as markup holds it. Control characters, which XML has no way to hold (XML 1.0, section 2.2), become U+FFFD.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\t' | '\n' => escaped.push(c),
            _ if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                escaped.push(char::REPLACEMENT_CHARACTER);
            }
            _ => escaped.push(c),
        }
    }
    escaped
}

/// An axis with its marks settled: the coordinate that plotters draws by.
#[derive(Clone)]
struct Divided {
    is_logarithmic: bool,
    low: f64,
    high: f64,
    marks: Vec<f64>,
    labels: Vec<String>,
}

impl Divided {
    /// An axis over these values, or the part of it that is shown.
    fn of(axis: &Axis, shown: Span, values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.filter(|v| v.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let is_logarithmic = matches!(axis.scale, Scale::Logarithmic);
        let mut divided = Self { is_logarithmic, low: 0.0, high: 1.0, marks: Vec::new(), labels: Vec::new() };
        divided.encompass(axis, &values);
        if !shown.is_whole() {
            divided.narrow(axis, shown, &values);
        }
        divided.part(axis.marks);
        divided
    }

    /// From a value to its place.
    fn place(&self, value: f64) -> f64 {
        if self.is_logarithmic { value.log10() } else { value }
    }

    /// From a place to its value.
    fn value(&self, place: f64) -> f64 {
        if self.is_logarithmic { 10f64.powf(place) } else { place }
    }

    /// Takes all the values in, which are in their order.
    fn encompass(&mut self, axis: &Axis, values: &[f64]) {
        let scale = &axis.scale;
        let (min, max) = (values.first().copied().unwrap_or(0.0), values.last().copied().unwrap_or(1.0));
        let marks = match scale {
            Scale::Names(names) => (0..names.len()).map(|i| i as f64).collect(),
            _ if axis.marks == Marks::Values && values.len() <= 10 => values.to_vec(),
            Scale::Linear => ticks::linear(max),
            Scale::Signed => ticks::signed(min, max),
            Scale::Logarithmic => ticks::logarithmic(min, max),
        };
        self.labels = match scale {
            Scale::Names(names) => names.clone(),
            _ => marks.iter().copied().map(figure_of_mark).collect(),
        };
        let marks: Vec<f64> = marks.into_iter().map(|mark| self.place(mark)).collect();
        let (mut low, mut high) = (self.place(min), self.place(max));
        match (scale, axis.marks) {
            // Names with tiles about them: half a place on each side is theirs.
            (Scale::Names(names), Marks::Round) => (low, high) = (-0.5, names.len() as f64 - 0.5),
            (_, Marks::Values) => {
                let room = ((high - low) * 0.06).max(if self.is_logarithmic { 0.1 } else { 0.3 });
                (low, high) = (low - room, high + room);
            }
            (_, Marks::Round) => {
                low = marks.first().map_or(low, |m| m.min(low));
                high = marks.last().map_or(high, |m| m.max(high));
                if high - low < 1e-9 {
                    (low, high) = (low - 0.5, high + 0.5);
                }
            }
        }
        (self.low, self.high, self.marks) = (low, high, marks);
    }

    /// Keeps a range of numbers, with marks of its own.
    fn narrow(&mut self, axis: &Axis, shown: Span, values: &[f64]) {
        // Zero has no place on a logarithmic axis: what begins there begins where the axis does.
        let place = |end: Option<f64>| end.map(|end| self.place(end)).filter(|place| place.is_finite());
        let (low, high) = (place(shown.from).unwrap_or(self.low), place(shown.to).unwrap_or(self.high));
        (self.low, self.high) = if low < high { (low, high) } else { (low, low + 0.5) };
        let few: Vec<f64> = values.iter().copied().filter(|value| shown.contains(*value)).collect();
        let (least, most) = (self.value(self.low), self.value(self.high));
        let marks = if axis.marks == Marks::Values && (2..=10).contains(&few.len()) {
            self.labels = few.iter().copied().map(figure_of_mark).collect();
            few
        } else {
            let round = if self.is_logarithmic {
                ticks::within_logarithmic(least, most)
            } else {
                ticks::within(least, most)
            };
            self.labels = as_fine_as_apart(&round);
            round
        };
        self.marks = marks.into_iter().map(|mark| self.place(mark)).collect();
    }

    /// Drops round figures beyond the ends, which would be drawn beside the axis, and values so near each other that they would
    /// be drawn on each other.
    fn part(&mut self, marks: Marks) {
        let (low, high) = (self.low, self.high);
        let within = |mark: &f64| (low - 1e-9..=high + 1e-9).contains(mark);
        let mut free = f64::NEG_INFINITY;
        let mut is_apart = |mark: f64, label: &str| {
            let half = (high - low) * (0.004 + 0.008 * label.chars().count() as f64);
            let apart = marks != Marks::Values || mark - half >= free;
            if apart {
                free = mark + half;
            }
            apart
        };
        (self.marks, self.labels) = std::mem::take(&mut self.marks)
            .into_iter()
            .zip(std::mem::take(&mut self.labels))
            .filter(|(mark, label)| within(mark) && is_apart(*mark, label))
            .unzip();
    }

    /// Which pixels are which values, for those who point at them.
    fn attributes(&self, name: &str, pixels: (i32, i32)) -> String {
        let (from, to) = pixels;
        let (low, high) = (self.value(self.low), self.value(self.high));
        let scale = if self.is_logarithmic { "log" } else { "linear" };
        format!(
            " data-{name}-pixels=\"{from} {to}\" data-{name}-values=\"{low} {high}\" data-{name}-scale=\"{scale}\""
        )
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

/// The texts of marks that are evenly apart, with as many decimals as tell them apart.
fn as_fine_as_apart(marks: &[f64]) -> Vec<String> {
    let apart = marks.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
    let power = (apart.log10() + 1e-6).floor();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most six")]
    let decimals = if power.is_finite() { (-power).clamp(0.0, 6.0) as usize } else { 0 };
    let text = |mark: &f64| {
        let text = format!("{:.decimals$}", mark.abs());
        let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
        let sign = if *mark < 0.0 { "−" } else { "" };
        format!("{sign}{}{rest}", whole.parse().map_or_else(|_| whole.to_owned(), count))
    };
    marks.iter().map(text).collect()
}

/// The text of a mark: whole numbers without a point.
fn figure_of_mark(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 99.5 {
        format!("{value:.0}").replace('-', "−")
    } else {
        figure(value).replace('-', "−")
    }
}

#[cfg(test)]
mod tests;

//! A plot that is being made: what every kind of it begins and ends with.

use std::collections::{BTreeMap, BTreeSet};

use contract::case::CaseStatus;
use contract::explore::{CaseLine, Facet, Task};
use contract::points::{CasePoint, CasePoints};
use contract::statistics::Distribution;
use planner::Bytes;

use super::{Across, By, Plot, PlotQuery, Table, Zoomed};
use crate::charts::chart::{Area, Axis, Chart, MOST_SERIES, Marks, Point, Scale, Series, Tile};
use crate::charts::run::{Unit, case_href, short_model, spread};
use crate::format;

/// Width and height of the drawing.
const SIZE: (u32, u32) = (760, 430);
/// Rows of the table beside a plot; the comma-separated lines have all.
const MOST_ROWS: usize = 200;

/// Cases with what a plot shows of each.
pub(super) type Found<'a, T> = Vec<(&'a CasePoint, T)>;

/// One series: its name and its cases.
pub(super) struct Group<'a, T> {
    pub(super) name: String,
    pub(super) cases: Found<'a, T>,
}

pub(super) struct Draft<'a> {
    pub(super) asked: &'a PlotQuery,
    settled: PlotQuery,
    pub(super) points: &'a CasePoints,
    machines: &'a BTreeMap<String, String>,
    left_out: Vec<(String, u64)>,
    pub(super) notes: Vec<String>,
    pub(super) links: BTreeMap<String, String>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(
        asked: &'a PlotQuery,
        points: &'a CasePoints,
        machines: &'a BTreeMap<String, String>,
    ) -> Self {
        let (settled, left_out) = (asked.clone(), Vec::new());
        let mut draft =
            Self { asked, settled, points, machines, left_out, notes: Vec::new(), links: BTreeMap::new() };
        let newest = points.items.len();
        draft.leave_out(
            &format!(
                "older than the newest {}, which are as many as a plot takes",
                format::count(newest as u64)
            ),
            points.total.saturating_sub(newest as u64),
        );
        draft
    }

    /// Counts cases that are not shown.
    pub(super) fn leave_out(&mut self, reason: &str, cases: u64) {
        if cases == 0 {
            return;
        }
        match self.left_out.iter_mut().find(|(known, _)| known == reason) {
            Some((_, known)) => *known += cases,
            None => self.left_out.push((reason.to_owned(), cases)),
        }
    }

    /// What `pick` finds of each case; where it finds nothing, its reason is counted.
    pub(super) fn gather<T>(&mut self, pick: impl Fn(&CasePoint) -> Result<T, &'static str>) -> Found<'a, T> {
        let mut found = Vec::new();
        let points = self.points;
        for point in &points.items {
            match pick(point) {
                Ok(one) => found.push((point, one)),
                Err(reason) => self.leave_out(reason, 1),
            }
        }
        found
    }

    /// The same of cases that were measured. Training steps stand by themselves: they are shown where nothing else is asked for.
    pub(super) fn measured<T>(
        &mut self,
        pick: impl Fn(&CasePoint) -> Result<T, &'static str>,
    ) -> Found<'a, T> {
        let is_training = self.asked.is_training();
        self.gather(|point| {
            if point.line.status != CaseStatus::Ok {
                Err("ended without a measurement")
            } else if point.line.task == Task::Training && !is_training {
                Err("are training steps")
            } else {
                pick(point)
            }
        })
    }

    /// The series, those with most cases first, numbers in their order; what is beyond what can be told apart is counted.
    pub(super) fn by_facet<T>(&mut self, found: Found<'a, T>, facet: Facet) -> Vec<Group<'a, T>> {
        let mut groups: BTreeMap<String, Found<'a, T>> = BTreeMap::new();
        for (point, one) in found {
            groups.entry(point.line.value(facet)).or_default().push((point, one));
        }
        let mut groups: Vec<(String, Found<'a, T>)> = groups.into_iter().collect();
        // Sorting keeps the names' order among equals.
        groups.sort_by_key(|(_, cases)| std::cmp::Reverse(cases.len()));
        let beyond = groups.split_off(groups.len().min(MOST_SERIES));
        let beyond: usize = beyond.iter().map(|(_, cases)| cases.len()).sum();
        self.leave_out("are of further series; a plot has at most twelve", beyond as u64);
        if facet.is_number() {
            groups.sort_by_key(|(value, _)| value.parse::<u64>().unwrap_or(u64::MAX));
        }
        groups
            .into_iter()
            .map(|(value, cases)| {
                let name = self.name(facet, &value);
                self.links.insert(name.clone(), self.asked.cases_href(&[(facet, &value)]));
                Group { name, cases }
            })
            .collect()
    }

    /// The series by what the address asks, by precision where it asks for nothing that is a facet.
    pub(super) fn series<T>(&mut self, found: Found<'a, T>) -> Vec<Group<'a, T>> {
        match self.asked.series {
            Some(By::Facet(facet)) => self.by_facet(found, facet),
            _ => self.by_facet(found, Facet::Precision),
        }
    }

    /// What lies along x: what is asked, or what has more values.
    pub(super) fn across<T>(&mut self, found: &Found<'_, T>) -> Across {
        let values = |across: Across| {
            found.iter().map(|(point, _)| across.of(point).to_bits()).collect::<BTreeSet<u64>>().len()
        };
        let wider = || {
            if values(Across::Context) > values(Across::Batch) { Across::Context } else { Across::Batch }
        };
        let across = self.asked.x.unwrap_or_else(wider);
        self.settled.x = Some(across);
        across
    }

    /// What peaks are counted in: what is asked, or what suits the largest.
    pub(super) fn unit(&mut self, largest: Option<Bytes>) -> Unit {
        let unit = self.asked.unit.unwrap_or_else(|| Unit::of(largest.unwrap_or_default()));
        self.settled.unit = Some(unit);
        unit
    }

    fn name(&self, facet: Facet, value: &str) -> String {
        match facet {
            Facet::Model => short_model(value).to_owned(),
            Facet::Machine => self.machines.get(value).cloned().unwrap_or_else(|| value.to_owned()),
            Facet::Batch => format!("{value} at once"),
            Facet::Prompt => format!("prompt {value}"),
            Facet::Generate => format!("{value} generated"),
            Facet::Method if value == "none" => "no training".to_owned(),
            Facet::Attention | Facet::Variant | Facet::Cache | Facet::KvCache if value == "default" => {
                "the engine's own".to_owned()
            }
            _ => value.to_owned(),
        }
    }

    /// The plot of `n` cases; none of it where there is nothing to draw.
    pub(super) fn done(self, n: usize, mut chart: Chart, mut table: Table) -> Plot {
        let mut notes = self.notes;
        let (mut is_empty, mut zoomed) = (n == 0, None);
        if self.asked.kind.is_zoomable() {
            chart.window = Some(self.asked.window);
        }
        if !self.asked.window.is_whole() {
            let (within, outside) = chart.parted();
            is_empty |= within.is_empty();
            zoomed = Some(Zoomed { outside: outside.len(), marks: within.len() + outside.len() });
            // What the table has is what is seen.
            let seen: BTreeSet<&str> = within.iter().filter_map(|point| point.href.as_deref()).collect();
            table.rows.retain(|(href, _)| href.as_deref().is_some_and(|href| seen.contains(href)));
        }
        if table.rows.len() > MOST_ROWS {
            table.rows.truncate(MOST_ROWS);
            notes.push(format!("The table has the first {MOST_ROWS} rows."));
        }
        Plot {
            chart: (!is_empty).then_some(chart),
            settled: self.settled,
            zoomed,
            n,
            total: self.points.total,
            left_out: self.left_out,
            notes,
            links: self.links,
            table,
        }
    }
}

/// A chart of marks and lines; other kinds of content are put into it.
pub(super) fn chart(title: String, x: Axis, y: Axis, series: Vec<Series>) -> Chart {
    let (areas, tiles): (Vec<Area>, Vec<Tile>) = (Vec::new(), Vec::new());
    Chart { title, size: SIZE, x, y, window: None, areas, tiles, series }
}

/// An axis of a figure, by factors where its values are far apart.
pub(super) fn axis_of(label: impl Into<String>, values: impl Iterator<Item = f64>) -> Axis {
    let scale = if spread(values) > 30.0 { Scale::Logarithmic } else { Scale::Linear };
    Axis { label: label.into(), scale, marks: Marks::Round }
}

/// An axis of a sweep, marked at its values, by factors where they are far apart.
pub(super) fn swept(label: impl Into<String>, values: impl Iterator<Item = f64>) -> Axis {
    let scale = if spread(values) >= 4.0 { Scale::Logarithmic } else { Scale::Linear };
    Axis { label: label.into(), scale, marks: Marks::Values }
}

/// A case in words, with what it shows.
pub(super) fn said(line: &CaseLine, batch: u64, context: u64, figures: &str) -> String {
    let how = how(line);
    let how = if how.is_empty() { String::new() } else { format!(" {how}") };
    format!(
        "{} {}{how}, {} at once, {} tokens of each, {}: {figures}",
        short_model(&line.model),
        line.precision,
        format::count(batch),
        format::count(context),
        line.device
    )
}

/// What of a case was not left to the engine.
pub(super) fn how(line: &CaseLine) -> String {
    [&line.variant, &line.attention, &line.cache, &line.kv_cache]
        .into_iter()
        .chain(&line.training)
        .map(String::as_str)
        .filter(|word| *word != "default")
        .collect::<Vec<_>>()
        .join(" · ")
}

/// A mark of a case, which leads to it.
pub(super) fn mark(point: &CasePoint, x: f64, y: f64, figures: &str) -> Point {
    let said = said(&point.line, point.batch(), point.context(), figures);
    Point { x, y, said, href: Some(case_href(&point.line)) }
}

/// For each x the median of the figures there.
pub(super) fn medians(of: impl Iterator<Item = (f64, f64)>) -> Vec<Point> {
    let mut sorted: Vec<(f64, f64)> = of.collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    sorted
        .chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq())
        .filter_map(|chunk| {
            let median = Distribution::of(chunk.iter().map(|p| p.1))?.p50;
            Some(Point::at(chunk[0].0, median))
        })
        .collect()
}

/// A table of cases: what they are, then `figures` of each.
pub(super) fn table_of<T>(
    found: &Found<'_, T>,
    figures: &[&str],
    cells: impl Fn(&CasePoint, &T) -> Vec<String>,
) -> Table {
    let mut head = vec![
        ("Model".to_owned(), false),
        ("How".to_owned(), false),
        ("At once".to_owned(), true),
        ("Tokens of each".to_owned(), true),
    ];
    head.extend(figures.iter().map(|figure| ((*figure).to_owned(), true)));
    let rows = found.iter().map(|(point, one)| {
        let line = &point.line;
        let how = [line.precision.clone(), how(line)].into_iter().filter(|word| !word.is_empty());
        let mut row = vec![
            line.model.clone(),
            how.collect::<Vec<_>>().join(" · "),
            format::count(point.batch()),
            format::count(point.context()),
        ];
        row.extend(cells(point, one));
        (Some(case_href(line)), row)
    });
    Table { head, rows: rows.collect() }
}

//! Plots over the cases of all runs: what an address asks, and the chart, the words and the table that answer it.

mod draft;
mod heat;
mod load;
mod memory;
mod pareto;
mod parts;
mod residual;
mod speed;

use std::collections::BTreeMap;

use contract::case::Case;
use contract::explore::{CaseQuery, Facet, QueryError, Task};
use contract::points::{CasePoint, CasePoints};

use super::chart::Chart;
pub use super::run::Unit;
use super::window::Window;
use crate::address;
use crate::backend::{Backend, BackendError};
use crate::format;

/// What is plotted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Rates and latencies over batch or lengths.
    Speed,
    /// Peaks, measured and estimated, over batch or lengths.
    Memory,
    /// What the planner says that a peak is made of.
    Parts,
    /// Rate against peak.
    Pareto,
    /// A figure by precision and attention.
    Heat,
    /// How far estimates are off.
    Residual,
    /// What fits, over batch and context.
    Load,
}

impl Kind {
    /// All of them, in the order of the page.
    pub const ALL: [Self; 7] =
        [Self::Speed, Self::Memory, Self::Parts, Self::Pareto, Self::Heat, Self::Residual, Self::Load];

    /// As an address spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Speed => "speed",
            Self::Memory => "memory",
            Self::Parts => "components",
            Self::Pareto => "pareto",
            Self::Heat => "heat",
            Self::Residual => "residual",
            Self::Load => "load-line",
        }
    }

    /// As people read it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Speed => "Speed",
            Self::Memory => "Peak memory",
            Self::Parts => "Components",
            Self::Pareto => "Speed against memory",
            Self::Heat => "Precision × attention",
            Self::Residual => "Residuals",
            Self::Load => "Load line",
        }
    }

    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether it shows what is not in the lines of cases: estimates by component and their bands, quality, edges.
    #[must_use]
    pub const fn is_detailed(self) -> bool {
        matches!(self, Self::Parts | Self::Pareto | Self::Residual | Self::Load)
    }

    /// Whether both of its axes are numbers, so that a part of them may be shown.
    #[must_use]
    pub const fn is_zoomable(self) -> bool {
        matches!(self, Self::Speed | Self::Memory | Self::Pareto | Self::Residual | Self::Load)
    }

    /// What may lie along x.
    #[must_use]
    pub const fn across(self) -> &'static [Across] {
        match self {
            Self::Speed | Self::Memory => &Across::ALL,
            _ => &[],
        }
    }

    /// Which figures it may show.
    #[must_use]
    pub const fn figures(self) -> &'static [Figure] {
        match self {
            Self::Speed => &[Figure::Decode, Figure::Prefill, Figure::Ttft, Figure::Tpot],
            Self::Heat => &Figure::ALL,
            _ => &[],
        }
    }

    /// What may tell its series apart, the one that does where nothing is asked first.
    #[must_use]
    pub const fn series(self) -> &'static [By] {
        match self {
            Self::Speed | Self::Memory | Self::Residual => By::FACETS,
            Self::Pareto => By::ALL,
            _ => &[],
        }
    }
}

/// What lies along x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Across {
    /// Sequences at once.
    Batch,
    /// Prompt and generated tokens of each.
    Context,
}

impl Across {
    const ALL: [Self; 2] = [Self::Batch, Self::Context];

    /// As an address spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Context => "context",
        }
    }

    /// As people read it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Batch => "sequences at once",
            Self::Context => "tokens of each sequence",
        }
    }

    fn of(self, point: &CasePoint) -> f64 {
        match self {
            Self::Batch => point.batch() as f64,
            Self::Context => point.context() as f64,
        }
    }
}

/// A figure of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// Generated tokens per second of the whole batch.
    Decode,
    /// Prompt tokens per second of the whole batch.
    Prefill,
    /// Time to the first token.
    Ttft,
    /// Time of each further token.
    Tpot,
    /// Most bytes alive at once.
    Peak,
}

impl Figure {
    const ALL: [Self; 5] = [Self::Decode, Self::Prefill, Self::Ttft, Self::Tpot, Self::Peak];

    /// As an address spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Prefill => "prefill",
            Self::Ttft => "ttft",
            Self::Tpot => "tpot",
            Self::Peak => "peak",
        }
    }

    /// As people read it, with its unit.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Decode => "decode, tok/s",
            Self::Prefill => "prefill, tok/s",
            Self::Ttft => "time to first token, ms",
            Self::Tpot => "time per output token, ms",
            Self::Peak => "peak, GiB",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Decode | Self::Prefill => "tok/s",
            Self::Ttft | Self::Tpot => "ms",
            Self::Peak => "GiB",
        }
    }

    /// Why a case that was measured is without it.
    const fn lacking(self) -> &'static str {
        match self {
            Self::Decode | Self::Tpot => "generated fewer than two tokens, so have no decode",
            Self::Prefill | Self::Ttft => "have no timed prompt",
            Self::Peak => "have no measured peak",
        }
    }

    fn of(self, point: &CasePoint) -> Option<f64> {
        let line = &point.line;
        match self {
            Self::Decode => line.decode_tokens_per_second,
            Self::Prefill => line.prefill_tokens_per_second,
            Self::Ttft => line.ttft_ms,
            Self::Tpot => point.tpot_ms(),
            Self::Peak => line.peak_allocated.map(planner::Bytes::gib),
        }
        .filter(|figure| *figure > 0.0)
    }
}

/// What tells series apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// What tells cases apart.
    Facet(Facet),
    /// How far predictions are from those of the model unquantised.
    Quality,
}

impl By {
    const FACETS: &'static [Self] = Self::ALL.split_at(1).1;
    const ALL: &'static [Self] = &[
        Self::Quality,
        Self::Facet(Facet::Precision),
        Self::Facet(Facet::Model),
        Self::Facet(Facet::Method),
        Self::Facet(Facet::Attention),
        Self::Facet(Facet::Variant),
        Self::Facet(Facet::Cache),
        Self::Facet(Facet::KvCache),
        Self::Facet(Facet::Engine),
        Self::Facet(Facet::Device),
        Self::Facet(Facet::Machine),
        Self::Facet(Facet::Batch),
        Self::Facet(Facet::Prompt),
        Self::Facet(Facet::Generate),
    ];

    /// As an address spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Facet(facet) => facet.as_str(),
            Self::Quality => "quality",
        }
    }
}

/// What an address asks to be plotted.
#[derive(Debug, Clone, PartialEq)]
pub struct PlotQuery {
    /// What is plotted.
    pub kind: Kind,
    /// What lies along x, where the plot leaves a choice; none: whichever varies more.
    pub x: Option<Across>,
    /// Which figure is shown, where the plot leaves a choice.
    pub y: Figure,
    /// What tells series apart, where the plot has some.
    pub series: Option<By>,
    /// What peaks are counted in, where that follows the largest; none: what suits it.
    pub unit: Option<Unit>,
    /// What of it is shown, where its axes are numbers.
    pub window: Window,
    /// Of which cases.
    pub cases: CaseQuery,
}

impl PlotQuery {
    /// Reads the pairs of an address: `x`, `y`, `series`, `unit` and the ends of a range ([`Window::NAMES`]) of a plot of this
    /// kind, the rest as [`CaseQuery::read`]. What means nothing is left out and told.
    pub fn read<'a>(
        kind: Kind,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> (Self, Vec<QueryError>) {
        let mut asked = Self {
            kind,
            x: None,
            y: Figure::Decode,
            series: kind.series().first().copied(),
            unit: None,
            window: Window::default(),
            cases: CaseQuery::default(),
        };
        let (mut rest, mut errors, mut ends) = (Vec::new(), Vec::new(), [""; 4]);
        for (name, value) in pairs {
            if let Some(place) = Window::NAMES.iter().position(|end| *end == name) {
                ends[place] = value;
                continue;
            }
            let wrong = match (name, value) {
                ("x" | "y" | "series" | "unit", "") => None,
                ("unit", _) => choose(value, &Unit::ALL, Unit::as_str, |one| asked.unit = Some(one)),
                ("x", _) => choose(value, &Across::ALL, Across::as_str, |one| asked.x = Some(one)),
                ("y", _) => choose(value, &Figure::ALL, Figure::as_str, |one| asked.y = one),
                ("series", _) => choose(value, By::ALL, By::as_str, |one| asked.series = Some(one)),
                _ => {
                    rest.push((name, value));
                    None
                }
            };
            errors.extend(wrong.map(|reason| QueryError {
                name: name.to_owned(),
                value: value.to_owned(),
                reason,
            }));
        }
        // A choice that this plot does not leave is kept from another plot's address.
        if !kind.figures().contains(&asked.y) {
            asked.y = Figure::Decode;
        }
        let (window, wrong) = Window::read(ends);
        errors.extend(wrong);
        if kind.is_zoomable() {
            asked.window = window;
        }
        asked.series =
            asked.series.filter(|by| kind.series().contains(by)).or(kind.series().first().copied());
        let (cases, more) = CaseQuery::read(rest);
        // A plot has all of them, or the newest: neither place nor order.
        let CaseQuery { facets, run, search, since, until, .. } = cases;
        asked.cases = CaseQuery { facets, run, search, since, until, ..CaseQuery::default() };
        errors.extend(more);
        (asked, errors)
    }

    /// The pairs that [`Self::read`] reads, without those of the cases: what differs from the kind's own choice.
    #[must_use]
    pub fn choices(&self) -> Vec<(&'static str, String)> {
        let standard = Self::read(self.kind, []).0;
        let mut pairs = Vec::new();
        pairs.extend(self.x.map(|x| ("x", x.as_str().to_owned())));
        if self.y != standard.y {
            pairs.push(("y", self.y.as_str().to_owned()));
        }
        if self.series != standard.series {
            pairs.extend(self.series.map(|by| ("series", by.as_str().to_owned())));
        }
        pairs.extend(self.unit.map(|unit| ("unit", unit.as_str().to_owned())));
        pairs.extend(self.window.pairs());
        pairs
    }

    /// The same with all of the plot shown, as another plot of these cases begins.
    #[must_use]
    pub fn whole(&self) -> Self {
        Self { unit: None, window: Window::default(), ..self.clone() }
    }

    /// Whether training steps are asked for, and nothing else.
    fn is_training(&self) -> bool {
        self.cases.facets.get(&Facet::Task).is_some_and(|tasks| *tasks == [Task::Training.as_str()])
    }

    /// The address of the cases, those of one value of a facet where it is given.
    fn cases_href(&self, only: &[(Facet, &str)]) -> String {
        let mut query = self.cases.clone();
        for (facet, value) in only {
            query.facets.insert(*facet, vec![(*value).to_owned()]);
        }
        address::with("/cases", &query.pairs(), &[])
    }
}

/// Sets what `value` names, or says what it may.
fn choose<T: Copy>(
    value: &str,
    all: &[T],
    name: fn(T) -> &'static str,
    mut set: impl FnMut(T),
) -> Option<String> {
    if let Some(one) = all.iter().find(|one| name(**one) == value) {
        set(*one);
        return None;
    }
    let all: Vec<&str> = all.iter().map(|one| name(*one)).collect();
    Some(format!("\"{value}\" is unknown; accepted: {}", all.join(", ")))
}

/// A plot with what belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    /// The drawing; none where no case can be drawn, or none of them lies in the range that is shown.
    pub chart: Option<Chart>,
    /// What was asked, with what was left to the plot settled: its axes stay what they are while more is measured.
    pub settled: PlotQuery,
    /// What lies outside, where a part of it is shown.
    pub zoomed: Option<Zoomed>,
    /// Cases in it.
    pub n: usize,
    /// Cases that match.
    pub total: u64,
    /// Why the others are not in it, and how many of each.
    pub left_out: Vec<(String, u64)>,
    /// What it tells, in sentences.
    pub notes: Vec<String>,
    /// Where series lead, by their names.
    pub links: BTreeMap<String, String>,
    /// The same as a table.
    pub table: Table,
}

/// What lies outside of the part that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zoomed {
    /// Marks that lie outside.
    pub outside: usize,
    /// All of the marks.
    pub marks: usize,
}

/// The table beside a plot.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// Heads of the columns, and whether they are figures.
    pub head: Vec<(String, bool)>,
    /// The rows: where the first cell leads, and the cells.
    pub rows: Vec<(Option<String>, Vec<String>)>,
}

impl Plot {
    /// How many cases, and what is left out: `n = 12 of 20 cases. Left out: 8 …`; how many marks are outside of the range that
    /// is shown.
    #[must_use]
    pub fn counted(&self) -> String {
        let cases = if self.total == 1 { "case" } else { "cases" };
        let n = format::count(self.n as u64);
        let mut said = format!("n = {n} of {} {cases}.", format::count(self.total));
        if !self.left_out.is_empty() {
            let reasons: Vec<String> = self
                .left_out
                .iter()
                .map(|(reason, cases)| format!("{} {reason}", format::count(*cases)))
                .collect();
            said = format!("{said} Left out: {}.", reasons.join("; "));
        }
        if let Some(Zoomed { outside, marks }) = self.zoomed {
            let (points, are) = if marks == 1 { ("point", "is") } else { ("points", "are") };
            let (outside, marks) = (format::count(outside as u64), format::count(marks as u64));
            said = format!("{said} {outside} of {marks} {points} {are} outside this range.");
        }
        said
    }
}

/// Asks the backend for the cases and plots them.
///
/// # Errors
/// Those of the backend.
pub async fn plot(backend: &dyn Backend, asked: &PlotQuery) -> Result<(Plot, CasePoints), BackendError> {
    let points = backend.points(asked.cases.clone(), asked.kind.is_detailed()).await?;
    let machines = match asked.series {
        Some(By::Facet(Facet::Machine)) => {
            backend.machines().await?.into_iter().map(|m| (m.id.to_string(), m.name)).collect()
        }
        _ => BTreeMap::new(),
    };
    let planned = match (asked.kind, load::newest(&points)) {
        (Kind::Load, Some(case)) => Some(backend.case(case).await?.case),
        _ => None,
    };
    let drawn = draw(asked, &points, &machines, planned.as_ref());
    Ok((drawn, points))
}

/// Plots `points`. `machines` has names of machines by id, `planned` the case whose plan gives the load line.
#[must_use]
pub fn draw(
    asked: &PlotQuery,
    points: &CasePoints,
    machines: &BTreeMap<String, String>,
    planned: Option<&Case>,
) -> Plot {
    let draft = draft::Draft::new(asked, points, machines);
    match asked.kind {
        Kind::Speed => speed::draw(draft),
        Kind::Memory => memory::draw(draft),
        Kind::Parts => parts::draw(draft),
        Kind::Pareto => pareto::draw(draft),
        Kind::Heat => heat::draw(draft),
        Kind::Residual => residual::draw(draft),
        Kind::Load => load::draw(draft, planned),
    }
}

#[cfg(test)]
mod tests;

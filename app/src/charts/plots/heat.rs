//! A figure by precision and attention.

use std::collections::BTreeMap;

use contract::explore::Facet;
use contract::statistics::Distribution;

use super::draft::{Draft, chart};
use super::speed::capital;
use super::{Plot, Table};
use crate::charts::chart::{Axis, Marks, Scale, Tile};
use crate::charts::palette::Colour;
use crate::charts::run::spread;
use crate::format;

/// Precisions and attentions shown at most.
const MOST: (usize, usize) = (10, 12);
/// How much of the colour the least and the most have, so that text on it can be read.
const LAID_ON: (f64, f64) = (0.06, 0.5);
/// Height of a row of cells, and of what is around them.
const HEIGHT: (u32, u32) = (56, 70);

pub(super) fn draw(mut draft: Draft<'_>) -> Plot {
    let y = draft.asked.y;
    let found = draft.measured(|point| y.of(point).ok_or(y.lacking()));
    let lines = || found.iter().map(|(point, _)| &point.line);
    let columns = most(lines().map(|line| line.precision.as_str()), MOST.0);
    let mut rows = most(lines().map(|line| line.attention.as_str()), MOST.1);
    // The first stands highest.
    rows.reverse();
    let mut cells: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    let mut beyond = 0;
    for (point, figure) in &found {
        let column = columns.iter().position(|name| *name == point.line.precision);
        let row = rows.iter().position(|name| *name == point.line.attention);
        match row.zip(column) {
            Some(place) => cells.entry(place).or_default().push(*figure),
            None => beyond += 1,
        }
    }
    draft.leave_out("are of further precisions or attentions; filter to see them", beyond);
    let n = found.len() - usize::try_from(beyond).unwrap_or(found.len());
    let medians: Vec<((usize, usize), Distribution)> =
        cells.into_iter().filter_map(|(place, figures)| Some((place, Distribution::of(figures)?))).collect();
    let values = || medians.iter().map(|(_, of)| of.p50);
    // Where figures are far apart, equal factors are equal steps of colour.
    let scaled: fn(f64) -> f64 = if spread(values()) > 30.0 { f64::ln } else { std::convert::identity };
    let least = values().map(scaled).reduce(f64::min).unwrap_or(0.0);
    let most = values().map(scaled).reduce(f64::max).unwrap_or(1.0);
    let mut table = Table {
        head: [("Precision", false), ("Attention", false), (y.title(), true), ("n", true)]
            .map(|(name, number)| (capital(name), number))
            .to_vec(),
        rows: Vec::new(),
    };
    let mut tiles = Vec::new();
    for ((row, column), of) in &medians {
        let (precision, attention) = (&columns[*column], &rows[*row]);
        let along = if most > least { (scaled(of.p50) - least) / (most - least) } else { 0.5 };
        let (x, y_place) = (*column as f64, *row as f64);
        let figure = format::figure(of.p50);
        let facets = [(Facet::Precision, precision.as_str()), (Facet::Attention, attention.as_str())];
        let href = Some(draft.asked.cases_href(&facets));
        tiles.push(Tile {
            x: (x - 0.48, x + 0.48),
            y: (y_place - 0.46, y_place + 0.46),
            colour: Colour::series(0),
            opacity: LAID_ON.0 + along * (LAID_ON.1 - LAID_ON.0),
            text: vec![figure.clone(), format!("n = {}", of.n)],
            said: format!("{precision}, {}, median {}: {figure}, n = {}", own(attention), y.unit(), of.n),
            href: href.clone(),
        });
        table.rows.push((href, vec![precision.clone(), own(attention), figure, of.n.to_string()]));
    }
    draft.notes.push(format!(
        "Each cell is the median of {} over the cases of that precision and attention, \
         whatever their model, batch and lengths: filter to compare like with like.",
        y.title()
    ));
    let height = u32::try_from(rows.len().max(1)).unwrap_or(u32::MAX);
    let across = Axis { label: "precision".into(), scale: Scale::Names(columns), marks: Marks::Round };
    let rows = rows.iter().map(|name| own(name)).collect();
    let up = Axis { label: String::new(), scale: Scale::Names(rows), marks: Marks::Round };
    let mut chart =
        chart(format!("{} by precision and attention", capital(y.title())), across, up, Vec::new());
    chart.size.1 = HEIGHT.1 + HEIGHT.0 * height;
    chart.tiles = tiles;
    draft.done(n, chart, table)
}

/// The `most` frequent names, in their own order.
fn most<'a>(names: impl Iterator<Item = &'a str>, most: usize) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, cases)| std::cmp::Reverse(*cases));
    counts.truncate(most);
    counts.sort_unstable();
    counts.into_iter().map(|(name, _)| name.to_owned()).collect()
}

/// An attention's name; what a case leaves to the engine is the engine's own.
fn own(attention: &str) -> String {
    if attention == "default" { "the engine's own".to_owned() } else { attention.to_owned() }
}

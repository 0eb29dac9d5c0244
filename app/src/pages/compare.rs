//! Runs side by side, or what a choice makes of the same cases.

use contract::compare::{Axis, CompareQuery, Comparison, MOST, Row};
use contract::explore::QueryError;
use contract::figure::Figure;
use http::StatusCode;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_location;

use super::{answered, backend, difference, runs, set_status};
use crate::address;
use crate::components::{State, Tone};
use crate::format;

/// Rows of a figure that the page shows; all of them are in the CSV.
const SHOWN: usize = 100;

/// What the address asks to be compared, or the form that asks.
#[component]
pub fn ComparePage() -> impl IntoView {
    let backend = backend();
    let asked = use_location().search.get_untracked();
    answered(async move {
        let pairs: Vec<(String, String)> = address::pairs(&asked);
        let (query, unread) =
            CompareQuery::read(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let unread_notices =
            unread.iter().map(|e| runs::unread_value(&e.name, &e.value)).collect_view().into_any();
        if !query.is_whole() {
            return Ok(incomplete(&query, &unread, unread_notices));
        }
        let compared = backend.compare(query.clone()).await?;
        Ok(shown(&query, &compared, unread_notices))
    })
}

/// What to do, where nothing can be compared: an answer of its own where the address was wrong.
fn incomplete(query: &CompareQuery, unread: &[QueryError], notices: AnyView) -> AnyView {
    let is_asked = !query.runs.is_empty() || query.by.is_some() || !unread.is_empty();
    let wrong = is_asked.then(|| {
        set_status(StatusCode::BAD_REQUEST);
        let said = match (query.runs.len(), query.by) {
            (1, None) => "One run is compared with nothing: tick another.",
            (0, _) => "The address names no two runs, and nothing to tell cases apart by.",
            _ => "The address names runs and an axis: leave one of the two out.",
        };
        view! { <p class="notice warn">{said}</p> }
    });
    view! {
        <Title text="Compare" />
        <main id="main" class="page">
            <div class="head">
                <div>
                    <h1>"Compare"</h1>
                    <p class="muted">"Runs, or what a choice makes of the same cases, side by side."</p>
                </div>
            </div>
            {wrong} {notices}
            <div class="cards">
                <section class="card">
                    <header>
                        <h2>"Runs"</h2>
                    </header>
                    <p>{format!("Tick two to {MOST} runs in the list; the first is the one that the others are held against.")}</p>
                    <a class="button primary" href="/runs">
                        "To the runs"
                    </a>
                </section>
                <section class="card">
                    <header>
                        <h2>"A choice"</h2>
                    </header>
                    {choice(query)}
                </section>
            </div>
        </main>
    }
    .into_any()
}

/// The form that compares by an axis: a plain GET that keeps the filters.
fn choice(query: &CompareQuery) -> AnyView {
    let options: Vec<_> = Axis::ALL
        .iter()
        .map(|axis| {
            let selected = query.by == Some(*axis);
            view! { <option value=axis.as_str() selected=selected>{axis_title(*axis)}</option> }
        })
        .collect();
    let kept: Vec<_> = query
        .cases
        .pairs()
        .into_iter()
        .map(|(name, value)| view! { <input type="hidden" name=name value=value /> })
        .collect();
    view! {
        <form method="get" action="/compare" class="filters" data-test="compare-by">
            <label class="field">
                <span>"Cases that differ in"</span>
                <select name="by">{options}</select>
            </label>
            {kept} <button class="button primary">"Compare"</button>
        </form>
    }
    .into_any()
}

/// What an axis is called.
const fn axis_title(axis: Axis) -> &'static str {
    match axis {
        Axis::Model => "Model",
        Axis::Precision => "Precision",
        Axis::Attention => "Attention",
        Axis::Variant => "Decoder",
        Axis::Cache => "Cache",
        Axis::KvCache => "Cache precision",
        Axis::Machine => "Machine",
        Axis::Commit => "Commit",
    }
}

fn shown(query: &CompareQuery, compared: &Comparison, notices: AnyView) -> AnyView {
    let pairs = query.pairs();
    let export = |path: &str| address::with(path, &pairs, &[]);
    let figures = compared.figures();
    let told = match (compared.rows.len(), compared.alone.len()) {
        (0, _) => "No case is in more than one of them".to_owned(),
        (1, alone) => format!("One case in common, {} in one alone", format::count(alone as u64)),
        (n, alone) => {
            format!(
                "{} cases in common, {} in one alone",
                format::count(n as u64),
                format::count(alone as u64)
            )
        }
    };
    let matched = (query.by.is_none() && !compared.differ_in.is_empty()).then(|| {
        let axes: Vec<String> = compared.differ_in.iter().map(|a| axis_title(*a).to_lowercase()).collect();
        format!(", matched without their {}", axes.join(", "))
    });
    let left_out = (compared.left_out > 0).then(|| {
        let count = format::count(compared.left_out);
        let said = match query.by {
            Some(_) => format!(
                "Of the cases that pass, the newest are compared; {count} older ones are left out. Narrow the filters to reach \
                 them."
            ),
            None => format!(
                "Of each run at most 1,000 cases are compared, those first that another of the runs has too; {count} are left out."
            ),
        };
        view! { <p class="notice">{said}</p> }
    });
    let tables: Vec<_> = figures
        .iter()
        .enumerate()
        .map(|(place, figure)| figure_table(compared, *figure, place == 0))
        .collect();
    let name =
        query.by.map_or_else(|| "Runs".to_owned(), |axis| format!("By {}", axis_title(axis).to_lowercase()));
    let by = query.by.map(|_| view! { <section class="card">{choice(query)}{narrow(query)}</section> });
    view! {
        <Title text=format!("Compare: {}", name.to_lowercase()) />
        <main id="main" class="page">
            <div class="head">
                <div>
                    <h1>{format!("Compare: {}", name.to_lowercase())}</h1>
                    <p class="muted num">{told} {matched}</p>
                </div>
                <div class="row">
                    <a class="button" href=export("/api/v1/compare.csv") download="plimsoll-comparison.csv">
                        "CSV"
                    </a>
                    <a class="button" href=export("/api/v1/compare")>
                        "JSON"
                    </a>
                </div>
            </div>
            {notices} {left_out} {by} {overall(query, compared, &figures)} {tables} {alone(compared)}
        </main>
    }
    .into_any()
}

/// Links back to the list that the filters make.
fn narrow(query: &CompareQuery) -> AnyView {
    let filters = query.cases.pairs();
    let set: Vec<String> = filters.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let said = if set.is_empty() { "All cases".to_owned() } else { format!("Cases with {}", set.join(", ")) };
    view! {
        <p class="muted basis">
            {said} ". "
            <a href=address::with("/cases", &filters, &[])>"Choose others"</a>
        </p>
    }
    .into_any()
}

/// The columns, and how far each is from the first over all rows.
fn overall(query: &CompareQuery, compared: &Comparison, figures: &[Figure]) -> AnyView {
    let heads: Vec<_> = figures
        .iter()
        .map(|figure| view! { <th scope="col" class="n">{difference::title(*figure)}</th> })
        .collect();
    let rows: Vec<_> = compared
        .columns
        .iter()
        .zip(&compared.overall)
        .enumerate()
        .map(|(place, (column, overall))| {
            let cells: Vec<_> = figures
                .iter()
                .map(|figure| {
                    let cell = match overall.get(figure) {
                        _ if place == 0 => view! { <span class="muted">"base"</span> }.into_any(),
                        Some(overall) => {
                            let rows = format!("{} cases", format::count(overall.rows));
                            view! {
                                {difference::change_with_interval(*figure, &overall.difference)}
                                <small>{rows}</small>
                            }
                            .into_any()
                        }
                        None => "–".into_any(),
                    };
                    view! { <td class="n">{cell}</td> }
                })
                .collect();
            let name = match column.run_id {
                Some(run) => view! { <a href=format!("/runs/{run}")>{column.name.clone()}</a> }.into_any(),
                None => column.name.clone().into_any(),
            };
            let first = (place > 0).then(|| {
                let href = based_on(query, compared, place);
                view! {
                    <small>
                        <a href=href>"hold the others against it"</a>
                    </small>
                }
            });
            view! {
                <tr data-test="compared">
                    <th scope="row">{name} <small>{column.note.clone()}</small> {first}</th>
                    <td class="n">{format::count(column.cases)}</td>
                    {cells}
                </tr>
            }
        })
        .collect();
    let methods: Vec<_> =
        compared.methods.iter().map(|method| view! { <li>{super::sentence(method)}</li> }).collect();
    view! {
        <section class="card flush">
            <header>
                <h2>"Over all cases in common"</h2>
                <small>"difference from the first, its 95 % interval"</small>
            </header>
            <div class="scroll" tabindex="0" role="region" aria-label="Over all cases in common">
                <table class="compared">
                    <thead>
                        <tr>
                            <th scope="col"><span class="visually-hidden">"Compared"</span></th>
                            <th scope="col" class="n">"Cases"</th>
                            {heads}
                        </tr>
                    </thead>
                    <tbody class="num">{rows}</tbody>
                </table>
            </div>
            <details class="quiet inset">
                <summary>"How differences are computed"</summary>
                <ul class="plain muted basis">
                    {methods}
                    <li>"Noise: the interval covers zero. A figure that is read once, as the peak, has no interval for one case."</li>
                </ul>
            </details>
        </section>
    }
    .into_any()
}

/// The address with another column first.
fn based_on(query: &CompareQuery, compared: &Comparison, place: usize) -> String {
    let mut query = query.clone();
    if query.by.is_some() && query.runs.is_empty() {
        query.base = compared.columns.get(place).map(|column| column.value.clone());
    } else if place < query.runs.len() {
        query.runs[..=place].rotate_right(1);
    }
    address::with("/compare", &query.pairs(), &[])
}

/// A figure of every row, column beside column.
fn figure_table(compared: &Comparison, figure: Figure, is_open: bool) -> AnyView {
    let has = |row: &&Row| row.cells.iter().flatten().any(|cell| cell.figures.contains_key(&figure));
    let of_it: Vec<&Row> = compared.rows.iter().filter(has).collect();
    let heads: Vec<_> = compared
        .columns
        .iter()
        .map(|column| view! { <th scope="col" class="n">{column.name.clone()}</th> })
        .collect();
    let rows: Vec<_> = of_it.iter().take(SHOWN).map(|row| figure_row(row, figure)).collect();
    let more = (of_it.len() > SHOWN).then(|| {
        let said =
            format!("The first {SHOWN} of {} cases; the CSV has all.", format::count(of_it.len() as u64));
        view! { <p class="muted basis inset">{said}</p> }
    });
    let better = if figure.less_is_better() { "less is better" } else { "more is better" };
    let title = difference::title(figure);
    view! {
        <details class="card flush figure" open=is_open data-test="compared-figure">
            <summary>
                <h2>{title}</h2>
                <small>{format!("{} cases · {better}", format::count(of_it.len() as u64))}</small>
            </summary>
            <div class="scroll" tabindex="0" role="region" aria-label=title>
                <table class="compared">
                    <thead>
                        <tr>
                            <th scope="col">"Case"</th>
                            {heads}
                        </tr>
                    </thead>
                    <tbody class="num">{rows}</tbody>
                </table>
            </div>
            {more}
        </details>
    }
    .into_any()
}

fn figure_row(row: &Row, figure: Figure) -> AnyView {
    let cells: Vec<_> = row
        .cells
        .iter()
        .map(|cell| {
            let Some(cell) = cell else { return view! { <td class="n muted">"–"</td> }.into_any() };
            let href = format!("/cases/{}", cell.case_id);
            let Some(spread) = cell.figures.get(&figure) else {
                let word = cell.status.as_str();
                return view! {
                    <td class="n">
                        <a href=href>
                            <State word tone=Tone::from(cell.status) />
                        </a>
                    </td>
                }
                .into_any();
            };
            let change = cell.differences.get(&figure).map(|d| difference::change_with_interval(figure, d));
            view! {
                <td class="n">
                    <a href=href>{difference::mean(figure, spread)}</a>
                    {change}
                </td>
            }
            .into_any()
        })
        .collect();
    view! {
        <tr>
            <th scope="row">{row.name.clone()}</th>
            {cells}
        </tr>
    }
    .into_any()
}

/// Cases that one column has alone.
fn alone(compared: &Comparison) -> Option<AnyView> {
    if compared.alone.is_empty() {
        return None;
    }
    let rows: Vec<_> = compared
        .alone
        .iter()
        .take(SHOWN)
        .map(|one| {
            let column = compared.columns.get(one.column).map(|column| column.name.clone());
            view! {
                <tr>
                    <th scope="row">
                        <a href=format!("/cases/{}", one.case_id)>{one.name.clone()}</a>
                    </th>
                    <td>{column}</td>
                    <td>
                        <State word=one.status.as_str() tone=Tone::from(one.status) />
                    </td>
                </tr>
            }
        })
        .collect();
    let count = format::count(compared.alone.len() as u64);
    let note = if compared.alone.len() > SHOWN { format!("the first {SHOWN} of {count}") } else { count };
    let view = view! {
        <details class="card flush figure" data-test="alone" open=compared.rows.is_empty()>
            <summary>
                <h2>"In one alone"</h2>
                <small>{note}</small>
            </summary>
            <div class="scroll" tabindex="0" role="region" aria-label="In one alone">
                <table>
                    <thead>
                        <tr>
                            <th scope="col">"Case"</th>
                            <th scope="col">"Where"</th>
                            <th scope="col">"Ended"</th>
                        </tr>
                    </thead>
                    <tbody class="num">{rows}</tbody>
                </table>
            </div>
        </details>
    };
    Some(view.into_any())
}

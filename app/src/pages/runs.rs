//! The list of runs, with its filters in the address.

use contract::compare::MOST;
use contract::ids::UnixMillis;
use contract::run::{Page, RunFilter, RunStatus, RunSummary};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use leptos_router::params::ParamsMap;

use super::{answered, backend, pager};
use crate::backend::Facets;
use crate::components::{State, Tone, When};
use crate::format;

/// All runs, newest first.
#[component]
pub fn RunsPage() -> impl IntoView {
    let backend = backend();
    let query = use_query_map().get_untracked();
    let filter = filter_of(&query);
    let unread = unread_of(&query);
    answered(async move {
        let site = backend.site().await?;
        let facets = backend.facets().await?;
        let page = backend.runs(filter.clone()).await?;
        let filtered = RunFilter { page: None, per_page: None, ..filter.clone() } != RunFilter::default();
        let unread = unread.iter().map(|(name, value)| unread_value(name, value)).collect_view();
        let table = if page.items.is_empty() && page.total > 0 {
            beyond(&format!("/runs?{}", query_of(&filter)), page.page).into_any()
        } else if page.items.is_empty() {
            view! { <Empty filtered one="run" all="/runs" /> }.into_any()
        } else {
            let enough = page.items.len() > 1;
            view! {
                <form method="get" action="/compare" class="stack listed" data-test="compare-runs">
                    <RunTable runs=page.items.clone() now=site.now comparable=enough />
                    {enough
                        .then(|| {
                            view! {
                                <div class="row">
                                    <button class="button">"Compare the ticked runs"</button>
                                    <small>{format!("two to {MOST} of them; the first is the base")}</small>
                                </div>
                            }
                        })}
                </form>
            }
            .into_any()
        };
        Ok(view! {
            <Title text="Runs" />
            <main id="main" class="page">
                <div class="head">
                    <div>
                        <h1>"Runs"</h1>
                        <p class="muted num">{told(&page)}</p>
                    </div>
                    <a class="button" href="/jobs#new">
                        "New sweep"
                    </a>
                </div>
                <Filters filter=filter.clone() facets />
                {unread} {table}
                {pager("/runs", &query_of(&filter), page.page, page.per_page, page.total)}
            </main>
        }
        .into_any())
    })
}

fn told<T>(page: &Page<T>) -> String {
    match page.total {
        0 => "None yet".to_owned(),
        1 => "One run".to_owned(),
        n => format!("{} runs, newest first", format::count(n)),
    }
}

/// Values of the query that mean nothing, by their names.
fn unread_of(query: &ParamsMap) -> Vec<(&'static str, String)> {
    let text = |key: &str| query.get(key).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
    let status = text("status").filter(|s| STATUSES.into_iter().all(|status| status.as_str() != s));
    let page = text("page").filter(|n| n.parse::<u32>().is_err());
    status.map(|value| ("status", value)).into_iter().chain(page.map(|value| ("page", value))).collect()
}

/// The filter in a query; a value that means nothing filters nothing, and [`unread_of`] names it.
fn filter_of(query: &ParamsMap) -> RunFilter {
    let text = |key: &str| query.get(key).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
    let status = text("status").and_then(|s| STATUSES.into_iter().find(|status| status.as_str() == s));
    RunFilter {
        model: text("model"),
        machine: text("machine"),
        precision: text("precision"),
        status,
        page: text("page").and_then(|n| n.parse().ok()),
        per_page: None,
    }
}

const STATUSES: [RunStatus; 3] = [RunStatus::Running, RunStatus::Finished, RunStatus::Cancelled];

/// The query of a filter, without its page.
fn query_of(filter: &RunFilter) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (key, value) in [
        ("model", filter.model.as_deref()),
        ("machine", filter.machine.as_deref()),
        ("precision", filter.precision.as_deref()),
        ("status", filter.status.map(RunStatus::as_str)),
    ] {
        if let Some(value) = value {
            query.append_pair(key, value);
        }
    }
    query.finish()
}

/// The form of the filters: a plain GET.
#[component]
fn Filters(filter: RunFilter, facets: Facets) -> impl IntoView {
    let any = filter.model.is_some()
        || filter.machine.is_some()
        || filter.precision.is_some()
        || filter.status.is_some();
    let options = |values: Vec<String>, chosen: Option<&String>| {
        values
            .into_iter()
            .map(|value| {
                let selected = Some(&value) == chosen;
                view! {
                    <option value=value.clone() selected=selected>
                        {value.clone()}
                    </option>
                }
            })
            .collect_view()
    };
    let models =
        facets.models.iter().map(|model| view! { <option value=model.clone()></option> }).collect_view();
    view! {
        <form class="filters" method="get" action="/runs" data-test="filters">
            <label class="field">
                <span>"Model"</span>
                <input
                    type="search"
                    name="model"
                    list="models"
                    placeholder="any, or a part of its name"
                    value=filter.model.clone().unwrap_or_default()
                />
                <datalist id="models">{models}</datalist>
            </label>
            <label class="field">
                <span>"Machine"</span>
                <select name="machine">
                    <option value="">"any"</option>
                    {options(facets.machines, filter.machine.as_ref())}
                </select>
            </label>
            <label class="field">
                <span>"Precision"</span>
                <select name="precision">
                    <option value="">"any"</option>
                    {options(facets.precisions, filter.precision.as_ref())}
                </select>
            </label>
            <label class="field">
                <span>"Status"</span>
                <select name="status">
                    <option value="">"any"</option>
                    {options(
                        STATUSES.iter().map(|s| s.as_str().to_owned()).collect(),
                        filter.status.map(|s| s.as_str().to_owned()).as_ref(),
                    )}
                </select>
            </label>
            <div class="row">
                <button class="button primary">"Filter"</button>
                {any.then(|| view! { <a class="button" href="/runs">"Clear"</a> })}
            </div>
        </form>
    }
}

/// A notice of a value in the address that means nothing here.
pub(super) fn unread_value(name: &str, value: &str) -> impl IntoView + use<> {
    let said = format!("The address asks for {name} \"{value}\", which is none; it was left aside.");
    view! { <p class="notice warn">{said}</p> }
}

/// What stands where rows would, on a page after the last one.
pub(super) fn beyond(first: &str, page: u32) -> impl IntoView + use<> {
    let first = first.to_owned();
    view! {
        <p class="notice">
            {format!("There is no page {page}: fewer are listed. ")} <a href=first>"Show the first page"</a> "."
        </p>
    }
}

/// What stands where rows would: nothing passes the filters, or nothing is there yet.
#[component]
pub(super) fn Empty(
    filtered: bool,
    /// What a row is.
    one: &'static str,
    /// Where all of them are.
    all: &'static str,
) -> impl IntoView {
    if filtered {
        view! {
            <p class="notice">
                {format!("No {one} passes these filters. ")} <a href=all>{format!("Show all {one}s")}</a>
                "."
            </p>
        }
        .into_any()
    } else {
        view! {
            <p class="notice">
                "Nothing is measured yet. "
                <a href="/">"Start with the one-minute benchmark or the example results"</a>
                ", or "
                <a href="/jobs#new">"submit a sweep"</a>
                "."
            </p>
        }
        .into_any()
    }
}

/// Runs, a line each.
#[component]
pub(super) fn RunTable(
    runs: Vec<RunSummary>,
    now: UnixMillis,
    /// Whether each has a box to tick, of a form around the table.
    #[prop(optional)]
    comparable: bool,
) -> impl IntoView {
    let head =
        comparable.then(|| view! { <th scope="col"><span class="visually-hidden">"Compare"</span></th> });
    view! {
        <div class="card flush">
            <div class="scroll" tabindex="0" role="region" aria-label="Runs">
                <table style="min-width:860px">
                    <thead>
                        <tr>
                            {head} <th scope="col">"Run"</th>
                            <th scope="col">"Machine"</th>
                            <th scope="col">"Models"</th>
                            <th scope="col" class="n">"Cases"</th>
                            <th scope="col" class="n">"Best decode"</th>
                            <th scope="col" class="n">"Largest peak"</th>
                            <th scope="col">"When"</th>
                            <th scope="col">"Status"</th>
                        </tr>
                    </thead>
                    <tbody class="num">{runs.into_iter().map(|run| line(run, now, comparable)).collect_view()}</tbody>
                </table>
            </div>
        </div>
    }
}

fn line(summary: RunSummary, now: UnixMillis, comparable: bool) -> impl IntoView {
    let run = summary.run;
    let rate = summary.best_decode_tokens_per_second;
    let unwell = summary.cases_done.saturating_sub(summary.cases_ok);
    let tick = comparable.then(|| {
        let label = format!("Compare {}", run.name);
        view! {
            <td>
                <input type="checkbox" name="run" value=run.id.to_string() aria-label=label />
            </td>
        }
    });
    view! {
        <tr data-test="run-row">
            {tick} <td>
                <a href=format!("/runs/{}", run.id)>{run.name}</a>
                <small>{origin(run.origin)}</small>
            </td>
            <td>
                {summary.machine_name}
                <small>{summary.device_name}</small>
            </td>
            <td>
                {models(&run.sweep.models)}
                <small>{run.sweep.precisions.join(", ")}</small>
            </td>
            <td class="n">
                {format!("{} / {}", summary.cases_done, summary.cases_total)}
                {(unwell > 0).then(|| view! { <small>{format!("{unwell} not ok")}</small> })}
            </td>
            <td class="n">{rate.map_or_else(|| "–".to_owned(), |r| format!("{} tok/s", format::figure(r)))}</td>
            <td class="n">{summary.largest_peak.map_or_else(|| "–".to_owned(), format::gib)}</td>
            <td class="nowrap">
                <When at=run.started_at now />
            </td>
            <td>
                <State word=run.status.as_str() tone=Tone::from(run.status) />
            </td>
        </tr>
    }
}

/// Where a run comes from, in words.
pub(super) const fn origin(origin: contract::run::RunOrigin) -> &'static str {
    match origin {
        contract::run::RunOrigin::Local => "measured by hand",
        contract::run::RunOrigin::Job => "measured for a job",
        contract::run::RunOrigin::Example => "example, measured elsewhere",
    }
}

/// The first models of a list, and how many more there are.
pub(super) fn models(models: &[String]) -> String {
    match models {
        [one] => one.clone(),
        [one, two] => format!("{one}, {two}"),
        [one, rest @ ..] => format!("{one} and {} more", rest.len()),
        [] => String::new(),
    }
}

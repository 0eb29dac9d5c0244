//! A run: what it measured, beside what the planner had said.

pub(super) mod cases;

use std::collections::BTreeMap;

use contract::case::Case;
use contract::explore::CaseLine;
use contract::ids::{CaseId, RunId};
use contract::machine::Machine;
use contract::measurement::Measurement;
use contract::run::{Run, RunFigures, RunPage};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_params_map, use_query_map};
use planner::Plan;

use super::runs::{self, origin};
use super::{answered, backend, unknown_id};
use crate::charts::{self, Chart};
use crate::components::{Fact, State, Tone, When};
use crate::format;

/// A run by its id.
#[component]
pub fn RunPage() -> impl IntoView {
    let backend = backend();
    let id = use_params_map().get_untracked().get("id").unwrap_or_default();
    let place = use_query_map().get_untracked().get("from").filter(|place| !place.is_empty());
    answered(async move {
        let id = id.parse::<RunId>().map_err(|_| unknown_id("run", &id))?;
        let from: Option<u32> = place.as_ref().and_then(|place| place.parse().ok());
        let unread = place.filter(|_| from.is_none());
        let page = backend.run(id, from.unwrap_or(0)).await?;
        let today = backend.today(plans(&page.cases)).await?;
        let now = backend.site().await?.now;
        let pages = pages(&page);
        let RunPage { run, machine, figures, lines, cases, .. } = page;
        Ok(view! {
            <Title text=run.name.clone() />
            <main id="main" class="page">
                <div class="head">
                    <div>
                        <h1>{run.name.clone()}</h1>
                        <p class="muted">
                            {format!("{} on {}, {}, ", run.sweep.device, machine.name, origin(run.origin))}
                            <When at=run.started_at now />
                            {run.job_id.map(|job| view! { ", for " <a href=format!("/jobs/{job}")>"this job"</a> })}
                        </p>
                    </div>
                    <div class="row">
                        <a class="button" href=format!("/api/v1/runs/{id}/rows") download=format!("run-{id}.jsonl")>
                            "Rows, JSONL"
                        </a>
                        <a class="button" href=format!("/api/v1/runs/{id}") download=format!("run-{id}.json")>
                            "Whole run, JSON"
                        </a>
                    </div>
                </div>
                {unread.map(|place| runs::unread_value("from", &place))}
                <Facts run=run.clone() figures=figures.clone() />
                <Plots lines all=figures.done run=id />
                <cases::Cases cases=cases.clone() today all=figures.done pages />
                <div class="cards">
                    <MachineCard machine run=run.clone() />
                    <MethodCard run cases />
                </div>
            </main>
        }
        .into_any())
    })
}

/// What today's planner is asked of cases.
pub(super) fn plans(cases: &[Case]) -> Vec<(CaseId, Plan)> {
    cases.iter().filter_map(|case| Some((case.id, case.plan.clone()?))).collect()
}

/// Links to the cases before and after those of this page, and to all of them as a list; nothing where one page has all.
fn pages(page: &RunPage) -> Option<AnyView> {
    let (first, last) = (page.cases.first()?.position + 1, page.cases.last()?.position + 1);
    let id = page.run.id;
    let href = |from: u32| format!("/runs/{id}?from={from}#cases");
    let links = view! {
        <nav class="row inset" aria-label="Pages of cases">
            {page.previous.map(|from| view! { <a class="button" rel="prev" href=href(from)>"Before"</a> })}
            <span class="muted num">{format!("cases {} to {}", format::count(first.into()), format::count(last.into()))}</span>
            {page.next.map(|from| view! { <a class="button" rel="next" href=href(from)>"Next"</a> })}
            <a href=format!("/cases?run={id}")>"All of them, to filter and order"</a>
        </nav>
    };
    (page.previous.is_some() || page.next.is_some()).then(|| links.into_any())
}

#[component]
fn Facts(run: Run, figures: RunFigures) -> impl IntoView {
    let total = run.sweep.len();
    let took = run.finished_at.map(|end| end.0.saturating_sub(run.started_at.0).max(0).unsigned_abs());
    view! {
        <dl class="facts num">
            <div>
                <dt>"Status"</dt>
                <dd class="text">
                    <State word=run.status.as_str() tone=Tone::from(run.status) />
                </dd>
            </div>
            <Fact name="Cases" value=figures.done.to_string() unit=format!("of {total}, {} ok", figures.ok) />
            {figures
                .best_decode_tokens_per_second
                .map(|best| view! { <Fact name="Best decode" value=format::figure(best) unit="tok/s" /> })}
            {figures
                .largest_peak
                .map(|peak| view! { <Fact name="Largest peak" value=format::gib_figure(peak) unit="GiB allocated" /> })}
            {figures
                .mean_error
                .map(|error| {
                    view! {
                        <Fact
                            name="Estimate off by"
                            value=format::percent_figure(100.0 * error)
                            unit=format!("% on average, n = {}", figures.estimated)
                        />
                    }
                })}
            {took.map(|took| view! { <Fact name="Took" value=format::duration(took) /> })}
        </dl>
    }
}

/// Measured less estimated peak, in percent of the measured one.
pub(super) fn residual_percent(case: &Case) -> Option<f64> {
    let measured = case.measurement.as_ref().and_then(Measurement::peak_allocated)?;
    let estimated = case.estimate.as_ref()?.totals.allocated;
    (measured.0 > 0).then(|| 100.0 * (measured.0 as f64 - estimated.0 as f64) / measured.0 as f64)
}

#[component]
fn Plots(
    lines: Vec<CaseLine>,
    /// Cases that there are.
    all: u64,
    run: RunId,
) -> impl IntoView {
    let plots = [
        ("decode", "Decode", "median of the repetitions", charts::decode_rate(&lines)),
        ("prefill", "Prefill", "median of the repetitions", charts::prefill_rate(&lines)),
        ("peak", "Peak memory", "marks measured, broken lines estimated", charts::peak_memory(&lines)),
    ];
    let drawn = lines.len() as u64;
    let note = (drawn < all).then(|| {
        let said = format!(
            "Drawn are the first {} of {} cases that ended. ",
            format::count(drawn),
            format::count(all)
        );
        view! {
            <p class="muted">
                {said} <a href=format!("/plots?run={run}")>"Plot others of them"</a>
            </p>
        }
    });
    let cards: Vec<_> = plots
        .into_iter()
        .filter_map(|(id, name, note, chart)| chart.map(|chart| view! { <PlotCard id name note chart /> }))
        .collect();
    (!cards.is_empty()).then(|| {
        view! {
            <div class="cards even plots">{cards}</div>
            {note}
            <script type="module" src="/plots.js"></script>
        }
    })
}

#[component]
pub(super) fn PlotCard(
    id: &'static str,
    name: &'static str,
    note: &'static str,
    chart: Chart,
) -> impl IntoView {
    let drawing = match chart.svg() {
        Ok(svg) => view! { <div class="plot" inner_html=svg></div> }.into_any(),
        Err(error) => view! { <p class="muted">{super::sentence(&error.to_string())}</p> }.into_any(),
    };
    view! {
        <figure class="card" data-plot=id>
            <header>
                <h2>{name}</h2>
                <small>{note}</small>
            </header>
            {drawing} {super::plots::legend(&chart, &BTreeMap::new())}
        </figure>
    }
}

#[component]
pub(super) fn MachineCard(machine: Machine, run: Run) -> impl IntoView {
    let gpus = machine
        .gpus
        .iter()
        .map(|gpu| {
            let mut facts = vec![
                gpu.memory_bytes.to_string(),
                format!("driver {}", gpu.driver),
                format!("CUDA {}", gpu.cuda),
            ];
            facts.extend(gpu.power_limit_w.map(|watts| format!("limit {watts:.0} W")));
            facts.extend(gpu.max_sm_clock_mhz.map(|mhz| format!("up to {mhz} MHz")));
            view! {
                <dt>"GPU"</dt>
                <dd>{gpu.name.clone()} <br /> <small>{facts.join(" · ")}</small></dd>
            }
        })
        .collect_view();
    let cpu = &machine.cpu;
    view! {
        <section class="card">
            <header>
                <h2>"Machine"</h2>
                <small>{machine.name.clone()}</small>
            </header>
            <dl class="pairs num">
                {gpus} <dt>"Processor"</dt>
                <dd>
                    {cpu.model.clone()} <br />
                    <small>{format!("{} logical cores · {}", cpu.logical_cores, cpu.isa)}</small>
                </dd>
                <dt>"Host memory"</dt>
                <dd>{machine.memory_bytes.to_string()}</dd>
                <dt>"System"</dt>
                <dd>{machine.os.clone()}</dd>
                <dt>"Device of the run"</dt>
                <dd>{run.sweep.device.to_string()}</dd>
            </dl>
        </section>
    }
}

#[component]
pub(super) fn MethodCard(
    run: Run,
    cases: Vec<Case>,
    /// Further names and values.
    #[prop(optional)]
    more: Option<AnyView>,
) -> impl IntoView {
    let build = run.runner;
    let measurement = cases.iter().find_map(|case| case.measurement.clone());
    let methods = measurement.map(|m| {
        view! {
            <dt>"Allocated"</dt>
            <dd>{m.methods.allocated}</dd>
            <dt>"Process"</dt>
            <dd>{m.methods.process}</dd>
            <dt>"Times"</dt>
            <dd>{m.methods.time}</dd>
            {m.threads.map(|threads| view! { <dt>"Threads"</dt><dd>{threads}</dd> })}
        }
    });
    let mut engines: Vec<String> = cases.into_iter().map(|case| case.engine).collect();
    engines.sort();
    engines.dedup();
    let features =
        if build.features.is_empty() { String::new() } else { format!(" · {}", build.features.join(", ")) };
    view! {
        <section class="card">
            <header>
                <h2>"How it was measured"</h2>
                <small>
                    <a href="/docs/measuring">"what each figure is"</a>
                </small>
            </header>
            <dl class="pairs">
                {methods} <dt>"Repetitions"</dt>
                <dd>{format!("{} of each case, after one warm-up", run.sweep.repetitions)}</dd>
                <dt>"Engine"</dt>
                <dd>{engines.join(", ")}</dd>
                <dt>"Runner"</dt>
                <dd>
                    {format!("bench-runner {}", build.version)} <br />
                    <small>{format!("commit {} · candle {}{features} · {}", build.commit, build.candle, build.build)}</small>
                </dd>
                {more}
            </dl>
        </section>
    }
}

//! A run: what it measured, beside what the planner had said.

pub(super) mod cases;

use contract::case::{Case, CaseStatus};
use contract::ids::RunId;
use contract::machine::Machine;
use contract::measurement::Measurement;
use contract::run::{Run, RunDetail};
use contract::statistics::CaseSpeed;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;

use super::runs::origin;
use super::{answered, backend, unknown_id};
use crate::charts::{self, Chart};
use crate::components::{Fact, State, Tone, When};
use crate::format;

/// A run by its id.
#[component]
pub fn RunPage() -> impl IntoView {
    let backend = backend();
    let id = use_params_map().get_untracked().get("id").unwrap_or_default();
    answered(async move {
        let id = id.parse::<RunId>().map_err(|_| unknown_id("run", &id))?;
        let detail = backend.run(id).await?;
        let now = backend.site().await?.now;
        let RunDetail { run, machine, cases } = detail;
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
                <Facts run=run.clone() cases=cases.clone() />
                <Plots cases=cases.clone() />
                <cases::Cases cases=cases.clone() />
                <div class="cards">
                    <MachineCard machine run=run.clone() />
                    <MethodCard run cases />
                </div>
            </main>
        }
        .into_any())
    })
}

#[component]
fn Facts(run: Run, cases: Vec<Case>) -> impl IntoView {
    let total = run.sweep.len();
    let ok = cases.iter().filter(|case| case.status == CaseStatus::Ok).count();
    let speeds = cases.iter().filter_map(|case| Some(CaseSpeed::of(&case.spec, case.measurement.as_ref()?)));
    let best = speeds.filter_map(|s| s.decode_tokens_per_second).map(|d| d.mean).reduce(f64::max);
    let peak = cases.iter().filter_map(|case| case.measurement.as_ref()?.peak_allocated()).max();
    let errors: Vec<f64> = cases.iter().filter_map(residual_percent).map(f64::abs).collect();
    let error = (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64);
    let took = run.finished_at.map(|end| end.0.saturating_sub(run.started_at.0).max(0).unsigned_abs());
    view! {
        <dl class="facts num">
            <div>
                <dt>"Status"</dt>
                <dd class="text">
                    <State word=run.status.as_str() tone=Tone::from(run.status) />
                </dd>
            </div>
            <Fact name="Cases" value=cases.len().to_string() unit=format!("of {total}, {ok} ok") />
            {best.map(|best| view! { <Fact name="Best decode" value=format::figure(best) unit="tok/s" /> })}
            {peak.map(|peak| view! { <Fact name="Largest peak" value=format::gib_figure(peak) unit="GiB allocated" /> })}
            {error
                .map(|error| {
                    view! {
                        <Fact
                            name="Estimate off by"
                            value=format::percent_figure(error)
                            unit=format!("% on average, n = {}", errors.len())
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
fn Plots(cases: Vec<Case>) -> impl IntoView {
    let plots = [
        ("Decode", "mean over the repetitions", charts::decode_rate(&cases)),
        ("Prefill", "mean over the repetitions", charts::prefill_rate(&cases)),
        ("Peak memory", "marks measured, broken lines estimated", charts::peak_memory(&cases)),
    ];
    let cards: Vec<_> = plots
        .into_iter()
        .filter_map(|(name, note, chart)| chart.map(|chart| view! { <PlotCard name note chart /> }))
        .collect();
    (!cards.is_empty()).then(|| view! { <div class="cards even plots">{cards}</div> })
}

#[component]
fn PlotCard(name: &'static str, note: &'static str, chart: Chart) -> impl IntoView {
    let drawing = match chart.svg() {
        Ok(svg) => view! { <div class="plot" inner_html=svg></div> }.into_any(),
        Err(error) => view! { <p class="muted">{super::sentence(&error.to_string())}</p> }.into_any(),
    };
    let legend = chart
        .legend()
        .into_iter()
        .map(|entry| view! { <li><span style="display:contents" inner_html=entry.svg()></span>{entry.name}</li> })
        .collect_view();
    view! {
        <figure class="card">
            <header>
                <h2>{name}</h2>
                <small>{note}</small>
            </header>
            {drawing}
            <ul class="legend">{legend}</ul>
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

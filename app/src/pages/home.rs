//! The first page: what to do on an empty database, the latest runs on any other.

use contract::protocol::Runner;
use contract::run::RunFilter;
use contract::sweep::first_benchmark;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;

use super::runs::RunTable;
use super::{answered, backend};
use crate::backend::Site;

/// Where everyone starts.
#[component]
pub fn HomePage() -> impl IntoView {
    let backend = backend();
    let problem = use_query_map().get_untracked().get("problem");
    answered(async move {
        let site = backend.site().await?;
        let runners: Vec<Runner> =
            backend.runners().await?.into_iter().filter(|runner| runner.online).collect();
        let latest = backend.runs(RunFilter { per_page: Some(6), ..RunFilter::default() }).await?;
        let problem = problem.map(|problem| view! { <p class="notice warn">{told(&problem)}</p> });
        let runs = (!latest.items.is_empty()).then(|| {
            view! {
                <section class="stack">
                    <div class="head">
                        <h2>"Latest runs"</h2>
                        <a href="/runs">{format!("All {}", crate::format::count(latest.total))}</a>
                    </div>
                    <RunTable runs=latest.items.clone() now=site.now />
                </section>
            }
        });
        let start = site.is_empty.then(|| {
            view! {
                <div class="cards even">
                    <FirstBenchmark runners=runners.clone() may_write=site.may_write />
                    <Examples site=site.clone() />
                </div>
            }
        });
        Ok(view! {
            <Title text="What fits, how fast, how sure" />
            <main id="main" class="page">
                <div class="head">
                    <div>
                        <h1>"What fits on a GPU, how fast it runs, and how sure that is"</h1>
                        <p class="muted" style="max-width:68ch">
                            {if site.is_empty {
                                "Nothing is measured here yet. Measure this machine, look at results measured elsewhere, or plan \
                                 straight away: the planner needs no measurement to start with."
                            } else {
                                "Measured with Candle on the machines below. Every estimate of the planner stands beside its \
                                 measurement."
                            }}
                        </p>
                    </div>
                </div>
                {problem} {start} <PlanEntry /> {runs}
                {(!site.is_empty && site.examples_available && !site.has_examples)
                    .then(|| view! { <div class="cards"><Examples site=site.clone() /></div> })}
            </main>
        }
        .into_any())
    })
}

/// What went wrong with a form of this page.
fn told(problem: &str) -> &'static str {
    match problem {
        "no-runner" => "No runner that has the benchmark's model is online, so nothing was started.",
        "no-examples" => "This build carries no example results, so nothing was imported.",
        _ => "That did not work, and nothing was changed. The server's log says why.",
    }
}

/// The first runner that can do the first benchmark.
pub(super) fn able(runners: &[Runner]) -> Option<&Runner> {
    let sweep = first_benchmark();
    runners.iter().find(|runner| {
        let registration = &runner.registration;
        registration.devices.contains(&sweep.device)
            && sweep.models.iter().all(|name| registration.models.iter().any(|model| model.name == *name))
    })
}

/// A card that starts the first benchmark, or says what that needs.
#[component]
pub(super) fn FirstBenchmark(runners: Vec<Runner>, may_write: bool) -> impl IntoView {
    let sweep = first_benchmark();
    let body = match able(&runners) {
        Some(runner) => view! {
            <p>
                {format!(
                    "{} in {}, {} short cases with random weights, on {}.",
                    sweep.models.join(", "),
                    sweep.precisions.join(" and "),
                    sweep.len(),
                    runner.registration.machine.name,
                )}
            </p>
            <form method="post" action="/first-benchmark">
                <button class="button primary" data-test="first-benchmark">
                    "Run the one-minute benchmark"
                </button>
            </form>
            {(!may_write).then(|| view! { <p class="muted">"This asks for the admin token."</p> })}
        }
        .into_any(),
        None => view! {
            <p>"No runner is online. Start one on the machine to measure:"</p>
            <pre tabindex="0">"bench-runner daemon --server http://HOST:PORT --token TOKEN"</pre>
            <p class="muted">
                "Or measure without it, into the file that the server's --db names: "
                <code>{format!("bench-runner run --model {} --db FILE", sweep.models.join(","))}</code>
            </p>
        }
        .into_any(),
    };
    view! {
        <section class="card">
            <header>
                <h2>"Measure this machine"</h2>
                <small>"about a minute"</small>
            </header>
            {body}
        </section>
    }
}

#[component]
fn Examples(site: Site) -> impl IntoView {
    (site.examples_available && !site.has_examples).then(|| {
        view! {
            <section class="card">
                <header>
                    <h2>"Look at example results"</h2>
                    <small>"really measured, elsewhere"</small>
                </header>
                <p>"Rows that this project's runner measured, with the machine they were measured on. They stay marked as examples."</p>
                <form method="post" action="/examples">
                    <button class="button" data-test="import-examples">
                        "Import the examples"
                    </button>
                </form>
            </section>
        }
    })
}

/// The planner's two first questions; the answer is the planner's page.
#[component]
fn PlanEntry() -> impl IntoView {
    view! {
        <section class="card">
            <header>
                <h2>"Plan"</h2>
                <small>"memory by component, most sequences, longest context"</small>
            </header>
            <form class="filters" method="get" action="/planner">
                <label class="field">
                    <span>"Model"</span>
                    <select name="model">{super::planner::model_options()}</select>
                </label>
                <label class="field">
                    <span>"GPU"</span>
                    <select name="gpu">{super::planner::gpu_options()}</select>
                </label>
                <button class="button primary">"Plan"</button>
            </form>
        </section>
    }
}

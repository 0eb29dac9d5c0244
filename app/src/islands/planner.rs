//! The planner's board: the controls of a plan and its answer, recomputed in the browser at each change.

mod controls;
mod inputs;
mod own_model;
mod starts;

use ::planner::document::plan::Workload;
use ::planner::{Estimate, Plan, PlanError, solve};
use leptos::prelude::*;
use solve::LoadPoint;

use crate::components::{Agent, Basis, Costs, Facts, LoadLine, Summary, WhereItGoes, batches};
use crate::{fields, format, link};
use controls::{Board, Controls};
#[cfg(feature = "ssr")]
pub(crate) use inputs::options;

/// What the board shows of a plan.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    plan: Plan,
    estimate: Result<Estimate, PlanError>,
}

impl Answer {
    fn of(plan: &Plan) -> Self {
        Self { plan: plan.clone(), estimate: ::planner::estimate(plan) }
    }
}

/// The controls and the answer. The server renders it for any plan; in the browser each change is answered by the same
/// functions, and the address stays the plan's link.
#[island]
pub fn PlannerBoard(
    /// The plan to start from.
    plan: Plan,
) -> impl IntoView {
    let plan = RwSignal::new(plan);
    let answer = Memo::new(move |_| plan.with(Answer::of));
    // The line is the same wherever on it the plan stands, so that it is drawn anew only when something else changes.
    let ground = Memo::new(move |_| plan.with(ground));
    let line = Memo::new(move |_| {
        let (plan, batches) = ground.get();
        solve::load_line(&plan, &batches).ok()
    });
    let query = Memo::new(move |_| plan.with(::planner::link::to_query));
    let estimate = Memo::new(move |_| answer.with(|answer| answer.estimate.clone().ok()));
    let error = Memo::new(move |_| answer.with(|answer| answer.estimate.clone().err()));
    let board = Board::new(plan, error);
    let hydrated = RwSignal::new(false);
    #[cfg(feature = "hydrate")]
    Effect::new(move |before: Option<String>| {
        let now = query.get();
        hydrated.set(true);
        if before.is_some_and(|before| before != now) {
            replace_query(&now);
        }
        now
    });
    view! {
        <main id="main" class="two" data-hydrated=move || hydrated.get().then_some("true")>
            <h1 class="visually-hidden">"Planner"</h1>
            <div class="summary">{move || answer.with(summary)}</div>
            <div class="controls">
                <Controls board />
                <Share query />
            </div>
            <div class="answer stack">
                {move || answer.with(facts)}
                {move || answer.with(|answer| advice(answer, plan))}
                {move || estimate.get().and_then(|estimate| estimate.command).map(command)}
                <div class="cards">
                    <div class="stack">
                        {move || {
                            let points = line.get()?;
                            Some(answer.with(|answer| load_line(&answer.plan, points)))
                        }}
                        {move || estimate.get().map(|estimate| view! { <Agent estimate /> })}
                        {move || estimate.get().map(|estimate| view! { <Basis estimate /> })}
                        {move || estimate.get().map(|estimate| view! { <Costs estimate /> })}
                    </div>
                    <div class="stack">
                        {move || estimate.get().map(|estimate| view! { <WhereItGoes estimate /> })}
                    </div>
                </div>
            </div>
        </main>
    }
}

/// The plan without its place on the load line, and the batches that the line is drawn for.
fn ground(plan: &Plan) -> (Plan, Vec<u64>) {
    let mut ground = plan.clone();
    let mut own = 1;
    if let Workload::Serve(serve) = &mut ground.workload {
        own = serve.concurrent_sequences;
        serve.concurrent_sequences = 1;
        serve.prompt_tokens = ::planner::Tokens(1);
        serve.max_model_len = None;
    }
    (ground, batches(own))
}

fn summary(answer: &Answer) -> AnyView {
    match &answer.estimate {
        Ok(estimate) => view! { <Summary estimate=estimate.clone() /> }.into_any(),
        Err(error) => view! {
            <p class="verdict" data-test="verdict" role="status">
                <b>"No answer."</b>
                <span>{format!("{} – {}.", error.problem, error.remedy)}</span>
                <small class="muted">
                    <code>{error.field.clone()}</code>
                </small>
            </p>
            <p></p>
        }
        .into_any(),
    }
}

fn facts(answer: &Answer) -> Option<AnyView> {
    let estimate = answer.estimate.clone().ok()?;
    let plan = answer.plan.clone();
    let most_sequences = solve::largest_batch(&plan).ok();
    let longest_context = solve::longest_context(&plan).ok().map(|tokens| tokens.0);
    Some(view! { <Facts plan estimate most_sequences longest_context /> }.into_any())
}

fn load_line(plan: &Plan, points: Vec<LoadPoint>) -> AnyView {
    let Workload::Serve(serve) = &plan.workload else { return ().into_any() };
    let (batch, context) = (serve.concurrent_sequences, serve.sequence_tokens().0);
    view! {
        <figure class="card">
            <header>
                <h2>"Load line"</h2>
                <small>"what fits lies below it"</small>
            </header>
            <LoadLine points batch context />
        </figure>
    }
    .into_any()
}

/// Single changes that help: links, and in the browser buttons in place.
fn advice(answer: &Answer, plan: RwSignal<Plan>) -> Option<AnyView> {
    let estimate = answer.estimate.as_ref().ok()?;
    let rows: Vec<_> = estimate
        .advice
        .iter()
        .filter_map(|advice| {
            let advised = link::advised(&answer.plan, &advice.change)?;
            let href = link::planner_href(&advised);
            let take = move |event: leptos::ev::MouseEvent| {
                event.prevent_default();
                plan.set(advised.clone());
            };
            let fits = if advice.fits { ("state ok", "fits") } else { ("state bad", "still too much") };
            Some(view! {
                <tr>
                    <td>
                        <a class="chip" href=href on:click=take>
                            {named(&advice.change)}
                        </a>
                    </td>
                    <td class="n">{format::gib(advice.total_bytes)}</td>
                    <td>
                        <span class=fits.0>{fits.1}</span>
                    </td>
                    <td>{advice.cost.clone()}</td>
                </tr>
            })
        })
        .collect();
    (!rows.is_empty()).then(|| {
        view! {
            <section class="card flush">
                <header>
                    <h2>"To make it fit, one of"</h2>
                    <small>"each computed anew"</small>
                </header>
                <div class="scroll" tabindex="0" role="region" aria-label="Advice">
                    <table style="min-width:560px">
                        <thead class="visually-hidden">
                            <tr>
                                <th scope="col">"Change"</th>
                                <th scope="col">"Total"</th>
                                <th scope="col">"Then"</th>
                                <th scope="col">"What it costs"</th>
                            </tr>
                        </thead>
                        <tbody class="num">{rows}</tbody>
                    </table>
                </div>
            </section>
        }
        .into_any()
    })
}

/// A change in a few words.
fn named(change: &serde_json::Value) -> String {
    let text = |path: &str| Some(fields::text_at(change, path)).filter(|text| !text.is_empty());
    let number = |path: &str| text(path).and_then(|text| text.parse::<u64>().ok());
    if let Some(method) = text("workload.method") {
        return match method.as_str() {
            "lora" => "LoRA".to_owned(),
            "qlora" => "QLoRA".to_owned(),
            other => other.to_owned(),
        };
    }
    if let Some(ranks) = number("parallelism.tensor") {
        return format!("{} GPUs, tensor parallel", format::count(ranks));
    }
    if let Some(ranks) = number("parallelism.data") {
        let zero = text("parallelism.zero_stage").map_or_else(String::new, |stage| format!(", ZeRO-{stage}"));
        return format!("{} GPUs{zero}", format::count(ranks));
    }
    if let Some(weights) = text("precision.weights") {
        return format!("{weights} weights");
    }
    if let Some(batch) = number("workload.concurrent_sequences") {
        return format!("{} at once", format::count(batch));
    }
    if let Some(prompt) = number("workload.prompt_tokens") {
        return format!("context of {}", format::count(prompt));
    }
    if let Some(gpu) = text("gpu.id") {
        return link::gpu_name(&gpu);
    }
    let said: Vec<String> = fields::all()
        .filter_map(|field| {
            let text = text(field.path)?;
            let label = field.label.split(':').next().unwrap_or(field.label).to_lowercase();
            let words = text.parse::<u64>().map_or_else(|_| text.replace('-', " "), format::count);
            Some(if text == "true" { label } else { format!("{label} {words}") })
        })
        .collect();
    if !said.is_empty() {
        return said.join(", ");
    }
    let longest = change.pointer("/workload/max_model_len").is_some_and(serde_json::Value::is_null);
    if longest { "no longer sequences than asked".to_owned() } else { change.to_string() }
}

/// The command that runs the plan.
fn command(command: String) -> AnyView {
    let copied = RwSignal::new(false);
    let text = command.clone();
    let copy = move |_| {
        #[cfg(feature = "hydrate")]
        super::copy::copy_text(text.clone(), copied);
        #[cfg(not(feature = "hydrate"))]
        let _ = &text;
    };
    view! {
        <section class="card" data-test="command">
            <header>
                <h2>"To run it"</h2>
                <button type="button" class="button small needs-script" on:click=copy>
                    {move || if copied.get() { "Copied" } else { "Copy" }}
                </button>
            </header>
            <pre class="wrap">{command}</pre>
        </section>
    }
    .into_any()
}

/// The two links of a plan: the readable one, which is the address, and the short one, which is stored.
#[component]
fn Share(query: Memo<String>) -> impl IntoView {
    let copied = RwSignal::new(false);
    let copy = move |_| {
        #[cfg(feature = "hydrate")]
        {
            let origin = window().location().origin().unwrap_or_default();
            super::copy::copy_text(format!("{origin}/planner?{}", query.get_untracked()), copied);
        }
    };
    view! {
        <div class="row" style="margin-top:16px">
            <button type="button" class="button primary needs-script" data-test="copy-link" on:click=copy>
                {move || if copied.get() { "Copied" } else { "Copy link" }}
            </button>
            <form class="inline" method="post" action="/planner/link">
                <input type="hidden" name="query" value=query />
                <button class="button" data-test="short-link" title="Stores the plan with this answer">
                    "Short link"
                </button>
            </form>
        </div>
    }
}

/// Makes the address the plan's link, without a new entry in the history.
#[cfg(feature = "hydrate")]
fn replace_query(query: &str) {
    let url = format!("/planner?{query}");
    // A browser may refuse when it is asked too often; the next change says it again.
    let replaced = window()
        .history()
        .and_then(|history| history.replace_state_with_url(&wasm_bindgen::JsValue::NULL, "", Some(&url)));
    drop(replaced);
}

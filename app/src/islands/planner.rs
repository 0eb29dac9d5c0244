//! The planner's board: the controls of a plan and its answer, recomputed in the browser at each change.

mod controls;
mod engine;
mod inputs;
mod own_model;
mod starts;
mod undo;

use std::time::Duration;

use ::planner::document::estimate::Advice;
use ::planner::document::plan::Workload;
use ::planner::solve::LoadPoint;
use ::planner::{Estimate, Plan, Tokens};
use leptos::leptos_dom::helpers::TimeoutHandle;
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::components::{
    Agent, Basis, Costs, Difference, Facts, LoadLine, Measured, Summary, WhereItGoes, batches,
};
use crate::engine::{Answer, Solved, quick};
use crate::fields::Offered;
use crate::{fields, format, link, words};
use controls::{Board, Controls};
use engine::Engine;
#[cfg(feature = "ssr")]
pub(crate) use inputs::options;
use undo::Undo;

/// What the board starts from: the server's answer, so that the page is live before the planner's module is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The plan, answered.
    answer: Answer,
    /// The most that fits.
    solved: Solved,
    /// What would make it fit.
    advice: Vec<Advice>,
    /// Its load line.
    line: Option<Vec<LoadPoint>>,
    /// The plan that it is compared with.
    against: Option<Answer>,
    /// Measured cases of its model, weights and GPU.
    measured: Vec<Measured>,
    /// The models to choose from.
    models: Vec<Offered>,
}

#[cfg(feature = "ssr")]
impl Start {
    /// Of a plan, the plan that it is compared with, and measured cases of the first's model, weights and GPU.
    pub fn of(plan: &Plan, against: Option<&Plan>, measured: Vec<Measured>) -> Self {
        let (ground, batches) = ground(plan);
        let answer = Answer::of(plan);
        Self {
            solved: Solved::of(plan),
            advice: if answer.short() { crate::engine::advice(plan) } else { Vec::new() },
            answer,
            line: crate::engine::load_line(&ground, &batches),
            against: against.map(Answer::of),
            measured,
            models: fields::offered().to_vec(),
        }
    }

    /// As the board takes it: a value, so that the browser has one reader of every type in it.
    pub fn packed(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// The controls and the answer. The server renders it for any plan; in the browser each change is answered by the same
/// functions, and the address stays the plan's link.
#[island]
pub fn PlannerBoard(
    /// What it starts from: a [`Start`], packed.
    start: Value,
) -> impl IntoView {
    match serde_json::from_value(start) {
        Ok(start) => board(start),
        Err(_) => {
            view! { <p class="notice bad">"This page is of another version than its script: reload it."</p> }
                .into_any()
        }
    }
}

fn board(start: Start) -> AnyView {
    let Start { answer: first, solved, advice, line, against, measured, models } = start;
    fields::offer(models);
    // The cases are marked while the plan is of what they are of.
    let kind = |plan: &Plan| (plan.model.clone(), plan.gpu.id.clone(), plan.precision.weights);
    let measured = StoredValue::new((kind(&first.plan), measured));
    let neighbours = move |plan: &Plan| {
        measured.with_value(|(of, cases)| if *of == kind(plan) { cases.clone() } else { Vec::new() })
    };
    let rested = RwSignal::new(Rested {
        solved,
        advised: (first.plan.clone(), advice),
        line: (ground(&first.plan), line),
    });
    let plan = RwSignal::new(first.plan.clone());
    let pinned = StoredValue::new(against.as_ref().and_then(Answer::whole));
    let second = StoredValue::new(against.map(|against| against.plan));
    let answer = Memo::new(move |_| {
        plan.with(|plan| if *plan == first.plan { first.clone() } else { engine::answer(plan) })
    });
    let query = Memo::new(move |_| plan.with(::planner::link::to_query));
    let href = Memo::new(move |_| {
        plan.with(|plan| second.with_value(|second| link::compare_href(plan, second.as_ref())))
    });
    let estimate = Memo::new(move |_| answer.with(|answer| answer.estimate.clone().ok()));
    // What formulas answer follows each change; what Candle's walk answers, a rest.
    let solved = Memo::new(move |_| {
        plan.with(|plan| {
            rested.with(|rested| {
                let known = rested.solved.plan == *plan || !quick(plan);
                if known { rested.solved.clone() } else { engine::solve(plan) }
            })
        })
    });
    let ground = Memo::new(move |_| plan.with(ground));
    let line = Memo::new(move |_| {
        ground.with(|ground| {
            rested.with(|rested| {
                let known = rested.line.0 == *ground || !quick(&ground.0);
                if known {
                    rested.line.clone()
                } else {
                    (ground.clone(), engine::load_line(&ground.0, &ground.1))
                }
            })
        })
    });
    let board = Board::new(plan, second, answer, Engine::new());
    let hydrated = RwSignal::new(false);
    let busy = follow(Shown { answer, solved, line, ground }, href, rested);
    #[cfg(feature = "hydrate")]
    Effect::new(move |_| hydrated.set(true));
    view! {
        <main id="main" class="two" data-hydrated=move || hydrated.get().then_some("true")>
            <h1 class="visually-hidden">{move || plan.with(words::line)}</h1>
            <div class="summary">{move || answer.with(summary)}</div>
            <div
                class="controls"
                on:pointerover=move |_| board.engine.load()
                on:focusin=move |_| board.engine.load()
            >
                <div class="row needs-script steps">
                    <Undo plan />
                </div>
                {board.engine.told()}
                <Controls board />
                <Share plan query href />
            </div>
            <div class="answer stack" aria-busy=move || busy.get().then_some("true")>
                {move || Some(compared(answer.with(Answer::whole)?, pinned.get_value()?))}
                {move || answer.with(|answer| solved.with(|solved| facts(answer, solved)))}
                {move || answer.with(|answer| rested.with(|rested| advised(answer, &rested.advised, board)))}
                {move || estimate.get().and_then(|estimate| estimate.command).map(command)}
                <div class="cards">
                    <div class="stack">
                        {move || plan.with(|plan| line.with(|line| load_line(plan, line, neighbours(plan))))}
                        {move || estimate.get().map(|estimate| view! { <Agent estimate /> })}
                        {move || estimate.get().map(|estimate| view! { <Basis estimate /> })}
                        {move || estimate.get().map(|estimate| view! { <Costs estimate /> })}
                    </div>
                    <div class="stack">
                        {move || {
                            let (plan, estimate) = answer.with(Answer::whole)?;
                            let parameters = answer.with(|answer| answer.parameters);
                            Some(view! { <WhereItGoes plan estimate parameters /> })
                        }}
                    </div>
                </div>
            </div>
        </main>
    }
    .into_any()
}

/// A load line and what it is of. It is the same wherever on it a plan stands.
type Line = ((Plan, Vec<u64>), Option<Vec<LoadPoint>>);

/// What takes tens of estimates, of the last plan that has come to rest.
#[derive(Debug, Clone, PartialEq)]
struct Rested {
    solved: Solved,
    /// Single changes that help, and the plan that they help.
    advised: (Plan, Vec<Advice>),
    line: Line,
}

/// A load line of a worker, point after point while `stands`.
async fn line_aside(
    (mut ground, batches): (Plan, Vec<u64>),
    stands: impl Fn() -> bool,
) -> Option<Vec<LoadPoint>> {
    let mut points = Vec::new();
    for batch in batches {
        if !stands() {
            return None;
        }
        let point = engine::load_point_aside(&ground, batch).await?;
        if let Workload::Serve(serve) = &mut ground.workload {
            // Where the next point is looked for first: twice the batch holds about half the context.
            let all = point.context.0.saturating_mul(point.batch);
            serve.prompt_tokens = Tokens(all.saturating_sub(serve.output_tokens.0).max(1));
        }
        points.push(point);
    }
    Some(points)
}

/// How long a change stands before it has come to rest: longer than from one move of a slider to the next.
const REST: Duration = Duration::from_millis(150);

/// In the browser, at rest: makes the address the plan's link, and has a worker compute what takes longer, part after part. The
/// first change after a rest is in the address at once. What it returns is whether anything is still to come.
fn follow(shown: Shown, href: Memo<String>, rested: RwSignal<Rested>) -> RwSignal<bool> {
    let busy = RwSignal::new(false);
    // What ends the wait for a rest.
    let waiting = StoredValue::new(None::<TimeoutHandle>);
    let computing = StoredValue::new(false);
    let rests = move || waiting.try_with_value(Option::is_none) == Some(true);
    let catch_up = move || {
        if computing.get_value() {
            return;
        }
        computing.set_value(true);
        leptos::task::spawn_local(async move {
            // Nothing of it is there any more when the reader has left.
            while rests() {
                let Some(before) = rested.try_get_untracked() else { return };
                match shown.next(before).await {
                    Some(next) => drop(rested.try_set(next)),
                    None => break,
                }
            }
            if rests() {
                busy.try_set(false);
            }
            computing.try_set_value(false);
        });
    };
    let at_rest = move || {
        waiting.set_value(None);
        #[cfg(feature = "hydrate")]
        replace_address(&href.get_untracked());
        catch_up();
    };
    Effect::new(move |before: Option<String>| {
        let now = href.get();
        if before.is_some_and(|before| before != now) {
            busy.set(true);
            match waiting.get_value() {
                Some(handle) => handle.clear(),
                #[cfg(feature = "hydrate")]
                None => replace_address(&now),
                #[cfg(not(feature = "hydrate"))]
                None => {}
            }
            waiting.set_value(set_timeout_with_handle(at_rest, REST).ok());
        }
        now
    });
    busy
}

/// What is shown of the plan as it is now.
#[derive(Clone, Copy)]
struct Shown {
    answer: Memo<Answer>,
    solved: Memo<Solved>,
    line: Memo<Line>,
    /// What the line is asked of.
    ground: Memo<(Plan, Vec<u64>)>,
}

impl Shown {
    /// What has rested, with the next part of it that is of the plan as it is now; none where all is.
    async fn next(self, mut rested: Rested) -> Option<Rested> {
        let (now, ground) = (self.answer.try_get_untracked()?, self.ground.try_get_untracked()?);
        let (short, plan, quick) = (now.short(), now.plan, quick(&ground.0));
        if rested.solved.plan != plan {
            let solved =
                if quick { self.solved.try_get_untracked()? } else { engine::solve_aside(&plan).await };
            rested.solved = Solved { plan, ..solved };
        } else if rested.advised.0 != plan {
            let advice = if short { engine::advice_aside(&plan).await } else { Vec::new() };
            rested.advised = (plan, advice);
        } else if rested.line.0 != ground {
            if quick {
                rested.line = (ground, self.line.try_get_untracked()?.1);
            } else {
                let stands = || self.ground.try_with_untracked(|now| *now == ground) == Some(true);
                let line = line_aside(ground.clone(), stands).await;
                if stands() {
                    rested.line = (ground, line);
                }
            }
        } else {
            return None;
        }
        Some(rested)
    }
}

/// The plan without its place on the load line, and the batches that the line is drawn for.
fn ground(plan: &Plan) -> (Plan, Vec<u64>) {
    let mut ground = plan.clone();
    let mut own = 1;
    if let Workload::Serve(serve) = &mut ground.workload {
        own = serve.concurrent_sequences;
        serve.concurrent_sequences = 1;
        serve.prompt_tokens = Tokens(1);
        serve.max_model_len = None;
    }
    (ground, batches(own))
}

fn summary(answer: &Answer) -> AnyView {
    match &answer.estimate {
        Ok(estimate) => {
            let (plan, parameters) = (answer.plan.clone(), answer.parameters);
            view! { <Summary plan estimate=estimate.clone() parameters /> }.into_any()
        }
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

fn facts(answer: &Answer, solved: &Solved) -> Option<AnyView> {
    let estimate = answer.estimate.clone().ok()?;
    let (plan, solved) = (answer.plan.clone(), solved.clone());
    Some(view! { <Facts plan estimate solved /> }.into_any())
}

fn load_line(plan: &Plan, line: &Line, measured: Vec<Measured>) -> Option<AnyView> {
    let Workload::Serve(serve) = &plan.workload else { return None };
    let points = line.1.clone()?;
    let (batch, context) = (serve.concurrent_sequences, serve.sequence_tokens().0);
    let stale = line.0 != ground(plan);
    let view = view! {
        <figure class="card" class:stale=stale>
            <header>
                <h2>"Load line"</h2>
                <small>
                    {if measured.is_empty() { "what fits lies below it" } else { "what fits lies below it · ○ measured, fitted" }}
                </small>
            </header>
            <LoadLine points batch context measured />
        </figure>
    };
    Some(view.into_any())
}

/// The plan beside the one that it is compared with, and what can be done with both.
fn compared(a: (Plan, Estimate), b: (Plan, Estimate)) -> AnyView {
    let [swap, page, stop] =
        [link::compare_href(&b.0, Some(&a.0)), link::diff_href(&a.0, &b.0), link::planner_href(&a.0)];
    view! {
        <div class="stack">
            <div class="row">
                <h2 class="grow">"A, as it is set here, beside B"</h2>
                <a class="button small" href=swap>
                    "Swap"
                </a>
                <a class="button small" href=page>
                    "As a page"
                </a>
                <a class="button small" data-test="stop-comparing" href=stop>
                    "Stop"
                </a>
            </div>
            <Difference a b />
        </div>
    }
    .into_any()
}

/// Single changes that help: links, and in the browser buttons in place. While a plan that does not fit is being changed, those of
/// the plan before stand there and cannot be taken.
fn advised(answer: &Answer, advised: &(Plan, Vec<Advice>), board: Board) -> Option<AnyView> {
    let estimate = answer.estimate.as_ref().ok()?;
    if estimate.fits {
        return None;
    }
    let (of, advice) = advised;
    let stale = answer.plan != *of;
    let rows: Vec<_> = advice
        .iter()
        .filter_map(|advice| {
            let advised = link::advised(of, &advice.change)?;
            let href = board.against.with_value(|against| link::compare_href(&advised, against.as_ref()));
            let take = move |event: leptos::ev::MouseEvent| {
                event.prevent_default();
                if stale {
                    return;
                }
                let advised = advised.clone();
                board.engine.then(move || board.plan.set(advised));
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
    let enough = advice.iter().any(|advice| advice.fits);
    let heading = if enough { "To make it fit, one of" } else { "What helps, and is not enough alone" };
    (!rows.is_empty()).then(|| {
        view! {
            <section class="card flush" class:stale=stale aria-busy=stale.then_some("true")>
                <header>
                    <h2>{heading}</h2>
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

/// The links of a plan: the readable one, which is the address, the short one, which is stored, the one that compares it, and
/// what it can be taken along as.
#[component]
fn Share(plan: RwSignal<Plan>, query: Memo<String>, href: Memo<String>) -> impl IntoView {
    let copied = RwSignal::new(false);
    let copy = move |_| {
        #[cfg(feature = "hydrate")]
        {
            let origin = window().location().origin().unwrap_or_default();
            super::copy::copy_text(format!("{origin}{}", href.get_untracked()), copied);
        }
        #[cfg(not(feature = "hydrate"))]
        let _ = href;
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
            <a
                class="button"
                data-test="compare"
                title="Keeps this plan as B and shows what your changes make of it"
                href=move || plan.with(|plan| link::compare_href(plan, Some(plan)))
            >
                "Compare with …"
            </a>
            <a
                class="button"
                data-test="export"
                title="JSON, Markdown, a command, a picture, a frame"
                href=move || format!("/planner/export?{}", query.get())
            >
                "Export"
            </a>
        </div>
    }
}

/// Makes the address the plan's link, without a new entry in the history: [`undo`] has the steps.
#[cfg(feature = "hydrate")]
fn replace_address(url: &str) {
    // A browser may refuse when it is asked too often; the next change says it again.
    let replaced = window()
        .history()
        .and_then(|history| history.replace_state_with_url(&wasm_bindgen::JsValue::NULL, "", Some(url)));
    drop(replaced);
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_point_after_point_is_the_line() -> Result<(), ::planner::PlanError> {
        for query in [
            "engine=candle&model=HuggingFaceTB/SmolLM2-135M&gpu=l4-24gb&batch=4",
            "engine=candle&model=HuggingFaceTB/SmolLM2-135M&gpu=cpu",
            "engine=vllm&context=3072&batch=100",
            "engine=vllm&context=3072&workload.shared_prefix_tokens=1024",
            "engine=vllm&model=meta-llama/Llama-3.1-70B&gpu=l4-24gb",
            "engine=deepspeed&workload.kind=train&workload.method=full",
        ] {
            let ground = ground(&link::read(query)?);
            let whole = crate::engine::load_line(&ground.0, &ground.1);
            assert_eq!(line_aside(ground.clone(), || true).await, whole, "{query}");
            assert_eq!(line_aside(ground, || false).await, None, "{query}");
        }
        Ok(())
    }
}

//! The questions that newcomers bring, answered with computed numbers.

use std::sync::LazyLock;

use leptos::prelude::*;
use leptos_meta::{Meta, Title};
use planner::answers::{self, OnOneCard, PerBillion, Planned, TrainingRow, Way};
use planner::document::plan::Precisions;
use planner::solve::{self, ParetoPoint};
use planner::{Bytes, Plan, PlanError};

use crate::{components, format, link};

/// Whose weights are compared by precision.
const COMPARED: &str = "meta-llama/Llama-3.1-8B";
/// What is trained.
const TRAINED: &str = "meta-llama/Llama-2-7b-hf";
/// Tokens of the sequence that is to fit on one card.
const CONTEXT: u64 = 4096;
/// Tokens of a sequence that is trained.
const SEQUENCE: u64 = 2048;

/// The planner is pure, so that its answers hold until another planner is built.
static CARDS: LazyLock<Result<Vec<OnOneCard>, PlanError>> = LazyLock::new(|| answers::on_one_card(CONTEXT));
static BILLION: LazyLock<Result<Vec<PerBillion>, PlanError>> =
    LazyLock::new(|| answers::per_billion(COMPARED));
static TRAINING: LazyLock<Result<Vec<TrainingRow>, PlanError>> =
    LazyLock::new(|| answers::training_against_inference(TRAINED, SEQUENCE));

static TRADES: LazyLock<Result<Vec<(Plan, ParetoPoint)>, PlanError>> = LazyLock::new(|| {
    // One reader at a time: decoding then waits for the weights, so that smaller ones are faster too.
    let plan = link::read(&format!(
        "model={COMPARED}&gpu=rtx-4090-24gb&engine=vllm&weights=bf16&context=3072&output=1024"
    ))?;
    let points = solve::pareto(&plan)?;
    let with = |weights| Plan {
        precision: Precisions { weights: Some(weights), ..Precisions::default() },
        ..plan.clone()
    };
    Ok(points.into_iter().map(|point| (with(point.weights), point)).collect())
});

/// One page: the question, the answer in a sentence, the numbers, the folklore corrected.
#[component]
pub fn AnswersPage() -> impl IntoView {
    view! {
        <Title text="Answers" />
        <Meta
            name="description"
            content="Can a 7B or a 70B model run on one card? How much VRAM per billion parameters? Training against inference? \
                     With computed numbers."
        />
        <main id="main" class="page answers">
            <div class="head">
                <div>
                    <h1>"What people ask first"</h1>
                    <p class="muted" style="max-width:68ch">
                        "Each figure is the estimate of a plan, computed by the planner that the planner's page uses; a figure that \
                         is a link opens its plan there, to be changed to your model and card."
                    </p>
                </div>
                <a class="button primary" href="/planner">
                    "Open the planner"
                </a>
            </div>
            {section("one-card", "Does a 7B or a 70B model run on one card?", CARDS.as_ref().map(|rows| cards(rows)))}
            {section(
                "per-billion",
                "How much memory do a billion parameters take?",
                BILLION.as_ref().map(|rows| billion(rows)),
            )}
            {section("quantize", "Is it worth quantizing?", TRADES.as_ref().map(|rows| trades(rows)))}
            {section(
                "training",
                "What does training take beside inference?",
                TRAINING.as_ref().map(|rows| training(rows)),
            )}
        </main>
    }
    .into_any()
}

/// A question with its answer, or why there is none.
fn section(id: &'static str, question: &'static str, answer: Result<AnyView, &PlanError>) -> AnyView {
    let answer = answer.unwrap_or_else(|error| {
        view! { <p class="notice warn">{format!("This planner does not answer it: {error}.")}</p> }.into_any()
    });
    view! {
        <section id=id class="card" data-test=id>
            <header>
                <h2>{question}</h2>
                <small>
                    <a href=format!("#{id}")>"link to this answer"</a>
                </small>
            </header>
            {answer}
        </section>
    }
    .into_any()
}

/// A table that may be wider than the screen.
fn table(label: &'static str, head: &[(&'static str, bool)], rows: Vec<AnyView>) -> AnyView {
    let head: Vec<AnyView> = head
        .iter()
        .map(|(name, figure)| {
            let class = figure.then_some("n");
            view! { <th scope="col" class=class>{*name}</th> }.into_any()
        })
        .collect();
    view! {
        <div class="scroll" tabindex="0" role="region" aria-label=label>
            <table>
                <thead>
                    <tr>{head}</tr>
                </thead>
                <tbody class="num">{rows}</tbody>
            </table>
        </div>
    }
    .into_any()
}

fn open(planned: &Planned, text: String) -> AnyView {
    view! { <a href=link::planner_href(&planned.plan)>{text}</a> }.into_any()
}

fn precision(planned: &Planned) -> String {
    planned.plan.precision.weights.map_or_else(
        || "as stored".to_owned(),
        |precision| match precision.as_str().strip_prefix("gguf:") {
            Some("bf16") => "bf16".to_owned(),
            Some(kind) => kind.to_uppercase(),
            None => precision.to_string(),
        },
    )
}

/// A model's name without its owner.
fn short(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

fn cards(rows: &[OnOneCard]) -> AnyView {
    let told = answers::MODELS
        .iter()
        .map(|model| {
            let of = |wanted: fn(&Way) -> bool| {
                let of_model = rows.iter().filter(|row| row.model == *model);
                of_model.filter(|row| wanted(&row.way)).map(|row| link::gpu_name(row.gpu)).collect::<Vec<_>>()
            };
            let whole = of(|way| matches!(way, Way::Whole { .. }));
            let split = of(|way| matches!(way, Way::Split { .. }));
            let name = short(model);
            match (whole.is_empty(), split.is_empty()) {
                (false, true) => format!("{name} runs whole on each of these cards."),
                (false, false) => format!("{name} runs whole on {}, and in part on the others.", whole.join(", ")),
                (true, false) => {
                    format!("{name} runs whole on none of them; with some of its layers in host memory it runs slowly.")
                }
                (true, true) => format!("{name} runs on none of them."),
            }
        })
        .collect::<Vec<_>>()
        .join(" ");
    let body = rows
        .iter()
        .map(|row| {
            let (state, how, total, longest) = match &row.way {
                Way::Whole { planned, longest_context } => (
                    view! { <span class="state ok">"whole"</span> }.into_any(),
                    open(planned, precision(planned)),
                    format::gib_figure(planned.estimate.per_gpu.total),
                    format!("{} tokens", format::count(longest_context.0)),
                ),
                Way::Split { planned, gpu_layers, layers } => (
                    view! { <span class="state quiet">"in part"</span> }.into_any(),
                    open(
                        planned,
                        format!("{}, {gpu_layers} of {layers} layers on the card", precision(planned)),
                    ),
                    format::gib_figure(planned.estimate.per_gpu.total),
                    format!("{} in host memory", format::gib(planned.estimate.host.total)),
                ),
                Way::No => (
                    view! { <span class="state bad">"no"</span> }.into_any(),
                    "not even one layer".into_any(),
                    "–".to_owned(),
                    String::new(),
                ),
            };
            view! {
                <tr>
                    <td>{short(row.model)}</td>
                    <td>{link::gpu_name(row.gpu)}</td>
                    <td>{state}</td>
                    <td>{how}</td>
                    <td class="n">{total}</td>
                    <td class="n">{longest}</td>
                </tr>
            }
            .into_any()
        })
        .collect();
    view! {
        <p class="lead">{told}</p>
        {table(
            "One card",
            &[
                ("Model", false),
                ("Card", false),
                ("Runs", false),
                ("How: best weights that fit", false),
                ("On the card, GiB", true),
                ("Longest context, or the rest", true),
            ],
            body,
        )}
        <p class="muted note">
            {format!(
                "In llama.cpp, one sequence of {} tokens at a time, nothing else on the card: a desktop takes another half to one \
                 GiB. The weights are the most exact that fit: 16 bits, then Q8_0, Q6_K, Q5_K_M, Q4_K_M; below that the layers that \
                 fit, the rest in host memory.",
                format::count(CONTEXT)
            )}
        </p>
    }
    .into_any()
}

fn billion(rows: &[PerBillion]) -> AnyView {
    let of =
        |precision: &str| rows.iter().find(|row| row.precision.as_str() == precision).map(|row| row.bytes);
    let folklore = of("bf16").map(|sixteen| {
        let mut said = vec![format!(
            "Folklore says one gigabyte per billion parameters. In 16 bits it is {} GB, which is {}.",
            format::figure(sixteen.0 as f64 / 1e9),
            format::gib(sixteen)
        )];
        for (precision, bits, share) in [("fp8", "8", "half"), ("gguf:q4_k_m", "4", "a quarter")] {
            said.extend(of(precision).map(|bytes| {
                format!(
                    "{} takes {} of that, not {share}: scales, and tensors that stay in more than {bits} bits.",
                    label(precision),
                    format::share(bytes, sixteen)
                )
            }));
        }
        said.join(" ")
    });
    let most = rows.iter().map(|row| row.bytes).max().unwrap_or(Bytes(1));
    let body = rows
        .iter()
        .map(|row| {
            let width = format!("width:{:.1}%", 100.0 * row.bytes.0 as f64 / most.0.max(1) as f64);
            let estimate = &row.planned.estimate;
            view! {
                <tr>
                    <td class="nowrap">{open(&row.planned, label(row.precision.as_str()))}</td>
                    <td class="n">{format::gib_figure(row.bytes)}</td>
                    <td class="n">{format!("{:.2}", row.bytes.0 as f64 / 1e9)}</td>
                    <td class="meter">
                        <i style=width></i>
                    </td>
                    <td class="n">{format::gib_figure(estimate.per_gpu.weights + estimate.host.weights)}</td>
                </tr>
            }
            .into_any()
        })
        .collect();
    view! {
        <p class="lead">{folklore}</p>
        {table(
            "By precision",
            &[
                ("Weights", false),
                ("A billion, GiB", true),
                ("The same in GB", true),
                ("", false),
                ("All of Llama-3.1-8B, GiB", true),
            ],
            body,
        )}
        <p class="muted note">
            "As an engine holds them: with the scales, and with the tensors that each precision leaves alone. Small models leave \
             more alone: their embeddings are a larger share. The cache, activations and the engine itself come on top."
        </p>
    }
    .into_any()
}

fn label(precision: &str) -> String {
    match precision {
        "nf4" => "NF4".to_owned(),
        "nf4-dq" => "NF4, double quantized".to_owned(),
        "int4-g128" => "int4, groups of 128".to_owned(),
        "w8a8" => "w8a8".to_owned(),
        other => other
            .strip_prefix("gguf:")
            .map_or_else(|| other.to_owned(), |kind| format!("GGUF {}", kind.to_uppercase())),
    }
}

fn trades(rows: &[(Plan, ParetoPoint)]) -> AnyView {
    let speed = |point: &ParetoPoint| point.tokens_per_second.unwrap_or(0.0);
    let sixteen = rows.iter().map(|(_, point)| point).find(|point| point.weights.as_str() == "bf16");
    let lead = sixteen.and_then(|sixteen| {
        let (_, smallest) = rows.first()?;
        let times = speed(smallest) / speed(sixteen);
        let quality = smallest.quality.as_ref();
        let lost = quality.map(|quality| {
            format!(" What it loses in quality, as published: {}.", components::lost(quality.class))
        });
        let lost = lost.unwrap_or_default();
        (times.is_finite() && times > 0.0).then(|| {
            format!(
                "{} needs {} of the memory of 16 bits and is {:.1} times as fast for one reader.{lost}",
                label(smallest.weights.as_str()),
                format::share(smallest.needed_bytes, sixteen.needed_bytes),
                times
            )
        })
    });
    let body = rows
        .iter()
        .map(|(plan, point)| {
            let quality = point.quality.as_ref();
            let lost = quality.map_or("not known", |quality| components::lost(quality.class));
            let percent = quality.and_then(|quality| quality.perplexity_percent).map(format::signed_percent);
            let lost =
                percent.map_or_else(|| lost.to_owned(), |percent| format!("{lost}, perplexity {percent}"));
            let source =
                quality.map_or_else(|| "nothing published is known here".to_owned(), |q| q.source.clone());
            let fits = if point.fits { ("state ok", "fits") } else { ("state bad", "does not") };
            view! {
                <tr>
                    <td>
                        <a href=link::planner_href(plan)>{label(point.weights.as_str())}</a>
                    </td>
                    <td class="n">{format::gib_figure(point.needed_bytes)}</td>
                    <td>
                        <span class=fits.0>{fits.1}</span>
                    </td>
                    <td class="n">{point.tokens_per_second.map(format::figure)}</td>
                    <td>{lost}</td>
                    <td class="long">{source}</td>
                </tr>
            }
            .into_any()
        })
        .collect();
    view! {
        <p class="lead">{lead}</p>
        {table(
            "What precisions trade",
            &[
                ("Weights", false),
                ("Needed, GiB", true),
                ("", false),
                ("Tokens a second", true),
                ("Quality lost", false),
                ("As published", false),
            ],
            body,
        )}
        <p class="muted note">
            "Llama-3.1-8B on an RTX 4090 in vLLM, one sequence of 3,072 tokens and 1,024 more. Only precisions that no other beats in \
             all of memory, speed and quality. For many readers at once arithmetic counts too, and the gain in speed shrinks."
        </p>
    }
    .into_any()
}

fn training(rows: &[TrainingRow]) -> AnyView {
    let most = rows.iter().map(|row| row.times_serving).fold(1.0, f64::max);
    let lead = rows.iter().max_by(|a, b| a.times_serving.total_cmp(&b.times_serving)).map(|row| {
        let least = rows.iter().skip(1).min_by(|a, b| a.times_serving.total_cmp(&b.times_serving));
        let least = least.map_or_else(String::new, |least| {
            format!(" The least is {}, with {} times.", least.what, format::figure(least.times_serving))
        });
        format!(
            "For {}, {} takes {} times what serving one sequence does: gradients and the optimizer's states come on top of the \
             weights.{least}",
            short(TRAINED),
            row.what,
            format::figure(row.times_serving)
        )
    });
    let body = rows
        .iter()
        .map(|row| {
            let parts = &row.planned.estimate.per_gpu;
            let kept = parts.kv_cache + parts.activations + parts.temporary;
            let rest = parts.total.saturating_sub(parts.weights + parts.gradients + parts.optimizer + kept);
            let width = format!("width:{:.1}%", 100.0 * row.times_serving / most);
            let mut what: Vec<char> = row.what.chars().collect();
            if let Some(first) = what.first_mut() {
                *first = first.to_ascii_uppercase();
            }
            view! {
                <tr>
                    <td>{open(&row.planned, what.into_iter().collect())}</td>
                    <td class="n">{format::gib_figure(parts.total)}</td>
                    <td class="n">{format!("{:.1} ×", row.times_serving)}</td>
                    <td class="meter">
                        <i style=width></i>
                    </td>
                    <td class="n">{format::gib_figure(parts.weights)}</td>
                    <td class="n">{format::gib_figure(parts.gradients + parts.optimizer)}</td>
                    <td class="n">{format::gib_figure(kept)}</td>
                    <td class="n">{format::gib_figure(rest)}</td>
                </tr>
            }
            .into_any()
        })
        .collect();
    view! {
        <p class="lead">{lead}</p>
        {table(
            "Training against inference",
            &[
                ("What is done", false),
                ("In all, GiB", true),
                ("Of serving", true),
                ("", false),
                ("Weights", true),
                ("Gradients, optimizer", true),
                ("Activations, cache", true),
                ("Overhead", true),
            ],
            body,
        )}
        <p class="muted note">
            {format!(
                "Sequences of {} tokens, one at a time, in Transformers on one GPU large enough for all of it. Longer sequences \
                 and larger batches add activations, not states.",
                format::count(SEQUENCE)
            )}
        </p>
    }
    .into_any()
}

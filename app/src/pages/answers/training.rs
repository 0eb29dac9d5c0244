//! Fine-tune or `LoRA`?

use leptos::prelude::*;
use planner::answers::{Home, Reader, TrainingRow, Trainings};
use planner::document::plan::TrainMethod;

use super::parts::{self, BAR, Claim, Holds};
use crate::{format, link};

const METHODS: [(TrainMethod, &str); 3] =
    [(TrainMethod::Full, "full fine-tuning"), (TrainMethod::Lora, "LoRA"), (TrainMethod::Qlora, "QLoRA")];

/// The answer in a sentence.
pub(super) fn lead(reader: &Reader, answer: &Trainings) -> String {
    let (mut fit, mut not) = (Vec::new(), Vec::new());
    for (method, name) in METHODS {
        let Some((row, home)) = answer.least(method) else { continue };
        let total = format::gib(row.planned.estimate.per_gpu.total);
        match &home.cards {
            Some((1, _)) => fit.push(format!("{name} ({total})")),
            Some((count, planned)) => not.push(format!(
                "{name} takes {total}, or {count} such cards with {} each",
                format::gib(planned.estimate.per_gpu.total)
            )),
            None => not.push(format!("{name} takes {total}, too much for 64 such cards too")),
        }
    }
    let (model, gpu) = (parts::model(reader), parts::gpu(reader));
    let on_one = match fit.as_slice() {
        [] => format!("Neither fits one {gpu}"),
        [one] => format!("Of the ways to train {model}, one {gpu} has room for {one} only"),
        several => format!("One {gpu} has room for {} of {model}", listed(several)),
    };
    if not.is_empty() { format!("{on_one}.") } else { format!("{on_one}; {}.", not.join("; ")) }
}

/// `a, b and c`.
fn listed(of: &[String]) -> String {
    match of {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The ways by component, where each has room and what it cannot do, and the folklore.
pub(super) fn body(reader: &Reader, answer: &Trainings) -> AnyView {
    let most = answer.rows.iter().map(|row| row.times_serving).fold(1.0, f64::max);
    let rows = answer.rows.iter().map(|training| row(training, most)).collect();
    let table = parts::table(
        "Ways to train",
        &[
            ("What is done", false),
            ("In all, GiB", true),
            ("Of serving", true),
            BAR,
            ("Weights", true),
            ("Gradients, optimizer", true),
            ("Activations, cache", true),
            ("Overhead", true),
            ("One card", false),
        ],
        rows,
    );
    let refused = answer.refused.iter().map(|(what, error)| (capital(what), error)).collect();
    let shown = view! { {table} {parts::not_planned(refused)} {parts::sure(answer.rows.iter().map(|row| &row.planned))} };
    let note = format!(
        "{} in Transformers on one {}, {}. Longer sequences and larger batches add activations, not states.",
        parts::model(reader),
        parts::gpu(reader),
        parts::load(reader)
    );
    view! {
        {parts::section("parts", "By component", shown.into_any(), note)} {homes(reader, answer)}
        {parts::folklore(claims(answer))}
    }
    .into_any()
}

fn row(training: &TrainingRow, most: f64) -> AnyView {
    let estimate = &training.planned.estimate;
    let of = &estimate.per_gpu;
    let states = of.gradients + of.optimizer;
    let kept = of.kv_cache + of.recurrent_state + of.activations + of.temporary;
    let rest = of.total.saturating_sub(of.weights + states + kept);
    view! {
        <tr data-test="training">
            <td>{parts::open(&training.planned, capital(training.what))}</td>
            {parts::figure(Some(format::gib_figure(of.total)))}
            {parts::figure(Some(format!("{:.1} ×", training.times_serving)))}
            {parts::bar(training.times_serving, most, !estimate.fits)}
            {parts::figure(Some(format::gib_figure(of.weights)))}
            {parts::figure(Some(format::gib_figure(states)))}
            {parts::figure(Some(format::gib_figure(kept)))}
            {parts::figure(Some(format::gib_figure(rest)))}
            {parts::fits(estimate.fits)}
        </tr>
    }
    .into_any()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Where each way has room, and what it cannot do.
fn homes(reader: &Reader, answer: &Trainings) -> AnyView {
    let checkpoint = answer.rows.first().map(|serving| serving.planned.estimate.per_gpu.weights);
    let rows = answer
        .trained()
        .map(|(training, home)| {
            let speed = |planned: &planner::answers::Planned| {
                planned.estimate.speed.as_ref().map(|speed| format::figure(speed.tokens_per_second))
            };
            let cannot = match training.method {
                Some(TrainMethod::Lora) => "Embeddings and norms stay; learns less where much is new \
                                            (arXiv 2405.09673); the base must be in memory in 16 bits."
                    .to_owned(),
                Some(TrainMethod::Qlora) => "As LoRA; each product first makes 16-bit weights of a matrix, so that a step takes longer."
                    .to_owned(),
                _ => format!(
                    "Nothing is out of reach; but every result is a checkpoint of its own, {}.",
                    format::gib(checkpoint.unwrap_or_default())
                ),
            };
            view! {
                <tr data-test="home">
                    <td>{capital(training.what)}</td>
                    <td>{smallest(home)}</td>
                    <td>{cards(home)}</td>
                    {parts::figure(home.cards.as_ref().and_then(|(_, planned)| speed(planned)))}
                    <td class="long">{cannot}</td>
                </tr>
            }
            .into_any()
        })
        .collect();
    let table = parts::table(
        "Where each has room",
        &[
            ("What is done", false),
            ("Smallest single card", false),
            ("Of your card", false),
            ("Tokens a second there", true),
            ("What it cannot do", false),
        ],
        rows,
    );
    let note = format!(
        "Smallest single card: of NVIDIA's in the catalogue. Of your card: {}, 1, 2, 4 … 64 of them that divide weights, gradients \
         and states among them (FSDP in Transformers, else ZeRO stage 3 in DeepSpeed, arXiv 1910.02054), each with sequences of \
         its own.",
        parts::gpu(reader)
    );
    parts::section("homes", "Where each has room, and what it cannot do", table, note)
}

fn smallest(home: &Home) -> AnyView {
    match &home.smallest {
        Some((gpu, planned)) => parts::open(planned, link::gpu_name(gpu)),
        None => "none".into_any(),
    }
}

fn cards(home: &Home) -> AnyView {
    match &home.cards {
        Some((count, planned)) => {
            let each = format::gib(planned.estimate.per_gpu.total);
            parts::open(
                planned,
                if *count == 1 { format!("1, {each}") } else { format!("{count}, {each} each") },
            )
        }
        None => "more than 64".into_any(),
    }
}

fn claims(answer: &Trainings) -> Vec<Claim> {
    let mut claims = Vec::new();
    let total = |row: &TrainingRow| row.planned.estimate.per_gpu.total;
    let whole = answer.rows.iter().find(|row| row.method == Some(TrainMethod::Full));
    let least = |method| answer.least(method).map(|(row, _)| row);
    if let (Some(whole), Some(checkpointed)) = (whole, least(TrainMethod::Full)) {
        let (times, lean) = (whole.times_serving, checkpointed.times_serving);
        claims.push(Claim {
            said: "Training takes four times what inference takes.",
            holds: if (3.5..4.5).contains(&times) { Holds::Right } else { Holds::Wrong },
            why: format!(
                "Full fine-tuning takes {times:.1} times what serving the same sequences takes, {lean:.1} times where activations are \
                 computed again: beside 2 bytes of weights there are gradients, fp32 masters and two moments for every parameter."
            ),
            source: "ZeRO, arXiv 1910.02054, section 3.1: 16 bytes a parameter with Adam in mixed precision, before activations."
                .to_owned(),
        });
    }
    if let (Some(full), Some(lora)) = (least(TrainMethod::Full), least(TrainMethod::Lora)) {
        let share = 100.0 * total(lora).0 as f64 / total(full).0.max(1) as f64;
        claims.push(Claim {
            said: "LoRA needs a tenth of the memory.",
            holds: if share < 12.0 { Holds::Right } else { Holds::Wrong },
            why: format!(
                "It takes {share:.0} % of full fine-tuning, both with activations computed again: gradients and states of the base are \
                 gone, its {} of weights and the activations are not.",
                format::gib(lora.planned.estimate.per_gpu.weights)
            ),
            source: "LoRA, arXiv 2106.09685, section 4.2: memory falls by up to two thirds with Adam.".to_owned(),
        });
    }
    if let (Some(lora), Some(qlora)) = (least(TrainMethod::Lora), least(TrainMethod::Qlora)) {
        let share = 100.0 * total(qlora).0 as f64 / total(lora).0.max(1) as f64;
        claims.push(Claim {
            said: "QLoRA is LoRA in a quarter of the memory.",
            holds: if share < 30.0 { Holds::Right } else { Holds::Wrong },
            why: format!(
                "It takes {share:.0} % of LoRA: the weights shrink from {} to {}, activations, loss and the context do not.",
                format::gib(lora.planned.estimate.per_gpu.weights),
                format::gib(qlora.planned.estimate.per_gpu.weights)
            ),
            source: "QLoRA, arXiv 2305.14314, section 3: NF4 with double quantization for the frozen weights.".to_owned(),
        });
    }
    claims.push(Claim {
        said: "LoRA learns as well as full fine-tuning.",
        holds: Holds::Depends,
        why: "On tasks near to what the base knows it does; trained further on much that is new (code, mathematics) it learns less, \
              and forgets less too."
            .to_owned(),
        source: "LoRA, arXiv 2106.09685, section 5; LoRA Learns Less and Forgets Less, arXiv 2405.09673.".to_owned(),
    });
    claims
}

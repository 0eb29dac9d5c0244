//! Can I run X on Y?

use leptos::prelude::*;
use planner::answers::{CanRun, OnOneCard, Ran, Reader, Way};
use planner::catalogue;
use planner::document::plan::EngineName;
use planner::{Bytes, Estimate};

use super::parts::{self, BAR, Claim, Holds};
use crate::components::answer::Verdict;
use crate::{format, link};

/// The answer in a sentence.
pub(super) fn lead(reader: &Reader, answer: &CanRun) -> String {
    let (model, gpu, load) = (parts::model(reader), parts::gpu(reader), parts::load(reader));
    if let Some(best) = answer.best() {
        let estimate = &best.planned.estimate;
        let sure = if Verdict::of(estimate) == Verdict::ProbablyFits { "Probably" } else { "Yes" };
        let (needed, capacity) = (best.planned.needed(), estimate.capacity_bytes);
        let rate = estimate.speed.as_ref().map(|speed| speed.tokens_per_second).filter(|rate| *rate > 0.0);
        let rate = rate.map(|rate| format!(", at about {} tokens a second", format::figure(rate)));
        return format!(
            "{sure}: {model} runs on one {gpu} with {} weights in {}. For {load} it needs {} of {} usable, {} to spare{}.",
            parts::weights(&best.planned),
            parts::engine(&best.planned),
            format::gib(needed),
            format::gib(capacity),
            format::gib(capacity.saturating_sub(needed)),
            rate.unwrap_or_default()
        );
    }
    let least = answer.smallest().map(|least| {
        format!(
            "Even with {} weights in {} it needs {} of {} usable for {load}. ",
            parts::weights(&least.planned),
            parts::engine(&least.planned),
            format::gib(least.planned.needed()),
            format::gib(least.planned.estimate.capacity_bytes)
        )
    });
    let least = least.unwrap_or_default();
    match &answer.split {
        Some(Way::Split { planned, gpu_layers, layers }) => format!(
            "Not whole: {model} is too large for one {gpu}. {least}llama.cpp can keep {gpu_layers} of {layers} layers on the card \
             and {} in host memory, and is slow then.",
            format::gib(planned.estimate.host.total)
        ),
        _ => format!("No: {model} is too large for one {gpu}, and not one of its layers has room. {least}"),
    }
}

/// The ways by precision and engine, what would help, other models, and the folklore.
pub(super) fn body(reader: &Reader, answer: &CanRun) -> AnyView {
    let rows = answer.ways.iter().map(row).collect();
    let ways = parts::table(
        "Ways to run it",
        &[
            ("Weights", false),
            ("Engine", false),
            ("Fits", false),
            ("Needed, GiB", true),
            ("Of what is usable", false),
            ("Longest context", true),
            ("Most sequences", true),
            ("Tokens a second", true),
            ("Quality lost, as published", false),
        ],
        rows,
    );
    let shown = view! { {ways} {parts::refused(&answer.refused)} {parts::sure(answer.ways.iter().map(|way| &way.planned))} };
    let note = format!(
        "For {}, nothing else on the card; the way that loses least comes first. Engines that fill the rest of the card with a pool \
         for the cache are shown with the cache that is asked for. Longest context: with as many sequences; most sequences: of as \
         many tokens. Speed is a model of the card's bandwidth and arithmetic.",
        parts::load(reader)
    );
    view! {
        {parts::section("ways", "By precision and engine", shown.into_any(), note)} {advised(answer)}
        {others(reader, answer)} {parts::folklore(claims(reader, answer))}
    }
    .into_any()
}

fn row(way: &Ran) -> AnyView {
    let planned = &way.planned;
    let estimate = &planned.estimate;
    let (needed, capacity) = (planned.needed(), estimate.capacity_bytes);
    let speed = estimate.speed.as_ref().filter(|_| estimate.fits);
    let rate = speed.map(|speed| format::figure(speed.tokens_per_second));
    let some = |n: u64| (n > 0).then(|| format::count(n));
    view! {
        <tr data-test="way">
            <td>{parts::open(planned, parts::weights(planned))}</td>
            <td>{parts::engine(planned)}</td>
            {parts::fits(estimate.fits)}
            {parts::figure(Some(format::gib_figure(needed)))}
            {parts::bar(needed.0 as f64, capacity.0 as f64, !estimate.fits)}
            {parts::figure(some(way.longest_context.0))}
            {parts::figure(some(way.most_sequences))}
            {parts::figure(rate)}
            <td>{parts::lost(planned)}</td>
        </tr>
    }
    .into_any()
}

/// What would make the most exact way fit.
fn advised(answer: &CanRun) -> AnyView {
    let (Some(estimate), Some(exact)) = (&answer.advised, answer.ways.first()) else { return ().into_any() };
    let rows: Vec<AnyView> = estimate
        .advice
        .iter()
        .filter_map(|advice| {
            let plan = link::advised(&exact.planned.plan, &advice.change)?;
            let row = view! {
                <tr data-test="advice">
                    <td class="told">
                        <a href=link::planner_href(&plan)>{advice.cost.clone()}</a>
                    </td>
                    {parts::figure(Some(format::gib_figure(advice.total_bytes)))}
                    {parts::fits(advice.fits)}
                </tr>
            };
            Some(row.into_any())
        })
        .collect();
    if rows.is_empty() {
        return ().into_any();
    }
    let head = [("One change, and what it costs", false), ("In all on one card, GiB", true), BAR];
    let note = format!(
        "Each is one change to the plan with {} weights in {}, which takes {}.",
        parts::weights(&exact.planned),
        parts::engine(&exact.planned),
        told(estimate)
    );
    parts::section("helps", "What would make it fit", parts::table("Changes", &head, rows), note)
}

fn told(estimate: &Estimate) -> String {
    format!("{} of {}", format::gib(estimate.per_gpu.total), format::gib(estimate.capacity_bytes))
}

/// Other models on the same card.
fn others(reader: &Reader, answer: &CanRun) -> AnyView {
    let rows: Vec<AnyView> = answer.others.iter().map(other).collect();
    if rows.is_empty() {
        return ().into_any();
    }
    let table = parts::table(
        "Other models on this card",
        &[
            ("Model", false),
            ("Runs", false),
            ("How: best weights that fit", false),
            ("On the card, GiB", true),
            ("Longest context, or the rest", true),
        ],
        rows,
    );
    let note = format!(
        "In llama.cpp, one sequence of {}, nothing else on the card: a desktop takes another half to one GiB. The weights are the \
         most exact that fit: bf16, then Q8_0, Q6_K, Q5_K_M, Q4_K_M; below that the layers that fit, the rest in host memory.",
        parts::counted(reader.context.0, "token", "tokens")
    );
    parts::section("others", "What else runs on this card", table, note)
}

fn other(answer: &OnOneCard) -> AnyView {
    let (state, how, total, longest) = match &answer.way {
        Way::Whole { planned, longest_context } => (
            ("state ok", "whole"),
            parts::open(planned, parts::weights(planned)),
            Some(format::gib_figure(planned.estimate.per_gpu.total)),
            format!("{} tokens", parts::tokens(*longest_context)),
        ),
        Way::Split { planned, gpu_layers, layers } => (
            ("state quiet", "in part"),
            parts::open(
                planned,
                format!("{}, {gpu_layers} of {layers} layers on the card", parts::weights(planned)),
            ),
            Some(format::gib_figure(planned.estimate.per_gpu.total)),
            format!("{} in host memory", format::gib(planned.estimate.host.total)),
        ),
        Way::No => (("state bad", "no"), "not even one layer".into_any(), None, String::new()),
    };
    view! {
        <tr>
            <td>{parts::short(&answer.model).to_owned()}</td>
            <td>
                <span class=state.0>{state.1}</span>
            </td>
            <td>{how}</td>
            {parts::figure(total)}
            <td class="n">{longest}</td>
        </tr>
    }
    .into_any()
}

fn claims(reader: &Reader, answer: &CanRun) -> Vec<Claim> {
    let mut claims = Vec::new();
    if let (Some(exact), Some(entry)) = (answer.ways.first(), catalogue::model(&reader.model)) {
        let rule = entry.parameters as f64 / 1e9 * 2.0;
        let needed = parts::gb(exact.planned.needed());
        let parts_of = &exact.planned.estimate.per_gpu;
        let close = needed <= rule * 1.05;
        claims.push(Claim {
            said: "Count two gigabytes per billion parameters.",
            holds: if close { Holds::Right } else { Holds::Wrong },
            why: format!(
                "By the rule {} GB. With {} weights in {} the plan needs {} GB: {} GB of weights, {} GB of cache for {}, and what the \
                 engine computes in.",
                format::figure(rule),
                parts::weights(&exact.planned),
                parts::engine(&exact.planned),
                format::figure(needed),
                format::figure(parts::gb(parts_of.weights)),
                format::figure(parts::gb(parts_of.kv_cache + parts_of.recurrent_state)),
                parts::load(reader)
            ),
            source: "PagedAttention, arXiv 2309.06180, figure 1: weights are 65 % of the memory of a 13B model that is served on one \
                     A100, the cache most of the rest."
                .to_owned(),
        });
    }
    if let Some(gpu) = catalogue::gpu(&reader.gpu) {
        let shown =
            gpu.physical_mib.map(|mib| format!("the driver shows {}, ", format::gib(Bytes::from_mib(mib))));
        let visible = gpu.visible().bytes();
        let held = answer.ways.iter().find(|way| way.planned.plan.engine.name == EngineName::Vllm);
        let held =
            held.map(|way| (way, way.planned.estimate.per_gpu.total)).filter(|(_, total)| *total <= visible);
        let held = held.map(|(way, total)| {
            format!(
                " {} stops at {} of it, its pool for the cache included, unless it is told otherwise.",
                parts::engine(&way.planned),
                format::gib(total)
            )
        });
        claims.push(Claim {
            said: "All of the memory on the box is mine.",
            holds: Holds::Wrong,
            why: format!(
                "The box says {} GB; {}a program sees {}.{}",
                gpu.nominal_gb,
                shown.unwrap_or_default(),
                format::gib(visible),
                held.unwrap_or_default()
            ),
            source: gpu.source.clone(),
        });
    }
    if let Some(best) = answer.best() {
        claims.push(Claim {
            said: "If it loads, it runs.",
            holds: Holds::Depends,
            why: format!(
                "With {} weights in {} it loads, and then the cache grows with every token: room ends at {} tokens with {}, or at {} \
                 of {} tokens.",
                parts::weights(&best.planned),
                parts::engine(&best.planned),
                parts::tokens(best.longest_context),
                parts::counted(reader.batch, "sequence", "sequences"),
                parts::counted(best.most_sequences, "sequence", "sequences"),
                parts::tokens(reader.context)
            ),
            source: "The planner's search over its own estimate (/docs/planning); never more than the model takes.".to_owned(),
        });
    } else if let Some(Way::Split { planned, gpu_layers, layers }) = &answer.split {
        claims.push(Claim {
            said: "What does not fit does not run.",
            holds: Holds::Depends,
            why: format!(
                "It runs in llama.cpp with {gpu_layers} of {layers} layers on the card and {} in host memory, which every token has to \
                 read at the speed of the host.",
                format::gib(planned.estimate.host.total)
            ),
            source: "llama.cpp, --n-gpu-layers.".to_owned(),
        });
    }
    claims
}

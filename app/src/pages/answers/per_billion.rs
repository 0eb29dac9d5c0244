//! How much VRAM per billion parameters?

use leptos::prelude::*;
use planner::Bytes;
use planner::answers::{Billion, Other, PerBillion, Reader};
use planner::document::precision::WeightPrecision as P;

use super::parts::{self, BAR, Claim, Holds};
use crate::components;
use crate::components::answer::{hull, reach};
use crate::format;

/// The row of a precision.
fn of(answer: &Billion, precision: P) -> Option<&PerBillion> {
    answer.rows.iter().find(|row| row.precision == precision)
}

fn figure(bytes: Bytes) -> String {
    format!("{:.2}", parts::gb(bytes))
}

/// What all of it takes, as GB of a billion parameters.
fn whole_each(answer: &Billion) -> f64 {
    parts::gb(answer.whole.needed()) / (answer.parameters.max(1) as f64 / 1e9)
}

/// The answer in a sentence.
pub(super) fn lead(reader: &Reader, answer: &Billion) -> String {
    let each: Vec<String> = [P::Bf16, P::Fp8, P::GgufQ4KM]
        .into_iter()
        .filter_map(|precision| of(answer, precision))
        .map(|row| format!("{} GB in {}", figure(row.bytes), parts::label(row.precision)))
        .collect();
    format!(
        "A billion parameters of {} take {}. That is the weights alone: with {} in {} all of it takes {}, which is {:.2} GB for each \
         billion.",
        parts::model(reader),
        each.join(", "),
        parts::load(reader),
        parts::engine(&answer.whole),
        format::gib(answer.whole.needed()),
        whole_each(answer)
    )
}

/// Weights by precision, what comes on top, other models, and the folklore.
pub(super) fn body(reader: &Reader, answer: &Billion) -> AnyView {
    let most = answer.rows.iter().map(|row| row.bytes).max().unwrap_or(Bytes(1));
    let rows = answer.rows.iter().map(|row| precision(row, most)).collect();
    let weights = parts::table(
        "By precision",
        &[
            ("Weights", false),
            ("A billion, GB", true),
            ("The same in GiB", true),
            BAR,
            ("All weights, GiB", true),
            ("Engine", false),
        ],
        rows,
    );
    let note = "As an engine holds them: with the scales, and with the tensors that each precision leaves alone. Small models leave \
                more alone: their embeddings are a larger share.";
    view! {
        {parts::section("weights", "Weights by precision", weights, note.to_owned())} {on_top(reader, answer)} {others(answer)}
        {parts::folklore(claims(reader, answer))}
    }
    .into_any()
}

fn precision(row: &PerBillion, most: Bytes) -> AnyView {
    let estimate = &row.planned.estimate;
    view! {
        <tr data-test="precision">
            <td>{parts::open(&row.planned, parts::label(row.precision))}</td>
            {parts::figure(Some(figure(row.bytes)))}
            {parts::figure(Some(format::gib_figure(row.bytes)))}
            {parts::bar(row.bytes.0 as f64, most.0 as f64, false)}
            {parts::figure(Some(format::gib_figure(estimate.per_gpu.weights + estimate.host.weights)))}
            <td>{parts::engine(&row.planned)}</td>
        </tr>
    }
    .into_any()
}

/// The components of all of it.
fn on_top(reader: &Reader, answer: &Billion) -> AnyView {
    let estimate = &answer.whole.estimate;
    let total = estimate.per_gpu.total;
    let billions = answer.parameters.max(1) as f64 / 1e9;
    let rows = components::components(estimate)
        .into_iter()
        .map(|(name, colour, bytes)| {
            view! {
                <tr>
                    <td>
                        <span class="dot" style=format!("background:var({colour})")></span>
                        {name}
                    </td>
                    {parts::figure(Some(format::gib_figure(bytes)))}
                    {parts::figure(Some(format::share(bytes, total)))}
                    {parts::figure(Some(format!("{:.2}", parts::gb(bytes) / billions)))}
                </tr>
            }
            .into_any()
        })
        .collect();
    let table = parts::table(
        "What comes on top",
        &[("Component", false), ("GiB", true), ("Share", true), ("A billion, GB", true)],
        rows,
    );
    let shown = view! { {hull(estimate, reach(estimate), None)} {table} {parts::sure([&answer.whole])} };
    let note = format!(
        "{} weights in {} on one {}, {}. ",
        parts::weights(&answer.whole),
        parts::engine(&answer.whole),
        parts::gpu(reader),
        parts::load(reader)
    );
    let opened = parts::open(&answer.whole, "Open this plan".to_owned());
    let shown = view! { {shown} <p class="num">{note}{opened}</p> };
    parts::section("on-top", "What comes on top", shown.into_any(), String::new())
}

/// The same of models that are unlike it.
fn others(answer: &Billion) -> AnyView {
    let rows = answer.others.iter().map(other).collect();
    let table = parts::table(
        "Other models",
        &[
            ("Model", false),
            ("Parameters, 10⁹", true),
            ("16 bits: a billion, GB", true),
            ("Q4_K_M: a billion, GB", true),
            ("Cache of 1,000 tokens, MiB", true),
            ("Experts", false),
        ],
        rows,
    );
    let note = "The same billion parameters bring caches of very different sizes: grouped queries (arXiv 2305.13245) share keys and \
                values among heads, latent attention (arXiv 2405.04434) keeps one small vector a token. The cache is in 16 bits.";
    parts::section("others", "Why per billion alone misleads", table, note.to_owned())
}

fn other(other: &Other) -> AnyView {
    let cache = other.planned.estimate.kv.bytes_per_token * 1000;
    let experts = other
        .experts
        .map(|(routed, active)| format!("{} of {} for each token", active, format::count(routed)));
    view! {
        <tr>
            <td>{parts::open(&other.planned, parts::short(&other.model).to_owned())}</td>
            {parts::figure(Some(format::figure(other.parameters as f64 / 1e9)))}
            {parts::figure(Some(figure(other.sixteen)))}
            {parts::figure(other.four.map(figure))}
            {parts::figure(Some(format::figure(cache.mib())))}
            <td>{experts.unwrap_or_else(|| "none".to_owned())}</td>
        </tr>
    }
    .into_any()
}

fn claims(reader: &Reader, answer: &Billion) -> Vec<Claim> {
    let mut claims = Vec::new();
    let counted = "Counted tensor by tensor as the engine stores them (/docs/accuracy).";
    if let (Some(sixteen), Some(eight)) = (of(answer, P::Bf16), of(answer, P::Fp8)) {
        claims.push(Claim {
            said: "One gigabyte per billion parameters.",
            holds: Holds::Depends,
            why: format!(
                "In 16 bits it is {} GB. In fp8 it is {} GB: embedding and head stay in 16 bits.",
                figure(sixteen.bytes),
                figure(eight.bytes)
            ),
            source: counted.to_owned(),
        });
    }
    if let Some(four) = of(answer, P::GgufQ4KM) {
        let bits = four.bytes.0 as f64 * 8.0 / 1e9;
        claims.push(Claim {
            said: "Four bits are half a gigabyte per billion.",
            holds: if bits < 4.2 { Holds::Right } else { Holds::Wrong },
            why: format!(
                "Q4_K_M takes {} GB, {bits:.1} bits a parameter: every block has scales, and some tensors have more bits.",
                figure(four.bytes)
            ),
            source: "ggml's block types (ggml-common.h) and the mix of llama.cpp's llama-quant.cpp; each tensor counted.".to_owned(),
        });
    }
    let parts_of = &answer.whole.estimate.per_gpu;
    let factor = answer.whole.needed().0 as f64 / parts_of.weights.0.max(1) as f64;
    claims.push(Claim {
        said: "Add a fifth to the weights for everything else.",
        holds: if (1.1..1.3).contains(&factor) { Holds::Right } else { Holds::Wrong },
        why: format!(
            "For {} all of it is {factor:.2} times the weights, {} of it cache. The cache grows with sequences and tokens, the weights \
             do not.",
            parts::load(reader),
            format::gib(parts_of.kv_cache + parts_of.recurrent_state)
        ),
        source: "EleutherAI, Transformer Math 101, section Inference, has the factor 1.2.".to_owned(),
    });
    let mixture = answer.others.iter().find(|other| other.experts.is_some());
    if let Some((mixture, (routed, active))) = mixture.and_then(|other| Some((other, other.experts?))) {
        let weights = &mixture.planned.estimate;
        claims.push(Claim {
            said: "A mixture of experts needs memory for its active experts only.",
            holds: Holds::Wrong,
            why: format!(
                "{} takes {active} of {routed} experts for a token, and the next token takes others: all {} of weights are in memory. \
                 Arithmetic is saved, memory is not.",
                parts::short(&mixture.model),
                format::gib(weights.per_gpu.weights + weights.host.weights)
            ),
            source: "Mixtral of Experts, arXiv 2401.04088, abstract: access to 47B parameters, 13B of them active.".to_owned(),
        });
    }
    claims
}

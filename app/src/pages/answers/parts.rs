//! What the pages of answers share.

use leptos::prelude::*;
use planner::answers::{Planned, Reader, Refused};
use planner::document::precision::WeightPrecision;
use planner::{Bytes, PlanError, Tokens};

use crate::charts::{Axis, Chart, Marks, Scale, Series};
use crate::components;
pub(super) use crate::components::answer::engine_name;
use crate::pages::run::PlotCard;
use crate::pages::sentence;
use crate::{format, link};

/// A head of a column: its name, and whether the column is of figures.
pub(super) type Head = (&'static str, bool);

/// The head of a column that is read out and not shown.
pub(super) const BAR: Head = ("as a bar", false);

/// A table that may be wider than the screen.
pub(super) fn table(label: &'static str, head: &[Head], rows: Vec<AnyView>) -> AnyView {
    let head: Vec<AnyView> = head
        .iter()
        .map(|(name, figure)| {
            let class = figure.then_some("n");
            let name = if *name == BAR.0 {
                view! { <span class="visually-hidden">{BAR.0}</span> }.into_any()
            } else {
                (*name).into_any()
            };
            view! { <th scope="col" class=class>{name}</th> }.into_any()
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

/// A card with a heading, what it shows and a note below.
pub(super) fn section(id: &'static str, name: &'static str, shown: AnyView, note: String) -> AnyView {
    let note = (!note.is_empty()).then(|| view! { <p class="muted note">{note}</p> });
    view! {
        <section class="card" id=id data-test=id>
            <header>
                <h2>{name}</h2>
            </header>
            {shown} {note}
        </section>
    }
    .into_any()
}

/// A text that opens its plan in the planner.
pub(super) fn open(planned: &Planned, text: String) -> AnyView {
    view! { <a href=link::planner_href(&planned.plan)>{text}</a> }.into_any()
}

/// A cell of figures, or a dash.
pub(super) fn figure(text: Option<String>) -> AnyView {
    view! { <td class="n">{text.unwrap_or_else(|| "–".to_owned())}</td> }.into_any()
}

/// A cell with a bar as long as a share of the whole; what is over it is marked.
pub(super) fn bar(part: f64, whole: f64, is_over: bool) -> AnyView {
    let width = if whole > 0.0 { (100.0 * part / whole).clamp(0.0, 100.0) } else { 0.0 };
    let class = is_over.then_some("over");
    view! {
        <td class="meter">
            <i class=class style=format!("width:{width:.1}%")></i>
        </td>
    }
    .into_any()
}

/// Whether something fits, in a cell.
pub(super) fn fits(fits: bool) -> AnyView {
    let (class, word) = if fits { ("state ok", "fits") } else { ("state bad", "does not") };
    view! {
        <td>
            <span class=class>{word}</span>
        </td>
    }
    .into_any()
}

/// The reader's model without its owner.
pub(super) fn model(reader: &Reader) -> &str {
    short(&reader.model)
}

/// A model's name without its owner.
pub(super) fn short(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

/// The reader's card.
pub(super) fn gpu(reader: &Reader) -> String {
    link::gpu_name(&reader.gpu)
}

/// The engine of a plan.
pub(super) fn engine(planned: &Planned) -> String {
    engine_name(planned.plan.engine.name)
}

/// The weights of a plan.
pub(super) fn weights(planned: &Planned) -> String {
    planned.plan.precision.weights.map_or_else(|| "as stored".to_owned(), label)
}

/// A precision as people write it.
pub(super) fn label(precision: WeightPrecision) -> String {
    match precision {
        WeightPrecision::Nf4 => "NF4".to_owned(),
        WeightPrecision::Nf4Dq => "NF4, double quantized".to_owned(),
        WeightPrecision::Int4G128 => "int4, groups of 128".to_owned(),
        WeightPrecision::Mxfp4 => "MXFP4".to_owned(),
        WeightPrecision::GgufBf16 => "bf16".to_owned(),
        other => other.as_str().strip_prefix("gguf:").map_or_else(|| other.to_string(), str::to_uppercase),
    }
}

/// A count with what is counted, in the singular where it is one.
pub(super) fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", format::count(n), if n == 1 { one } else { many })
}

/// What is asked of the card: `4 sequences of 4,096 tokens`.
pub(super) fn load(reader: &Reader) -> String {
    format!(
        "{} of {}",
        counted(reader.batch, "sequence", "sequences"),
        counted(reader.context.0, "token", "tokens")
    )
}

/// A length in tokens.
pub(super) fn tokens(tokens: Tokens) -> String {
    format::count(tokens.0)
}

/// A size in GB (10^9 bytes), which is what per-billion folklore counts in.
pub(super) fn gb(bytes: Bytes) -> f64 {
    bytes.0 as f64 / 1e9
}

/// A factor: `2.6 ×`.
pub(super) fn times(factor: f64) -> String {
    format!("{} ×", format::figure(factor))
}

/// What a precision loses, as published.
pub(super) fn lost(planned: &Planned) -> String {
    let Some(quality) = &planned.estimate.quality else { return "not known".to_owned() };
    let class = components::lost(quality.class);
    match quality.perplexity_percent {
        Some(percent) => format!("{class}, perplexity {}", format::signed_percent(percent)),
        None => class.to_owned(),
    }
}

/// Ways to hold the weights that are not planned, folded.
pub(super) fn refused(refused: &[Refused]) -> AnyView {
    let named = |way: &Refused| format!("{} in {}", label(way.weights), engine_name(way.engine));
    not_planned(refused.iter().map(|way| (named(way), &way.error)).collect())
}

/// What is not planned and why, folded.
pub(super) fn not_planned(refused: Vec<(String, &PlanError)>) -> AnyView {
    if refused.is_empty() {
        return ().into_any();
    }
    let count = counted(refused.len() as u64, "way", "ways");
    let rows: Vec<AnyView> = refused
        .into_iter()
        .map(|(name, error)| view! { <li>{format!("{name}: {}", why_not(error))}</li> }.into_any())
        .collect();
    view! {
        <details class="quiet" data-test="not-planned">
            <summary>{format!("{count} not planned, and why")}</summary>
            <ul class="plain muted basis">{rows}</ul>
        </details>
    }
    .into_any()
}

/// An error of a plan that the reader did not write.
pub(super) fn why_not(error: &PlanError) -> String {
    sentence(&error.problem)
}

/// How sure the estimates of a page are: each plan's own word, said once.
pub(super) fn sure<'a>(planned: impl IntoIterator<Item = &'a Planned>) -> AnyView {
    let mut told: Vec<(String, String)> = Vec::new();
    for planned in planned {
        let band = &planned.estimate.error_band;
        if told.iter().any(|(basis, _)| *basis == band.basis) {
            continue;
        }
        let line = format!(
            "{} in {}: {} to {}; {}",
            weights(planned),
            components::answer::engine_told(&planned.estimate.engine),
            format::gib_figure(band.low),
            format::gib(band.high),
            sentence(&band.basis)
        );
        told.push((band.basis.clone(), line));
    }
    let lines: Vec<AnyView> =
        told.into_iter().map(|(_, line)| view! { <li>{line}</li> }.into_any()).collect();
    view! {
        <details class="quiet" data-test="sure">
            <summary>"How sure these figures are"</summary>
            <ul class="plain muted basis">{lines}</ul>
        </details>
    }
    .into_any()
}

/// What the computed numbers make of what people say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Right,
    Wrong,
    Depends,
}

/// Something that people say, held against the numbers.
pub(super) struct Claim {
    pub(super) said: &'static str,
    pub(super) holds: Holds,
    pub(super) why: String,
    pub(super) source: String,
}

/// What people say, each with its verdict, reason and source.
pub(super) fn folklore(claims: Vec<Claim>) -> AnyView {
    let claims: Vec<AnyView> = claims
        .into_iter()
        .map(|claim| {
            let (class, word) = match claim.holds {
                Holds::Right => ("state ok", "right here"),
                Holds::Wrong => ("state bad", "wrong here"),
                Holds::Depends => ("state quiet", "it depends"),
            };
            view! {
                <li data-test="claim">
                    <p class="claim">
                        <q>{claim.said}</q>
                        <span class=class>{word}</span>
                    </p>
                    <p class="num">{claim.why}</p>
                    <small>{claim.source}</small>
                </li>
            }
            .into_any()
        })
        .collect();
    view! {
        <section class="card" id="folklore" data-test="folklore">
            <header>
                <h2>"What people say"</h2>
            </header>
            <ul class="said">{claims}</ul>
        </section>
    }
    .into_any()
}

/// A plot of estimates over two axes of figures.
pub(super) fn chart(title: String, x: (String, Scale), y: (String, Scale), series: Vec<Series>) -> Chart {
    // Lengths are powers of two, where a logarithmic axis is marked best.
    let marks = if x.1 == Scale::Logarithmic { Marks::Values } else { Marks::Round };
    let axis = |(label, scale): (String, Scale), marks| Axis { label, scale, marks };
    Chart {
        title,
        size: (480, 300),
        x: axis(x, marks),
        y: axis(y, Marks::Round),
        areas: Vec::new(),
        tiles: Vec::new(),
        series,
        window: None,
    }
}

/// A plot on its card, with what its marks and its legend do.
pub(super) fn drawn(id: &'static str, name: &'static str, note: &'static str, chart: Chart) -> AnyView {
    view! {
        <PlotCard id name note chart />
        <script type="module" src="/plots.js"></script>
    }
    .into_any()
}

//! Flash attention or not?

use leptos::prelude::*;
use planner::Bytes;
use planner::answers::{Attentions, EngineDefault, KERNELS, Kernel, KernelPoint, Planned, Reader};

use super::parts::{self, Claim, Holds};
use crate::charts::{Line, Mark, Point, Scale, Series};
use crate::format;

/// The reader's own length with two kernels.
fn own(reader: &Reader, answer: &Attentions) -> Option<[KernelPoint; 2]> {
    let at = |kernel| answer.at(kernel, reader.context).cloned();
    Some([at(Kernel::Eager)?, at(Kernel::Flash)?])
}

/// What one takes beyond the other, in words.
fn apart(more: Bytes, less: Bytes) -> String {
    let difference = more.saturating_sub(less);
    if difference == Bytes::ZERO { "nothing".to_owned() } else { difference.to_string() }
}

/// The answer in a sentence.
pub(super) fn lead(reader: &Reader, answer: &Attentions) -> String {
    let engine = parts::engine_name(answer.engine);
    let Some([eager, flash]) = own(reader, answer) else {
        return format!(
            "{engine} does not plan both for {} on {}; below is what it does.",
            parts::model(reader),
            parts::gpu(reader)
        );
    };
    let large = eager.prefill() > flash.prefill() * 2 && eager.prefill() > Bytes::from_mib(256);
    let verdict = if large { "Flash, wherever prompts are long" } else { "It hardly matters here" };
    let longest: Vec<String> = answer
        .longest
        .iter()
        .filter(|(kernel, _)| *kernel != Kernel::MemoryEfficient)
        .filter_map(|(kernel, longest)| Some((kernel, longest.as_ref().ok()?)))
        .map(|(kernel, longest)| {
            if longest.0 == 0 {
                format!("none with {}", kernel.as_str())
            } else {
                format!("{} tokens with {}", parts::tokens(*longest), kernel.as_str())
            }
        })
        .collect();
    let longest = if longest.is_empty() {
        String::new()
    } else {
        format!(" The longest context that fits the card: {}.", longest.join(", "))
    };
    format!(
        "{verdict}: to read {} in {engine}, eager attention takes {} beside weights and cache, flash {}. While tokens are generated \
         it saves {}.{longest}",
        parts::load(reader),
        eager.prefill(),
        flash.prefill(),
        apart(eager.decode(), flash.decode())
    )
}

/// Both phases by length, drawn, the engines, and the folklore.
pub(super) fn body(reader: &Reader, answer: &Attentions) -> AnyView {
    let eager = |point: &KernelPoint| answer.at(Kernel::Eager, point.context).map(KernelPoint::prefill);
    let rows = answer.points.iter().map(|point| row(point, eager(point).unwrap_or(Bytes(1)))).collect();
    let table = parts::table(
        "Attention by length",
        &[
            ("Tokens", true),
            ("Attention", false),
            ("Reading the prompt, MiB", true),
            ("Of eager", false),
            ("Generating, MiB", true),
            ("In all, GiB", true),
            ("Fits", false),
        ],
        rows,
    );
    let shown = view! { {table} {parts::sure(answer.points.iter().map(|point| &point.planned))} };
    let note = format!(
        "{} in bf16 in {} on one {}, {}: the peak of each phase beyond weights and cache.",
        parts::model(reader),
        parts::engine_name(answer.engine),
        parts::gpu(reader),
        parts::counted(reader.batch, "sequence at once", "sequences at once")
    );
    view! {
        {parts::section("lengths", "By length", shown.into_any(), note)} {drawn(reader, answer)} {longest(answer)}
        {engines(reader, answer)} {parts::folklore(claims(reader, answer))}
    }
    .into_any()
}

fn row(point: &KernelPoint, eager: Bytes) -> AnyView {
    let planned = &point.planned;
    view! {
        <tr data-test="kernel">
            {parts::figure(Some(parts::tokens(point.context)))}
            <td>{parts::open(planned, point.kernel.as_str().to_owned())}</td>
            {parts::figure(Some(format::figure(point.prefill().mib())))}
            {parts::bar(point.prefill().0 as f64, eager.0 as f64, !planned.estimate.fits)}
            {parts::figure(Some(format::figure(point.decode().mib())))}
            {parts::figure(Some(format::gib_figure(planned.needed())))}
            {parts::fits(planned.estimate.fits)}
        </tr>
    }
    .into_any()
}

/// What reading a prompt takes over its length.
fn drawn(reader: &Reader, answer: &Attentions) -> AnyView {
    let series: Vec<Series> = KERNELS
        .into_iter()
        .enumerate()
        .filter_map(|(style, kernel)| {
            let of = answer.points.iter().filter(|point| point.kernel == kernel);
            let points: Vec<Point> = of
                .filter(|point| point.prefill() > Bytes::ZERO)
                .map(|point| {
                    let tokens = parts::tokens(point.context);
                    Point {
                        x: point.context.0 as f64,
                        y: point.prefill().gib(),
                        said: format!("{}, {tokens} tokens: {}", kernel.as_str(), point.prefill()),
                        href: Some(crate::link::planner_href(&point.planned.plan)),
                    }
                })
                .collect();
            (points.len() > 1).then(|| Series {
                name: kernel.as_str().to_owned(),
                style,
                colour: None,
                mark: Mark::Filled,
                line: Line::Dashed,
                points,
            })
        })
        .collect();
    if series.is_empty() {
        return ().into_any();
    }
    let chart = parts::chart(
        format!(
            "What reading a prompt of {} takes beside weights and cache, by length",
            parts::model(reader)
        ),
        ("tokens of a sequence".to_owned(), Scale::Logarithmic),
        ("beside weights and cache, GiB".to_owned(), Scale::Logarithmic),
        series,
    );
    parts::drawn("reading", "Reading the prompt", "both axes by factors; each point opens its plan", chart)
}

/// The longest context that fits, by kernel.
fn longest(answer: &Attentions) -> AnyView {
    let rows = answer
        .longest
        .iter()
        .map(|(kernel, longest)| {
            let told = match longest {
                Ok(tokens) if tokens.0 > 0 => parts::tokens(*tokens),
                Ok(_) => "none".to_owned(),
                Err(error) => parts::why_not(error),
            };
            view! {
                <tr data-test="longest">
                    <td>{kernel.as_str()}</td>
                    <td class="n">{told}</td>
                </tr>
            }
            .into_any()
        })
        .collect();
    let table = parts::table("Longest context", &[("Attention", false), ("Tokens", true)], rows);
    let note = "Prompt and output together, never more than the model takes.".to_owned();
    parts::section("longest-context", "The longest context that fits", table, note)
}

/// Whether an engine computes eager attention when nothing is said: what it takes is then the same.
fn is_eager_by_itself(engine: &EngineDefault) -> Option<bool> {
    let (own, eager) = (engine.own.as_ref().ok()?, engine.eager.as_ref().ok()?);
    Some(scratch(own) == scratch(eager))
}

/// What is computed in.
fn scratch(planned: &Planned) -> Bytes {
    planned.estimate.per_gpu.activations + planned.estimate.per_gpu.temporary
}

/// What engines do when nothing is said.
fn engines(reader: &Reader, answer: &Attentions) -> AnyView {
    let rows = answer
        .engines
        .iter()
        .map(|engine| {
            let told = match (&engine.own, &engine.eager, is_eager_by_itself(engine)) {
                (Err(error), ..) => parts::why_not(error),
                (Ok(_), Err(_), _) => "always: it has no eager attention".to_owned(),
                (.., Some(true)) => "only where it is asked for".to_owned(),
                _ => "unless eager attention is asked for".to_owned(),
            };
            let cell = |planned: &Result<Planned, _>| match planned {
                Ok(planned) => parts::open(planned, format::figure(scratch(planned).mib())),
                Err(_) => "–".into_any(),
            };
            view! {
                <tr data-test="engine">
                    <td>{parts::engine_name(engine.engine)}</td>
                    <td class="long">{told}</td>
                    <td class="n">{cell(&engine.own)}</td>
                    <td class="n">{cell(&engine.eager)}</td>
                </tr>
            }
            .into_any()
        })
        .collect();
    let table = parts::table(
        "Engines",
        &[
            ("Engine", false),
            ("Computes attention without writing scores down", false),
            ("By itself, MiB", true),
            ("Eager, MiB", true),
        ],
        rows,
    );
    let note = format!(
        "Activations and buffers at the peak, {}. What an engine computes in depends on how it cuts prompts into steps, too.",
        parts::load(reader)
    );
    parts::section("engines", "Which engines use it anyway", table, note)
}

fn claims(reader: &Reader, answer: &Attentions) -> Vec<Claim> {
    let mut claims = Vec::new();
    if let Some([eager, flash]) = own(reader, answer) {
        let (most, least) = (eager.decode(), flash.decode());
        let saved = most.saturating_sub(least);
        claims.push(Claim {
            said: "Flash attention saves memory while it generates.",
            holds: if saved < Bytes::from_mib(64) { Holds::Wrong } else { Holds::Depends },
            why: format!(
                "A generated token has one row of scores for each head: {most} beside weights and cache with eager attention, {least} \
                 with flash. What it saves is the square of scores of a prompt, {}.",
                apart(eager.prefill(), flash.prefill())
            ),
            source: "FlashAttention, arXiv 2205.14135, section 3.1: the matrix of scores is never written to memory.".to_owned(),
        });
    }
    if let (Some(blocks), Some([eager, flash])) =
        (answer.at(Kernel::MemoryEfficient, reader.context), own(reader, answer))
    {
        let saved = |point: &KernelPoint| eager.prefill().saturating_sub(point.prefill()).0 as f64;
        let share = saved(blocks) / saved(&flash).max(1.0);
        claims.push(Claim {
            said: "Only FlashAttention's own kernel helps.",
            holds: if share > 0.8 { Holds::Wrong } else { Holds::Depends },
            why: format!(
                "Scores in blocks without its kernel: {} to read the prompt, eager {}, flash {}.",
                blocks.prefill(),
                eager.prefill(),
                flash.prefill()
            ),
            source: "Self-attention Does Not Need O(n²) Memory, arXiv 2112.05682.".to_owned(),
        });
    }
    claims.push(Claim {
        said: "Flash attention is an approximation.",
        holds: Holds::Wrong,
        why: "It adds up the same products block by block, with the softmax's sum carried along: the result differs by rounding."
            .to_owned(),
        source: "FlashAttention, arXiv 2205.14135, abstract: exact attention.".to_owned(),
    });
    let named = |wanted: &dyn Fn(&EngineDefault) -> bool| {
        let of = answer.engines.iter().filter(|engine| engine.own.is_ok() && wanted(engine));
        of.map(|engine| parts::engine_name(engine.engine)).collect::<Vec<_>>().join(", ")
    };
    let always = named(&|engine| engine.eager.is_err());
    let asked = named(&|engine| is_eager_by_itself(engine) == Some(true));
    if !always.is_empty() {
        let asked = if asked.is_empty() {
            "None of the engines here has to be asked.".to_owned()
        } else {
            format!("It has to be asked for in {asked}.")
        };
        claims.push(Claim {
            said: "It must be turned on.",
            holds: Holds::Depends,
            why: format!("Not in {always}, which have no other. {asked}"),
            source: "What each engine's code accepts, as the planner refuses it (/docs/planning).".to_owned(),
        });
    }
    claims
}

//! Is it worth quantizing?

use leptos::prelude::*;
use planner::answers::{Reader, Trade, Trades};
use planner::document::plan::EngineName;
use planner::document::precision::WeightPrecision as P;

use super::parts::{self, Claim, Holds};
use crate::charts::{Line, Mark, Point, Scale, Series};
use crate::format;

/// The four bits that the answer is about: those that most people take, of the engines that are planned.
fn four(answer: &Trades) -> Option<(&Trade, &Trade)> {
    let usual = [
        (EngineName::LlamaCpp, P::GgufQ4KM),
        (EngineName::Vllm, P::Int4G128),
        (EngineName::Transformers, P::Nf4Dq),
    ];
    usual.into_iter().find_map(|(engine, weights)| answer.of(engine, weights).zip(answer.sixteen(engine)))
}

/// How many times as fast as another it is, for one reader and for many.
fn gain(row: &Trade, against: &Trade) -> Option<(f64, f64)> {
    let ((one, many), (base_one, base_many)) = row.speeds().zip(against.speeds())?;
    (base_one > 0.0 && base_many > 0.0).then(|| (one / base_one, many / base_many))
}

/// The answer in a sentence.
pub(super) fn lead(reader: &Reader, answer: &Trades) -> String {
    let Some((four, sixteen)) = four(answer) else {
        return format!("No precision below 16 bits is planned for {}.", parts::model(reader));
    };
    let gain = gain(four, sixteen);
    let verdict = match (sixteen.one.estimate.fits, four.one.estimate.fits, gain) {
        (false, true, _) => "Yes, it does not fit otherwise",
        (false, false, _) => "It is not enough",
        (true, _, Some((one, many))) if one > 1.1 && many < 1.1 => "Yes for one reader, hardly for many",
        (true, _, Some((one, _))) if one <= 1.1 => "Only for the memory",
        (true, ..) => "Yes",
    };
    let faster = gain.map(|(one, many)| {
        format!(
            " It is {one:.1} times as fast for one reader and {many:.1} times for {} at once.",
            format::count(reader.batch)
        )
    });
    let many = match (sixteen.many.estimate.fits, four.many.estimate.fits) {
        (false, true) => " In 16 bits so many do not fit, with it they do.",
        (false, false) => " So many fit neither way.",
        (true, _) => "",
    };
    format!(
        "{verdict}: {} in {} needs {} instead of {} for one sequence of {} tokens.{}{many} What it loses in quality, as published: {}.",
        parts::label(four.weights),
        parts::engine(&four.one),
        format::gib(four.one.needed()),
        format::gib(sixteen.one.needed()),
        parts::tokens(reader.context),
        faster.unwrap_or_default(),
        parts::lost(&four.one)
    )
}

/// The precisions side by side, drawn, and the folklore.
pub(super) fn body(reader: &Reader, answer: &Trades) -> AnyView {
    let rows = answer.rows.iter().map(|trade| row(trade, answer.sixteen(trade.engine))).collect();
    let table = parts::table(
        "What precisions trade",
        &[
            ("Weights", false),
            ("Engine", false),
            ("One reader: GiB", true),
            ("Fits", false),
            ("tok/s", true),
            ("of 16 bits", true),
            ("All readers: GiB", true),
            ("Fit", false),
            ("tok/s", true),
            ("of 16 bits", true),
            ("Quality lost", false),
            ("As published", false),
        ],
        rows,
    );
    let shown = view! { {table} {parts::refused(&answer.refused)} {parts::sure(answer.rows.iter().map(|row| &row.one))} };
    let note = format!(
        "On one {}, sequences of {} tokens; all readers: {} at once. Speeds are of all sequences together; where they do \
         not fit, as if they did. What is marked so is beaten by another row of its engine in all of memory, speed and quality.",
        parts::gpu(reader),
        parts::tokens(reader.context),
        format::count(reader.batch)
    );
    view! {
        {parts::section("trades", "By precision", shown.into_any(), note)} {drawn(reader, answer)}
        {parts::folklore(claims(reader, answer))}
    }
    .into_any()
}

fn row(trade: &Trade, sixteen: Option<&Trade>) -> AnyView {
    let factors = sixteen.and_then(|sixteen| gain(trade, sixteen));
    let speeds = trade.speeds();
    let source = trade.one.estimate.quality.as_ref();
    let source = source.map_or_else(|| "nothing published is known here".to_owned(), |q| q.source.clone());
    let beaten = (!trade.undominated).then(|| view! { <small>"another is better in all"</small> });
    view! {
        <tr data-test="trade">
            <td>{parts::open(&trade.one, parts::label(trade.weights))} {beaten}</td>
            <td>{parts::engine(&trade.one)}</td>
            {parts::figure(Some(format::gib_figure(trade.one.needed())))}
            {parts::fits(trade.one.estimate.fits)}
            {parts::figure(speeds.map(|speeds| format::figure(speeds.0)))}
            {parts::figure(factors.map(|factors| parts::times(factors.0)))}
            <td class="n">{parts::open(&trade.many, format::gib_figure(trade.many.needed()))}</td>
            {parts::fits(trade.many.estimate.fits)}
            {parts::figure(speeds.map(|speeds| format::figure(speeds.1)))}
            {parts::figure(factors.map(|factors| parts::times(factors.1)))}
            <td>{parts::lost(&trade.one)}</td>
            <td class="long">{source}</td>
        </tr>
    }
    .into_any()
}

/// Speed against memory for one reader, a line an engine.
fn drawn(reader: &Reader, answer: &Trades) -> AnyView {
    let series: Vec<Series> = answer
        .rows
        .chunk_by(|a, b| a.engine == b.engine)
        .enumerate()
        .filter_map(|(style, rows)| {
            let mut points: Vec<Point> = rows.iter().filter_map(point).collect();
            points.sort_by(|a, b| a.x.total_cmp(&b.x));
            (!points.is_empty()).then(|| Series {
                name: parts::engine_name(rows[0].engine),
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
            "Speed for one reader against memory, {} on {}, by precision",
            parts::model(reader),
            parts::gpu(reader)
        ),
        ("needed, GiB".to_owned(), Scale::Linear),
        ("tokens a second".to_owned(), Scale::Linear),
        series,
    );
    parts::drawn("trade", "Speed against memory", "one reader; each point opens its plan", chart)
}

fn point(row: &Trade) -> Option<Point> {
    let (rate, _) = row.speeds()?;
    let said = format!(
        "{} in {}: {}, {} tokens a second",
        parts::label(row.weights),
        parts::engine(&row.one),
        format::gib(row.one.needed()),
        format::figure(rate)
    );
    let href = Some(crate::link::planner_href(&row.one.plan));
    Some(Point { x: row.one.needed().gib(), y: rate, said, href })
}

fn claims(reader: &Reader, answer: &Trades) -> Vec<Claim> {
    let mut claims = Vec::new();
    let published = |engine, weights| {
        let row = answer.of(engine, weights)?;
        Some((row, row.one.estimate.quality.as_ref()?))
    };
    let ladder: Vec<String> = [P::GgufQ8_0, P::GgufQ4KM, P::GgufQ2K]
        .into_iter()
        .filter_map(|weights| published(EngineName::LlamaCpp, weights))
        .map(|(row, _)| format!("{}: {}", parts::label(row.weights), parts::lost(&row.one)))
        .collect();
    if let Some((_, quality)) = published(EngineName::LlamaCpp, P::GgufQ4KM) {
        claims.push(Claim {
            said: "Quantizing is free.",
            holds: Holds::Depends,
            why: format!(
                "Of 8 bits nearly nothing can be measured; below, every bit costs more than the one before. {}. Smaller models lose \
                 more.",
                ladder.join("; ")
            ),
            source: quality.source.clone(),
        });
    }
    let nf4 = answer.of(EngineName::Transformers, P::Nf4Dq).zip(answer.sixteen(EngineName::Transformers));
    let four = four(answer);
    let of = |pair: Option<(&Trade, &Trade)>| pair.and_then(|(row, sixteen)| gain(row, sixteen));
    if let (Some((slow, _)), Some((fast, _)), Some((row, _))) = (of(nf4), of(four), four) {
        claims.push(Claim {
            said: "A quantized model is slower.",
            holds: if slow < 1.0 && fast > 1.0 { Holds::Depends } else if fast > 1.0 { Holds::Wrong } else { Holds::Right },
            why: format!(
                "It is a matter of the kernel. bitsandbytes' NF4 in Transformers first makes 16-bit weights of a matrix, then \
                 multiplies: {slow:.2} times the speed of 16 bits. {} in {} multiplies as it reads: {fast:.1} times.",
                parts::label(row.weights),
                parts::engine(&row.one)
            ),
            source: "QLoRA, arXiv 2305.14314, section 3: NF4 is a storage type, products are computed in bf16. Speeds: the planner's \
                     model, one reader."
                .to_owned(),
        });
    }
    if let (Some((one, many)), Some((row, _))) = (of(four), four) {
        claims.push(Claim {
            said: "Four bits are four times as fast.",
            holds: if one > 3.6 { Holds::Right } else { Holds::Wrong },
            why: format!(
                "{} in {} is {one:.1} times as fast for one reader, who waits for the weights to be read, and {many:.1} times for {} \
                 at once, where arithmetic and every reader's own cache count.",
                parts::label(row.weights),
                parts::engine(&row.one),
                format::count(reader.batch)
            ),
            source: "Efficiently Scaling Transformer Inference, arXiv 2211.05102, section 2: what a step loads and what it computes."
                .to_owned(),
        });
        let of_many = &row.many.estimate.per_gpu;
        let cache = of_many.kv_cache + of_many.recurrent_state;
        claims.push(Claim {
            said: "With quantized weights memory is no problem any more.",
            holds: if cache > of_many.weights { Holds::Wrong } else { Holds::Depends },
            why: format!(
                "For {} the cache takes {} beside {} of weights, and quantizing the weights leaves it as it is.",
                parts::load(reader),
                format::gib(cache),
                format::gib(of_many.weights)
            ),
            source: "PagedAttention, arXiv 2309.06180, section 3: the cache is what limits how many are served at once.".to_owned(),
        });
    }
    claims
}

//! An answer for a person.

use planner::document::estimate::Quality;
use planner::document::plan::Parallelism;
use planner::solve::{Answer, Fewest, LayoutPoint, LoadPoint, Offer, ParetoPoint, Ranking};

use crate::report::{Align, Column, render};

/// The answer as text.
pub(super) fn describe(answer: &Answer) -> String {
    match answer {
        Answer::Overview { largest_batch, longest_context, load_line, fewest_gpus, precisions } => [
            self::largest_batch(*largest_batch),
            self::longest_context(longest_context.0),
            fewest(fewest_gpus.as_ref()),
            self::load_line(load_line),
            pareto(precisions),
        ]
        .join("\n\n"),
        Answer::LargestBatch { largest_batch } => self::largest_batch(*largest_batch),
        Answer::LongestContext { longest_context } => self::longest_context(longest_context.0),
        Answer::LoadLine { load_line } => self::load_line(load_line),
        Answer::FewestGpus { fewest_gpus } => fewest(fewest_gpus.as_ref()),
        Answer::CheapestGpu { ranked_by, offers } => self::offers(*ranked_by, offers),
        Answer::Layouts { gpus, layouts } => self::layouts(*gpus, layouts),
        Answer::Pareto { precisions } => pareto(precisions),
    }
}

fn largest_batch(batch: u64) -> String {
    match batch {
        0 => "not even one sequence fits".to_owned(),
        1 => "1 sequence at once, no second".to_owned(),
        batch => format!("{batch} sequences at once"),
    }
}

fn longest_context(tokens: u64) -> String {
    if tokens == 0 {
        "not even one token of prompt fits before the output".to_owned()
    } else {
        format!("{tokens} tokens, prompt and output together")
    }
}

fn load_line(points: &[LoadPoint]) -> String {
    let columns = [Column("batch", Align::Right), Column("longest context", Align::Right)];
    let rows: Vec<Vec<String>> =
        points.iter().map(|p| vec![p.batch.to_string(), p.context.0.to_string()]).collect();
    render(&columns, &rows)
}

fn fewest(found: Option<&Fewest>) -> String {
    match found {
        None => "64 GPUs do not hold it within the limits".to_owned(),
        Some(Fewest { count, layout }) => {
            let plural = if *count == 1 { "" } else { "s" };
            format!("{count} GPU{plural}\n\n{}", table(std::slice::from_ref(layout)))
        }
    }
}

fn layouts(gpus: u32, points: &[LayoutPoint]) -> String {
    if points.is_empty() {
        return format!("no layout of {gpus} GPUs holds it within the limits");
    }
    table(points)
}

fn table(points: &[LayoutPoint]) -> String {
    let columns = [
        Column("layout", Align::Left),
        Column("of one GPU", Align::Right),
        Column("TTFT ms", Align::Right),
        Column("TPOT ms", Align::Right),
        Column("tok/s", Align::Right),
    ];
    let rows: Vec<Vec<String>> = points
        .iter()
        .map(|p| {
            vec![
                spread(&p.parallelism),
                p.total_bytes.to_string(),
                number(p.time_to_first_token_ms, 1),
                number(p.time_per_output_token_ms, 2),
                number(p.tokens_per_second, 1),
            ]
        })
        .collect();
    render(&columns, &rows)
}

/// `tensor 4, pipeline 2`.
fn spread(p: &Parallelism) -> String {
    let ranks = [
        ("tensor", p.tensor),
        ("pipeline", p.pipeline),
        ("data", p.data),
        ("expert", p.expert),
        ("context", p.context),
    ];
    let used: Vec<String> =
        ranks.iter().filter(|(_, n)| *n > 1).map(|(name, n)| format!("{name} {n}")).collect();
    if used.is_empty() { "one GPU".to_owned() } else { used.join(", ") }
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "unknown".to_owned(), |v| format!("{v:.digits$}"))
}

fn offers(ranked_by: Ranking, offers: &[Offer]) -> String {
    let note = match ranked_by {
        Ranking::Price => "by the prices given, the cheapest for an hour first",
        Ranking::GpusAndMemory => {
            "no prices were given (--price ID=PRICE): the fewest GPUs first, then the least memory of all of them"
        }
    };
    if offers.is_empty() {
        return format!("none of the GPUs holds it within the limits, up to 8 of a kind\n{note}");
    }
    let mut columns = vec![
        Column("GPU", Align::Left),
        Column("count", Align::Right),
        Column("memory of all", Align::Right),
        Column("layout", Align::Left),
        Column("of one GPU", Align::Right),
        Column("tok/s", Align::Right),
    ];
    if ranked_by == Ranking::Price {
        columns.extend([Column("an hour", Align::Right), Column("a million tokens", Align::Right)]);
    }
    let rows: Vec<Vec<String>> = offers
        .iter()
        .map(|o| {
            vec![
                o.gpu.clone(),
                o.count.to_string(),
                o.memory_bytes.to_string(),
                spread(&o.layout.parallelism),
                o.layout.total_bytes.to_string(),
                number(o.layout.tokens_per_second, 1),
                number(o.per_hour, 2),
                number(o.per_million_tokens, 3),
            ]
        })
        .collect();
    format!("{}\n\n{note}", render(&columns, &rows))
}

fn pareto(points: &[ParetoPoint]) -> String {
    if points.is_empty() {
        return "the engine takes none of the precisions that are compared".to_owned();
    }
    let columns = [
        Column("weights", Align::Left),
        Column("needed", Align::Right),
        Column("tok/s", Align::Right),
        Column("quality", Align::Left),
        Column("fits", Align::Left),
    ];
    let rows: Vec<Vec<String>> = points
        .iter()
        .map(|p| {
            vec![
                p.weights.to_string(),
                p.needed_bytes.to_string(),
                number(p.tokens_per_second, 1),
                quality(p.quality.as_ref()),
                if p.fits { "yes" } else { "no" }.to_owned(),
            ]
        })
        .collect();
    render(&columns, &rows)
}

/// The class, and the published loss where there is one.
fn quality(quality: Option<&Quality>) -> String {
    let Some(quality) = quality else { return "nothing published".to_owned() };
    let class = serde_json::to_value(quality.class).ok().and_then(|v| v.as_str().map(str::to_owned));
    let class = class.unwrap_or_default();
    match quality.perplexity_percent {
        Some(percent) => format!("{class}, perplexity {percent:+.1} %"),
        None => class,
    }
}

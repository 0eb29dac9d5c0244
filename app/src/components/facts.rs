//! What follows from a plan's answer: the most that fits, how fast, what it costs.

use leptos::prelude::*;
use planner::document::estimate::QualityClass;
use planner::document::plan::{Plan, Workload};
use planner::{Bytes, Estimate};

use super::Fact;
use crate::engine::Solved;
use crate::format;

/// A fact: its name, its figure, its unit.
pub(crate) type Told = (&'static str, String, String);

/// The strip of facts.
#[component]
pub fn Facts(
    /// What was asked.
    plan: Plan,
    /// What was answered.
    estimate: Estimate,
    /// The most that fits: of the plan, or of one before it that has come to rest.
    solved: Solved,
) -> impl IntoView {
    let stale = solved.plan != plan;
    let most = most(&solved.plan, solved.most_sequences, solved.longest_context)
        .into_iter()
        .map(|(name, value, unit)| view! { <Fact name value unit stale /> })
        .collect_view();
    let facts = told(&plan, &estimate)
        .into_iter()
        .map(|(name, value, unit)| view! { <Fact name value unit /> })
        .collect_view();
    view! { <dl class="facts">{most} {facts}</dl> }.into_any()
}

/// The most that fits.
pub(crate) fn most(plan: &Plan, sequences: Option<u64>, context: Option<u64>) -> Vec<Told> {
    let Workload::Serve(serve) = &plan.workload else { return Vec::new() };
    let at_context = format!("at {} tokens", format::count(serve.sequence_tokens().0));
    let at_batch = format!("tokens at {}", format::count(serve.concurrent_sequences));
    let sequences = sequences.map(|n| ("Most sequences", format::count(n), at_context));
    let context = context.map(|n| ("Longest context", format::count(n), at_batch));
    sequences.into_iter().chain(context).collect()
}

/// What follows from a plan's answer, in the order of the strip.
pub(crate) fn told(plan: &Plan, estimate: &Estimate) -> Vec<Told> {
    let mut told: Vec<Told> = Vec::new();
    told.extend(speed(plan, estimate));
    told.extend(
        estimate
            .cost
            .as_ref()
            .map(|cost| ("Cost", format::figure(cost.per_million_tokens), "a million tokens".to_owned())),
    );
    told.extend(pool(plan, estimate));
    told
}

/// How fast; a figure that means nothing for the workload is left out.
pub(crate) fn speed(plan: &Plan, estimate: &Estimate) -> Vec<Told> {
    let Some(speed) = &estimate.speed else { return Vec::new() };
    let time = |name: &'static str, ms: f64| {
        let (figure, unit) = apart(&format::millis(ms));
        (ms > 0.0).then_some((name, figure, unit))
    };
    let rate = |name: &'static str| {
        (speed.tokens_per_second > 0.0)
            .then(|| (name, format::figure(speed.tokens_per_second), "tok/s".to_owned()))
    };
    let told = match &plan.workload {
        Workload::Serve(serve) => {
            let generates = serve.output_tokens.0 > 0;
            [
                time("First token", speed.time_to_first_token_ms),
                time("Each token", speed.time_per_output_token_ms).filter(|_| generates),
                rate("Throughput").filter(|_| generates),
            ]
        }
        Workload::Train(_) => [time("Step", speed.step_ms), rate("Trained"), None],
        Workload::Embed { .. } => {
            let pass = if speed.step_ms > 0.0 { speed.step_ms } else { speed.time_to_first_token_ms };
            [time("Batch", pass), rate("Throughput"), None]
        }
    };
    told.into_iter().flatten().collect()
}

/// The cache's pool.
fn pool(plan: &Plan, estimate: &Estimate) -> Vec<Told> {
    let kv = estimate.kv;
    let mut told = Vec::new();
    if kv.pool_bytes > Bytes::ZERO {
        let longest = match &plan.workload {
            Workload::Serve(serve) => serve.max_model_len.unwrap_or(serve.sequence_tokens()).0,
            Workload::Train(_) | Workload::Embed { .. } => 0,
        };
        let (size, unit) = (format::gib_figure(kv.pool_bytes), "GiB a GPU".to_owned());
        told.push(("Cache pool", size, unit));
        told.push(("It holds", format::count(kv.pool_tokens), "tokens".to_owned()));
        if longest > 0 {
            let unit = format!("of {} tokens", format::count(longest));
            told.push(("At once, longest", format::count(kv.max_concurrent_sequences), unit));
        }
    }
    if kv.bytes_per_token > Bytes::ZERO {
        let (figure, unit) = apart(&kv.bytes_per_token.to_string());
        told.push(("Cache of a token", figure, unit));
    }
    told
}

/// A figure apart from its unit.
fn apart(text: &str) -> (String, String) {
    text.split_once(' ').map_or((text.to_owned(), String::new()), |(f, u)| (f.to_owned(), u.to_owned()))
}

/// Energy, cost, quality: what the estimate says of them.
#[component]
pub fn Costs(
    /// What was answered.
    estimate: Estimate,
) -> impl IntoView {
    let mut pairs: Vec<(&'static str, String)> = Vec::new();
    let mut sources: Vec<String> = Vec::new();
    if let Some(cost) = estimate.cost {
        pairs.push(("Price of all GPUs an hour", format::figure(cost.per_hour)));
        pairs.push(("A million tokens", format::figure(cost.per_million_tokens)));
    }
    if let Some(energy) = estimate.energy {
        pairs.push(("Power of all GPUs", format!("{} W", format::figure(energy.watts))));
        pairs.push(("Energy of a token", format!("{} J", format::figure(energy.joules_per_token))));
        pairs.push(("Of a million tokens", format!("{} kWh", format::figure(energy.kwh_per_million_tokens))));
        sources.push(format!("Power: {}.", energy.basis.trim_end_matches('.')));
    }
    if let Some(quality) = estimate.quality {
        pairs.push(("Quality lost to the weights' precision", lost(quality.class).to_owned()));
        pairs.extend(
            quality.perplexity_percent.map(|percent| ("Perplexity", format::signed_percent(percent))),
        );
        pairs.extend(
            quality.kl_divergence.map(|nats| ("KL divergence", format!("{} nats", format::figure(nats)))),
        );
        sources.push(format!("Quality: {}.", quality.source.trim_end_matches('.')));
    }
    (!pairs.is_empty()).then(|| {
        let rows = pairs
            .into_iter()
            .map(|(name, value)| view! { <dt>{name}</dt><dd class="num">{value}</dd> })
            .collect_view();
        view! {
            <section class="card">
                <header>
                    <h2>"Energy, cost, quality"</h2>
                    <small>"at full speed"</small>
                </header>
                <dl class="sizes">{rows}</dl>
                <p class="muted basis">{sources.join(" ")}</p>
            </section>
        }
        .into_any()
    })
}

/// A class of quality in words: what is lost.
#[must_use]
pub const fn lost(class: QualityClass) -> &'static str {
    match class {
        QualityClass::Reference => "none: as the checkpoint",
        QualityClass::NearLossless => "nearly none",
        QualityClass::Small => "little",
        QualityClass::Noticeable => "noticeable",
        QualityClass::Heavy => "heavy",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link;

    #[test]
    fn a_plan_without_output_has_no_throughput() {
        let plan = link::read("model=Qwen/Qwen3-0.6B&gpu=l4-24gb&weights=bf16&context=100").unwrap();
        let estimate = planner::estimate(&plan).unwrap();
        let names: Vec<&str> = speed(&plan, &estimate).iter().map(|told| told.0).collect();
        assert_eq!(names, ["First token"]);
    }
}

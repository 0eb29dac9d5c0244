//! What follows from a plan's answer: the most that fits, how fast, what it costs.

use leptos::prelude::*;
use planner::document::plan::{Plan, Workload};
use planner::{Bytes, Estimate};
use serde_json::Value;

use super::Fact;
use crate::format;

/// A fact: its name, its figure, its unit.
type Told = (&'static str, String, String);

/// The strip of facts.
#[component]
pub fn Facts(
    /// What was asked.
    plan: Plan,
    /// What was answered.
    estimate: Estimate,
    /// The most sequences at once, where it is known.
    most_sequences: Option<u64>,
    /// The longest sequence in tokens, where it is known.
    longest_context: Option<u64>,
) -> impl IntoView {
    let mut told: Vec<Told> = Vec::new();
    if let Workload::Serve(serve) = &plan.workload {
        let at_context = format!("at {} tokens", format::count(serve.sequence_tokens().0));
        let at_batch = format!("tokens at {}", format::count(serve.concurrent_sequences));
        told.extend(most_sequences.map(|n| ("Most sequences", format::count(n), at_context)));
        told.extend(longest_context.map(|n| ("Longest context", format::count(n), at_batch)));
    }
    told.extend(speed(&plan, &estimate));
    told.extend(pool(&plan, &estimate));
    let facts = told.into_iter().map(|(name, value, unit)| view! { <Fact name value unit /> }).collect_view();
    view! { <dl class="facts">{facts}</dl> }.into_any()
}

/// How fast; a figure that means nothing for the workload is left out.
fn speed(plan: &Plan, estimate: &Estimate) -> Vec<Told> {
    let Some(speed) = &estimate.speed else { return Vec::new() };
    let at_best = estimate.warnings.iter().any(|warning| warning.code == "speed-is-a-bound");
    let said = |unit: &str| if at_best { format!("{unit} at best") } else { unit.to_owned() };
    let time = |name: &'static str, ms: f64| {
        let (figure, unit) = apart(&format::millis(ms));
        (ms > 0.0).then(|| (name, figure, said(&unit)))
    };
    let rate = |name: &'static str| {
        (speed.tokens_per_second > 0.0)
            .then(|| (name, format::figure(speed.tokens_per_second), said("tok/s")))
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

/// Energy, cost, quality: whatever the estimate says of them.
#[component]
pub fn Costs(
    /// What was answered.
    estimate: Estimate,
) -> impl IntoView {
    let document = serde_json::to_value(&estimate).unwrap_or_default();
    let mut pairs = Vec::new();
    for part in ["energy", "cost", "quality"] {
        match document.get(part) {
            None | Some(Value::Null) => {}
            Some(value) => flatten(part, "", value, &mut pairs),
        }
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
                    <small>"of the whole job"</small>
                </header>
                <dl class="sizes">{rows}</dl>
            </section>
        }
        .into_any()
    })
}

/// Every figure of a value, by its name and the names that it is under.
fn flatten(part: &str, name: &str, value: &Value, into: &mut Vec<(String, String)>) {
    match value {
        Value::Null | Value::Array(_) => {}
        Value::Object(map) => {
            for (key, value) in map {
                let name = if name.is_empty() { key.clone() } else { format!("{name}_{key}") };
                flatten(part, &name, value, into);
            }
        }
        leaf => {
            let (words, unit) = named(name);
            let words = if words.is_empty() { part.to_owned() } else { format!("{part}: {words}") };
            let text = match (leaf, unit) {
                (Value::Number(n), "bytes") => n.as_u64().map(|n| Bytes(n).to_string()).unwrap_or_default(),
                (Value::Number(n), unit) => {
                    format!("{} {unit}", format::figure(n.as_f64().unwrap_or(f64::NAN))).trim_end().to_owned()
                }
                (Value::String(text), _) => text.clone(),
                (other, _) => other.to_string(),
            };
            let mut letters = words.chars();
            let words = letters.next().map(|c| c.to_uppercase().chain(letters).collect()).unwrap_or_default();
            into.push((words, text));
        }
    }
}

/// A field's name as words, and its unit.
fn named(name: &str) -> (String, &'static str) {
    const UNITS: [(&str, &str); 9] = [
        ("_bytes", "bytes"),
        ("_ms", "ms"),
        ("_kwh", "kWh"),
        ("_wh", "Wh"),
        ("_joules", "J"),
        ("_j", "J"),
        ("_watts", "W"),
        ("_w", "W"),
        ("_percent", "%"),
    ];
    let (stem, unit) = UNITS
        .into_iter()
        .find_map(|(end, unit)| name.strip_suffix(end).map(|stem| (stem, unit)))
        .unwrap_or((name, ""));
    (stem.replace('_', " "), unit)
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::link;

    #[test]
    fn a_plan_without_output_has_no_throughput() {
        let plan = link::read("model=Qwen/Qwen3-0.6B&gpu=l4-24gb&weights=bf16&context=100").unwrap();
        let estimate = planner::estimate(&plan).unwrap();
        let names: Vec<&str> = speed(&plan, &estimate).iter().map(|told| told.0).collect();
        assert_eq!(names, ["First token"]);
    }

    #[test]
    fn figures_are_named_with_their_unit() {
        let mut pairs = Vec::new();
        let energy =
            json!({ "joules_per_token": 1.5, "average_w": 300, "by": { "gpu_kwh": 2.0 }, "none": null });
        flatten("energy", "", &energy, &mut pairs);
        pairs.sort();
        let told: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(
            told,
            [
                ("Energy: average", "300 W"),
                ("Energy: by gpu", "2.00 kWh"),
                ("Energy: joules per token", "1.50")
            ]
        );
    }
}

//! An estimate for a person.

use planner::document::estimate::{Advice, AgentEstimate, Estimate, Speed};
use serde_json::Value;

use crate::report::{Align, Column, render};

/// The estimate as text: parts, verdict, what else is known, what would help.
pub(super) fn describe(estimate: &Estimate) -> String {
    let mut lines = vec![parts(estimate), String::new(), verdict(estimate)];
    let band = &estimate.error_band;
    lines.push(format!("between {} and {}: {}", band.low, band.high, band.basis));
    for phase in estimate.phases.iter().flatten() {
        lines.push(format!("peak of {}: {}", phase.phase, phase.peak_bytes));
    }
    let kv = &estimate.kv;
    if kv.pool_bytes.0 > 0 {
        lines.push(format!(
            "cache pool: {}, {} tokens, {} sequences of the longest length; {} B a token",
            kv.pool_bytes, kv.pool_tokens, kv.max_concurrent_sequences, kv.bytes_per_token.0
        ));
    } else if kv.bytes_per_token.0 > 0 {
        lines.push(format!("cache: {} B a token", kv.bytes_per_token.0));
    }
    if estimate.host.total.0 > 0 {
        let host = &estimate.host;
        lines.push(format!(
            "host memory: {} (weights {}, cache {}, optimizer {})",
            host.total, host.weights, host.kv_cache, host.optimizer
        ));
    }
    lines.extend(estimate.agent.as_ref().map(agent));
    lines.extend(estimate.speed.as_ref().map(speed));
    lines.extend(estimate.energy.as_ref().map(|energy| {
        format!(
            "{:.0} W, {:.3} J a token, {:.4} kWh a million tokens: {}",
            energy.watts, energy.joules_per_token, energy.kwh_per_million_tokens, energy.basis
        )
    }));
    lines.extend(estimate.cost.as_ref().map(|cost| {
        format!("costs {:.2} an hour, {:.3} a million tokens", cost.per_hour, cost.per_million_tokens)
    }));
    lines.extend(estimate.advice.iter().map(advice));
    lines.extend(estimate.warnings.iter().map(|w| format!("note: {}", w.message)));
    lines.extend(estimate.command.as_ref().map(|command| format!("run it: {command}")));
    lines.join("\n")
}

fn parts(estimate: &Estimate) -> String {
    let p = &estimate.per_gpu;
    let rows: Vec<Vec<String>> = [
        ("weights", p.weights),
        ("KV cache", p.kv_cache),
        ("recurrent state", p.recurrent_state),
        ("activations", p.activations),
        ("temporary", p.temporary),
        ("gradients", p.gradients),
        ("optimizer", p.optimizer),
        ("auxiliary", p.auxiliary),
        ("CUDA graphs", p.cuda_graphs),
        ("runtime", p.runtime),
        ("CUDA context", p.context),
        ("rest of the cache pool", estimate.kv.pool_bytes.saturating_sub(p.kv_cache)),
        ("total", p.total),
    ]
    .into_iter()
    .filter(|(_, bytes)| bytes.0 > 0)
    .map(|(name, bytes)| vec![name.to_owned(), bytes.to_string(), bytes.0.to_string()])
    .collect();
    let columns = [
        Column("component of one device", Align::Left),
        Column("size", Align::Right),
        Column("bytes", Align::Right),
    ];
    render(&columns, &rows)
}

/// What to add to the command, and what comes of it.
fn advice(advice: &Advice) -> String {
    let then = if advice.fits { "fits" } else { "helps, and does not fit yet" };
    format!("{then}: {} → {}: {}", options(&advice.change, "").join(" "), advice.total_bytes, advice.cost)
}

/// A change of the plan as options, one for each field that it writes.
fn options(change: &Value, path: &str) -> Vec<String> {
    match change {
        Value::Object(fields) if !fields.is_empty() => fields
            .iter()
            .flat_map(|(name, value)| {
                let dot = if path.is_empty() { "" } else { "." };
                options(value, &format!("{path}{dot}{name}"))
            })
            .collect(),
        Value::String(word) => vec![format!("--set {path}={word}")],
        other => {
            let text = other.to_string();
            let quote = if text.contains(['"', '[', '{', ' ']) { "'" } else { "" };
            vec![format!("--set {quote}{path}={text}{quote}")]
        }
    }
}

fn verdict(estimate: &Estimate) -> String {
    let engine = &estimate.engine;
    let name = serde_json::to_value(engine.name).ok().and_then(|v| v.as_str().map(str::to_owned));
    let by = format!("{} {}", name.unwrap_or_default(), engine.version);
    if estimate.capacity_bytes.0 == 0 {
        return format!("whether it fits is not known ({by})");
    }
    let verdict = if estimate.fits { "fits" } else { "does not fit" };
    format!("{verdict} in {} ({by})", estimate.capacity_bytes)
}

fn agent(agent: &AgentEstimate) -> String {
    let longest = agent.tokens_after_turn.iter().max().copied().unwrap_or(0);
    let end = match agent.exhausted_turn {
        Some(turn) => format!("memory runs out in turn {turn}"),
        None => "memory does not run out".to_owned(),
    };
    format!(
        "agent memory: {} turns, {longest} tokens held at most, {end}; {} tokens prefilled again; embedding model {}, \
         index {}",
        agent.tokens_after_turn.len(),
        agent.reprefill_tokens,
        agent.embedding_bytes,
        agent.index_bytes
    )
}

fn speed(speed: &Speed) -> String {
    if speed.time_per_output_token_ms > 0.0 {
        format!(
            "TTFT {:.1} ms, {:.2} ms a token, {:.1} tok/s",
            speed.time_to_first_token_ms, speed.time_per_output_token_ms, speed.tokens_per_second
        )
    } else {
        format!("{:.1} ms a step, {:.1} tok/s", speed.step_ms, speed.tokens_per_second)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::options;

    #[test]
    fn a_change_is_what_the_command_takes() {
        for (change, want) in [
            (json!({ "precision": { "weights": "int4" } }), "--set precision.weights=int4"),
            (
                json!({ "parallelism": { "data": 8, "zero_stage": 3 } }),
                "--set parallelism.data=8 --set parallelism.zero_stage=3",
            ),
            (
                json!({ "workload": { "lora": { "targets": ["q_proj"] } } }),
                "--set 'workload.lora.targets=[\"q_proj\"]'",
            ),
        ] {
            assert_eq!(options(&change, "").join(" "), want);
        }
    }
}

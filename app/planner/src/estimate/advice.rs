//! Single changes that would make a plan fit, each one re-estimated.

use serde_json::{Value, json};

use super::Compiled;
use crate::bytes::Bytes;
use crate::catalogue;
use crate::document::estimate::{Advice, Estimate};
use crate::document::plan::{Plan, Workload};
use crate::solve;

/// Changes to a plan that does not fit: fewer bytes a weight, fewer sequences, shorter prompts, a larger GPU. Only those
/// that help are given; those that make it fit come first.
pub(super) fn advice(compiled: &Compiled) -> Vec<Advice> {
    let plan = compiled.plan();
    let Ok(before) = compiled.breakdown(&compiled.numbers()).map(|b| b.parts.total) else {
        return Vec::new();
    };
    let mut list: Vec<Advice> = Vec::new();
    list.extend(precisions(plan, before));
    list.extend(fewer_sequences(plan));
    list.extend(shorter(plan));
    list.extend(larger_gpu(plan, before));
    list.sort_by_key(|a| !a.fits);
    list
}

fn precisions(plan: &Plan, before: Bytes) -> Vec<Advice> {
    let candidates = [
        ("bf16", "half the precision of weights and activations"),
        (
            "gguf:q8_0",
            "8.5 bits a weight: a loss of quality that is seldom measurable; the cache grows to fp32",
        ),
        ("gguf:q4_k_m", "about 4.8 bits a weight: a measurable loss of quality; the cache grows to fp32"),
    ];
    candidates
        .iter()
        .filter_map(|(precision, cost)| {
            let weights = precision.parse().ok()?;
            let mut changed = plan.clone();
            changed.precision.weights = Some(weights);
            let mut change = serde_json::Map::new();
            change.insert("weights".into(), json!(precision));
            // Stock Candle's cache and activations follow the weights: what was asked before would contradict them.
            if changed.precision.activations.take().is_some() {
                change.insert("activations".into(), Value::Null);
            }
            if changed.precision.kv_cache.take().is_some() {
                change.insert("kv_cache".into(), Value::Null);
            }
            let estimate = again(&changed)?;
            (estimate.per_gpu.total < before).then(|| of(&estimate, json!({ "precision": change }), *cost))
        })
        .collect()
}

fn fewer_sequences(plan: &Plan) -> Option<Advice> {
    let Workload::Serve(serve) = &plan.workload else { return None };
    let asked = serve.concurrent_sequences;
    let most = solve::largest_batch(plan).ok().filter(|n| *n >= 1 && *n < asked)?;
    let changed = solve::with_batch(plan, most)?;
    let estimate = again(&changed)?;
    let cost = format!("{most} at once instead of {asked}");
    Some(of(&estimate, json!({ "workload": { "concurrent_sequences": most } }), cost))
}

fn shorter(plan: &Plan) -> Option<Advice> {
    let longest = solve::longest_context(plan).ok()?;
    let Workload::Serve(serve) = &plan.workload else { return None };
    let prompt =
        longest.0.checked_sub(serve.output_tokens.0).filter(|p| *p >= 1 && *p < serve.prompt_tokens.0)?;
    let changed = solve::with_context(plan, longest)?;
    let mut change = json!({ "workload": { "prompt_tokens": prompt } });
    if serve.max_model_len.is_some() {
        change["workload"]["max_model_len"] = Value::Null;
    }
    let estimate = again(&changed)?;
    Some(of(&estimate, change, format!("prompts of {prompt} tokens instead of {}", serve.prompt_tokens)))
}

/// The smallest GPU of the catalogue that holds it.
fn larger_gpu(plan: &Plan, needed: Bytes) -> Option<Advice> {
    catalogue::gpu(&plan.gpu.id)?;
    let mut gpus: Vec<_> = catalogue::gpus().iter().collect();
    gpus.sort_by_key(|g| g.visible().bytes());
    gpus.into_iter().filter(|g| g.visible().bytes() >= needed && g.id != plan.gpu.id).find_map(|gpu| {
        let mut changed = plan.clone();
        changed.gpu.id.clone_from(&gpu.id);
        let mut change = json!({ "gpu": { "id": gpu.id } });
        if changed.gpu.memory_mib.take().is_some() {
            change["gpu"]["memory_mib"] = Value::Null;
        }
        if changed.gpu.in_use_mib != 0 {
            changed.gpu.in_use_mib = 0;
            change["gpu"]["in_use_mib"] = json!(0);
        }
        let estimate = again(&changed)?;
        estimate.fits.then(|| of(&estimate, change, format!("another GPU: {}", gpu.name)))
    })
}

fn again(plan: &Plan) -> Option<Estimate> {
    Compiled::new(plan).and_then(|compiled| compiled.estimate()).ok()
}

fn of(estimate: &Estimate, change: Value, cost: impl Into<String>) -> Advice {
    Advice { change, total_bytes: estimate.per_gpu.total, fits: estimate.fits, cost: cost.into() }
}

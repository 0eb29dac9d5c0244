//! Single changes that would make a plan fit, each one re-estimated.

use serde_json::{Value, json};

use super::{Question, answer, total};
use crate::catalogue;
use crate::document::estimate::{Advice, Estimate};
use crate::document::plan::Plan;
use crate::engine::WeightStorage;
use crate::model::Dtype;
use crate::solve;

/// Changes to a plan that does not fit: fewer bytes a weight, fewer sequences, shorter prompts, a larger GPU. Only those
/// that help are given; those that make it fit come first.
pub(super) fn advice(plan: &Plan, question: &Question) -> Vec<Advice> {
    let mut list: Vec<Advice> = Vec::new();
    list.extend(precisions(plan, question));
    list.extend(fewer_sequences(plan, question));
    list.extend(shorter(plan));
    list.extend(larger_gpu(plan, question));
    list.sort_by_key(|a| !a.fits);
    list
}

fn precisions(plan: &Plan, question: &Question) -> Vec<Advice> {
    let candidates: &[(&str, &str)] = match question.request.weights {
        WeightStorage::Dense(Dtype::F32) => &[
            ("bf16", "half the precision of weights and activations"),
            ("gguf:q8_0", "8.5 bits a weight: a loss of quality that is seldom measurable"),
            ("gguf:q4_k_m", "about 4.8 bits a weight: a measurable loss of quality"),
        ],
        WeightStorage::Dense(_) => &[
            (
                "gguf:q8_0",
                "8.5 bits a weight: a loss of quality that is seldom measurable; the cache grows to fp32",
            ),
            ("gguf:q4_k_m", "about 4.8 bits a weight: a measurable loss of quality; the cache grows to fp32"),
        ],
        WeightStorage::Gguf { .. } => {
            &[("gguf:q4_k_m", "about 4.8 bits a weight: a measurable loss of quality")]
        }
    };
    let Ok(before) = total(question) else { return Vec::new() };
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

fn fewer_sequences(plan: &Plan, question: &Question) -> Option<Advice> {
    let most = solve::largest_batch(plan).ok().filter(|n| *n >= 1 && *n < question.request.batch)?;
    let changed = solve::with_batch(plan, most)?;
    let estimate = again(&changed)?;
    let cost = format!("{most} sequences at once instead of {}", question.request.batch);
    Some(of(&estimate, json!({ "workload": { "concurrent_sequences": most } }), cost))
}

fn shorter(plan: &Plan) -> Option<Advice> {
    let longest = solve::longest_context(plan).ok()?;
    let crate::document::plan::Workload::Serve(serve) = &plan.workload else { return None };
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
fn larger_gpu(plan: &Plan, question: &Question) -> Option<Advice> {
    question.gpu?;
    let mut gpus: Vec<_> = catalogue::gpus().iter().collect();
    gpus.sort_by_key(|g| g.visible().bytes());
    let needed = total(question).ok()?;
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
    Question::of(plan).and_then(|question| answer(&question)).ok()
}

fn of(estimate: &Estimate, change: Value, cost: impl Into<String>) -> Advice {
    Advice { change, total_bytes: estimate.per_gpu.total, fits: estimate.fits, cost: cost.into() }
}

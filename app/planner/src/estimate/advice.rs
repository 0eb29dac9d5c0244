//! Single changes that would make a plan fit, each one re-estimated.
//!
//! Changes are tried kind by kind, within a kind from the smallest on. The first that makes the plan fit is given; where none
//! of a kind does, the last that helps is.

use serde_json::{Value, json};

use super::Compiled;
use crate::bytes::Bytes;
use crate::catalogue;
use crate::document::estimate::{Advice, Estimate};
use crate::document::merge;
use crate::document::plan::{EngineName, OffloadTo, Optimizer, Plan, Serve, Train, TrainMethod, Workload};
use crate::document::precision::{CachePrecision, WeightPrecision};
use crate::engine::Numbers;
use crate::solve;

/// A change and what it costs.
type Change = (Value, String);

/// Changes to a plan that does not fit. Only those that help are given; those that make it fit come first.
pub(super) fn advice(compiled: &Compiled) -> Vec<Advice> {
    let plan = compiled.plan();
    let Ok(before) = compiled.breakdown(&compiled.numbers()).map(|b| b.parts.total) else {
        return Vec::new();
    };
    let Ok(document) = serde_json::to_value(plan) else { return Vec::new() };
    let kinds: Vec<Vec<Change>> = match &plan.workload {
        Workload::Serve(serve) => serving(compiled, serve),
        Workload::Train(train) => training(plan, train),
        Workload::Embed { batch, .. } => vec![weights(plan), smaller_batch(*batch)],
    };
    let mut list: Vec<Advice> =
        kinds.into_iter().filter_map(|kind| smallest(&document, before, kind)).collect();
    list.extend(larger_gpu(plan));
    list.sort_by_key(|a| !a.fits);
    list
}

/// The first change that fits; else the last that helps.
fn smallest(document: &Value, before: Bytes, changes: Vec<Change>) -> Option<Advice> {
    let mut last = None;
    for (change, cost) in changes {
        let mut other = document.clone();
        merge(&mut other, &change);
        let Some(estimate) = Plan::from_value(other).ok().as_ref().and_then(again) else { continue };
        if estimate.fits {
            return Some(of(&estimate, change, cost));
        }
        if estimate.per_gpu.total < before {
            last = Some(of(&estimate, change, cost));
        }
    }
    last
}

fn serving(compiled: &Compiled, serve: &Serve) -> Vec<Vec<Change>> {
    let plan = compiled.plan();
    let mut kinds = vec![weights(plan), caches(plan), fewer_sequences(compiled, serve), shorter(plan, serve)];
    let needed = serve.sequence_tokens();
    if serve.max_model_len.is_some_and(|max| max > needed) {
        kinds.push(vec![(
            json!({ "workload": { "max_model_len": null } }),
            format!("no sequence longer than {needed} tokens is admitted"),
        )]);
    }
    kinds.push(
        [2048u64, 512]
            .into_iter()
            .filter(|n| serve.max_batched_tokens.is_some_and(|now| now.0 > *n))
            .map(|n| {
                let cost = format!("long prompts are read in steps of {n} tokens: later first tokens");
                (json!({ "workload": { "max_batched_tokens": n } }), cost)
            })
            .collect(),
    );
    let least = serve.concurrent_sequences;
    if serve.max_sequences.is_none_or(|now| now > least) {
        kinds.push(vec![(
            json!({ "workload": { "max_sequences": least } }),
            format!("the scheduler admits {}, no more", sequences(least)),
        )]);
    }
    let fraction = serve.memory_fraction.unwrap_or(0.9);
    kinds.push(
        [0.92, 0.95, 0.97]
            .into_iter()
            .filter(|f| *f > fraction)
            .map(|f| {
                let cost = "less memory is left for what the engine does not count";
                (json!({ "workload": { "memory_fraction": f } }), cost.to_owned())
            })
            .collect(),
    );
    kinds.push(host_layers(compiled));
    kinds.push(tensor_ranks(plan));
    kinds
}

#[allow(clippy::too_many_lines, reason = "a list, one kind of change after the other")]
fn training(plan: &Plan, train: &Train) -> Vec<Vec<Change>> {
    let workload = |change: Value| json!({ "workload": change });
    let mut kinds: Vec<Vec<Change>> = Vec::new();
    let halves = std::iter::successors(Some(train.micro_batch / 2), |n| Some(n / 2)).take_while(|n| *n > 0);
    kinds.push(
        halves
            .map(|n| {
                let steps = train.micro_batch.div_ceil(n).saturating_mul(train.gradient_accumulation);
                let cost = format!("{} at once in {steps} passes a step: slower", sequences(n));
                (workload(json!({ "micro_batch": n, "gradient_accumulation": steps })), cost)
            })
            .collect(),
    );
    kinds.push(
        [
            ("selective", "attention is computed twice"),
            ("full", "every forward pass is computed twice: about a third slower"),
        ]
        .map(|(kind, cost)| (workload(json!({ "checkpointing": kind })), cost.to_owned()))
        .to_vec(),
    );
    let switch = |field: &str, on: bool, cost: &str| {
        if on { Vec::new() } else { vec![(workload(json!({ field: true })), cost.to_owned())] }
    };
    kinds.push(switch("fused_cross_entropy", train.fused_cross_entropy, "logits are computed in pieces"));
    kinds.push(switch(
        "optimizer_in_backward",
        train.optimizer_in_backward,
        "no gradient clipping and no accumulation over several passes",
    ));
    kinds.push(switch(
        "activation_offload",
        train.activation_offload,
        "saved activations travel to the host and back",
    ));
    if matches!(train.optimizer, Optimizer::Adamw) {
        kinds.push(vec![
            (
                workload(json!({ "optimizer": "adamw-8bit" })),
                "states in 8 bit, in blocks (arXiv 2110.02861)".to_owned(),
            ),
            (
                workload(json!({ "optimizer": "adafactor" })),
                "no second moment, only its rows and columns".to_owned(),
            ),
            (workload(json!({ "optimizer": "sgd" })), "no state at all: another training".to_owned()),
        ]);
    }
    let p = &plan.parallelism;
    if p.data > 1 {
        kinds.push(
            (p.zero_stage + 1..=3)
                .map(|stage| {
                    let cost = if stage == 3 {
                        "parameters are gathered in every pass"
                    } else {
                        "little more communication"
                    };
                    (json!({ "parallelism": { "zero_stage": stage } }), cost.to_owned())
                })
                .collect(),
        );
    }
    if p.offload.optimizer == OffloadTo::None {
        kinds.push(vec![(
            json!({ "parallelism": { "offload": { "optimizer": "cpu" } } }),
            "the optimizer steps in host memory: slower".to_owned(),
        )]);
    }
    if matches!(train.method, TrainMethod::Full) {
        let lora = json!({ "rank": 16, "targets": ["q_proj", "v_proj"] });
        kinds.push(vec![
            (
                workload(json!({ "method": "lora", "lora": lora })),
                "only adapters learn (arXiv 2106.09685)".to_owned(),
            ),
            (
                json!({ "precision": { "weights": "nf4" }, "workload": { "method": "qlora", "lora": lora } }),
                "only adapters learn, on weights of 4 bit (arXiv 2305.14314)".to_owned(),
            ),
        ]);
    }
    let lengths =
        std::iter::successors(Some(train.sequence_tokens.0 / 2), |n| Some(n / 2)).take_while(|n| *n >= 256);
    kinds.push(
        lengths
            .map(|n| {
                (
                    workload(json!({ "sequence_tokens": n })),
                    format!("sequences of {n} tokens instead of {}", train.sequence_tokens),
                )
            })
            .collect(),
    );
    let devices = [2u32, 4, 8].map(|n| n.saturating_mul(p.data)).to_vec();
    kinds.push(
        devices
            .into_iter()
            .map(|n| {
                let change =
                    json!({ "gpu": { "count": null }, "parallelism": { "data": n, "zero_stage": 3 } });
                (change, format!("{n} GPUs that divide parameters, gradients and states"))
            })
            .collect(),
    );
    kinds.push(tensor_ranks(plan));
    kinds
}

/// Weights in fewer and fewer bits, of those that engines know.
fn weights(plan: &Plan) -> Vec<Change> {
    use WeightPrecision as P;
    let candidates = [
        (P::Bf16, "half the bytes of fp32"),
        (P::Fp8, "8 bits a weight: seldom a measurable loss"),
        (P::GgufQ8_0, "8.5 bits a weight: a loss of quality that is seldom measurable"),
        (P::Int8, "8 bits a weight: seldom a measurable loss"),
        (P::GgufQ6K, "6.6 bits a weight: a small loss of quality"),
        (P::GgufQ4KM, "about 4.8 bits a weight: a measurable loss of quality"),
        (P::Int4G128, "4 bits a weight: a measurable loss of quality; needs a quantized checkpoint"),
        (P::Nf4, "4 bits a weight: a measurable loss of quality, and slower"),
        (P::GgufQ3KM, "about 3.9 bits a weight: a clear loss of quality"),
        (P::GgufQ2K, "about 3.2 bits a weight: a heavy loss of quality"),
    ];
    let candle = plan.engine.name == EngineName::Candle;
    candidates
        .into_iter()
        .filter(|(weights, _)| plan.precision.weights != Some(*weights))
        .map(|(weights, cost)| {
            let gguf = weights.as_str().starts_with("gguf:");
            // Stock Candle's cache and activations follow the weights: what was asked before would contradict them.
            let follow = if candle {
                json!({ "weights": weights, "activations": null, "kv_cache": null })
            } else {
                json!({ "weights": weights })
            };
            let more = if candle && gguf { "; the cache grows to fp32" } else { "" };
            (json!({ "precision": follow }), format!("{cost}{more}"))
        })
        .collect()
}

fn caches(plan: &Plan) -> Vec<Change> {
    use CachePrecision as C;
    [
        (C::Fp8, "8 bits a cached value: a small loss in long contexts"),
        (C::Q8_0, "8.5 bits a cached value: a loss that is seldom measurable"),
        (C::Int8, "8 bits a cached value"),
        (C::Q4_0, "4.5 bits a cached value: a measurable loss of quality"),
    ]
    .into_iter()
    .filter(|(cache, _)| plan.precision.kv_cache != Some(*cache))
    .map(|(cache, cost)| (json!({ "precision": { "kv_cache": cache } }), cost.to_owned()))
    .collect()
}

fn fewer_sequences(compiled: &Compiled, serve: &Serve) -> Vec<Change> {
    let asked = serve.concurrent_sequences;
    solve::largest_batch_of(compiled)
        .ok()
        .filter(|n| *n >= 1 && *n < asked)
        .map(|most| {
            let cost = format!("{} at once instead of {asked}", sequences(most));
            (json!({ "workload": { "concurrent_sequences": most } }), cost)
        })
        .into_iter()
        .collect()
}

fn shorter(plan: &Plan, serve: &Serve) -> Vec<Change> {
    let prompt = solve::longest_context(plan)
        .ok()
        .and_then(|longest| longest.0.checked_sub(serve.output_tokens.0))
        .filter(|p| *p >= 1 && *p < serve.prompt_tokens.0);
    let Some(prompt) = prompt else { return Vec::new() };
    let mut change = json!({ "workload": { "prompt_tokens": prompt } });
    if serve.max_model_len.is_some() {
        change["workload"]["max_model_len"] = Value::Null;
    }
    let s = if prompt == 1 { "" } else { "s" };
    vec![(change, format!("prompts of {prompt} token{s} instead of {}", serve.prompt_tokens))]
}

/// llama.cpp: as many layers on the GPU as fit, the rest on the host.
fn host_layers(compiled: &Compiled) -> Vec<Change> {
    if compiled.plan().engine.name != EngineName::LlamaCpp {
        return Vec::new();
    }
    let numbers = compiled.numbers();
    let all = u32::try_from(compiled.model().layers.len()).unwrap_or(u32::MAX);
    let now = numbers.gpu_layers.unwrap_or(all).min(all);
    let fits = |n: u32| {
        compiled.breakdown(&Numbers { gpu_layers: Some(n), ..numbers }).is_ok_and(|answer| answer.fits)
    };
    (0..now)
        .rev()
        .find(|n| fits(*n))
        .map(|n| {
            let cost = format!("{} of {all} layers computed by the processor: much slower", all - n);
            (json!({ "workload": { "gpu_layers": n } }), cost)
        })
        .into_iter()
        .collect()
}

fn tensor_ranks(plan: &Plan) -> Vec<Change> {
    let now = plan.parallelism.tensor;
    [2u32, 4, 8]
        .into_iter()
        .filter(|n| *n > now)
        .map(|n| {
            let change = json!({ "gpu": { "count": null }, "parallelism": { "tensor": n } });
            (change, format!("{n} GPUs that divide every layer (tensor parallel) instead of {now}"))
        })
        .collect()
}

fn smaller_batch(batch: u32) -> Vec<Change> {
    std::iter::successors(Some(batch / 2), |n| Some(n / 2))
        .take_while(|n| *n > 0)
        .map(|n| {
            let cost = format!("{} at once instead of {batch}", sequences(u64::from(n)));
            (json!({ "workload": { "batch": n } }), cost)
        })
        .collect()
}

/// The smallest GPU of the catalogue that holds it.
fn larger_gpu(plan: &Plan) -> Option<Advice> {
    let own = catalogue::gpu(&plan.gpu.id)?;
    let now = own.visible().bytes();
    // Engines and kernels seldom run on another maker's GPU; memory shared with the host is another machine.
    let alike = |g: &&catalogue::Gpu| {
        g.compute_capability.is_some() == own.compute_capability.is_some()
            && g.unified_memory == own.unified_memory
    };
    let mut gpus: Vec<_> = catalogue::gpus().iter().filter(|g| g.id != plan.gpu.id).filter(alike).collect();
    gpus.sort_by_key(|g| g.visible().bytes());
    gpus.into_iter().filter(|g| g.visible().bytes() > now).find_map(|gpu| {
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

fn sequences(n: u64) -> String {
    if n == 1 { "1 sequence".to_owned() } else { format!("{n} sequences") }
}

fn again(plan: &Plan) -> Option<Estimate> {
    Compiled::new(plan).and_then(|compiled| compiled.estimate()).ok()
}

fn of(estimate: &Estimate, change: Value, cost: String) -> Advice {
    Advice { change, total_bytes: estimate.per_gpu.total, fits: estimate.fits, cost }
}

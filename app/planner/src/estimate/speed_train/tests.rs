//! Training speeds held against published runs, and against what must hold of any.

use serde_json::{Value, json};

use super::speed;
use crate::document::estimate::Speed;
use crate::document::plan::Plan;
use crate::engine::resolved::Resolved;
use crate::testing::{deepseek_v2, deepseek_v2_frame, llama};

fn resolved(document: Value) -> Resolved {
    let plan: Plan = serde_json::from_value(document).unwrap();
    Resolved::of(&plan).unwrap()
}

fn of(resolved: &Resolved) -> Speed {
    speed(resolved, &resolved.numbers).unwrap()
}

fn megatron(model: &Value, parallelism: &Value, microbatches: u64) -> Resolved {
    resolved(json!({
        "schema": 1, "model": { "name": "test", "config": model }, "gpu": { "id": "b200-sxm-192gb", "count": 8 }, "engine": { "name": "megatron" },
        "parallelism": parallelism,
        "workload": {
            "kind": "train", "method": "full", "sequence_tokens": 4096, "gradient_accumulation": microbatches,
            "fused_cross_entropy": true
        }
    }))
}

/// DeepSeek-V2's first four layers, which the plan's own model is replaced by.
fn deepseek(parallelism: &Value, microbatches: u64) -> Resolved {
    let mut plain = parallelism.clone();
    plain["expert"] = json!(1);
    let mut resolved = megatron(&deepseek_v2_frame(4), &plain, microbatches);
    resolved.plan.parallelism = serde_json::from_value(parallelism.clone()).unwrap();
    deepseek_v2(&mut resolved.model);
    resolved
}

/// Milliseconds of a step: Megatron-LM core 0.14 on eight B200 (MooreThreads/SimuMax, commit 4dcaae5,
/// `docs/b200/b200_release_v1.2_summary.md`), by microbatches.
#[test]
fn steps_of_megatron_take_what_was_measured() {
    let large = llama(12, 8192, 28672, 64, 128_256);
    let cases = [
        (json!({ "tensor": 2, "data": 4, "sequence": true, "zero_stage": 1 }), [725.5, 1387.0, 5376.5]),
        (json!({ "tensor": 8, "sequence": true, "zero_stage": 1 }), [280.9, 556.7, 2073.7]),
        (json!({ "pipeline": 2, "data": 4, "zero_stage": 1 }), [843.0, 1476.8, 5436.5]),
    ];
    for (parallelism, measured) in cases {
        for (microbatches, ms) in [4, 8, 32].into_iter().zip(measured) {
            let planned = of(&megatron(&large, &parallelism, microbatches)).step_ms;
            let error: f64 = planned / ms - 1.0;
            assert!(
                error.abs() < 0.12,
                "{parallelism} {microbatches}: planned {planned:.0} ms, measured {ms}"
            );
        }
    }
    let experts = [
        (json!({ "data": 8, "expert": 8, "zero_stage": 1 }), [366.6, 676.2, 2721.3]),
        (json!({ "pipeline": 2, "data": 4, "expert": 4, "zero_stage": 1 }), [282.1, 492.6, 1727.7]),
    ];
    for (parallelism, measured) in experts {
        for (microbatches, ms) in [4, 8, 32].into_iter().zip(measured) {
            let planned = of(&deepseek(&parallelism, microbatches)).step_ms;
            let error: f64 = planned / ms - 1.0;
            assert!(
                error.abs() < 0.25,
                "{parallelism} {microbatches}: planned {planned:.0} ms, measured {ms}"
            );
        }
    }
}

fn train(engine: &str, gpu: &str, parallelism: &Value, precision: &Value, workload: &Value) -> Resolved {
    let mut job = json!({ "kind": "train", "method": "full" });
    for (key, value) in workload.as_object().unwrap() {
        job[key] = value.clone();
    }
    resolved(json!({
        "schema": 1, "model": { "id": "meta-llama/Llama-3.1-8B" }, "gpu": { "id": gpu },
        "engine": { "name": engine }, "parallelism": parallelism, "precision": precision, "workload": job
    }))
}

/// Tokens a second of the whole job: Llama 3.1 8B on H100 96 GB (`pytorch/torchtitan`, commit b5bcd76,
/// `benchmarks/llama3_h100_202412_torchtitan.md`, tables 1 and 3) and on an RTX 4090 (`pytorch/torchtune`, commit 0031bfb,
/// README).
#[test]
fn fine_tuning_runs_as_fast_as_published() {
    let titan = |compile: bool| json!({ "sequence_tokens": 8192, "micro_batch": 2, "checkpointing": "selective", "compile": compile });
    let all = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    let tune = json!({
        "sequence_tokens": 2048, "micro_batch": 2, "checkpointing": "full", "mixed_precision": false,
        "master_weights": false, "fused_cross_entropy": true
    });
    let with = |more: Value| {
        let mut job = tune.clone();
        for (key, value) in more.as_object().unwrap() {
            job[key] = value.clone();
        }
        job
    };
    let adapters = with(json!({ "method": "qlora", "lora": { "rank": 8, "targets": all } }));
    let whole = with(json!({ "optimizer": "paged-adamw-8bit", "optimizer_in_backward": true }));
    let sharded = |data: u64| json!({ "data": data, "zero_stage": 3 });
    let bf16 = json!({ "weights": "bf16" });
    let cases = [
        ("torchtitan", "h100-96gb", sharded(8), &bf16, titan(false), 46_096.0, 0.1),
        ("torchtitan", "h100-96gb", sharded(8), &bf16, titan(true), 53_336.0, 0.1),
        ("torchtitan", "h100-96gb", sharded(128), &bf16, titan(false), 717_440.0, 0.1),
        ("torchtitan", "h100-96gb", sharded(128), &bf16, titan(true), 833_792.0, 0.1),
        ("torchtune", "rtx-4090-24gb", json!({}), &json!({ "weights": "nf4-dq" }), adapters, 2413.0, 0.25),
        ("torchtune", "rtx-4090-24gb", json!({}), &bf16, whole, 1650.0, 0.25),
    ];
    for (engine, gpu, parallelism, precision, workload, measured, within) in cases {
        let planned = of(&train(engine, gpu, &parallelism, precision, &workload)).tokens_per_second;
        let error: f64 = planned / measured - 1.0;
        assert!(
            error.abs() < within,
            "{engine} {gpu} {workload}: planned {planned:.0}, published {measured}"
        );
    }
}

#[test]
fn what_is_left_out_takes_no_time() {
    let time = |workload: Value| {
        let job = train("transformers", "a100-sxm-80gb", &json!({}), &json!({}), &workload);
        of(&job).step_ms
    };
    let base = json!({ "sequence_tokens": 2048, "micro_batch": 4 });
    let with = |key: &str, value: Value| {
        let mut job = base.clone();
        job[key] = value;
        job
    };
    let full = time(base.clone());
    let mut adapters = with("method", json!("lora"));
    adapters["lora"] = json!({ "rank": 8, "targets": ["q_proj", "v_proj"] });
    assert!(time(adapters) < 0.85 * full, "frozen matrices have no gradients to compute");
    let again = time(with("checkpointing", json!("full")));
    assert!((1.2..1.5).contains(&(again / full)), "a third pass forward: {}", again / full);
    let twice = time(with("gradient_accumulation", json!(2)));
    assert!(twice < 2.0 * full, "the optimizer steps once");
    assert!(time(with("compile", json!(true))) < full);
}

#[test]
fn a_pipelines_bubble_shrinks_with_microbatches_and_virtual_stages() {
    let large = llama(16, 8192, 28672, 64, 128_256);
    let rate = |parallelism: Value, microbatches: u64| {
        of(&megatron(&large, &parallelism, microbatches)).tokens_per_second
    };
    let plain = json!({ "pipeline": 8, "zero_stage": 1 });
    let interleaved = json!({
        "pipeline": 8, "zero_stage": 1, "pipeline_schedule": { "kind": "interleaved", "virtual_stages": 2 }
    });
    assert!(rate(plain.clone(), 8) < rate(plain.clone(), 16));
    assert!(rate(plain.clone(), 16) < rate(plain.clone(), 64));
    assert!(rate(plain, 8) < rate(interleaved, 8));
}

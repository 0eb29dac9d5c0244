//! Speed stays within what the machine allows, and near what was published.

use serde_json::{Value, json};

use super::*;
use crate::document::plan::Plan;
use crate::estimate;

fn speed(change: &Value) -> Speed {
    let mut plan = json!({
        "schema": 1, "model": { "id": "meta-llama/Llama-3.1-8B" }, "gpu": { "id": "h100-sxm-80gb" },
        "engine": { "name": "candle", "variant": "stock" },
        "workload": { "kind": "serve", "prompt_tokens": 128, "output_tokens": 64 }
    });
    for (key, value) in change.as_object().unwrap() {
        plan[key] = value.clone();
    }
    let plan = Plan::from_value(plan).unwrap();
    let resolved = Resolved::of(&plan).unwrap_or_else(|e| panic!("{e}"));
    Roofline::of(&resolved).unwrap().speed(&resolved.numbers).speed
}

fn serve(prompt: u64, output: u64, batch: u64) -> Value {
    json!({ "kind": "serve", "prompt_tokens": prompt, "output_tokens": output, "concurrent_sequences": batch })
}

fn engine(name: &str) -> Value {
    json!({ "name": name })
}

/// n (1 − (1 − k / n)^t): one token touches k; very many touch all.
#[test]
fn tokens_touch_experts() {
    for (routed, active, tokens, expected) in [
        (8.0, 2.0, 1.0, 2.0),
        (8.0, 2.0, 2.0, 3.5),
        (256.0, 8.0, 1.0, 8.0),
        (256.0, 8.0, 1e6, 256.0),
        (0.0, 0.0, 5.0, 0.0),
    ] {
        let got = touched(routed, active, tokens);
        assert!((got - expected).abs() < 1e-9, "{routed} {active} {tokens}: {got}");
    }
}

/// Bytes over bandwidth: Llama 3.1 8B in bf16 reads 8.03e9 parameters less its embedding, on 3350 GB/s; 2 operations a parameter
/// of the layers on 989.4 TFLOP/s.
#[test]
fn no_engine_beats_the_machine() {
    let read = (8_030_261_248.0 - 128_256.0 * 4096.0) * 2.0 / 3350e9 * 1e3;
    let operations = 2.0 * (8_030_261_248.0 - 2.0 * 128_256.0 * 4096.0) * 2048.0 / 989.4e12 * 1e3;
    for name in ["candle", "vllm", "sglang", "tensorrt-llm", "llama.cpp", "transformers", "litgpt"] {
        let found = speed(&json!({ "engine": engine(name), "workload": serve(2048, 64, 1) }));
        assert!(found.time_per_output_token_ms > read, "{name}: {found:?}");
        assert!(found.time_to_first_token_ms > operations, "{name}: {found:?}");
        assert!(found.time_per_output_token_ms < 12.0 * read, "{name}: {found:?}");
    }
}

/// What graphs are for: without them a small model is held back by launches, with them by memory.
#[test]
fn launches_hold_small_models_back() {
    let small = json!({ "id": "HuggingFaceTB/SmolLM2-135M" });
    let of = |name: &str| speed(&json!({ "model": small, "engine": engine(name) })).time_per_output_token_ms;
    assert!(of("transformers") > 10.0 * of("vllm"), "{} {}", of("transformers"), of("vllm"));
}

#[test]
fn more_work_takes_longer_and_more_ranks_less() {
    let step = |batch: u64, prompt: u64| {
        speed(&json!({ "engine": engine("vllm"), "workload": serve(prompt, 64, batch) }))
    };
    let mut last = 0.0;
    for batch in [1, 2, 8, 64, 256] {
        let now = step(batch, 1024).time_per_output_token_ms;
        assert!(now >= last, "{batch}");
        last = now;
    }
    assert!(step(256, 16).tokens_per_second > 20.0 * step(1, 16).tokens_per_second);
    assert!(step(1, 8192).time_to_first_token_ms > 3.0 * step(1, 2048).time_to_first_token_ms);
    let on = |ranks: u32, gpu: &str| {
        let model = json!({ "id": "meta-llama/Llama-3.1-70B" });
        speed(&json!({ "engine": engine("vllm"), "model": model, "gpu": { "id": gpu },
                       "parallelism": { "tensor": ranks }, "workload": serve(1024, 64, 1) }))
    };
    for (fewer, more) in [(1, 2), (2, 4), (4, 8)] {
        let (slow, fast) = (on(fewer, "h100-sxm-80gb"), on(more, "h100-sxm-80gb"));
        let gain = slow.time_per_output_token_ms / fast.time_per_output_token_ms;
        assert!(gain > 1.3 && gain < 2.0, "{fewer} to {more}: {gain}");
    }
    // A long prompt over PCIe waits for its neighbours, over NVLink for arithmetic.
    for (gpu, bound) in [("h100-sxm-80gb", Bound::Compute), ("l40s-48gb", Bound::Interconnect)] {
        let found =
            speed(&json!({ "engine": engine("vllm"), "gpu": { "id": gpu }, "parallelism": { "tensor": 8 },
            "model": { "id": "meta-llama/Llama-3.1-70B" }, "workload": serve(8192, 1, 1) }));
        assert_eq!(found.bound, bound, "{gpu}");
    }
}

#[test]
fn prefill_is_bound_by_compute_and_decode_by_memory() {
    let decode = speed(&json!({ "engine": engine("vllm"), "workload": serve(16, 512, 1) }));
    assert_eq!(decode.bound, Bound::Memory);
    let prefill = speed(&json!({ "engine": engine("vllm"), "workload": serve(8192, 1, 1) }));
    assert_eq!(prefill.bound, Bound::Compute);
}

/// XiongjieDai/GPU-Benchmarks-on-LLM-Inference, README at 00dd2bd, `LLaMA` 3 table of May 2024, `tg 512` in tokens a second:
/// before CUDA graphs, so that today's engine may be up to a third faster and not much slower.
#[test]
fn llama_cpp_is_near_its_published_speed() {
    for (gpu, weights, published) in [
        ("rtx-4090-24gb", "gguf:q4_k_m", 130.58),
        ("rtx-4090-24gb", "gguf:f16", 54.84),
        ("rtx-3090-24gb", "gguf:q4_k_m", 115.42),
        ("rtx-3090-24gb", "gguf:f16", 47.40),
    ] {
        let found = speed(&json!({ "engine": engine("llama.cpp"), "gpu": { "id": gpu },
            "precision": { "weights": weights }, "workload": serve(1, 512, 1) }));
        let ratio = found.tokens_per_second / published;
        assert!((0.92..1.33).contains(&ratio), "{gpu} {weights}: {:.1}", found.tokens_per_second);
    }
}

/// Lightning-AI/litgpt at 4839345, `tutorials/resource-tables.md` (A100 40 GB, 50 tokens in one call), and QwenLM/Qwen at 03cd81f,
/// README, "Inference Performance" (A100 80 GB, 2048 tokens after one): output tokens a second. Two coefficients of `LitGPT` are
/// fitted on the bf16 rows, one of Transformers on all of its rows.
#[test]
fn published_rows_are_within_a_quarter() {
    let litgpt = |model, weights, published| ("litgpt", model, "a100-sxm-40gb", weights, (6, 50), published);
    let qwen =
        |model, weights, published| ("transformers", model, "a100-sxm-80gb", weights, (1, 2048), published);
    let rows = [
        litgpt("meta-llama/Llama-2-7b-hf", "bf16", 30.97),
        litgpt("meta-llama/Llama-2-7b-hf", "nf4", 19.98),
        litgpt("meta-llama/Llama-2-7b-hf", "nf4-dq", 17.3),
        litgpt("microsoft/phi-1_5", "bf16", 42.56),
        litgpt("microsoft/phi-1_5", "nf4", 22.89),
        litgpt("codellama/CodeLlama-34b-hf", "nf4", 14.32),
        litgpt("codellama/CodeLlama-34b-hf", "nf4-dq", 12.37),
        qwen("Qwen/Qwen-1_8B", "bf16", 54.09),
        qwen("Qwen/Qwen-1_8B", "int8", 55.56),
        qwen("Qwen/Qwen-1_8B", "int4-g128", 71.07),
        qwen("Qwen/Qwen-14B", "bf16", 32.22),
        qwen("Qwen/Qwen-14B", "int8", 29.28),
        qwen("Qwen/Qwen-14B", "int4-g128", 38.72),
    ];
    let mut errors: Vec<f64> = rows
        .into_iter()
        .map(|(name, model, gpu, weights, (prompt, output), published): (&str, &str, &str, &str, _, f64)| {
            let found =
                speed(&json!({ "engine": engine(name), "model": { "id": model }, "gpu": { "id": gpu },
                "precision": { "weights": weights }, "workload": serve(prompt, output, 1) }));
            let error = (found.tokens_per_second / published - 1.0).abs();
            assert!(error < 0.25, "{model} {weights}: {:.2} for {published}", found.tokens_per_second);
            error
        })
        .collect();
    errors.sort_by(f64::total_cmp);
    assert!(errors[errors.len() / 2] < 0.08, "the median is {}", errors[errors.len() / 2]);
}

#[test]
fn nothing_is_said_where_nothing_is_known() {
    for (gpu, workload) in [
        ("cpu", serve(8, 8, 1)),
        ("h100-96gb", serve(8, 8, 1)),
        ("h100-sxm-80gb", json!({ "kind": "train", "method": "full", "sequence_tokens": 128 })),
    ] {
        let plan = Plan::from_value(json!({
            "schema": 1, "model": { "id": "HuggingFaceTB/SmolLM2-135M" }, "gpu": { "id": gpu }, "workload": workload
        }))
        .unwrap();
        assert!(Roofline::of(&Resolved::of(&plan).unwrap()).is_none(), "{gpu}");
    }
}

/// 700 W over the tokens a second; 3.6 MJ a kilowatt hour; a price is spread over an hour's tokens.
#[test]
fn energy_and_cost_follow_from_speed() {
    let plan = Plan::from_value(json!({
        "schema": 1, "model": { "id": "HuggingFaceTB/SmolLM2-135M" },
        "gpu": { "id": "h100-sxm-80gb", "power_w": 500.0, "price_per_hour": 3.6 },
        "workload": { "kind": "serve", "prompt_tokens": 16, "output_tokens": 16 }
    }))
    .unwrap();
    let estimate = estimate(&plan).unwrap();
    let rate = estimate.speed.unwrap().tokens_per_second;
    let (energy, cost) = (estimate.energy.unwrap(), estimate.cost.unwrap());
    assert!((energy.joules_per_token - 500.0 / rate).abs() < 1e-9);
    assert!((energy.kwh_per_million_tokens - 500.0 / rate / 3.6).abs() < 1e-9);
    assert!((cost.per_million_tokens - 1000.0 / rate).abs() < 1e-9);
    let mut free = plan;
    free.gpu.price_per_hour = None;
    free.gpu.power_w = None;
    let estimate = crate::estimate(&free).unwrap();
    assert!(estimate.cost.is_none());
    assert!((estimate.energy.unwrap().watts - 700.0).abs() < 1e-9, "the catalogue's limit");
}

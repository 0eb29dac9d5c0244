use serde_json::{Value, json};

use super::at_least;
use crate::document::plan::Plan;
use crate::estimate::estimate;
use crate::{Estimate, PlanError};

fn run(change: &Value) -> Result<Estimate, PlanError> {
    let mut plan = json!({
        "schema": 1, "model": {"id": "meta-llama/Llama-3.1-8B"}, "gpu": {"id": "a100-sxm-80gb"},
        "engine": {"name": "transformers"}, "precision": {"weights": "bf16"},
        "workload": {"kind": "serve", "prompt_tokens": 1024, "output_tokens": 128}
    });
    for (key, value) in change.as_object().into_iter().flatten() {
        match (plan.get_mut(key).and_then(Value::as_object_mut), value.as_object()) {
            (Some(old), Some(new)) => old.extend(new.clone()),
            _ => plan[key] = value.clone(),
        }
    }
    estimate(&serde_json::from_value::<Plan>(plan).unwrap())
}

#[test]
fn versions_compare_by_number() {
    for (version, minor, expected) in [
        ("4.35.2", 36, false),
        ("4.36.0", 36, true),
        ("4.57", 56, true),
        ("v4.9.1", 36, false),
        ("5.0", 56, true),
        ("3.5", 36, false),
        ("main", 56, true),
    ] {
        assert_eq!(at_least(version, minor), expected, "{version} against 4.{minor}");
    }
}

#[test]
fn tuples_hold_the_cache_twice_and_layers_hold_one_more() {
    // One prompt token and 2047 more: the peak is the last step.
    let with = |version: &str| {
        let change = json!({
            "engine": {"name": "transformers", "version": version},
            "workload": {"prompt_tokens": 1, "output_tokens": 2047}
        });
        run(&change).unwrap().per_gpu
    };
    let (old, new) = (with("4.35.0"), with("4.57"));
    assert_eq!(old.kv_cache.0, 2048 * 131_072);
    assert_eq!(new.kv_cache, old.kv_cache);
    // All layers' keys and values of 2047 tokens, against one layer's keys.
    assert_eq!(old.temporary.0 - new.temporary.0, 2047 * (131_072 - 131_072 / 64));
}

#[test]
fn eager_scores_grow_with_the_square_of_the_prompt() {
    let peak = |prompt: u64, kind: &str| {
        let change = json!({
            "attention": {"kind": kind}, "workload": {"prompt_tokens": prompt, "output_tokens": 0}
        });
        run(&change).unwrap().per_gpu.activations.0
    };
    // 32 heads: scores in bf16, fp32 and bf16 again; a mask in bf16.
    let of_pair = 32 * 8 + 2;
    assert_eq!(peak(4096, "eager") - peak(4096, "memory-efficient"), 4096 * 4096 * of_pair);
    assert!(peak(2048, "flash") < peak(2048, "memory-efficient"));
}

#[test]
fn a_window_bounds_the_cache_after_the_prompt() {
    // Gemma 2 9B: 21 of 42 layers see 4096 tokens; 8 key heads of 256.
    let with = |version: &str| {
        let change = json!({
            "model": {"id": "google/gemma-2-9b-it"}, "engine": {"name": "transformers", "version": version},
            "workload": {"prompt_tokens": 8000, "output_tokens": 192}
        });
        run(&change).unwrap().per_gpu.kv_cache.0
    };
    let of_layer = 2 * 8 * 256 * 2;
    assert_eq!(with("4.57"), 21 * of_layer * (8192 + 4096));
    assert_eq!(with("4.55"), 42 * of_layer * 8192);
}

#[test]
fn quantized_layers_leave_embedding_and_head() {
    // Llama 3.1 8B: 6 979 321 856 parameters in matrices of the layers; embedding and head of 128256 × 4096 each.
    let matrices = 6_979_321_856_u64;
    let plain = 2 * (2 * 128_256 * 4096 + 65 * 4096);
    let weights = |precision: &str| {
        run(&json!({"precision": {"weights": precision, "activations": "fp16"}})).unwrap().per_gpu.weights.0
    };
    assert_eq!(weights("bf16"), plain + 2 * matrices);
    assert_eq!(weights("nf4"), plain + matrices / 2 + matrices / 64 * 4);
    for (precision, low, high) in
        [("int4-g128", 0.519, 0.521), ("int8", 1.023, 1.025), ("nf4-dq", 0.515, 0.517)]
    {
        let share = (weights(precision) - plain) as f64 / matrices as f64;
        assert!((low..high).contains(&share), "{precision}: {share}");
    }
}

#[test]
fn layers_and_heads_are_divided() {
    let whole = run(&json!({})).unwrap();
    let stages = run(&json!({"parallelism": {"pipeline": 2}})).unwrap();
    let ranks = run(&json!({"parallelism": {"tensor": 2}})).unwrap();
    assert_eq!(stages.kv.bytes_per_token.0 * 2, whole.kv.bytes_per_token.0);
    assert_eq!(ranks.kv.bytes_per_token.0 * 2, whole.kv.bytes_per_token.0);
    assert!(stages.per_gpu.weights.0 > whole.per_gpu.weights.0 / 2);
    assert!(ranks.per_gpu.weights.0 > whole.per_gpu.weights.0 / 2, "norms are on every rank");
}

#[test]
fn phases_are_the_two_peaks() {
    let answer = run(&json!({})).unwrap();
    let phases = answer.phases.unwrap();
    let names: Vec<&str> = phases.iter().map(|p| p.phase.as_str()).collect();
    assert_eq!(names, ["load", "prefill", "decode"]);
    assert_eq!(phases.iter().map(|p| p.peak_bytes).max(), Some(answer.totals.allocated));
}

#[test]
fn what_the_engine_cannot_do_is_refused_by_field() {
    let cases = [
        (json!({"precision": {"weights": "gguf:q4_k_m"}}), "precision.weights"),
        (json!({"precision": {"weights": "nvfp4"}}), "precision.weights"),
        (json!({"precision": {"kv_cache": "fp8"}}), "precision.kv_cache"),
        (json!({"precision": {"kv_cache": "fp16"}}), "precision.kv_cache"),
        (json!({"parallelism": {"expert": 2, "tensor": 2}}), "parallelism.expert"),
        (json!({"parallelism": {"zero_stage": 3}}), "parallelism.zero_stage"),
        (json!({"workload": {"max_sequences": 4}}), "workload.max_sequences"),
        (json!({"gpu": {"id": "cpu"}}), "gpu.id"),
        (json!({"cache": {"kind": "paged"}}), "cache.kind"),
        (json!({"attention": {"kind": "sliding-window", "window": 8}}), "attention.kind"),
    ];
    for (change, field) in cases {
        assert_eq!(run(&change).unwrap_err().field, field, "{change}");
    }
}

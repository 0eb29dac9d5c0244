use serde_json::{Value, json};

use crate::document::plan::Plan;
use crate::estimate::estimate;
use crate::{Estimate, PlanError};

fn run(change: &Value) -> Result<Estimate, PlanError> {
    let mut plan = json!({
        "schema": 1, "model": {"id": "meta-llama/Llama-2-7b-hf"}, "gpu": {"id": "a100-sxm-40gb"},
        "engine": {"name": "litgpt"},
        "workload": {"kind": "serve", "prompt_tokens": 6, "output_tokens": 50}
    });
    for (key, value) in change.as_object().into_iter().flatten() {
        match (plan.get_mut(key).and_then(Value::as_object_mut), value.as_object()) {
            (Some(old), Some(new)) => old.extend(new.clone()),
            _ => plan[key] = value.clone(),
        }
    }
    estimate(&serde_json::from_value::<Plan>(plan).unwrap())
}

/// Lightning-AI/litgpt, `tutorials/resource-tables.md` at 4839345: `torch.cuda.max_memory_allocated` in GB.
#[test]
fn allocator_peaks_are_those_published() {
    for (weights, gb) in [("bf16", 13.52), ("nf4", 4.57), ("nf4-dq", 4.26)] {
        let change = json!({
            "engine": {"name": "litgpt", "version": "8641822"},
            "precision": {"weights": weights, "activations": "bf16"}
        });
        let planned = run(&change).unwrap().totals.allocated.0 as f64 / 1e9;
        assert!((planned / gb - 1.0).abs() < 0.01, "{weights}: {planned} GB, published {gb} GB");
    }
}

#[test]
fn a_single_token_dequantizes_nothing() {
    let peak = |prompt: u64, activations: &str| {
        let change = json!({
            "precision": {"weights": "nf4", "activations": activations},
            "workload": {"prompt_tokens": prompt, "output_tokens": 50}
        });
        run(&change).unwrap().per_gpu.temporary.0
    };
    // The head's 32000 × 4096 elements: in fp16, and copied to bf16 where that is computed in.
    let head = 32_000 * 4096;
    let masks = 52 * 52 - 51 * 51;
    assert_eq!(peak(2, "bf16") - peak(1, "bf16"), head * 4 + masks);
    assert_eq!(peak(2, "fp16") - peak(1, "fp16"), head * 2 + masks);
}

#[test]
fn old_versions_keep_a_key_for_every_query_head() {
    let per_token = |version: &str| {
        let change = json!({"model": {"id": "meta-llama/Llama-3.1-8B"}, "engine": {"name": "litgpt", "version": version}});
        run(&change).unwrap().kv.bytes_per_token.0
    };
    // 32 layers × 2 × 128 × 2 bytes, times 32 query or 8 key heads.
    for (version, heads) in
        [("8641822", 32), ("0.4.0", 32), ("0.5.4", 32), ("0.5.5", 8), ("0.5.13", 8), ("1.0.0", 8)]
    {
        assert_eq!(per_token(version), 32 * 2 * 128 * 2 * heads, "{version}");
    }
}

#[test]
fn the_cache_is_allocated_for_the_longest_sequence() {
    let short = run(&json!({})).unwrap();
    let long = run(&json!({"workload": {"max_model_len": 4096}})).unwrap();
    assert_eq!(short.per_gpu.kv_cache.0, 56 * 32 * 2 * 4096 * 2);
    assert_eq!(long.per_gpu.kv_cache.0, 4096 * 32 * 2 * 4096 * 2);
}

#[test]
fn what_the_engine_cannot_do_is_refused_by_field() {
    let cases = [
        (json!({"precision": {"weights": "gguf:q4_0"}}), "precision.weights"),
        (json!({"precision": {"weights": "bf16", "activations": "fp16"}}), "precision.activations"),
        (json!({"precision": {"weights": "int8", "activations": "bf16"}}), "precision.activations"),
        (json!({"precision": {"kv_cache": "fp8"}}), "precision.kv_cache"),
        (json!({"parallelism": {"tensor": 2}}), "parallelism.tensor"),
        (json!({"workload": {"memory_fraction": 0.5}}), "workload.memory_fraction"),
        (json!({"gpu": {"id": "cpu"}}), "gpu.id"),
        (json!({"cache": {"kind": "paged"}}), "cache.kind"),
        (json!({"attention": {"kind": "eager"}}), "attention.kind"),
    ];
    for (change, field) in cases {
        assert_eq!(run(&change).unwrap_err().field, field, "{change}");
    }
}

#[test]
fn the_command_says_what_was_planned() {
    let command = run(&json!({"precision": {"weights": "nf4"}})).unwrap().command.unwrap();
    assert_eq!(
        command,
        "litgpt generate meta-llama/Llama-2-7b-hf --precision bf16-true --quantize bnb.nf4 --max_new_tokens 50"
    );
    assert_eq!(run(&json!({"workload": {"concurrent_sequences": 2}})).unwrap().command, None);
}

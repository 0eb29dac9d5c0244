use serde_json::{Value, json};

use super::weights::stage_layers;
use crate::document::plan::Plan;
use crate::estimate::estimate;
use crate::{Estimate, PlanError};

/// A plan for TensorRT-LLM with `change` merged into it, two levels deep.
fn plan(model: &str, gpu: &str, change: &Value) -> Plan {
    let mut plan = json!({
        "schema": 1, "model": {"id": model}, "gpu": {"id": gpu}, "engine": {"name": "tensorrt-llm"},
        "precision": {"weights": "bf16"},
        "workload": {"kind": "serve", "prompt_tokens": 2048, "output_tokens": 2048}
    });
    for (key, value) in change.as_object().into_iter().flatten() {
        match (plan.get_mut(key).and_then(Value::as_object_mut), value.as_object()) {
            (Some(old), Some(new)) => old.extend(new.clone()),
            _ => plan[key] = value.clone(),
        }
    }
    serde_json::from_value(plan).unwrap()
}

fn run(model: &str, gpu: &str, change: &Value) -> Result<Estimate, PlanError> {
    estimate(&plan(model, gpu, change))
}

const LLAMA: &str = "meta-llama/Llama-3.1-8B";
const H100: &str = "h100-sxm-80gb";

/// ai-dynamo/aiconfigurator, `tests/integration/test_trtllm_kv_cache_capacity.py`: sequences that TensorRT-LLM held.
#[test]
fn sequences_held_are_those_published() {
    // model, gpu, memory in MiB, weights, ranks, longest sequence, tokens of a step, fraction, sequences
    let rows = [
        ("Qwen/Qwen3-32B", H100, None, "fp8", 1, 5096, 4096, 0.8, 27),
        ("Qwen/Qwen3-32B", H100, None, "fp8", 2, 7144, 8192, 0.8, 53),
        ("Qwen/Qwen3-32B", H100, None, "fp8", 4, 9192, 8192, 0.8, 93),
        (LLAMA, "gb300-288gb", Some(284_208), "bf16", 1, 5096, 4096, 0.8, 330),
        (LLAMA, "gb300-288gb", Some(284_208), "bf16", 2, 7144, 8192, 0.9, 544),
        (LLAMA, "gb300-288gb", Some(284_208), "bf16", 4, 9192, 8192, 0.9, 856),
    ];
    for (model, gpu, memory, weights, tensor, longest, step, fraction, sequences) in rows {
        let change = json!({
            "gpu": {"memory_mib": memory}, "precision": {"weights": weights}, "parallelism": {"tensor": tensor},
            "workload": {"max_model_len": longest, "max_batched_tokens": step, "memory_fraction": fraction}
        });
        let held = run(model, gpu, &change).unwrap().kv.max_concurrent_sequences;
        let error = (held as f64 - f64::from(sequences)) / f64::from(sequences);
        assert!(error.abs() <= 0.01, "{model} × {tensor}, {longest}: {held}, published {sequences}");
    }
}

#[test]
fn a_sequence_takes_whole_blocks() {
    // 32 layers × 2 × 8 heads × 128 × 2 bytes = 131072 a token; 33 tokens are two blocks of 32.
    for (prompt, tokens) in [(31, 32), (32, 32), (33, 64)] {
        let change = json!({"workload": {"prompt_tokens": prompt, "output_tokens": 0}});
        let answer = run(LLAMA, H100, &change).unwrap();
        assert_eq!(answer.per_gpu.kv_cache.0, tokens * 131_072, "{prompt}");
        assert_eq!(answer.kv.pool_bytes.0 % (32 * 131_072), 0);
        assert_eq!(answer.kv.pool_tokens, answer.kv.pool_bytes.0 / 131_072);
    }
    let change = json!({"cache": {"kind": "paged", "page_tokens": 64}, "workload": {"prompt_tokens": 33, "output_tokens": 0}});
    assert_eq!(run(LLAMA, H100, &change).unwrap().per_gpu.kv_cache.0, 64 * 131_072);
}

#[test]
fn key_heads_are_divided_and_then_repeat() {
    let per_token = |tensor: u32| {
        run(LLAMA, H100, &json!({"parallelism": {"tensor": tensor}})).unwrap().kv.bytes_per_token.0
    };
    assert_eq!([1, 2, 4, 8, 16].map(per_token), [131_072, 65_536, 32_768, 16_384, 16_384]);
    let warned = run(LLAMA, H100, &json!({"parallelism": {"tensor": 16}})).unwrap().warnings;
    assert!(warned.iter().any(|w| w.code == "kv-heads-replicated"));
}

#[test]
fn an_eight_bit_cache_holds_twice_the_tokens() {
    let wide = run(LLAMA, H100, &json!({})).unwrap();
    let narrow = run(LLAMA, H100, &json!({"precision": {"kv_cache": "fp8"}})).unwrap();
    assert_eq!(narrow.kv.bytes_per_token.0 * 2, wide.kv.bytes_per_token.0);
    assert!(narrow.kv.pool_tokens.abs_diff(wide.kv.pool_tokens * 2) <= 32, "but for one block");
    assert!(narrow.command.unwrap().contains("kv_cache_config: {dtype: fp8, free_gpu_memory_fraction: 0.9}"));
}

#[test]
fn windows_bound_what_a_layer_keeps() {
    // Gemma 2 9B: 21 of 42 layers see 4096 tokens: 128 blocks and one more; 8 key heads of 256.
    let change = json!({"workload": {"prompt_tokens": 8192, "output_tokens": 0}});
    let answer = run("google/gemma-2-9b-it", H100, &change).unwrap();
    let of_layer = 2 * 8 * 256 * 2;
    assert_eq!(answer.per_gpu.kv_cache.0, 21 * of_layer * (8192 + 129 * 32));
}

#[test]
fn a_longer_step_leaves_a_smaller_pool() {
    let pool = |step: u64| {
        run(LLAMA, H100, &json!({"workload": {"max_batched_tokens": step}})).unwrap().kv.pool_bytes.0
    };
    assert!(pool(16_384) < pool(8192) && pool(8192) < pool(1024));
    assert_eq!(pool(8192), run(LLAMA, H100, &json!({})).unwrap().kv.pool_bytes.0, "the default is 8192");
}

#[test]
fn what_does_not_fit_says_so() {
    let short = run(LLAMA, H100, &json!({"workload": {"concurrent_sequences": 4096}})).unwrap();
    assert!(!short.fits && short.kv.pool_bytes.0 > 0);
    let none = run("meta-llama/Llama-3.1-70B", H100, &json!({})).unwrap();
    assert!(!none.fits && none.kv.pool_bytes.0 == 0);
    assert!(none.warnings.iter().any(|w| w.code == "pool-negative"));
}

#[test]
fn stages_divide_the_layers_with_the_remainder_first() {
    assert_eq!([0, 1, 2].map(|s| stage_layers(32, s, 3)), [0..11, 11..22, 22..32]);
    let whole = run(LLAMA, H100, &json!({})).unwrap();
    let half = run(LLAMA, H100, &json!({"parallelism": {"pipeline": 2}})).unwrap();
    assert_eq!(half.kv.bytes_per_token.0 * 2, whole.kv.bytes_per_token.0);
    assert!(half.per_gpu.weights.0 < whole.per_gpu.weights.0 * 53 / 100);
}

#[test]
fn what_the_engine_cannot_do_is_refused_by_field() {
    let cases = [
        (json!({"precision": {"weights": "nf4"}}), "precision.weights"),
        (json!({"precision": {"weights": "gguf:q4_0"}}), "precision.weights"),
        (json!({"precision": {"kv_cache": "q8_0"}}), "precision.kv_cache"),
        (json!({"precision": {"activations": "fp32"}}), "precision.activations"),
        (json!({"gpu": {"id": "cpu"}}), "gpu.id"),
        (json!({"engine": {"name": "tensorrt-llm", "version": "0.9.0"}}), "engine.version"),
        (json!({"attention": {"kind": "eager"}}), "attention.kind"),
        (json!({"cache": {"kind": "slab"}}), "cache.kind"),
        (json!({"cache": {"kind": "paged", "page_tokens": 24}}), "cache.page_tokens"),
        (json!({"parallelism": {"context": 2}}), "parallelism.context"),
        (json!({"parallelism": {"zero_stage": 3}}), "parallelism.zero_stage"),
        (json!({"workload": {"gpu_layers": 3}}), "workload.gpu_layers"),
        (json!({"workload": {"kind": "train", "method": "full", "sequence_tokens": 8}}), "workload.kind"),
    ];
    for (change, field) in cases {
        let change = if change["workload"]["kind"] == "train" {
            let mut p = serde_json::to_value(plan(LLAMA, H100, &json!({}))).unwrap();
            p["workload"] = change["workload"].clone();
            estimate(&serde_json::from_value(p).unwrap())
        } else {
            run(LLAMA, H100, &change)
        };
        assert_eq!(change.unwrap_err().field, field);
    }
}

#[test]
fn the_command_says_what_was_planned() {
    let change = json!({"parallelism": {"tensor": 2}, "workload": {"max_batched_tokens": 4096, "memory_fraction": 0.8}});
    let command = run(LLAMA, H100, &change).unwrap().command.unwrap();
    assert_eq!(
        command,
        "trtllm-serve meta-llama/Llama-3.1-8B --tp_size 2 --pp_size 1 --max_seq_len 4096 --max_num_tokens 4096 \
         --max_batch_size 2048 --kv_cache_free_gpu_memory_fraction 0.8"
    );
}

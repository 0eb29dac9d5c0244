use serde_json::{Value, json};

use crate::document::merge;
use crate::document::plan::Plan;
use crate::estimate::estimate;
use crate::{Estimate, PlanError};

fn run(change: &Value) -> Result<Estimate, PlanError> {
    let mut plan = json!({
        "schema": 1, "model": {"id": "BAAI/bge-m3"}, "gpu": {"id": "h100-sxm-80gb"}, "engine": {"name": "vllm"},
        "workload": {"kind": "embed", "sequence_tokens": 512, "batch": 32}
    });
    merge(&mut plan, change);
    estimate(&serde_json::from_value::<Plan>(plan).unwrap())
}

#[test]
fn an_encoder_has_no_cache_and_fills_nothing() {
    let answer = run(&json!({})).unwrap();
    assert_eq!((answer.kv.pool_bytes.0, answer.kv.pool_tokens, answer.per_gpu.kv_cache.0), (0, 0, 0));
    // fp32 in the checkpoint, 16 bit in vLLM (`_resolve_auto_dtype`), without the pooler; sizes rounded to the allocator's.
    let parameters = 567_754_752 - (1024 * 1024 + 1024);
    let off = answer.per_gpu.weights.0 as f64 / (2.0 * f64::from(parameters)) - 1.0;
    assert!((0.0..0.02).contains(&off), "{off}");
    assert!(answer.fits && answer.per_gpu.total.0 < 8 << 30, "{}", answer.per_gpu.total);
    assert!(answer.error_band.basis.starts_with("unmeasured"));
    assert!(answer.speed.is_some_and(|s| s.tokens_per_second > 1e5));
}

/// `max_num_batched_tokens` of an H100 is 8192: 16 sequences of 512 at once, however many are asked.
#[test]
fn a_step_takes_whole_sequences_up_to_its_limit() {
    let activations = |length: u64, batch: u64| {
        let workload = json!({"kind": "embed", "sequence_tokens": length, "batch": batch});
        run(&json!({"workload": workload})).unwrap().per_gpu.activations.0
    };
    assert_eq!(activations(512, 16), activations(512, 1000));
    assert_eq!(activations(512, 16), 2 * activations(512, 8));
    // 5000 tokens: one sequence a step, for none is cut.
    assert_eq!(activations(5000, 1), activations(5000, 7));
    assert!(activations(5000, 1) < activations(512, 16));
    // A sequence longer than the default raises it; below it the warm-up's token for each admitted sequence is more.
    assert!(run(&json!({"workload": {"kind": "embed", "sequence_tokens": 8192, "batch": 2}})).unwrap().fits);
    assert_eq!(activations(16, 1), activations(16, 2));
}

#[test]
fn a_decoder_keeps_its_pool_and_loses_its_head() {
    let qwen = |id: &str, workload: Value| run(&json!({"model": {"id": id}, "workload": workload})).unwrap();
    let embed = json!({"kind": "embed", "sequence_tokens": 512, "batch": 32});
    let answer = qwen("Qwen/Qwen3-Embedding-8B", embed.clone());
    assert!(answer.kv.pool_bytes.0 > 40 << 30, "{}", answer.kv.pool_bytes);
    // 36 layers, 8 key heads of 128, keys and values, 16 bit.
    assert_eq!(answer.per_gpu.kv_cache.0, 32 * 512 * 36 * 8 * 128 * 2 * 2);
    // Llama 3.1 8B has a head of its own, 128256 × 4096 in 16 bit, and samples when it serves.
    let serve = json!({"kind": "serve", "prompt_tokens": 512, "concurrent_sequences": 32});
    let served = run(&json!({"model": {"id": "meta-llama/Llama-3.1-8B"}})).unwrap();
    let mut plan = json!({"model": {"id": "meta-llama/Llama-3.1-8B"}});
    plan["workload"] = serve;
    let mut base = json!({"schema": 1, "gpu": {"id": "h100-sxm-80gb"}, "engine": {"name": "vllm"}});
    base.as_object_mut().unwrap().extend(plan.as_object().unwrap().clone());
    let serving = estimate(&serde_json::from_value::<Plan>(base).unwrap()).unwrap();
    assert_eq!(serving.per_gpu.weights.0 - served.per_gpu.weights.0, 128_256 * 4096 * 2);
    assert!(served.per_gpu.temporary < serving.per_gpu.temporary);
    assert!(served.per_gpu.cuda_graphs < serving.per_gpu.cuda_graphs, "pieces alone");
}

#[test]
fn the_command_says_what_the_release_calls_it() {
    for (version, part) in [
        ("0.10.2", "vllm serve BAAI/bge-m3 --task embed --max-model-len 512"),
        ("0.19.0", "vllm serve BAAI/bge-m3 --runner pooling --max-model-len 512"),
    ] {
        let command = run(&json!({"engine": {"name": "vllm", "version": version}})).unwrap().command.unwrap();
        assert!(command.starts_with(part), "{command}");
    }
    // The share that must be free when it starts is lowered to what is.
    let busy = run(&json!({"gpu": {"id": "h100-sxm-80gb", "in_use_mib": 40_000}})).unwrap();
    let command = busy.command.unwrap();
    assert!(command.ends_with("--gpu-memory-utilization 0.5"), "{command}");
    assert!(busy.fits);
}

#[test]
fn what_cannot_embed_is_refused_by_field() {
    for (change, field) in [
        (json!({"engine": {"name": "vllm", "version": "0.9.2"}}), "engine.version"),
        (json!({"model": {"id": "sentence-transformers/all-mpnet-base-v2"}}), "model"),
        (json!({"model": {"id": "distilbert/distilbert-base-uncased"}}), "model"),
        (json!({"parallelism": {"pipeline": 2}}), "parallelism.pipeline"),
        (json!({"parallelism": {"tensor": 3}}), "parallelism.tensor"),
        (json!({"precision": {"kv_cache": "fp8"}}), "precision.kv_cache"),
        (json!({"gpu": {"id": "cpu"}}), "gpu.id"),
    ] {
        assert_eq!(run(&change).unwrap_err().field, field, "{change}");
    }
}

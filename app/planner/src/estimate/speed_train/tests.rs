//! Training speeds held against published runs, and against what must hold of any.

use serde_json::{Value, json};

use super::speed;
use crate::document::estimate::Speed;
use crate::document::plan::Plan;
use crate::engine::resolved::Resolved;
use crate::model::{DenseFeedForward, Experts, FeedForward, LatentAttention, Mixer};

fn resolved(document: Value) -> Resolved {
    let plan: Plan = serde_json::from_value(document).unwrap();
    Resolved::of(&plan).unwrap()
}

fn of(resolved: &Resolved) -> Speed {
    speed(resolved, &resolved.numbers).unwrap()
}

fn llama(layers: u64, hidden: u64, inner: u64, heads: u64, vocab: u64) -> Value {
    json!({ "name": "test", "config": {
        "model_type": "llama", "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": vocab,
        "max_position_embeddings": 131_072, "tie_word_embeddings": false
    }})
}

fn megatron(model: &Value, parallelism: &Value, microbatches: u64) -> Resolved {
    resolved(json!({
        "schema": 1, "model": model, "gpu": { "id": "b200-sxm-192gb", "count": 8 }, "engine": { "name": "megatron" },
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
    let mut resolved = megatron(&llama(4, 5120, 12288, 128, 102_400), &plain, microbatches);
    resolved.plan.parallelism = serde_json::from_value(parallelism.clone()).unwrap();
    let expert = |intermediate| DenseFeedForward { intermediate, gated: true, fused_gate_up: false, bias: false };
    for (i, layer) in resolved.model.layers.iter_mut().enumerate() {
        layer.mixer = Mixer::Latent(LatentAttention {
            heads: 128,
            query_rank: Some(1536),
            kv_rank: 512,
            nope_size: 128,
            rope_size: 64,
            value_size: 128,
        });
        if i > 0 {
            layer.feed_forward = FeedForward::Experts(Experts {
                routed: 160,
                active: 6,
                expert: expert(1536),
                shared: Some(expert(3072)),
                shared_gate: false,
                router_bias: false,
            });
        }
    }
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
            assert!(error.abs() < 0.12, "{parallelism} {microbatches}: planned {planned:.0} ms, measured {ms}");
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
            println!("{parallelism} {microbatches} {planned:.1} {ms} {error:.3}");
            assert!(error.abs() < 0.25, "{parallelism} {microbatches}: planned {planned:.0} ms, measured {ms}");
        }
    }
}

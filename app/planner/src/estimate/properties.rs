//! What holds of every plan, whatever its numbers.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::bytes::{Bytes, Tokens};
use crate::catalogue;
use crate::document::plan::Plan;
use crate::engine::{Breakdown, Numbers};
use crate::link;
use crate::model::Model;

/// Engines that serve, with a precision that each takes, from many bits to few.
const PRECISIONS: [(&str, &[&str]); 6] = [
    ("candle", &["fp32", "bf16"]),
    ("vllm", &["bf16", "fp8", "int4-g128"]),
    ("tensorrt-llm", &["bf16", "fp8", "int4-g128"]),
    ("llama.cpp", &["gguf:f16", "gguf:q8_0", "gguf:q6_k", "gguf:q4_k_m", "gguf:q2_k"]),
    ("transformers", &["fp32", "bf16", "int8", "nf4"]),
    ("litgpt", &["fp32", "bf16", "nf4"]),
];

fn serving() -> impl Strategy<Value = Value> {
    let models = catalogue::models().len();
    let gpus = catalogue::gpus().len();
    (0..models, 0..gpus, 0..PRECISIONS.len(), 0usize..5, 1u64..3000, 0u64..600, 1u64..400).prop_map(
        |(model, gpu, engine, precision, prompt, output, batch)| {
            let (engine, precisions) = PRECISIONS[engine];
            json!({
                "schema": 1, "model": { "id": catalogue::models()[model].id },
                "gpu": { "id": catalogue::gpus()[gpu].id }, "engine": { "name": engine },
                "precision": { "weights": precisions[precision % precisions.len()] },
                "workload": { "kind": "serve", "prompt_tokens": prompt, "output_tokens": output,
                              "concurrent_sequences": batch }
            })
        },
    )
}

/// Engines that embed, with a precision that each takes.
const EMBEDDING: [(&str, &[&str]); 3] =
    [("candle", &["fp32"]), ("vllm", &["bf16", "fp8"]), ("transformers", &["fp32", "fp16"])];

/// Encoders and decoders alike; most of the catalogue embeds in vLLM and Transformers.
fn embedding() -> impl Strategy<Value = Value> {
    let encoders: Vec<String> = catalogue::models()
        .iter()
        .filter(|m| Model::from_config(&m.id, &m.config).is_ok_and(|m| m.architecture.is_encoder()))
        .map(|m| m.id.clone())
        .collect();
    let gpus = catalogue::gpus().len();
    (
        any::<bool>(),
        any::<prop::sample::Index>(),
        0..gpus,
        0..EMBEDDING.len(),
        0usize..4,
        1u64..512,
        1u64..400,
    )
        .prop_map(move |(encoder, model, gpu, engine, precision, length, batch)| {
            let (engine, precisions) = EMBEDDING[engine];
            let model = if encoder {
                encoders[model.index(encoders.len())].clone()
            } else {
                catalogue::models()[model.index(catalogue::models().len())].id.clone()
            };
            json!({
                "schema": 1, "model": { "id": model }, "gpu": { "id": catalogue::gpus()[gpu].id },
                "engine": { "name": engine }, "precision": { "weights": precisions[precision % precisions.len()] },
                "workload": { "kind": "embed", "sequence_tokens": length, "batch": batch }
            })
        })
}

/// Any plan that answers with what it takes at once.
fn planned() -> impl Strategy<Value = Value> {
    prop_oneof![3 => serving(), 1 => embedding()]
}

fn compiled(document: &Value) -> Option<Compiled> {
    Plan::from_value(document.clone()).ok().and_then(|plan| Compiled::new(&plan).ok())
}

/// What the numbers need: a pool is what the engine takes, not what they need.
fn needed(answer: &Breakdown) -> Bytes {
    let pool = answer.kv.pool_bytes - answer.parts.kv_cache;
    answer.parts.total - pool
}

fn sum(answer: &Breakdown) -> u64 {
    let p = &answer.parts;
    [
        p.weights,
        p.kv_cache.max(answer.kv.pool_bytes),
        p.recurrent_state,
        p.activations,
        p.temporary,
        p.gradients,
        p.optimizer,
        p.auxiliary,
        p.cuda_graphs,
        p.runtime,
        p.context,
    ]
    .into_iter()
    .sum::<Bytes>()
    .0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Components sum to the total, bands hold it, times are positive numbers.
    #[test]
    fn parts_are_the_whole(document in planned()) {
        let Some(compiled) = compiled(&document) else { return Ok(()) };
        let numbers = compiled.numbers();
        let Ok(answer) = compiled.breakdown(&numbers) else { return Ok(()) };
        prop_assert_eq!(sum(&answer), answer.parts.total.0);
        let estimate = compiled.estimate().unwrap();
        prop_assert!(estimate.error_band.low <= answer.parts.total && answer.parts.total <= estimate.error_band.high);
        if let Some(speed) = estimate.speed {
            for time in [speed.time_to_first_token_ms, speed.time_per_output_token_ms, speed.tokens_per_second, speed.step_ms] {
                prop_assert!(time.is_finite() && time >= 0.0, "{:?}", speed);
            }
        }
    }

    /// More sequences or longer ones never take less.
    #[test]
    fn more_never_takes_less(document in serving(), more in 1u64..64, longer in 1u64..900) {
        let Some(compiled) = compiled(&document) else { return Ok(()) };
        let numbers = compiled.numbers();
        let Ok(before) = compiled.breakdown(&numbers) else { return Ok(()) };
        let end = Tokens(numbers.prompt.0 + longer + numbers.output.0);
        let changed = [
            Numbers { sequences: numbers.sequences + more, ..numbers },
            Numbers { prompt: Tokens(numbers.prompt.0 + longer), max_model_len: end, ..numbers },
        ];
        for numbers in changed {
            let Ok(after) = compiled.breakdown(&numbers) else { continue };
            prop_assert!(after.parts.kv_cache >= before.parts.kv_cache, "{:?}", numbers);
            prop_assert!(needed(&after) >= needed(&before), "{:?}: {} < {}", numbers, needed(&after), needed(&before));
        }
    }

    /// More sequences to embed or longer ones never take less, tokens a second are the batch's over the step's time, and
    /// nothing is kept of an encoder's.
    #[test]
    fn more_to_embed_never_takes_less(document in embedding(), more in 1u64..64, longer in 1u64..900) {
        let Some(compiled) = compiled(&document) else { return Ok(()) };
        let numbers = compiled.numbers();
        let Ok(before) = compiled.breakdown(&numbers) else { return Ok(()) };
        if compiled.model().architecture.is_encoder() {
            prop_assert_eq!((before.parts.kv_cache, before.kv.pool_bytes), (Bytes::ZERO, Bytes::ZERO));
        }
        if let Some(speed) = compiled.speed(&numbers) {
            let tokens = (numbers.sequences * numbers.sequence.0) as f64;
            let expected = tokens / (speed.step_ms / 1e3);
            prop_assert!((speed.tokens_per_second / expected - 1.0).abs() < 1e-6, "{:?}", speed);
        }
        let after = compiled.breakdown(&Numbers { sequences: numbers.sequences + more, ..numbers }).unwrap();
        prop_assert!(needed(&after) >= needed(&before), "{:?}: {} < {}", numbers, needed(&after), needed(&before));
        // vLLM's steps hold whole sequences, so that longer ones can leave a step emptier.
        if document["engine"]["name"] != "vllm" {
            let length = Tokens(numbers.sequence.0 + longer);
            let Ok(after) = compiled.breakdown(&Numbers { sequence: length, ..numbers }) else { return Ok(()) };
            prop_assert!(needed(&after) >= needed(&before), "{:?}: {} < {}", numbers, needed(&after), needed(&before));
        }
    }

    /// Fewer bits a weight never take more, and a layer less never does.
    #[test]
    fn fewer_bits_and_layers_never_take_more(document in serving(), removed in 1u32..4) {
        let engine = document["engine"]["name"].as_str().unwrap_or_default().to_owned();
        let precisions = PRECISIONS.iter().find(|(name, _)| *name == engine).map_or(&[][..], |(_, p)| *p);
        let weights = |document: &Value| {
            let compiled = compiled(document)?;
            let answer = compiled.breakdown(&compiled.numbers()).ok()?;
            Some(answer.parts.weights + answer.host.weights)
        };
        let mut last: Option<Bytes> = None;
        for precision in precisions {
            let mut stored = document.clone();
            stored["precision"]["weights"] = json!(precision);
            let Some(now) = weights(&stored) else { continue };
            prop_assert!(last.is_none_or(|last| now <= last), "{} {}: {:?} after {:?}", engine, precision, now, last);
            last = Some(now);
        }
        let mut pruned = document.clone();
        pruned["compression"] = json!({ "prune": { "kind": "depth", "layers": removed } });
        if let (Some(whole), Some(less)) = (weights(&document), weights(&pruned)) {
            prop_assert!(less < whole);
        }
    }

    /// Any legal number, however absurd: an answer or an error that names its field; never a panic.
    #[test]
    fn absurd_numbers_are_answered(
        engine in 0..PRECISIONS.len(), memory in 1u64.., in_use in 0u64.., prompt in 1u64.., output in 0u64..,
        batch in 1u64.., fraction in 0.0f64..1.0, tokens in 1u64.., sequences in 1u64.., layers in any::<u32>(),
    ) {
        let (engine, precisions) = PRECISIONS[engine];
        let mut workload = json!({ "kind": "serve", "prompt_tokens": prompt, "output_tokens": output,
            "concurrent_sequences": batch });
        if engine != "candle" {
            workload["max_batched_tokens"] = json!(tokens);
            workload["max_sequences"] = json!(sequences);
            workload["memory_fraction"] = json!(fraction);
            workload["gpu_layers"] = json!(layers);
        }
        let document = json!({
            "schema": 1, "model": { "name": "m", "config": {
                "model_type": "llama", "hidden_size": 1 << 20, "num_hidden_layers": 1024, "num_attention_heads": 1 << 12,
                "num_key_value_heads": 1 << 12, "head_dim": 1 << 10, "intermediate_size": 1 << 24, "vocab_size": 1 << 24,
                "max_position_embeddings": 1 << 30, "torch_dtype": "float32" } },
            "gpu": { "id": "h100-sxm-80gb", "memory_mib": memory, "in_use_mib": in_use },
            "engine": { "name": engine }, "precision": { "weights": precisions[0] }, "workload": workload
        });
        if let Ok(plan) = Plan::from_value(document) {
            match estimate(&plan) {
                Ok(estimate) => prop_assert!(estimate.per_gpu.total.0 > 1 << 40),
                Err(error) => prop_assert!(!error.field.is_empty() && !error.remedy.is_empty()),
            }
        }
    }

    /// Adapters and a draft never take less; a prefix in common never more.
    #[test]
    fn what_stands_beside_a_model_takes_room(
        engine in 0usize..4, prompt in 64u64..4000, batch in 1u64..64, count in 1u64..9, rank in 0usize..4,
        proposed in 1u32..9, shared in 0u64..64,
    ) {
        let (engine, weights) =
            [("vllm", "bf16"), ("sglang", "bf16"), ("llama.cpp", "gguf:q8_0"), ("transformers", "bf16")][engine];
        let document = |more: Value| {
            let mut workload = json!({ "kind": "serve", "prompt_tokens": prompt, "output_tokens": 100,
                                       "concurrent_sequences": batch });
            for (key, value) in more.as_object().into_iter().flatten() {
                workload[key] = value.clone();
            }
            json!({ "schema": 1, "model": { "id": "meta-llama/Llama-3.1-8B" }, "gpu": { "id": "h200-sxm-141gb" },
                    "engine": { "name": engine }, "precision": { "weights": weights }, "workload": workload })
        };
        let needs = |more: Value| {
            let compiled = compiled(&document(more))?;
            compiled.breakdown(&compiled.numbers()).ok()
        };
        let Some(bare) = needs(json!({})) else { return Ok(()) };
        let adapters = |count: u64, rank: u64| json!({ "lora_adapters": { "count": count, "rank": rank } });
        let rank = [8u64, 16, 32, 64][rank];
        let draft = json!({ "speculation": { "kind": "draft-model", "model": { "id": "meta-llama/Llama-3.2-1B" },
                                             "precision": weights, "tokens": proposed } });
        let (some, more) = (needs(adapters(count, rank)), needs(adapters(count + 1, rank * 2)));
        if let (Some(some), Some(more)) = (some, more) {
            prop_assert!(bare.parts.weights < some.parts.weights && some.parts.weights < more.parts.weights);
        }
        // Transformers drafts for one sequence only.
        let drafted = needs(draft);
        prop_assert!(drafted.is_some() || (engine == "transformers" && batch > 1));
        if let Some(drafted) = drafted {
            prop_assert!(drafted.parts.weights > bare.parts.weights);
            prop_assert!(drafted.parts.kv_cache > bare.parts.kv_cache);
            prop_assert_eq!(sum(&drafted), drafted.parts.total.0);
        }
        if let Some(common) = needs(json!({ "shared_prefix_tokens": shared })) {
            prop_assert!(common.parts.kv_cache <= bare.parts.kv_cache);
        }
    }

    /// A link gives the plan back.
    #[test]
    fn a_link_is_the_plan(document in planned(), turns in 1u32..900, tensor in 1u32..8, acceptance in 0.0f64..1.0) {
        let mut document = document;
        if document["workload"]["kind"] == "serve" {
            document["workload"]["shared_prefix_tokens"] = json!(turns);
            document["workload"]["speculation"] = json!({ "kind": "ngram", "tokens": tensor, "acceptance": acceptance });
            document["workload"]["lora_adapters"] = json!({ "count": turns, "rank": tensor, "targets": ["q_proj"] });
        }
        document["parallelism"] = json!({ "tensor": tensor, "pipeline_schedule": { "kind": "gpipe" } });
        document["agent_memory"] = json!({ "turns": turns, "tokens_per_turn": 300, "policy": { "kind": "full-history" } });
        let plan = Plan::from_value(document).unwrap();
        prop_assert_eq!(link::from_query(&link::to_query(&plan)).unwrap(), plan);
    }
}

/// Zero stage 3 at n ranks keeps 1/n of the states (arXiv 1910.02054, section 5.3), and n tensor ranks 1/n of the matrices
/// that are divided.
#[test]
fn n_ranks_keep_an_nth() {
    let states = |engine: &str, ranks: u64| {
        let plan = Plan::from_value(json!({
            "schema": 1, "model": { "id": "meta-llama/Llama-3.1-8B" }, "gpu": { "id": "h100-sxm-80gb" },
            "engine": { "name": engine }, "parallelism": { "data": ranks, "zero_stage": 3 },
            "workload": { "kind": "train", "method": "full", "sequence_tokens": 2048 }
        }))
        .unwrap();
        let compiled = Compiled::new(&plan).ok()?;
        compiled.breakdown(&compiled.numbers()).ok().map(|b| b.parts.optimizer.0 as f64)
    };
    let mut asked = 0;
    for engine in ["deepspeed", "torchtitan", "torchtune"] {
        let (Some(two), Some(eight)) = (states(engine, 2), states(engine, 8)) else { continue };
        assert!((two / eight - 4.0).abs() < 0.01, "{engine}: {two} {eight}");
        asked += 1;
    }
    let weights = |ranks: u64| {
        let plan = Plan::from_value(json!({
            "schema": 1, "model": { "id": "meta-llama/Llama-3.1-70B" }, "gpu": { "id": "b200-sxm-192gb" },
            "engine": { "name": "vllm" }, "parallelism": { "tensor": ranks },
            "workload": { "kind": "serve", "prompt_tokens": 128, "output_tokens": 128 }
        }))
        .unwrap();
        let compiled = Compiled::new(&plan).unwrap();
        compiled.breakdown(&compiled.numbers()).unwrap().parts.weights.0 as f64
    };
    // Norms and rotary tables are on every rank.
    for ranks in [2, 4, 8] {
        assert!((weights(1) / weights(ranks) / ranks as f64 - 1.0).abs() < 0.01, "{ranks}");
    }
    assert!(asked > 0, "no trainer answered");
}

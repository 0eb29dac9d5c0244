//! Links: readable, exact both ways, and deaf to garbage.

use serde_json::json;

use super::*;

/// Plans of every kind of the contract.
fn plans() -> Vec<Plan> {
    let serve =
        json!({ "kind": "serve", "prompt_tokens": 2048, "output_tokens": 512, "concurrent_sequences": 4 });
    let llama = json!({ "id": "meta-llama/Llama-3.1-8B" });
    let h100 = json!({ "id": "h100-sxm-80gb" });
    let odd = "ünï & cödé = 100 % + #?/\\\"\u{1F6A2}\n";
    let values = [
        json!({ "schema": 1, "model": llama, "gpu": h100, "workload": serve,
                "precision": { "weights": "bf16", "kv_cache": "bf16" } }),
        json!({ "schema": 1, "model": llama, "gpu": h100, "workload": { "kind": "serve", "prompt_tokens": 1 } }),
        json!({ "schema": 1, "model": llama, "gpu": h100,
                "workload": { "kind": "serve", "prompt_tokens": 0, "output_tokens": 0, "concurrent_sequences": 0,
                              "max_model_len": 0, "max_batched_tokens": 1, "max_sequences": 2,
                              "memory_fraction": 0.9, "gpu_layers": 3 } }),
        json!({ "schema": 7, "model": {}, "gpu": { "id": "" }, "workload": serve }),
        json!({ "schema": 1, "model": { "id": "" }, "gpu": { "id": odd }, "workload": serve }),
        json!({ "schema": 1, "model": { "id": odd, "name": odd }, "gpu": h100, "workload": serve }),
        json!({ "schema": 1, "model": { "name": "mine",
                                        "config": { "model_type": "llama", "sliding_window": null, "a": [1, {"b": null}] },
                                        "stored": [{ "type": "q4_k", "parameters": 256, "bytes": 144 }] },
                "gpu": { "id": "cpu", "count": 1, "memory_mib": 8192, "in_use_mib": 17, "gpus_per_node": 8,
                         "price_per_hour": 2.49, "power_w": 700.0 },
                "workload": serve, "host": { "isa": "avx2", "threads": 2 } }),
        json!({ "schema": 1, "model": { "gguf": "a b.gguf" }, "gpu": h100, "workload": serve,
                "engine": { "name": "llama.cpp", "version": "b4000" } }),
        json!({ "schema": 1, "model": { "safetensors": "x/y.json" }, "gpu": h100, "workload": serve,
                "engine": { "name": "candle", "variant": "plimsoll" }, "attention": { "kind": "flash" },
                "cache": { "kind": "paged", "page_tokens": 16 } }),
        json!({ "schema": 1, "model": llama, "gpu": h100,
                "workload": { "kind": "embed", "sequence_tokens": 512, "batch": 32 } }),
        json!({ "schema": 1, "model": llama, "gpu": { "id": "h100-sxm-80gb", "count": 16 },
                "precision": { "activations": "fp16", "weights": "nf4-dq" },
                "parallelism": { "tensor": 8, "pipeline": 2, "zero_stage": 3, "sequence": true,
                                 "pipeline_schedule": { "kind": "interleaved", "virtual_stages": 2 },
                                 "offload": { "optimizer": "cpu", "parameters": "nvme" } },
                "workload": { "kind": "train", "method": "lora", "sequence_tokens": 4096, "micro_batch": 2,
                              "optimizer": "adamw-8bit", "master_weights": false, "checkpointing": "full",
                              "lora": { "rank": 16, "targets": ["q_proj", "v_proj"] } } }),
        json!({ "schema": 1, "model": llama, "gpu": h100, "workload": serve,
                "attention": { "kind": "longformer", "window": 512, "global_tokens": 64 },
                "compression": { "prune": { "kind": "2:4" } },
                "agent_memory": { "turns": 200, "tokens_per_turn": 350, "system_tokens": 800,
                                  "policy": { "kind": "consolidate", "every_turns": 10, "ratio": 0.2,
                                              "keep_recent_turns": 5 },
                                  "store": { "vectors": 1_000_000, "dimensions": 768, "element": "fp32",
                                             "index": { "kind": "hnsw", "m": 16 }, "on_gpu": false },
                                  "embedding_model": { "id": "sentence-transformers/all-MiniLM-L6-v2" } } }),
        json!({ "schema": 1, "model": llama, "gpu": h100, "workload": { "kind": "serve",
                "prompt_tokens": u64::MAX, "output_tokens": u64::MAX, "concurrent_sequences": u64::MAX } }),
    ];
    values
        .into_iter()
        .map(|v| serde_json::from_value(v.clone()).unwrap_or_else(|e| panic!("{e}: {v}")))
        .collect()
}

#[test]
fn every_plan_survives_its_link() {
    for plan in plans() {
        let query = to_query(&plan);
        assert!(query.is_ascii() && !query.contains([' ', '"', '<', '>', '#', '\n']), "{query}");
        let back = from_query(&query);
        // A plan without a model or GPU has no meaning; its link says so instead of inventing one.
        if plan.gpu.id.is_empty() && plan.model.id.is_none() {
            continue;
        }
        assert_eq!(back.as_ref(), Ok(&plan), "{query}");
        assert_eq!(from_query(&format!("?{query}")), Ok(plan), "{query}");
    }
}

/// Every plan of the rows that the contract's text describes has one: pairs of all axes, exact both ways.
#[test]
fn every_combination_of_the_common_fields_survives() {
    for weights in WeightPrecision::ALL {
        for kv in CachePrecision::ALL {
            for (batch, output) in [(1, 0), (1, 7), (64, 0), (4, 512)] {
                let plan: Plan = serde_json::from_value(json!({
                    "schema": 1, "model": { "id": "Qwen/Qwen3-8B" }, "gpu": { "id": "l4-24gb" },
                    "precision": { "weights": weights, "kv_cache": kv },
                    "workload": { "kind": "serve", "prompt_tokens": 128, "output_tokens": output,
                                  "concurrent_sequences": batch }
                }))
                .unwrap();
                assert_eq!(from_query(&to_query(&plan)), Ok(plan));
            }
        }
    }
}

#[test]
fn the_common_fields_read_like_words() {
    let plan = &plans()[0];
    assert_eq!(
        to_query(plan),
        "model=meta-llama/Llama-3.1-8B&gpu=h100-sxm-80gb&weights=bf16&kv=bf16&context=2048&output=512&batch=4"
    );
    assert_eq!(to_query(&plans()[1]), "model=meta-llama/Llama-3.1-8B&gpu=h100-sxm-80gb&context=1");
}

#[test]
fn a_form_without_javascript_is_understood() {
    let plan = from_query(
        "model=Qwen%2FQwen3-8B&gpu=l4-24gb&weights=gguf%3Aq4_k_m&kv=&memory_mib=&context=2048&batch=1",
    );
    let plan = plan.unwrap();
    assert_eq!(plan.model.id.as_deref(), Some("Qwen/Qwen3-8B"));
    assert_eq!(plan.precision.weights, Some(WeightPrecision::GgufQ4KM));
    assert_eq!(plan.precision.kv_cache, None);
    assert_eq!(plan.gpu.memory_mib, None);
}

#[test]
fn garbage_is_an_error_that_names_the_key() {
    let base = "model=Qwen/Qwen3-8B&gpu=l4-24gb&context=1";
    let cases = [
        ("", "model"),
        ("model=Qwen/Qwen3-8B", "gpu.id"),
        ("model=Qwen/Qwen3-8B&gpu=l4-24gb", "workload.prompt_tokens"),
        (&format!("{base}&nonsense=1"), "nonsense"),
        (&format!("{base}&batch=1&batch=2"), "batch"),
        (&format!("{base}&batch=-1"), "workload.concurrent_sequences"),
        (&format!("{base}&batch=+1"), "workload.concurrent_sequences"),
        (&format!("{base}&batch=1.5"), "workload.concurrent_sequences"),
        (&format!("{base}&batch=99999999999999999999"), "workload.concurrent_sequences"),
        (&format!("{base}&weights=float99"), "precision.weights"),
        (&format!("{base}&weights=%"), "weights"),
        (&format!("{base}&weights=%4"), "weights"),
        (&format!("{base}&weights=%zz"), "weights"),
        (&format!("{base}&weights=%ff%fe"), "weights"),
        (&format!("{base}&%"), "%"),
        (&format!("{base}&plan=%7B"), "plan"),
        (&format!("{base}&plan=3"), "plan"),
        (&format!("{base}&plan=%7B%22turbo%22:1%7D"), "turbo"),
        (&format!("{base}&plan=%7B%22gpu%22:%7B%22idd%22:1%7D%7D"), "idd"),
    ];
    for (query, field) in cases {
        let error = from_query(query).expect_err(query);
        assert_eq!(error.field, field, "{query}: {error}");
    }
    let long = format!("{base}&plan={}", "a".repeat(MAX_QUERY));
    assert_eq!(from_query(&long).unwrap_err().field, "plan");
}

/// A link cut or altered anywhere is a plan or an error, never a panic.
#[test]
fn damaged_links_never_panic() {
    for plan in plans() {
        let query = to_query(&plan);
        for cut in 0..query.len() {
            let _ = from_query(&query[..cut]);
            let mut damaged = query.clone().into_bytes();
            damaged[cut] = b'%';
            let _ = from_query(&String::from_utf8(damaged).unwrap());
        }
    }
}

//! The contract's own examples, word for word, survive reading and writing.

use serde_json::{Value, json};

use super::estimate::{Components, Estimate};
use super::plan::{EngineName, EngineRef, ModelRef, Plan, Workload};
use super::precision::{ActivationPrecision, CachePrecision, WeightPrecision};
use super::row::{MeasurementRow, TotalBasis};

/// The plan of the contract, version 1, with its first choice of every alternative.
fn example() -> Value {
    json!({
        "schema": 1,
        "model": { "id": "meta-llama/Llama-3.1-8B" },
        "gpu": { "id": "h100-sxm-80gb", "count": 1, "memory_mib": null, "in_use_mib": 0,
                 "gpus_per_node": null, "price_per_hour": null, "power_w": null },
        "engine": { "name": "candle", "version": null, "variant": null },
        "precision": { "weights": "bf16", "kv_cache": "bf16", "activations": "bf16" },
        "attention": { "kind": "flash" },
        "cache": { "kind": "slab", "page_tokens": null },
        "parallelism": {
            "tensor": 1, "pipeline": 1, "data": 1, "expert": 1, "context": 1, "sequence": false,
            "pipeline_schedule": { "kind": "1f1b" },
            "zero_stage": 0,
            "offload": { "optimizer": "none", "parameters": "none" }
        },
        "workload": {
            "kind": "serve", "prompt_tokens": 2048, "output_tokens": 512, "concurrent_sequences": 1,
            "max_model_len": 2560, "max_batched_tokens": null, "max_sequences": null, "memory_fraction": null,
            "gpu_layers": null
        },
        "compression": { "prune": { "kind": "none" } },
        "agent_memory": null,
        "host": { "isa": null, "threads": null }
    })
}

/// The other choices of the contract, each at its place in the plan.
fn alternatives() -> Vec<(&'static str, Value)> {
    vec![
        ("/model", json!({ "name": "mine", "config": { "model_type": "llama" } })),
        (
            "/model",
            json!({ "name": "mine", "config": {}, "stored": [{ "type": "q4_k", "parameters": 0, "bytes": 0 }] }),
        ),
        ("/model", json!({ "gguf": "file.gguf" })),
        ("/model", json!({ "safetensors": "file-or-index.json" })),
        ("/attention", json!({ "kind": "eager" })),
        ("/attention", json!({ "kind": "memory-efficient" })),
        ("/attention", json!({ "kind": "sliding-window", "window": 4096 })),
        ("/attention", json!({ "kind": "longformer", "window": 512, "global_tokens": 64 })),
        (
            "/attention",
            json!({ "kind": "big-bird", "block": 64, "window_blocks": 3, "global_blocks": 2, "random_blocks": 3 }),
        ),
        ("/cache", json!({ "kind": "growing" })),
        ("/cache", json!({ "kind": "rotating" })),
        ("/cache", json!({ "kind": "paged", "page_tokens": 16 })),
        ("/parallelism/pipeline_schedule", json!({ "kind": "gpipe" })),
        ("/parallelism/pipeline_schedule", json!({ "kind": "interleaved", "virtual_stages": 2 })),
        ("/parallelism/offload", json!({ "optimizer": "cpu", "parameters": "nvme" })),
        (
            "/workload",
            json!({
                "kind": "train", "method": "full", "sequence_tokens": 2048, "micro_batch": 1,
                "gradient_accumulation": 1, "optimizer": "adamw", "mixed_precision": true, "master_weights": true,
                "checkpointing": "none", "optimizer_in_backward": false, "fused_cross_entropy": false,
                "activation_offload": false, "compile": false, "float8_linear": false,
                "async_tensor_parallel": false,
                "lora": { "rank": 16, "targets": ["q_proj", "v_proj"], "train_embeddings": false },
                "teacher": { "model": { "id": "Qwen/Qwen3-8B" }, "precision": "bf16" }
            }),
        ),
        ("/workload", json!({ "kind": "embed", "sequence_tokens": 512, "batch": 32 })),
        ("/compression/prune", json!({ "kind": "unstructured", "sparsity": 0.5 })),
        ("/compression/prune", json!({ "kind": "2:4" })),
        ("/compression/prune", json!({ "kind": "depth", "layers": 8 })),
        ("/compression/prune", json!({ "kind": "width", "hidden": 0.25 })),
        (
            "/agent_memory",
            json!({
                "turns": 200, "tokens_per_turn": 350, "system_tokens": 800, "policy": { "kind": "full-history" },
                "store": { "vectors": 1_000_000, "dimensions": 768, "element": "fp32",
                           "index": { "kind": "hnsw", "m": 16 }, "on_gpu": false },
                "embedding_model": { "id": "sentence-transformers/all-MiniLM-L6-v2" }
            }),
        ),
        (
            "/agent_memory",
            json!({ "turns": 1, "tokens_per_turn": 1, "policy": { "kind": "window", "tokens": 8192 } }),
        ),
        (
            "/agent_memory",
            json!({ "turns": 1, "tokens_per_turn": 1,
                    "policy": { "kind": "consolidate", "every_turns": 10, "ratio": 0.2, "keep_recent_turns": 5 } }),
        ),
        (
            "/agent_memory",
            json!({ "turns": 1, "tokens_per_turn": 1,
                    "policy": { "kind": "retrieve", "top_k": 8, "chunk_tokens": 256, "keep_recent_turns": 3 } }),
        ),
    ]
}

fn survives(document: &Value) -> Plan {
    let plan: Plan = serde_json::from_value(document.clone()).unwrap_or_else(|e| panic!("{e}: {document}"));
    let written = serde_json::to_value(&plan).unwrap();
    let again: Plan = serde_json::from_value(written.clone()).unwrap_or_else(|e| panic!("{e}: {written}"));
    assert_eq!(again, plan, "{written}");
    // Nothing that was said is lost: what is written is what was read, less nulls and defaults.
    assert_within(&written, document);
    plan
}

/// Every value of `written` stands in `read`, but for the defaults that reading adds.
fn assert_within(written: &Value, read: &Value) {
    if let (Value::Object(written), Value::Object(read)) = (written, read) {
        for (key, value) in written {
            if let Some(there) = read.get(key) {
                assert_within(value, there);
            }
        }
    } else {
        assert_eq!(written, read);
    }
}

#[test]
fn the_plan_of_the_contract_survives() {
    let plan = survives(&example());
    assert_eq!(plan.engine.name, EngineName::Candle);
    assert!(matches!(&plan.workload, Workload::Serve(s) if s.max_model_len.is_some_and(|n| n.0 == 2560)));
    for (place, value) in alternatives() {
        let mut document = example();
        *document.pointer_mut(place).unwrap() = value;
        survives(&document);
    }
}

#[test]
fn what_is_left_out_has_the_contract_s_defaults() {
    let plan = survives(&json!({
        "schema": 1, "model": { "id": "m" }, "gpu": { "id": "g" },
        "workload": { "kind": "serve", "prompt_tokens": 1 }
    }));
    assert_eq!(plan.engine, EngineRef::default());
    assert_eq!(plan.model, ModelRef::catalogue("m"));
    assert!(plan.parallelism.is_default() && plan.compression.is_default() && plan.host.is_default());
    let Workload::Serve(serve) = plan.workload else { panic!("serve expected") };
    assert_eq!((serve.output_tokens.0, serve.concurrent_sequences, serve.max_model_len), (0, 1, None));
}

#[test]
fn an_unknown_field_anywhere_is_an_error_that_names_it() {
    let places = [
        "",
        "/model",
        "/gpu",
        "/engine",
        "/precision",
        "/attention",
        "/cache",
        "/parallelism",
        "/parallelism/offload",
        "/parallelism/pipeline_schedule",
        "/workload",
        "/compression",
        "/compression/prune",
        "/host",
    ];
    for place in places {
        let mut document = example();
        document.pointer_mut(place).unwrap()["warp_drive"] = json!(true);
        let error = serde_json::from_value::<Plan>(document).expect_err(place).to_string();
        assert!(error.contains("warp_drive"), "{place}: {error}");
    }
}

#[test]
fn every_precision_is_spelled_one_way() {
    for precision in WeightPrecision::ALL {
        assert_eq!(precision.as_str().parse(), Ok(*precision));
    }
    for precision in CachePrecision::ALL {
        assert_eq!(precision.as_str().parse(), Ok(*precision));
    }
    for precision in ActivationPrecision::ALL {
        assert_eq!(precision.as_str().parse(), Ok(*precision));
    }
    let error = "float99".parse::<WeightPrecision>().unwrap_err().to_string();
    assert!(error.contains("float99") && error.contains("gguf:q4_k_m"), "{error}");
}

/// The estimate of the contract, word for word.
#[test]
fn the_estimate_of_the_contract_survives() {
    let document = json!({
        "schema": 1,
        "engine": { "name": "vllm", "version": "0.19.0" },
        "fits": true,
        "capacity_bytes": 0,
        "per_gpu": { "weights": 0, "kv_cache": 0, "recurrent_state": 0, "activations": 0, "temporary": 0,
                     "gradients": 0, "optimizer": 0, "auxiliary": 0, "cuda_graphs": 0, "runtime": 0, "context": 0,
                     "total": 0 },
        "totals": { "allocated": 0, "reserved": 0, "process": 0 },
        "host": { "weights": 0, "kv_cache": 0, "optimizer": 0, "total": 0 },
        "kv": { "bytes_per_token": 131_072, "pool_bytes": 0, "pool_tokens": 0, "max_concurrent_sequences": 0 },
        "phases": null,
        "speed": { "time_to_first_token_ms": 0.0, "time_per_output_token_ms": 0.0, "tokens_per_second": 0.0,
                   "step_ms": 0.0, "bound": "memory" },
        "energy": null, "cost": null, "quality": null,
        "agent": null,
        "error_band": { "low": 0, "high": 0, "basis": "n=412 measured runs of candle on H200" },
        "advice": [{ "change": { "precision": { "weights": "fp8" } }, "total_bytes": 0, "fits": true, "cost": "…" }],
        "warnings": [{ "code": "kv-heads-replicated", "message": "…" }]
    });
    let estimate: Estimate = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(serde_json::to_value(&estimate).unwrap(), document);
    assert_eq!(estimate.per_gpu, Components::default());
}

#[test]
fn the_row_of_the_contract_survives() {
    let document = json!({
        "id": "llmd-18", "source": "where the figure was published", "licence": null, "note": null,
        "plan": example(),
        "measured": { "weights": 0, "activations": 0, "runtime": 0, "cuda_graphs": 0, "kv_pool_bytes": 0,
                      "kv_pool_tokens": 0, "kv_bytes_per_token": 0, "kv_cache": 0, "recurrent_state": 0,
                      "max_concurrent_sequences": 0, "total": 0, "total_basis": "allocated",
                      "tokens_per_second": 0.0, "fits": true }
    });
    let row: MeasurementRow = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(row.measured.total_basis, Some(TotalBasis::Allocated));
    let written = serde_json::to_value(&row).unwrap();
    assert_eq!(written["measured"], document["measured"]);
    assert_eq!(serde_json::from_value::<MeasurementRow>(written).unwrap(), row);
}

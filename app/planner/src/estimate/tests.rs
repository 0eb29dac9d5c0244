//! Estimates: exact where they must be, refused where they cannot be, and never a panic.

use serde_json::{Value, json};

use super::*;
use crate::bytes::Bytes;
use crate::catalogue;
use crate::document::merge;
use crate::document::precision::WeightPrecision;
use crate::error::PlanErrorKind;

fn plan(value: &Value) -> Plan {
    Plan::from_value(value.clone()).unwrap_or_else(|e| panic!("{e}: {value}"))
}

fn base() -> Value {
    json!({
        "schema": 1,
        "model": { "id": "meta-llama/Llama-3.1-8B" },
        "gpu": { "id": "h100-sxm-80gb" },
        "workload": { "kind": "serve", "prompt_tokens": 2048, "output_tokens": 512, "concurrent_sequences": 4 }
    })
}

/// `base` with the fields of `change` in it.
fn changed(change: &Value) -> Value {
    let mut whole = base();
    merge(&mut whole, change);
    whole
}

#[test]
fn components_add_up_to_the_peak() {
    let estimate = estimate(&plan(&base())).unwrap();
    let parts = estimate.per_gpu;
    assert_eq!(
        parts.total,
        parts.weights + parts.kv_cache + parts.activations + parts.temporary + parts.runtime + parts.context
    );
    assert_eq!(estimate.totals.process, parts.total);
    assert_eq!(
        estimate.totals.allocated,
        parts.weights + parts.kv_cache + parts.activations + parts.temporary
    );
    let phases = estimate.phases.unwrap();
    assert_eq!(phases.iter().map(|p| p.phase.as_str()).collect::<Vec<_>>(), ["load", "prefill", "decode"]);
    assert_eq!(phases.iter().map(|p| p.peak_bytes).max(), Some(estimate.totals.allocated));
    assert!(estimate.error_band.low <= parts.total && parts.total <= estimate.error_band.high);
    assert!(estimate.fits);
    assert_eq!(estimate.capacity_bytes, Bytes::from_mib(81_090));
    assert_eq!(estimate.engine.variant.as_deref(), Some("plimsoll"));
}

/// The contract's default is our decoder; what it lacks is candle-transformers', which the estimate says.
#[test]
fn a_variant_that_is_left_out_is_ours_where_our_decoder_has_the_family() {
    let embed = json!({ "kind": "embed", "sequence_tokens": 64, "batch": 2 });
    let gemma = catalogue::model("google/gemma-2-2b").unwrap().config.clone();
    for (change, expected) in [
        (json!({}), "plimsoll"),
        (json!({ "engine": { "name": "candle", "variant": "stock" } }), "stock"),
        (json!({ "model": { "id": null, "name": "mine", "config": gemma } }), "plimsoll"),
        (json!({ "model": { "id": "sentence-transformers/all-MiniLM-L6-v2" }, "workload": null }), "stock"),
    ] {
        let mut whole = changed(&change);
        if whole["workload"].is_null() {
            whole["workload"] = embed.clone();
        }
        let found = estimate(&plan(&whole)).unwrap();
        assert_eq!(found.engine.variant.as_deref(), Some(expected), "{change}");
    }
}

/// Parameters × 2 bytes, and the rotary tables: sines and cosines of the longest context × half a head, once in Llama and
/// Qwen 3, once for every layer in Gemma 3 (candle-transformers' `llama.rs`, `qwen3.rs`, `gemma3.rs`).
#[test]
fn weights_are_the_parameters_and_persistent_buffers() {
    for (id, tables) in [
        ("meta-llama/Llama-3.1-8B", 2 * 131_072 * 64 * 2),
        ("HuggingFaceTB/SmolLM2-135M", 2 * 8192 * 32 * 2),
        ("Qwen/Qwen3-0.6B", 2 * 40_960 * 64 * 2),
        ("google/gemma-3-270m", 18 * 2 * 32_768 * 128 * 2),
    ] {
        let parameters = catalogue::model(id).unwrap().parameters;
        let change = json!({ "model": { "id": id }, "engine": { "variant": "stock" },
                             "workload": { "concurrent_sequences": 1 } });
        let weights = estimate(&plan(&changed(&change))).unwrap().per_gpu.weights.0;
        assert_eq!(weights - parameters * 2, tables, "{id}");
    }
}

/// 32 layers × 8 key and value heads × 128 elements × 2 bytes × 2.
#[test]
fn a_token_of_llama_3_1_8b_takes_128_kib_of_cache() {
    let estimate = estimate(&plan(&base())).unwrap();
    assert_eq!(estimate.kv.bytes_per_token, Bytes(131_072));
    assert_eq!(estimate.kv.pool_bytes, Bytes::ZERO, "Candle has no pool");
    assert_eq!(
        estimate.per_gpu.kv_cache,
        Bytes(4 * (2048 + 512) * 131_072),
        "a slab has room for every token"
    );
    let stock = json!({ "engine": { "variant": "stock" } });
    let estimate = super::estimate(&plan(&changed(&stock))).unwrap();
    assert_eq!(estimate.kv.bytes_per_token, Bytes(131_072));
    // The last token that is generated is never cached.
    assert_eq!(estimate.per_gpu.kv_cache, Bytes(4 * (2048 + 512 - 1) * 131_072));
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn what_is_refused_names_its_field() {
    use PlanErrorKind::{Invalid, NotPlannedYet, Unsupported};
    let config = catalogue::model("Qwen/Qwen3-8B").unwrap().config.clone();
    let own = |change: Value| -> Value {
        let mut config = config.clone();
        merge(&mut config, &change);
        json!({ "model": { "id": null, "name": "mine", "config": config } })
    };
    let stored = |blocks: Value| -> Value {
        json!({ "model": { "id": null, "name": "mine", "config": config, "stored": blocks } })
    };
    let cases = [
        (json!({ "schema": 2 }), "schema", Invalid, "give 1"),
        (
            json!({ "model": { "id": "meta-llama/Llama-3.1-8C" } }),
            "model.id",
            Invalid,
            "meta-llama/Llama-3.1-8B",
        ),
        (json!({ "model": { "id": null } }), "model", Invalid, "give id"),
        (json!({ "model": { "config": {} } }), "model.config", Invalid, "leave one"),
        (json!({ "model": { "stored": [] } }), "model.stored", Invalid, "config"),
        (json!({ "model": { "id": null, "gguf": "a.gguf" } }), "model.gguf", Invalid, "command line"),
        (
            json!({ "model": { "id": null, "safetensors": "a" } }),
            "model.safetensors",
            Invalid,
            "command line",
        ),
        (own(json!({ "hidden_size": 0 })), "model.config.hidden_size", Invalid, "from 1 to"),
        (own(json!({ "vocab_size": -5 })), "model.config.vocab_size", Invalid, "-5"),
        (own(json!({ "num_hidden_layers": u64::MAX })), "model.config.num_hidden_layers", Invalid, "1024"),
        (own(json!({ "model_type": "nonesuch" })), "model.config.model_type", NotPlannedYet, "known: llama"),
        (own(json!({ "torch_dtype": null })), "precision.weights", Invalid, "torch_dtype"),
        (
            stored(json!([{ "type": "q9_x", "parameters": 1, "bytes": 1 }])),
            "model.stored[0].type",
            Invalid,
            "q9_x",
        ),
        (
            stored(json!([{ "type": "q4_k", "parameters": 256, "bytes": 145 }])),
            "model.stored[0].bytes",
            Invalid,
            "144",
        ),
        (
            stored(json!([{ "type": "q4_k", "parameters": 1, "bytes": 1 }])),
            "model.stored[0].bytes",
            Invalid,
            "blocks",
        ),
        (
            stored(json!([{ "type": "f16", "parameters": 1, "bytes": 2 }])),
            "model.stored",
            Invalid,
            "8190735360",
        ),
        (
            stored(json!([{ "type": "iq4_nl", "parameters": 8_190_735_360u64, "bytes": 4_607_288_640u64 }])),
            "model.stored[0].type",
            Unsupported,
            "iq4_nl",
        ),
        (json!({ "gpu": { "id": "h100" } }), "gpu.id", Invalid, "h100-sxm-80gb"),
        (json!({ "gpu": { "count": 2 } }), "gpu.count", Invalid, "give 1"),
        (json!({ "gpu": { "count": 0 } }), "gpu.count", Invalid, "give 1"),
        (json!({ "gpu": { "memory_mib": 0 } }), "gpu.memory_mib", Invalid, "at least 1"),
        (json!({ "gpu": { "in_use_mib": 100_000 } }), "gpu.in_use_mib", Invalid, "81090"),
        (json!({ "gpu": { "price_per_hour": -1.0 } }), "gpu.price_per_hour", Invalid, "at least 0"),
        (json!({ "gpu": { "gpus_per_node": 0 } }), "gpu.gpus_per_node", Invalid, "at least 1"),
        (json!({ "parallelism": { "expert": 3, "data": 2 } }), "parallelism.expert", Invalid, "divisor"),
        (
            json!({ "engine": { "name": "candle", "version": "0.1" } }),
            "engine.version",
            NotPlannedYet,
            "0.11.1",
        ),
        (
            json!({ "engine": { "name": "candle", "variant": "plimsoll" }, "cache": { "kind": "paged" } }),
            "cache.kind",
            Unsupported,
            "growing, slab or rotating",
        ),
        (
            json!({ "engine": { "name": "candle", "variant": "plimsoll" }, "cache": { "kind": "rotating" } }),
            "cache.kind",
            Unsupported,
            "sliding-window",
        ),
        (
            json!({ "engine": { "name": "candle", "variant": "plimsoll" }, "precision": { "kv_cache": "q4_0" } }),
            "precision.kv_cache",
            Unsupported,
            "int8",
        ),
        (json!({ "engine": { "name": "candle", "variant": "turbo" } }), "engine.variant", Invalid, "turbo"),
        (
            json!({ "engine": { "variant": "stock" }, "precision": { "weights": "fp8" } }),
            "precision.weights",
            Unsupported,
            "gguf:q2_k",
        ),
        (json!({ "precision": { "weights": "gguf:iq4_nl" } }), "precision.weights", Unsupported, "iq4_nl"),
        (
            json!({ "gpu": { "id": "cpu" }, "precision": { "weights": "tf32" } }),
            "precision.weights",
            Unsupported,
            "give fp32",
        ),
        (
            json!({ "engine": { "variant": "stock" }, "precision": { "kv_cache": "fp8" } }),
            "precision.kv_cache",
            Unsupported,
            "bf16",
        ),
        (json!({ "precision": { "activations": "fp32" } }), "precision.activations", Unsupported, "bf16"),
        (
            json!({ "precision": { "weights": "gguf:q8_0", "kv_cache": "q8_0" } }),
            "precision.kv_cache",
            Unsupported,
            "fp32",
        ),
        (
            json!({ "engine": { "variant": "stock" }, "attention": { "kind": "flash" } }),
            "attention.kind",
            NotPlannedYet,
            "eager",
        ),
        (
            json!({ "engine": { "variant": "stock" }, "attention": { "kind": "sliding-window", "window": 5 } }),
            "attention.kind",
            NotPlannedYet,
            "sliding",
        ),
        (json!({ "cache": { "kind": "paged" } }), "cache.kind", Unsupported, "growing"),
        (json!({ "parallelism": { "tensor": 2 } }), "parallelism.tensor", Unsupported, "one device"),
        (json!({ "parallelism": { "data": 0 } }), "parallelism.data", Invalid, "give 1"),
        (
            json!({ "parallelism": { "zero_stage": 3 } }),
            "parallelism.zero_stage",
            Unsupported,
            "another engine",
        ),
        (
            json!({ "parallelism": { "offload": { "parameters": "cpu" } } }),
            "parallelism.offload",
            Unsupported,
            "one device",
        ),
        (
            json!({ "workload": { "concurrent_sequences": 0 } }),
            "workload.concurrent_sequences",
            Invalid,
            "1 to",
        ),
        (
            json!({ "workload": { "concurrent_sequences": u64::MAX } }),
            "workload.concurrent_sequences",
            Invalid,
            "1 to",
        ),
        (json!({ "workload": { "prompt_tokens": 0 } }), "workload.prompt_tokens", Invalid, "131072"),
        (json!({ "workload": { "prompt_tokens": 131_073 } }), "workload.prompt_tokens", Invalid, "131072"),
        (
            json!({ "workload": { "prompt_tokens": 131_000 } }),
            "workload.output_tokens",
            Invalid,
            "at most 72",
        ),
        (json!({ "workload": { "output_tokens": u64::MAX } }), "workload.output_tokens", Invalid, "at most"),
        (json!({ "workload": { "max_model_len": 100 } }), "workload.max_model_len", Invalid, "2560"),
        (
            json!({ "workload": { "memory_fraction": 0.9 } }),
            "workload.memory_fraction",
            Unsupported,
            "leave it out",
        ),
        (json!({ "workload": { "gpu_layers": 9 } }), "workload.gpu_layers", Unsupported, "leave it out"),
        (
            json!({ "compression": { "prune": { "kind": "2:4" } } }),
            "compression.prune.kind",
            Unsupported,
            "no kernels",
        ),
        (
            json!({ "agent_memory": { "turns": 0, "tokens_per_turn": 1, "policy": { "kind": "full-history" } } }),
            "agent_memory.turns",
            Invalid,
            "1 to",
        ),
        (json!({ "host": { "threads": 0 } }), "host.threads", Invalid, "at least 1"),
        (json!({ "host": { "l1d_cache_kib": 0 } }), "host.l1d_cache_kib", Invalid, "1 to 1024"),
        (json!({ "host": { "l2_cache_kib": 262_145 } }), "host.l2_cache_kib", Invalid, "1 to 262144"),
        (json!({ "host": { "l3_cache_kib": 0 } }), "host.l3_cache_kib", Invalid, "1 to 4194304"),
        (
            json!({ "model": { "id": "sentence-transformers/all-MiniLM-L6-v2" } }),
            "workload.kind",
            Invalid,
            "encoder",
        ),
    ];
    for (change, field, kind, needle) in cases {
        let error = estimate(&plan(&changed(&change))).expect_err(&change.to_string());
        let text = error.to_string();
        assert_eq!((error.field.as_str(), error.kind), (field, kind), "{text}");
        assert!(text.contains(needle), "{needle} is not in: {text}");
        assert!(!error.remedy.is_empty());
    }
    let mut training = base();
    training["workload"] = json!({ "kind": "train", "method": "full", "sequence_tokens": 2048 });
    estimate(&plan(&training)).expect("our decoder trains");
    training["engine"]["variant"] = json!("stock");
    assert_eq!(estimate(&plan(&training)).unwrap_err().field, "engine.variant");
    let mut embedding = base();
    embedding["workload"] = json!({ "kind": "embed", "sequence_tokens": 512, "batch": 32 });
    assert_eq!(estimate(&plan(&embedding)).unwrap_err().field, "model");
}

#[test]
fn an_unknown_field_is_named() {
    for (path, field) in [("", "turbo"), ("/gpu", "clock"), ("/workload", "tokens"), ("/precision", "weight")]
    {
        let mut document = base();
        document["precision"] = json!({});
        document.pointer_mut(path).unwrap()[field] = json!(1);
        let error = Plan::from_value(document).unwrap_err();
        assert_eq!(error.field, field, "{error}");
    }
    let mut document = base();
    document.as_object_mut().unwrap().remove("workload");
    assert_eq!(Plan::from_value(document).unwrap_err().field, "workload");
    assert!(Plan::from_json("{").unwrap_err().problem.contains("EOF"));
}

/// Every model with a fifth of the precisions, and every GPU, engines and lengths in turn: an estimate whose parts add up, or an error that
/// names its field. (GPUs differ only in the capacity.)
#[test]
fn every_combination_is_answered() {
    let mut answered = 0;
    let mut ask = |engine: &str,
                   model: &str,
                   gpu: &str,
                   precision: Option<WeightPrecision>,
                   lengths: (u64, u64, u64)| {
        let (prompt, output, batch) = lengths;
        let plan = plan(&json!({
            "schema": 1, "model": { "id": model }, "gpu": { "id": gpu }, "engine": { "name": engine },
            "precision": precision.map_or(json!({}), |p| json!({ "weights": p })),
            "workload": { "kind": "serve", "prompt_tokens": prompt, "output_tokens": output,
                          "concurrent_sequences": batch }
        }));
        match Compiled::new(&plan).and_then(|compiled| compiled.estimate()) {
            Ok(estimate) => {
                let p = estimate.per_gpu;
                assert_eq!(sum(&estimate), p.total, "{plan:?}");
                assert!(p.total > Bytes::ZERO && p.total.0 < 1 << 50, "{plan:?}");
                answered += 1;
            }
            Err(error) => assert!(!error.field.is_empty() && !error.remedy.is_empty(), "{error}"),
        }
    };
    let gpus: Vec<&str> = catalogue::gpus().iter().map(|g| g.id.as_str()).chain(["cpu"]).collect();
    let lengths = [(1, 0, 1), (512, 64, 1), (512, 64, 8), (4000, 1, 1)];
    let mut turn = 0;
    let mut next = |n: usize| {
        turn += 1;
        turn % n
    };
    for entry in catalogue::models() {
        // A fifth of the precisions each, so that all of them meet many models.
        for precision in WeightPrecision::ALL.iter().skip(next(5)).step_by(5) {
            let (gpu, lengths) = (gpus[next(gpus.len())], lengths[next(lengths.len())]);
            ask(SERVERS[next(SERVERS.len())], &entry.id, gpu, Some(*precision), lengths);
        }
        ask("candle", &entry.id, gpus[next(gpus.len())], None, (128, 8, 1));
    }
    for gpu in &gpus {
        let precision = WeightPrecision::ALL[next(WeightPrecision::ALL.len())];
        ask("candle", "HuggingFaceTB/SmolLM2-135M", gpu, Some(precision), (32, 2, 1));
    }
    // Each engine reads some of the precisions and refuses the others.
    assert!(answered > 400, "only {answered} were answered");
}

/// Engines that serve.
const SERVERS: [&str; 7] =
    ["candle", "vllm", "tensorrt-llm", "sglang", "llama.cpp", "transformers", "litgpt"];

/// All components, with the pool where it is larger than the cache.
fn sum(estimate: &Estimate) -> Bytes {
    let p = &estimate.per_gpu;
    p.kv_cache.max(estimate.kv.pool_bytes)
        + [
            p.weights,
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
}

/// The largest numbers that a plan may hold: an answer that does not fit, or an error; never an overflow.
#[test]
fn absurd_numbers_do_not_overflow() {
    let config = json!({
        "model_type": "llama", "hidden_size": 1 << 20, "num_hidden_layers": 2, "num_attention_heads": 1 << 12,
        "num_key_value_heads": 1 << 12, "head_dim": 1 << 10, "intermediate_size": 1 << 24, "vocab_size": 1 << 24,
        "max_position_embeddings": 1 << 30, "torch_dtype": "float32"
    });
    let largest =
        json!({ "prompt_tokens": (1u64 << 30) - 1, "output_tokens": 1, "concurrent_sequences": 1 << 20 });
    for gpu in ["cpu", "h100-sxm-80gb"] {
        for model in
            [json!({ "id": null, "name": "m", "config": config }), json!({ "id": "google/gemma-3-270m" })]
        {
            let mut workload = largest.clone();
            if model["id"].is_string() {
                workload["prompt_tokens"] = json!(32_767);
            }
            let gpu = json!({ "id": gpu, "memory_mib": u64::MAX });
            let plan = plan(&changed(&json!({ "model": model, "gpu": gpu, "workload": workload })));
            match estimate(&plan) {
                Ok(estimate) => assert!(estimate.per_gpu.total.0 > 1 << 50),
                Err(error) => assert!(!error.field.is_empty()),
            }
            let _ = crate::solve::largest_batch(&plan);
            let _ = crate::solve::longest_context(&plan);
        }
    }
}

/// The solvers rest on it.
#[test]
fn memory_never_shrinks_with_batch_or_context() {
    for (id, weights) in [
        ("HuggingFaceTB/SmolLM2-135M", "bf16"),
        ("google/gemma-3-270m", "bf16"),
        ("Qwen/Qwen3-0.6B", "gguf:q8_0"),
        ("microsoft/Phi-3-mini-4k-instruct", "fp16"),
    ] {
        let total = |batch: u64, prompt: u64| {
            let change = json!({ "model": { "id": id }, "precision": { "weights": weights },
                "workload": { "concurrent_sequences": batch, "prompt_tokens": prompt, "output_tokens": 16 } });
            estimate(&plan(&changed(&change))).map(|e| e.per_gpu.total)
        };
        let mut last = Bytes::ZERO;
        for prompt in [1, 2, 31, 32, 33, 500, 511, 512, 513, 1000, 2048, 4000] {
            let Ok(now) = total(1, prompt) else { continue };
            assert!(now >= last, "{id}: {now} at {prompt} tokens, {last} before");
            last = now;
        }
        assert!(last > Bytes::ZERO, "{id} was never answered");
        let mut last = Bytes::ZERO;
        for batch in 1..20 {
            let Ok(now) = total(batch, 100) else { continue };
            assert!(now >= last, "{id}: {now} at {batch} sequences, {last} before");
            last = now;
        }
    }
}

#[test]
fn advice_keeps_its_promises() {
    let document = changed(&json!({
        "gpu": { "id": "rtx-4090-24gb", "in_use_mib": 500 },
        "precision": { "weights": "bf16", "kv_cache": "bf16" },
        "workload": { "prompt_tokens": 8192, "concurrent_sequences": 16 }
    }));
    let estimate_of = |document: &Value| estimate(&plan(document)).unwrap();
    let before = estimate_of(&document);
    assert!(!before.fits);
    assert!(!before.advice.is_empty());
    let first_that_does_not = before.advice.iter().position(|a| !a.fits).unwrap_or(before.advice.len());
    assert!(before.advice[first_that_does_not..].iter().all(|a| !a.fits), "what fits comes first");
    assert!(before.advice.iter().any(|a| a.fits));
    for advice in &before.advice {
        let mut after = document.clone();
        merge(&mut after, &advice.change);
        let after = estimate_of(&after);
        assert_eq!((after.per_gpu.total, after.fits), (advice.total_bytes, advice.fits), "{}", advice.change);
        assert!(after.fits || after.per_gpu.total < before.per_gpu.total, "{}", advice.change);
    }
    assert!(estimate_of(&base()).advice.is_empty(), "a plan that fits needs none");
}

/// Every engine and workload: each change is merged into the plan and estimated again, and does what it says.
#[test]
fn advice_for_engines_and_training_keeps_its_promises() {
    let serve = json!({ "prompt_tokens": 16_000, "output_tokens": 500, "concurrent_sequences": 64 });
    let train = json!({ "kind": "train", "method": "lora", "sequence_tokens": 8192, "micro_batch": 64,
        "lora": { "rank": 16, "targets": ["q_proj", "v_proj"] } });
    let mut answered = 0;
    for (engine, workload) in SERVERS
        .into_iter()
        .map(|engine| (engine, &serve))
        .chain(["torchtune", "torchtitan", "deepspeed", "transformers"].map(|engine| (engine, &train)))
    {
        let mut document =
            changed(&json!({ "gpu": { "id": "rtx-4090-24gb" }, "engine": { "name": engine } }));
        if workload["kind"].is_string() {
            document["workload"] = workload.clone();
            document["gpu"]["id"] = json!("h100-sxm-80gb");
        } else {
            merge(&mut document["workload"], workload);
        }
        let Ok(before) = estimate(&plan(&document)) else { continue };
        assert!(!before.fits, "{engine}");
        assert!(before.advice.iter().any(|a| a.fits), "{engine}: {:?}", before.advice);
        for advice in &before.advice {
            let mut after = document.clone();
            merge(&mut after, &advice.change);
            let after = estimate(&plan(&after)).unwrap();
            assert_eq!(
                (after.per_gpu.total, after.fits),
                (advice.total_bytes, advice.fits),
                "{}",
                advice.change
            );
            assert!(!advice.cost.contains("1 sequences"), "{}", advice.cost);
        }
        answered += 1;
    }
    assert!(answered >= 3, "only {answered} engines were answered");
}

#[test]
fn in_use_memory_is_not_available() {
    let with = |mib: u64| estimate(&plan(&changed(&json!({ "gpu": { "in_use_mib": mib } })))).unwrap();
    assert_eq!(with(1000).capacity_bytes, Bytes::from_mib(80_090));
    assert!(with(0).fits && !with(80_000).fits);
    let own = estimate(&plan(&changed(&json!({ "gpu": { "memory_mib": 40_000 } })))).unwrap();
    assert_eq!(own.capacity_bytes, Bytes::from_mib(40_000));
}

#[test]
fn a_processor_without_a_size_says_so() {
    let document = changed(&json!({ "model": { "id": "HuggingFaceTB/SmolLM2-135M" }, "gpu": { "id": "cpu" },
                                    "precision": { "weights": "fp32" } }));
    let estimate_of = |document: &Value| estimate(&plan(document)).unwrap();
    let unknown = estimate_of(&document);
    assert!(unknown.fits && unknown.speed.is_none());
    assert!(unknown.warnings.iter().any(|w| w.code == "cpu-memory-unknown"), "{:?}", unknown.warnings);
    assert_eq!((unknown.per_gpu.context, unknown.per_gpu.runtime), (Bytes::ZERO, Bytes::ZERO));
    let mut known = document.clone();
    known["gpu"]["memory_mib"] = json!(64);
    let known = estimate_of(&known);
    assert!(!known.fits);
    assert!(known.warnings.iter().all(|w| w.code != "cpu-memory-unknown"));
}

#[test]
fn gguf_weights_compute_in_fp32_whatever_is_asked() {
    // Our decoder's cache is of a type of its own, stock's is what it computes in.
    for (variant, token, warned) in [
        ("stock", 262_144, &["kv-cache-fp32", "activations-fp32"][..]),
        ("plimsoll", 131_072, &["activations-fp32"]),
    ] {
        let change = json!({ "precision": { "weights": "gguf:q4_k_m", "kv_cache": "bf16", "activations": "bf16" },
                             "engine": { "variant": variant }, "workload": { "concurrent_sequences": 1 } });
        let estimate = estimate(&plan(&changed(&change))).unwrap();
        assert_eq!(estimate.kv.bytes_per_token, Bytes(token), "{variant}");
        let mut codes: Vec<&str> = estimate.warnings.iter().map(|w| w.code.as_str()).collect();
        codes.retain(|code| code.ends_with("-fp32"));
        codes.sort_unstable_by_key(|code| std::cmp::Reverse(*code));
        assert_eq!(codes, warned, "{variant}");
    }
}

/// A GGUF header's sums and the same precision by name are the same plan.
#[test]
fn stored_sums_are_planned_as_their_recipe() {
    let entry = catalogue::model("HuggingFaceTB/SmolLM2-135M").unwrap();
    let stored = json!([
        { "type": "f32", "parameters": 35_136, "bytes": 140_544 },
        { "type": "q4_1", "parameters": 106_168_320, "bytes": 66_355_200 },
        { "type": "q8_0", "parameters": 28_311_552, "bytes": 30_081_024 }
    ]);
    let workload = json!({ "prompt_tokens": 128, "concurrent_sequences": 1 });
    let by_header = changed(&json!({ "gpu": { "id": "cpu" }, "workload": workload,
        "model": { "id": null, "name": "SmolLM2-135M-Instruct.Q4_1", "config": entry.config, "stored": stored } }));
    let by_name = changed(&json!({ "gpu": { "id": "cpu" }, "workload": workload,
        "model": { "id": entry.id }, "precision": { "weights": "gguf:q4_1" } }));
    let (a, b) = (estimate(&plan(&by_header)).unwrap(), estimate(&plan(&by_name)).unwrap());
    assert_eq!(a.per_gpu, b.per_gpu);
    assert_eq!(a.phases, b.phases);
}

/// One whole document, as the API, the CLI and the page show it.
#[test]
fn a_whole_estimate() {
    let document =
        changed(&json!({ "gpu": { "id": "rtx-4090-24gb" }, "workload": { "concurrent_sequences": 8 } }));
    insta::assert_json_snapshot!(estimate(&plan(&document)).unwrap());
}

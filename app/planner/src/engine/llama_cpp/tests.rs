use serde_json::{Value, json};

use crate::document::plan::Plan;
use crate::estimate::estimate;
use crate::{Estimate, PlanError};

const MIB: u64 = 1 << 20;

fn run(change: &Value) -> Result<Estimate, PlanError> {
    let mut plan = json!({
        "schema": 1, "model": {"id": "meta-llama/Llama-3.1-8B"}, "gpu": {"id": "rtx-4090-24gb"},
        "engine": {"name": "llama.cpp"}, "precision": {"weights": "gguf:q8_0"},
        "workload": {"kind": "serve", "prompt_tokens": 4000, "output_tokens": 96}
    });
    for (key, value) in change.as_object().into_iter().flatten() {
        match (plan.get_mut(key).and_then(Value::as_object_mut), value.as_object()) {
            (Some(old), Some(new)) => old.extend(new.clone()),
            _ => plan[key] = value.clone(),
        }
    }
    estimate(&serde_json::from_value::<Plan>(plan).unwrap())
}

/// ggml-org/llama.cpp, `tools/quantize/README.md`: sizes of Llama 3.1 8B, printed to a hundredth of a GiB.
#[test]
fn files_are_as_large_as_published() {
    for (mix, gib) in [("f16", 14.96), ("q6_k", 6.14), ("q5_k_m", 5.33), ("q5_k_s", 5.21), ("q2_k", 2.95)] {
        let answer = run(&json!({"precision": {"weights": format!("gguf:{mix}")}})).unwrap();
        let planned = (answer.per_gpu.weights.0 + answer.host.weights.0) as f64 / (1u64 << 30) as f64;
        assert!((planned / gib - 1.0).abs() < 0.01, "{mix}: {planned} GiB, published {gib} GiB");
    }
}

/// Lines that llama.cpp logs, `CUDA0 compute buffer size` in MiB, all layers on the GPU and micro batches of 512.
#[test]
fn compute_buffers_are_as_logged() {
    // build, attention, context, MiB
    let rows =
        [("b4000", "eager", 512, 258.5), ("b4000", "flash", 8192, 258.5), ("b4000", "eager", 8192, 560.0)];
    for (build, attention, context, logged) in rows {
        let change = json!({
            "engine": {"name": "llama.cpp", "version": build}, "attention": {"kind": attention},
            "workload": {"prompt_tokens": context - 1, "output_tokens": 1}
        });
        let planned = run(&change).unwrap().per_gpu.activations.0 as f64 / MIB as f64;
        assert!(
            (planned / logged - 1.0).abs() < 0.01,
            "{build} {attention} {context}: {planned}, logged {logged}"
        );
    }
}

#[test]
fn late_builds_reserve_the_logits_of_one_token_a_slot() {
    let with = |build: &str| {
        run(&json!({"engine": {"name": "llama.cpp", "version": build}})).unwrap().per_gpu.activations.0
    };
    assert_eq!(with("b9000"), (128_256 + 4096) * 4 * 512);
    // Residual, normed input, gate, up and their product, and an fp16 mask over 4096 cells.
    assert_eq!(with("b11000"), 512 * (4 * (2 * 4096 + 3 * 14_336) + 2 * 4096));
}

#[test]
fn the_cache_is_whole_contexts_in_blocks_of_256() {
    let cache = |prompt: u64, kind: &str, slots: u64| {
        let change = json!({
            "precision": {"kv_cache": kind},
            "workload": {"prompt_tokens": prompt, "output_tokens": 0, "concurrent_sequences": slots}
        });
        run(&change).unwrap().per_gpu.kv_cache.0
    };
    // 32 layers × 2 × 1024 elements.
    assert_eq!(cache(8192, "fp16", 1), 1024 * MIB);
    assert_eq!(cache(8000, "fp16", 1), 1024 * MIB);
    assert_eq!(cache(1, "fp16", 1), 32 * MIB);
    assert_eq!(cache(8192, "fp16", 4), 4096 * MIB);
    assert_eq!(cache(8192, "q8_0", 1), 544 * MIB, "34 bytes for 32 elements");
    assert_eq!(cache(8192, "q4_0", 1), 288 * MIB);
    assert_eq!(cache(8192, "fp32", 1), 2048 * MIB);
}

#[test]
fn a_window_keeps_itself_and_a_micro_batch() {
    // Gemma 2 9B: 21 of 42 layers see 4096 tokens: 4608 cells; 2 × 8 heads × 256 × 2 bytes.
    let change = json!({
        "model": {"id": "google/gemma-2-9b-it"},
        "workload": {"prompt_tokens": 8192, "output_tokens": 0}
    });
    assert_eq!(run(&change).unwrap().per_gpu.kv_cache.0, 21 * 8192 * (8192 + 4608));
}

#[test]
fn layers_that_stay_on_the_host_take_their_cache_along() {
    let all = run(&json!({})).unwrap();
    assert_eq!(all.host.kv_cache.0, 0);
    // The embedding is looked up in host memory: 128256 rows of 4096 in q8_0.
    assert_eq!(all.host.weights.0, 128_256 * 4096 / 32 * 34);
    let same = run(&json!({"workload": {"gpu_layers": 33}})).unwrap();
    assert_eq!(same.per_gpu, all.per_gpu);
    let half = run(&json!({"workload": {"gpu_layers": 17}})).unwrap();
    assert_eq!(half.per_gpu.kv_cache, half.host.kv_cache, "16 of 32 layers, and the head");
    let sum = |e: &Estimate| e.per_gpu.weights.0 + e.host.weights.0;
    assert_eq!(sum(&half), sum(&all));
    assert!(half.warnings.iter().any(|w| w.code == "layers-on-host"));
    let none = run(&json!({"workload": {"gpu_layers": 0}})).unwrap();
    assert_eq!((none.per_gpu.weights.0, none.per_gpu.kv_cache.0), (0, 0));
}

#[test]
fn more_layers_on_the_gpu_never_take_less_of_it() {
    let mut before = 0;
    for layers in 0..=40 {
        let answer = run(&json!({"workload": {"gpu_layers": layers}})).unwrap();
        let now = answer.per_gpu.weights.0 + answer.per_gpu.kv_cache.0;
        assert!(now >= before, "{layers} layers");
        before = now;
    }
}

#[test]
fn the_processor_alone_takes_everything_in_host_memory() {
    let change = json!({"gpu": {"id": "cpu", "memory_mib": 65536}});
    let answer = run(&change).unwrap();
    let gpu = run(&json!({})).unwrap();
    assert_eq!(answer.per_gpu.weights.0, gpu.per_gpu.weights.0 + gpu.host.weights.0);
    assert_eq!((answer.host.total.0, answer.per_gpu.context.0), (0, 0));
    assert!(answer.fits && !answer.command.unwrap().contains("-ngl"));
}

#[test]
fn layers_and_rows_are_divided_over_gpus() {
    let whole = run(&json!({})).unwrap();
    let layers = run(&json!({"parallelism": {"pipeline": 2}})).unwrap();
    let rows = run(&json!({"parallelism": {"tensor": 2}})).unwrap();
    assert!(layers.per_gpu.kv_cache.0 * 100 >= whole.per_gpu.kv_cache.0 * 50);
    assert!(layers.per_gpu.weights.0 * 100 < whole.per_gpu.weights.0 * 56);
    assert_eq!(rows.per_gpu.weights.0, whole.per_gpu.weights.0.div_ceil(2));
    assert_eq!(rows.per_gpu.kv_cache, whole.per_gpu.kv_cache, "the main GPU keeps all of the cache");
}

#[test]
fn fewer_slots_than_sequences_do_not_fit() {
    let change = json!({"workload": {"concurrent_sequences": 4, "max_sequences": 2}});
    let answer = run(&change).unwrap();
    assert!(!answer.fits);
    assert_eq!(answer.kv.max_concurrent_sequences, 2);
}

#[test]
fn what_the_engine_cannot_do_is_refused_by_field() {
    let cases = [
        (json!({"precision": {"weights": "nf4"}}), "precision.weights"),
        (json!({"precision": {"kv_cache": "fp8"}}), "precision.kv_cache"),
        (json!({"precision": {"kv_cache": "q8_0"}, "attention": {"kind": "eager"}}), "precision.kv_cache"),
        (json!({"engine": {"name": "llama.cpp", "version": "1.2"}}), "engine.version"),
        (json!({"attention": {"kind": "memory-efficient"}}), "attention.kind"),
        (json!({"cache": {"kind": "paged"}}), "cache.kind"),
        (json!({"parallelism": {"tensor": 2, "pipeline": 2}}), "parallelism.pipeline"),
        (json!({"parallelism": {"context": 2}}), "parallelism.context"),
        (json!({"workload": {"memory_fraction": 0.5}}), "workload.memory_fraction"),
        (json!({"workload": {"concurrent_sequences": 257}}), "workload.concurrent_sequences"),
        (json!({"gpu": {"id": "cpu"}, "workload": {"gpu_layers": 3}}), "workload.gpu_layers"),
    ];
    for (change, field) in cases {
        assert_eq!(run(&change).unwrap_err().field, field, "{change}");
    }
}

#[test]
fn the_command_says_what_was_planned() {
    let change = json!({
        "precision": {"weights": "gguf:q4_k_m", "kv_cache": "q8_0"},
        "workload": {"concurrent_sequences": 2, "gpu_layers": 20, "max_batched_tokens": 1024}
    });
    assert_eq!(
        run(&change).unwrap().command.unwrap(),
        "llama-server -m Llama-3.1-8B-q4_k_m.gguf -c 8192 --parallel 2 -ngl 20 -b 1024 -ub 1024 -fa on -ctk q8_0 -ctv q8_0"
    );
}

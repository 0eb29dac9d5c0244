//! What stands beside a served model, against counts by hand.

use serde_json::{Value, json};

use crate::document::estimate::Estimate;
use crate::document::plan::Plan;
use crate::error::PlanError;

/// The estimate of a plan that serves `model`, with `workload` and `more` merged in.
fn try_answer(
    model: &str,
    engine: &str,
    weights: &str,
    workload: &Value,
    more: &Value,
) -> Result<Estimate, PlanError> {
    let mut document = json!({
        "schema": 1, "model": { "id": model }, "gpu": { "id": "h200-sxm-141gb" }, "engine": { "name": engine },
        "precision": { "weights": weights },
        "workload": { "kind": "serve", "prompt_tokens": 4096, "output_tokens": 512, "concurrent_sequences": 32 }
    });
    for (key, value) in workload.as_object().unwrap() {
        document["workload"][key] = value.clone();
    }
    for (key, value) in more.as_object().unwrap() {
        document[key] = value.clone();
    }
    crate::estimate(&Plan::from_value(document).unwrap())
}

fn answer(model: &str, engine: &str, weights: &str, workload: &Value) -> Estimate {
    try_answer(model, engine, weights, workload, &json!({})).unwrap()
}

const LLAMA: &str = "meta-llama/Llama-3.1-8B";
const NONE: Value = Value::Null;

fn nothing() -> Value {
    json!({})
}

/// PEFT prints 41,943,040 trainable parameters for Llama 3 8B with rank 16 on all seven linear modules.
const ADAPTER: u64 = 41_943_040;

#[test]
fn vllm_sets_room_aside_for_every_module_of_every_adapter() {
    let without = answer(LLAMA, "vllm", "bf16", &nothing());
    let adapters = json!({ "lora_adapters": { "count": 4, "rank": 16 } });
    let with = answer(LLAMA, "vllm", "bf16", &adapters);
    assert_eq!(with.per_gpu.weights.0 - without.per_gpu.weights.0, ADAPTER * 4 * 2);
    assert!(with.per_gpu.cuda_graphs > without.per_gpu.cuda_graphs, "captured twice");
    assert!(with.kv.pool_bytes < without.kv.pool_bytes);
    let command = with.command.unwrap();
    assert!(command.contains("--enable-lora --max-loras 4 --max-lora-rank 16"), "{command}");
}

#[test]
fn adapters_are_divided_as_their_modules_are() {
    let two = json!({ "parallelism": { "tensor": 2 } });
    let weights =
        |workload: &Value| try_answer(LLAMA, "vllm", "bf16", workload, &two).unwrap().per_gpu.weights.0;
    let adapters = json!({ "lora_adapters": { "count": 1, "rank": 16 } });
    // Of a column parallel module the first matrix is whole and the second divided; of a row parallel one the reverse.
    let columns = [(4096, 4096), (4096, 1024), (4096, 1024), (4096, 14_336), (4096, 14_336)];
    let rows = [(4096, 4096), (14_336, 4096)];
    let a_layer = columns.iter().map(|(i, o)| i + o / 2).sum::<u64>()
        + rows.iter().map(|(i, o)| i / 2 + o).sum::<u64>();
    assert_eq!(weights(&adapters) - weights(&nothing()), 32 * 16 * a_layer * 2);

    // A pipeline stage has those of its layers.
    let stages = json!({ "parallelism": { "pipeline": 2 } });
    for engine in ["vllm", "sglang"] {
        let weights = |workload: &Value| {
            try_answer(LLAMA, engine, "bf16", workload, &stages).unwrap().per_gpu.weights.0
        };
        assert_eq!(weights(&adapters) - weights(&nothing()), ADAPTER / 2 * 2, "{engine}");
    }
}

#[test]
fn engines_that_only_hold_adapters_hold_those_modules() {
    for (engine, weights, element) in [("llama.cpp", "gguf:q8_0", 2), ("transformers", "bf16", 4)] {
        let without = answer(LLAMA, engine, weights, &nothing());
        let all = answer(LLAMA, engine, weights, &json!({ "lora_adapters": { "count": 1, "rank": 16 } }));
        let added = all.per_gpu.weights.0 - without.per_gpu.weights.0;
        // The head is counted as a layer of -ngl: all but the rest of that division.
        assert!(added.abs_diff(ADAPTER * element) < 64, "{engine}: {added}");
        let targets = json!({ "lora_adapters": { "count": 1, "rank": 16, "targets": ["q_proj", "v_proj"] } });
        let some = answer(LLAMA, engine, weights, &targets);
        // 3,407,872 × 2: rank 16 of what PEFT prints as 3,407,872 for rank 8 on q_proj and v_proj.
        let added = some.per_gpu.weights.0 - without.per_gpu.weights.0;
        assert!(added.abs_diff(6_815_744 * element) < 64, "{engine}: {added}");
    }
}

#[test]
fn a_shared_prefix_is_held_once() {
    // 131072 bytes of cache a token.
    for engine in ["vllm", "sglang", "tensorrt-llm"] {
        let whole = answer(LLAMA, engine, "bf16", &nothing());
        let shared = answer(LLAMA, engine, "bf16", &json!({ "shared_prefix_tokens": 3072 }));
        assert_eq!(whole.per_gpu.kv_cache.0, 32 * 4608 * 131_072, "{engine}");
        assert_eq!(shared.per_gpu.kv_cache.0, (3072 + 32 * 1536) * 131_072, "{engine}");
        let (whole, shared) = (whole.speed.unwrap(), shared.speed.unwrap());
        assert!(shared.time_to_first_token_ms < whole.time_to_first_token_ms / 3.0, "{engine}");
        assert!((shared.time_per_output_token_ms - whole.time_per_output_token_ms).abs() < 1e-9, "{engine}");
    }
    // Only whole pages are shared.
    let odd = answer(LLAMA, "vllm", "bf16", &json!({ "shared_prefix_tokens": 3071 }));
    assert_eq!(odd.per_gpu.kv_cache.0, (3056 + 32 * (4608 - 3056)) * 131_072);
}

#[test]
fn a_draft_is_held_beside_its_model() {
    const BIG: &str = "meta-llama/Llama-3.1-70B";
    let four = json!({ "parallelism": { "tensor": 4 } });
    let drafted = json!({ "speculation": { "kind": "draft-model", "model": { "id": LLAMA }, "tokens": 4 } });
    let alone = try_answer(BIG, "vllm", "bf16", &nothing(), &four).unwrap();
    let with = try_answer(BIG, "vllm", "bf16", &drafted, &four).unwrap();
    let small = try_answer(LLAMA, "vllm", "bf16", &nothing(), &four).unwrap();
    assert_eq!(with.per_gpu.weights, alone.per_gpu.weights + small.per_gpu.weights);
    assert_eq!(with.kv.bytes_per_token, alone.kv.bytes_per_token + small.kv.bytes_per_token);
    // Four tokens more of every sequence: 4612 take 289 pages of 16.
    assert_eq!(with.per_gpu.kv_cache.0, 32 * 289 * 16 * with.kv.bytes_per_token.0);
    assert!(with.warnings.iter().any(|w| w.code == "speculation-not-in-speed"));

    let q8 = json!({ "speculation": { "kind": "draft-model", "model": { "id": "meta-llama/Llama-3.2-1B" },
                                      "precision": "gguf:q8_0", "tokens": 8 } });
    let main = answer(LLAMA, "llama.cpp", "gguf:q8_0", &nothing());
    let beside = answer("meta-llama/Llama-3.2-1B", "llama.cpp", "gguf:q8_0", &nothing());
    let both = answer(LLAMA, "llama.cpp", "gguf:q8_0", &q8);
    assert_eq!(both.per_gpu.weights, main.per_gpu.weights + beside.per_gpu.weights);
    assert_eq!(both.per_gpu.kv_cache, main.per_gpu.kv_cache + beside.per_gpu.kv_cache);
    assert_eq!(both.per_gpu.context, main.per_gpu.context, "one process");
    assert!(both.command.unwrap().ends_with("-md Llama-3.2-1B.gguf --draft-max 8 -ngld 99"));
}

#[test]
fn a_models_own_further_layers_propose() {
    const DEEPSEEK: &str = "deepseek-ai/DeepSeek-V3";
    let eight = json!({ "parallelism": { "tensor": 8 } });
    let alone = try_answer(DEEPSEEK, "vllm", "fp8", &nothing(), &eight).unwrap();
    let with = try_answer(
        DEEPSEEK,
        "vllm",
        "fp8",
        &json!({ "speculation": { "kind": "mtp", "tokens": 1 } }),
        &eight,
    )
    .unwrap();
    // One more layer of a latent vector and a rotated key.
    assert_eq!(alone.kv.bytes_per_token.0, 61 * 576 * 2);
    assert_eq!(with.kv.bytes_per_token.0, 62 * 576 * 2);
    // 256 routed experts and a shared one of 3 · 7168 · 2048 in fp8 over eight ranks are most of it; attention, what is
    // absorbed, and the input projection of 2 · 7168² in bf16, which every rank has, are the rest.
    let added = with.per_gpu.weights.0 - alone.per_gpu.weights.0;
    let experts = 257 * 3 * 7168 * 2048 / 8;
    let input = 2 * 7168 * 7168 * 2;
    assert!((experts + input..experts + input + (100 << 20)).contains(&added), "{added}");
    let refused = try_answer(
        LLAMA,
        "vllm",
        "bf16",
        &json!({ "speculation": { "kind": "mtp", "tokens": 1 } }),
        &nothing(),
    );
    assert_eq!(refused.unwrap_err().field, "workload.speculation.kind");
}

/// Equation 1 of arXiv 2211.17192: four proposed tokens of which 80 % are accepted yield 3.36 at a time.
#[test]
fn accepted_tokens_make_it_faster_and_refused_ones_slower() {
    let one = |speculation: Value| {
        let workload = json!({ "concurrent_sequences": 1, "speculation": speculation });
        answer(LLAMA, "vllm", "bf16", &workload).speed.unwrap().time_per_output_token_ms
    };
    let plain = one(NONE);
    let ngram = |acceptance: f64| one(json!({ "kind": "ngram", "tokens": 4, "acceptance": acceptance }));
    let yielded = (1.0 - 0.8f64.powi(5)) / (1.0 - 0.8);
    assert!((yielded - 3.3616).abs() < 1e-9);
    let (good, bad) = (ngram(0.8), ngram(0.0));
    assert!(bad >= plain, "{bad} {plain}");
    assert!((bad / good - yielded).abs() < 1e-6, "{bad} {good}");
    let draft =
        one(json!({ "kind": "draft-model", "model": { "id": "meta-llama/Llama-3.2-1B" }, "tokens": 4,
                            "acceptance": 0.8 }));
    assert!(draft > good && draft < plain, "a draft costs time of its own: {good} {draft} {plain}");
}

#[test]
fn the_hosts_cache_holds_more_tokens() {
    for engine in ["vllm", "sglang", "tensorrt-llm"] {
        let with = answer(LLAMA, engine, "bf16", &json!({ "host_cache_mib": 65_536 }));
        assert_eq!(with.host.kv_cache.0, 64 << 30, "{engine}");
        assert_eq!(with.host.kv_tokens, (64 << 30) / 131_072, "{engine}");
        assert!(with.host.total >= with.host.kv_cache, "{engine}");
    }
    let two = json!({ "parallelism": { "tensor": 2 } });
    let divided = try_answer(LLAMA, "vllm", "bf16", &json!({ "host_cache_mib": 65_536 }), &two).unwrap();
    assert_eq!(divided.host.kv_tokens, (64 << 30) / 131_072, "two halves of a token are one token");
}

#[test]
fn images_are_tokens_of_the_prompt() {
    // Gemma 3: 256 tokens for each image, whatever its size. Qwen2.5-VL: a token for 28 × 28 pixels.
    for (model, images, tokens) in [
        ("google/gemma-3-4b-it", json!({ "per_prompt": 3 }), 768),
        ("google/gemma-3-4b-it", json!({ "per_prompt": 1, "width": 4000 }), 256),
        ("Qwen/Qwen2.5-VL-7B-Instruct", json!({ "per_prompt": 2, "width": 1024 }), 2 * 37 * 37),
        ("Qwen/Qwen2.5-VL-7B-Instruct", json!({ "per_prompt": 1, "width": 1280, "height": 720 }), 46 * 26),
    ] {
        let workload = json!({ "images": images });
        let with = answer(model, "vllm", "bf16", &workload);
        let longer = answer(model, "vllm", "bf16", &json!({ "prompt_tokens": 4096 + tokens }));
        assert_eq!(with.per_gpu.kv_cache, longer.per_gpu.kv_cache, "{model} {workload}");
        assert!(
            with.warnings
                .iter()
                .any(|w| w.code == "image-tokens" && w.message.starts_with(&tokens.to_string()))
        );
    }
}

#[test]
fn what_an_engine_or_a_model_lacks_is_refused_by_name() {
    let draft =
        |id: &str| json!({ "speculation": { "kind": "draft-model", "model": { "id": id }, "tokens": 4 } });
    let ngram = |more: Value| {
        let mut speculation = json!({ "kind": "ngram", "tokens": 4 });
        for (key, value) in more.as_object().unwrap() {
            speculation[key] = value.clone();
        }
        json!({ "speculation": speculation })
    };
    let cases = [
        ("candle", json!({ "shared_prefix_tokens": 64 }), "workload.shared_prefix_tokens"),
        ("llama.cpp", json!({ "host_cache_mib": 64 }), "workload.host_cache_mib"),
        ("candle", json!({ "lora_adapters": { "count": 1, "rank": 8 } }), "workload.lora_adapters"),
        ("tensorrt-llm", draft("meta-llama/Llama-3.2-1B"), "workload.speculation.model"),
        ("transformers", ngram(json!({})), "workload.speculation.kind"),
        ("vllm", json!({ "shared_prefix_tokens": 5000 }), "workload.shared_prefix_tokens"),
        ("vllm", json!({ "images": { "per_prompt": 1 } }), "workload.images"),
        ("vllm", json!({ "lora_adapters": { "count": 0, "rank": 8 } }), "workload.lora_adapters.count"),
        ("vllm", json!({ "lora_adapters": { "count": 1, "rank": 12 } }), "workload.lora_adapters.rank"),
        (
            "sglang",
            json!({ "lora_adapters": { "count": 1, "rank": 8, "targets": ["none"] } }),
            "workload.lora_adapters.targets",
        ),
        ("vllm", ngram(json!({ "tokens": 0 })), "workload.speculation.tokens"),
        ("vllm", ngram(json!({ "acceptance": 1.0 })), "workload.speculation.acceptance"),
        ("vllm", draft("no/such-model"), "workload.speculation.model.id"),
        ("vllm", draft("Qwen/Qwen2.5-0.5B"), "workload.speculation.model"),
        ("vllm", draft("sentence-transformers/all-MiniLM-L6-v2"), "workload.speculation.model"),
    ];
    for (engine, workload, field) in cases {
        let weights = if engine == "llama.cpp" { "gguf:q8_0" } else { "bf16" };
        let error = try_answer(LLAMA, engine, weights, &workload, &nothing()).unwrap_err();
        assert_eq!(error.field, field, "{engine} {workload}: {error}");
        assert!(!error.to_string().is_empty());
    }
    let old = json!({ "engine": { "name": "vllm", "version": "0.11.0" } });
    for workload in [draft("meta-llama/Llama-3.2-1B"), json!({ "host_cache_mib": 64 })] {
        let error = try_answer(LLAMA, "vllm", "bf16", &workload, &old).unwrap_err();
        assert!(error.to_string().contains("0.11.0"), "{error}");
    }
    let stages = json!({ "parallelism": { "pipeline": 2 } });
    let error = try_answer(LLAMA, "vllm", "bf16", &ngram(json!({})), &stages).unwrap_err();
    assert_eq!(error.field, "workload.speculation");
}

#[test]
fn a_slice_is_a_gpu_of_its_own() {
    let slice = |id: &str, more: Value| {
        let mut document = json!({ "gpu": { "id": id } });
        for (key, value) in more.as_object().unwrap() {
            document[key] = value.clone();
        }
        try_answer(
            "meta-llama/Llama-3.2-1B",
            "vllm",
            "bf16",
            &json!({ "concurrent_sequences": 4 }),
            &document,
        )
    };
    let part = slice("h100-sxm-80gb:3g.40gb", nothing()).unwrap();
    let whole = slice("h100-sxm-80gb", nothing()).unwrap();
    assert_eq!(part.capacity_bytes.0, 40_448 << 20);
    assert!(part.fits);
    let (p, w) = (part.speed.unwrap(), whole.speed.unwrap());
    assert!(p.time_per_output_token_ms > 1.5 * w.time_per_output_token_ms, "half of the bandwidth");
    let error = slice("h100-sxm-80gb:3g.40gb", json!({ "parallelism": { "tensor": 2 } })).unwrap_err();
    assert_eq!(error.field, "gpu.id");
    let error = slice("h100-sxm-80gb:5g.50gb", nothing()).unwrap_err();
    assert!(error.to_string().contains("h100-sxm-80gb:1g.10gb"), "{error}");
}

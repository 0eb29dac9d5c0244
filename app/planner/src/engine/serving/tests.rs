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
    // Embedding and head are modules of vLLM's Llama: 128256 tokens, 4096 wide.
    // Their larger matrices, 15.66 MiB, take a segment of 16 MiB of PyTorch's each.
    let vocabulary = 2 * ((16 << 20) + 4 * 16 * 4096 * 2);
    assert_eq!(with.per_gpu.weights.0 - without.per_gpu.weights.0, ADAPTER * 4 * 2 + vocabulary);
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
    let vocabulary = 2 * 16 * (128_256 + 4096) * 2;
    assert_eq!(weights(&adapters) - weights(&nothing()), 32 * 16 * a_layer * 2 + vocabulary);

    // A pipeline stage has those of its layers; the first the embedding's, the last the head's, which are as large.
    let stages = json!({ "parallelism": { "pipeline": 2 } });
    for (engine, vocabulary) in [("vllm", vocabulary / 2), ("sglang", 0)] {
        let weights = |workload: &Value| {
            try_answer(LLAMA, engine, "bf16", workload, &stages).unwrap().per_gpu.weights.0
        };
        assert_eq!(weights(&adapters) - weights(&nothing()), ADAPTER / 2 * 2 + vocabulary, "{engine}");
    }
}

#[test]
fn engines_that_only_hold_adapters_hold_those_modules() {
    for (engine, weights, element) in [("llama.cpp", "gguf:q8_0", 2), ("transformers", "bf16", 4)] {
        let without = answer(LLAMA, engine, weights, &nothing());
        let all = answer(LLAMA, engine, weights, &json!({ "lora_adapters": { "count": 1, "rank": 16 } }));
        let added = all.per_gpu.weights.0 - without.per_gpu.weights.0;
        assert_eq!((added, all.host.weights), (ADAPTER * element, without.host.weights), "{engine}");
        let targets = json!({ "lora_adapters": { "count": 1, "rank": 16, "targets": ["q_proj", "v_proj"] } });
        let some = answer(LLAMA, engine, weights, &targets);
        // 3,407,872 × 2: rank 16 of what PEFT prints as 3,407,872 for rank 8 on q_proj and v_proj.
        let added = some.per_gpu.weights.0 - without.per_gpu.weights.0;
        assert_eq!(added, 6_815_744 * element, "{engine}");
    }
    // Where half of 32 layers stays on the host, half of the adapters does; the head is a layer of -ngl.
    let half = |workload: Value| answer(LLAMA, "llama.cpp", "gguf:q8_0", &workload);
    let without = half(json!({ "gpu_layers": 17 }));
    let with = half(json!({ "gpu_layers": 17, "lora_adapters": { "count": 1, "rank": 16 } }));
    assert_eq!(with.host.weights.0 - without.host.weights.0, ADAPTER);
    assert_eq!(with.per_gpu.weights.0 - without.per_gpu.weights.0, ADAPTER);
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
    let drafted = json!({ "max_model_len": 8192,
                          "speculation": { "kind": "draft-model", "model": { "id": LLAMA }, "tokens": 4 } });
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
    assert!(both.command.unwrap().ends_with("-md Llama-3.2-1B.gguf"));
    // The draft's cache is fp16 whatever the model's is.
    let mut small = q8.clone();
    small["max_model_len"] = json!(8192);
    let quantized = json!({ "precision": { "weights": "gguf:q8_0", "kv_cache": "q8_0" } });
    let long = json!({ "max_model_len": 8192 });
    let alone = try_answer(LLAMA, "llama.cpp", "gguf:q8_0", &long, &quantized).unwrap();
    let with = try_answer(LLAMA, "llama.cpp", "gguf:q8_0", &small, &quantized).unwrap();
    let fp16 = answer("meta-llama/Llama-3.2-1B", "llama.cpp", "gguf:q8_0", &long);
    assert_eq!(with.per_gpu.kv_cache, alone.per_gpu.kv_cache + fp16.per_gpu.kv_cache);
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

#[test]
fn sglang_loads_a_draft_beside_its_pool() {
    let alone = answer(LLAMA, "sglang", "bf16", &nothing());
    let speculation = json!({ "speculation": { "kind": "draft-model", "model": { "id": "meta-llama/Llama-3.2-1B" },
                                               "tokens": 3 } });
    let with = answer(LLAMA, "sglang", "bf16", &speculation);
    let draft = answer("meta-llama/Llama-3.2-1B", "sglang", "bf16", &nothing());
    assert!(!with.fits, "a quarter as much again beside a pool that fills the card");
    assert_eq!(with.per_gpu.weights, alone.per_gpu.weights + draft.per_gpu.weights);
    // The model's pool is smaller by the 6 GiB that are left free, and the draft has as many tokens of its own.
    let fewer = alone.kv.pool_tokens - with.kv.pool_tokens;
    assert!((fewer * 131_072).abs_diff(6 << 30) < 200 << 20, "{} MiB", (fewer * 131_072) >> 20);
    assert_eq!(with.kv.bytes_per_token, alone.kv.bytes_per_token + draft.kv.bytes_per_token);
    let mut smaller = speculation.clone();
    smaller["memory_fraction"] = json!(0.6);
    let command = answer(LLAMA, "sglang", "bf16", &smaller).command.unwrap();
    assert!(
        command.contains(
            "--speculative-num-steps 3 --speculative-eagle-topk 1 --speculative-num-draft-tokens 4"
        ),
        "{command}"
    );
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
    for (engine, gib) in [("vllm", 64), ("sglang", 160), ("tensorrt-llm", 64)] {
        let with = answer(LLAMA, engine, "bf16", &json!({ "host_cache_mib": gib * 1024 }));
        assert_eq!(with.host.kv_cache.0, gib << 30, "{engine}");
        assert_eq!(with.host.kv_tokens, (gib << 30) / 131_072, "{engine}");
        assert!(with.host.total >= with.host.kv_cache, "{engine}");
    }
    // SGLang's mirrors the GPU's pool, and ends at an assertion where it is smaller.
    let error =
        try_answer(LLAMA, "sglang", "bf16", &json!({ "host_cache_mib": 65_536 }), &nothing()).unwrap_err();
    assert_eq!(error.field, "workload.host_cache_mib");
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
        // round(512 / 28) = 18; halves go to the even: 490 / 28 = 17.5, 462 / 28 = 16.5.
        ("Qwen/Qwen2.5-VL-7B-Instruct", json!({ "per_prompt": 1, "height": 512 }), 18 * 18),
        ("Qwen/Qwen2.5-VL-7B-Instruct", json!({ "per_prompt": 1, "width": 490, "height": 462 }), 18 * 16),
        // No more than 16384, no less than 4.
        ("Qwen/Qwen2.5-VL-7B-Instruct", json!({ "per_prompt": 1, "width": 65_536 }), 128 * 128),
        ("Qwen/Qwen2.5-VL-7B-Instruct", json!({ "per_prompt": 1, "width": 10 }), 4),
        ("Qwen/Qwen3-VL-8B-Instruct", json!({ "per_prompt": 1, "width": 1024 }), 32 * 32),
        // Pixtral: 19 rows of 19 squares of 28 pixels and a break; the largest edge is 1540.
        ("mistralai/Mistral-Small-3.1-24B-Instruct-2503", json!({ "per_prompt": 1, "width": 512 }), 19 * 20),
        (
            "mistralai/Mistral-Small-3.1-24B-Instruct-2503",
            json!({ "per_prompt": 1, "width": 3080, "height": 1540 }),
            28 * 56,
        ),
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
        (
            "sglang",
            json!({ "speculation": { "kind": "draft-model", "model": { "id": "meta-llama/Llama-3.2-1B" },
                                            "precision": "gguf:q8_0", "tokens": 4 } }),
            "workload.speculation.precision",
        ),
        ("transformers", draft("meta-llama/Llama-3.2-1B"), "workload.concurrent_sequences"),
        ("vllm", json!({ "images": { "per_prompt": 0 } }), "workload.images.per_prompt"),
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
    // Replicas that serve need not talk; no search of layouts divides a model over slices either.
    slice("h100-sxm-80gb:3g.40gb", json!({ "parallelism": { "data": 2 } })).unwrap();
    let plan = Plan::from_value(json!({
        "schema": 1, "model": { "id": LLAMA }, "gpu": { "id": "h100-sxm-80gb:1g.10gb" }, "engine": { "name": "vllm" },
        "workload": { "kind": "serve", "prompt_tokens": 128, "output_tokens": 16 }
    }))
    .unwrap();
    assert!(
        !crate::solve::fewest_gpus(&plan, &crate::solve::SpeedLimits::default())
            .is_ok_and(|found| found.is_some()),
        "8B in bf16 is more than 10 GB"
    );
    let error = slice("h100-sxm-80gb:5g.50gb", nothing()).unwrap_err();
    assert!(error.to_string().contains("h100-sxm-80gb:1g.10gb"), "{error}");
}

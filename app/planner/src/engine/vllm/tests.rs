//! Mechanisms against vLLM's published logs. Models are given by shape, so that nothing here depends on the catalogue.

use serde_json::json;

use super::cache::{self, Pages, Reach};
use super::device::{Device, Generation};
use super::version::version;
use super::*;
use crate::bytes::Tokens;
use crate::model::{
    Attention, DenseFeedForward, Experts, FeedForward, LatentAttention, Layer, Recurrent, Tower, TowerShape,
};

const H100: Device = Device { generation: Generation::Hopper, multiprocessors: 132, a100: false };

/// A Llama of `layers` layers to be changed.
fn llama(hidden: u64, layers: u64, heads: u64, kv_heads: u64, head: u64, inner: u64, vocab: u64) -> Model {
    let config = json!({
        "model_type": "llama", "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "head_dim": head, "intermediate_size": inner, "vocab_size": vocab,
        "max_position_embeddings": 131_072, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
    });
    Model::from_config("test", &config).unwrap()
}

fn attention(layer: &mut Layer) -> &mut Attention {
    match &mut layer.mixer {
        Mixer::Attention(a) => a,
        _ => panic!("a Llama has attention"),
    }
}

/// Every `period`-th layer full, the others with a window.
fn windowed(mut model: Model, period: usize, window: u64) -> Model {
    for (index, layer) in model.layers.iter_mut().enumerate() {
        if (index + 1) % period != 0 {
            attention(layer).window = Some(Tokens(window));
        }
    }
    model
}

fn experts(mut model: Model, e: &Experts, from: usize) -> Model {
    for layer in &mut model.layers[from..] {
        layer.feed_forward = FeedForward::Experts(e.clone());
    }
    model
}

const fn swiglu(intermediate: u64) -> DenseFeedForward {
    DenseFeedForward { intermediate, gated: true, fused_gate_up: false, bias: false }
}

fn gemma3_4b() -> Model {
    let mut model = windowed(llama(2560, 34, 8, 4, 256, 10_240, 262_208), 6, 1024);
    model.architecture = crate::model::Architecture::Gemma3;
    model.towers = vec![Tower {
        name: "vision tower".into(),
        parameters: 0,
        shape: Some(TowerShape {
            hidden: 1152,
            layers: 27,
            heads: 16,
            intermediate: 4304,
            patch: 14,
            image: 896,
            tokens_per_image: 256,
        }),
    }];
    model
}

fn gemma3_12b() -> Model {
    let small = gemma3_4b();
    let mut model = windowed(llama(3840, 48, 16, 8, 256, 15_360, 262_208), 6, 1024);
    (model.architecture, model.towers) = (small.architecture, small.towers);
    model
}

fn qwen_moe() -> Model {
    let e = Experts {
        routed: 60,
        active: 4,
        expert: swiglu(1408),
        shared: Some(swiglu(5632)),
        shared_gate: true,
        router_bias: false,
    };
    experts(llama(2048, 24, 16, 16, 128, 5632, 151_936), &e, 0)
}

fn deepseek_v2_lite() -> Model {
    let e = Experts {
        routed: 64,
        active: 6,
        expert: swiglu(1408),
        shared: Some(swiglu(2816)),
        shared_gate: false,
        router_bias: false,
    };
    let mut model = experts(llama(2048, 27, 16, 16, 128, 10_944, 102_400), &e, 1);
    for layer in &mut model.layers {
        layer.mixer = Mixer::Latent(LatentAttention {
            heads: 16,
            query_rank: None,
            kv_rank: 512,
            nope_size: 128,
            rope_size: 64,
            value_size: 128,
        });
    }
    model
}

/// Qwen3-Next-80B-A3B's mixers: three gated delta rules to one attention of 2 key heads of 256.
fn qwen3_next() -> Model {
    let mut model = llama(2048, 48, 16, 2, 256, 5120, 151_936);
    for (index, layer) in model.layers.iter_mut().enumerate() {
        if (index + 1) % 4 != 0 {
            layer.mixer = Mixer::Recurrent(Recurrent::GatedDelta {
                key_heads: 16,
                value_heads: 32,
                key_size: 128,
                value_size: 128,
                conv_kernel: 4,
            });
        }
    }
    model
}

fn setting(tensor: u64) -> cache::Setting {
    cache::Setting {
        tensor,
        element: 2,
        convolution_element: 2,
        state_element: 2,
        tokens: PAGE_TOKENS,
        groups: true,
        states: 1,
    }
}

/// Blocks that a pool of `bytes` holds in all layers, and the tokens that vLLM 0.19 prints for them.
fn printed(pages: &Pages, layers: u64, bytes: u64) -> u64 {
    let blocks = bytes / pages.block_bytes(0, layers);
    blocks / pages.groups.len() as u64 * pages.tokens
}

/// Groups, bytes of a block, and tokens printed for the pool that the log names. The log's pool is rounded to 0.01 GiB, which
/// is at most 0.02 % of it.
#[test]
fn groups_give_the_tokens_that_vllm_prints() {
    for (name, model, tensor, groups, pool, tokens) in [
        // google/gemma-2-2b-it: 13 windowed and 13 full layers.
        (
            "gemma 2",
            windowed(llama(2304, 26, 8, 4, 256, 9216, 256_000), 2, 4096),
            1,
            2,
            71_371_619_041,
            670_160,
        ),
        // google/gemma-3-12b-it: 8 full layers, 40 windowed in five groups of 8.
        ("gemma 3 12b", gemma3_12b(), 1, 6, 51_238_959_841, 130_304),
        // google/gemma-3-4b-it: 5 full layers, 29 windowed in six groups, one of them padded.
        ("gemma 3 4b", gemma3_4b(), 1, 7, 67_119_601_418, 468_144),
        // Qwen/Qwen1.5-MoE-A2.7B: one group.
        ("qwen moe", qwen_moe(), 1, 1, 49_209_587_794, 250_304),
        // deepseek-ai/DeepSeek-V2-Lite-Chat: 576 elements a token and layer, whole on every rank.
        ("deepseek", deepseek_v2_lite(), 1, 1, 46_825_880_945, 1_505_552),
        // meta-llama/Llama-3.1-8B-Instruct on four GPUs.
        ("llama", llama(4096, 32, 32, 8, 128, 14_336, 128_256), 4, 1, 72_413_148_611, 2_209_792),
    ] {
        let layers = model.layers.len() as u64;
        let pages = cache::pages(&model, &setting(tensor));
        assert_eq!(pages.groups.len(), groups, "{name}");
        let got = printed(&pages, layers, pool);
        let error = (got as f64 / f64::from(tokens) - 1.0).abs();
        assert!(error < 2e-4, "{name}: {got} tokens, {tokens} printed");
    }
}

/// vLLM logs "Setting attention block size to 544 tokens to ensure that attention page size is >= mamba page size" for
/// Qwen3-Next-80B-A3B (vllm-project/recipes, Qwen3-Next).
#[test]
fn attention_pages_are_raised_to_a_state() {
    let model = qwen3_next();
    let pages = cache::pages(&model, &setting(1));
    assert_eq!((pages.tokens, pages.groups.len()), (544, 4));
    assert_eq!(pages.page, 544 * 2 * 2 * 256 * 2);
    assert_eq!(pages.groups.iter().filter(|g| g.reach == Reach::State).count(), 3);
    // One sequence of a page and a token: two pages of attention, a state in each of three groups.
    assert_eq!(pages.attention_and_state_blocks(545, 8192), (2, 3));
}

/// A quarter of Gemma 3's tokens in 40 of 48 layers: 384 KiB a token in full, of which a sequence of 4096 keeps
/// (8 + 40 / 4) / 48.
#[test]
fn windows_lower_the_average_token() {
    let token = cache::TokenBytes::of(&gemma3_12b(), &setting(1), 0, 48);
    let layer = 2 * 8 * 256 * 2;
    assert_eq!(token.averaged(1024), 48 * layer);
    assert_eq!(token.averaged(4096), 18 * layer);
}

/// A windowed layer keeps the window and what a step computes, never more than the sequence, and one page more because a window
/// may begin within a page (`SlidingWindowSpec.max_memory_usage_bytes`).
#[test]
fn windows_keep_the_step_too() {
    let pages = cache::pages(&gemma3_12b(), &setting(1));
    let full = 32_768_u64.div_ceil(16);
    let window = (1023 + 2048_u64).div_ceil(16) + 1;
    assert_eq!(pages.blocks(32_768, 2048), full + 5 * window);
    assert_eq!(pages.blocks(1024, 2048), 64 + 5 * 65);
}

fn profile(model: &Model, release: &str) -> Profile {
    let (version, _) = version(Some(release)).unwrap();
    let setting = profile::Setting {
        version: &version,
        device: H100,
        tensor: 1,
        expert: 1,
        data: 1,
        compute: Dtype::Bf16,
        copies_inputs: false,
        widened: 0,
        samples: true,
        free_images: false,
        adapters: 0,
        speculates: false,
    };
    Profile::of(model, &setting, 0, model.layers.len() as u64)
}

/// Peaks that vLLM 0.19 logged on an H100 with 8192 tokens a step and 1024 sequences (jgchn/llm-d-planner@3c876c8), rounded to
/// 0.01 GiB there.
#[test]
fn profile_runs_peak_as_logged() {
    for (name, model, logged) in [
        ("llama 3.1 8b", llama(4096, 32, 32, 8, 128, 14_336, 128_256), 2_029_372_047.0),
        ("qwen3 8b", llama(4096, 36, 32, 8, 128, 12_288, 151_936), 2_372_969_431.0),
        ("gemma 3 4b, images", gemma3_4b(), 4_176_855_695.0),
        ("gemma 3 12b, images", gemma3_12b(), 4_230_542_787.0),
        ("qwen 1.5 moe, workspace", qwen_moe(), 2_652_142_305.0),
        ("deepseek v2 lite, workspace", deepseek_v2_lite(), 2_072_321_720.0),
        ("granite 3.1 2b", llama(2048, 40, 32, 8, 64, 8192, 49_155), 805_306_368.0),
        ("granite 3.3 8b, forward pass", llama(4096, 40, 32, 8, 128, 12_800, 49_155), 912_680_550.0),
    ] {
        let (activations, temporary) = profile(&model, "0.19.0").peak(8192, 1024);
        let error = (activations + temporary) as f64 / logged - 1.0;
        assert!(error.abs() < 0.03, "{name}: {:+.2} %", error * 100.0);
    }
}

/// Sorting holds eleven more copies of a logit in words of 2 bytes than filtering in place.
#[test]
fn sorting_holds_more_than_filtering() {
    let model = llama(4096, 32, 32, 8, 128, 14_336, 128_256);
    let peak = |release| {
        let (a, t) = profile(&model, release).peak(8192, 1024);
        a + t
    };
    let logits = 1024 * 128_256;
    let scratch = 132 * 128_256 * 4;
    assert_eq!(peak("0.16.0") + scratch - peak("0.19.0"), logits * 24);
}

/// `[1, 2, 4]`, every 8 to 248, every 16 (from 0.12) or 8 from 256 to 512: 51 and 67 sizes; the first engine stops at 256.
#[test]
fn captured_sizes_are_those_of_the_release() {
    for (release, limit, sizes) in
        [("0.19.0", 512, 51), ("0.19.0", 256, 35), ("0.19.0", 8, 4), ("0.11.0", 512, 67), ("0.7.3", 512, 35)]
    {
        assert_eq!(version(Some(release)).unwrap().0.captures(limit), sizes, "{release} to {limit}");
    }
}

#[test]
fn releases_are_read_with_their_suffixes_and_others_refused() {
    for (given, minor_like) in
        [("0.29.1rc1.dev17", "0.29.0"), ("0.7.3.dev233", "0.7.0"), ("v0.19.0", "0.19.1")]
    {
        assert_eq!(version(Some(given)).unwrap().0, version(Some(minor_like)).unwrap().0);
    }
    for given in ["0.6.6", "1.0.0", "newest", ""] {
        assert_eq!(version(Some(given)).unwrap_err().field, "engine.version", "{given}");
    }
}

/// Tables: Llama 3.1 by its positions; Gemma 3 by eight times its positions for full layers and once for windowed ones; `YaRN` by
/// the original positions times its factor.
#[test]
fn rotary_tables_have_the_rows_that_the_scaling_makes() {
    let llama = llama(4096, 32, 32, 8, 128, 14_336, 128_256);
    let gemma = gemma3_4b();
    let linear = json!({"text_config": {"rope_scaling": {"factor": 8.0, "rope_type": "linear"}}});
    let yarn =
        json!({"rope_scaling": {"factor": 4.0, "type": "yarn", "original_max_position_embeddings": 32768}});
    for (model, config, bytes) in [
        (&llama, None, 131_072 * 128 * 2),
        (&gemma, Some(&linear), (8 + 1) * 131_072 * 256 * 2),
        (&llama, Some(&yarn), 131_072 * 128 * 2),
    ] {
        assert_eq!(rotary::bytes(model, config, 2), bytes);
    }
}

fn plan(change: &serde_json::Value) -> Plan {
    let mut plan = json!({
        "schema": 1, "model": {"id": "meta-llama/Llama-3.1-8B"},
        "gpu": {"id": "h100-sxm-80gb", "memory_mib": 81_090},
        "engine": {"name": "vllm", "version": "0.19.0"},
        "workload": {"kind": "serve", "prompt_tokens": 7680, "output_tokens": 512, "memory_fraction": 0.95}
    });
    for (key, value) in change.as_object().unwrap() {
        match (plan[key].as_object_mut(), value.as_object()) {
            (Some(old), Some(new)) => old.extend(new.clone()),
            _ => plan[key] = value.clone(),
        }
    }
    serde_json::from_value(plan).unwrap()
}

#[test]
fn what_vllm_cannot_do_is_refused_by_field() {
    for (change, field) in [
        (json!({"gpu": {"id": "cpu"}}), "gpu.id"),
        (json!({"gpu": {"id": "m4-max", "memory_mib": null}}), "gpu.id"),
        (json!({"parallelism": {"tensor": 3}}), "parallelism.tensor"),
        (json!({"parallelism": {"tensor": 4, "expert": 2}}), "parallelism.expert"),
        (json!({"parallelism": {"context": 2}}), "parallelism.context"),
        (json!({"parallelism": {"zero_stage": 1}}), "parallelism.zero_stage"),
        (json!({"precision": {"kv_cache": "q8_0"}}), "precision.kv_cache"),
        (json!({"precision": {"weights": "gguf:q4_k_m"}}), "precision.weights"),
        (json!({"workload": {"gpu_layers": 10}}), "workload.gpu_layers"),
        (json!({"cache": {"kind": "slab"}}), "cache.kind"),
        (json!({"cache": {"kind": "paged", "page_tokens": 17}}), "cache.page_tokens"),
        (json!({"attention": {"kind": "eager"}}), "attention.kind"),
        (json!({"engine": {"version": "0.5.0"}}), "engine.version"),
    ] {
        let error = crate::estimate(&plan(&change)).expect_err(&change.to_string());
        assert_eq!(error.field, field, "{change}");
    }
}

/// The budget is a share of the whole GPU: what others have taken is not subtracted, so that vLLM refuses to start where less
/// is free (`request_memory`).
#[test]
fn a_share_that_is_not_free_does_not_start() {
    let one = crate::estimate(&plan(&json!({}))).unwrap();
    assert!(one.fits);
    let shared = crate::estimate(&plan(&json!({"gpu": {"in_use_mib": 8192}}))).unwrap();
    assert!(!shared.fits && shared.kv.pool_bytes == Bytes::ZERO);
    assert!(shared.warnings.iter().any(|w| w.code == "fraction-exceeds-free-memory"));
    let less = json!({"gpu": {"in_use_mib": 8192}, "workload": {"memory_fraction": 0.8}});
    assert!(crate::estimate(&plan(&less)).unwrap().fits);
}

/// Weights that leave nothing: Llama 3.1 70B in bf16 on one H100.
#[test]
fn a_negative_pool_is_none() {
    let estimate = crate::estimate(&plan(&json!({"model": {"id": "meta-llama/Llama-3.1-70B"}}))).unwrap();
    assert!(!estimate.fits && estimate.kv.pool_bytes == Bytes::ZERO && estimate.kv.pool_tokens == 0);
    assert!(estimate.warnings.iter().any(|w| w.code == "pool-negative"));
    assert!(estimate.command.is_none());
}

#[test]
fn the_command_carries_what_was_planned() {
    let change = json!({"parallelism": {"tensor": 2}, "precision": {"kv_cache": "fp8", "weights": "fp8"}});
    let command = crate::estimate(&plan(&change)).unwrap().command.unwrap();
    assert_eq!(
        command,
        "vllm serve meta-llama/Llama-3.1-8B --tensor-parallel-size 2 --quantization fp8 --kv-cache-dtype fp8 \
         --max-model-len 8192 --max-num-batched-tokens 8192 --max-num-seqs 1024 --gpu-memory-utilization 0.95"
    );
}

/// More ranks than key heads: each keeps one.
#[test]
fn key_heads_repeat_where_ranks_are_more() {
    let estimate = crate::estimate(&plan(&json!({"parallelism": {"tensor": 16}}))).unwrap();
    assert_eq!(estimate.kv.bytes_per_token, Bytes(32 * 128 * 2 * 2));
    assert!(estimate.warnings.iter().any(|w| w.code == "kv-heads-replicated"));
}

/// From 0.20 on the pool gives way to the graphs.
#[test]
fn newer_releases_take_graphs_from_the_budget() {
    let at = |version: &str| crate::estimate(&plan(&json!({"engine": {"version": version}}))).unwrap();
    let (old, new) = (at("0.19.0"), at("0.20.2"));
    assert_eq!(old.kv.pool_bytes - new.kv.pool_bytes, new.per_gpu.cuda_graphs);
}

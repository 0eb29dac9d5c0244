//! The decoder against candle-transformers' models on the same weights, and against itself computed in other ways.

use std::fs::File;
use std::io::{BufReader, Seek};
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Content};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use contract::case::{self, CaseSpec, Variant};
use planner::Tokens;
use planner::document::plan::{Attention, CacheKind};
use planner::document::precision::CachePrecision;
use serde_json::{Value, json};

use super::numbers::Activation;
use super::weights::as_size;
use super::{Decoder, Element, From, Growth, Options};
use crate::engine::{Loaded, Precision, RandomMatrices, Session, Staged, prepare, prompt};
use crate::model::{Model, ModelSource};

/// A model of random weights in the shape of a configuration.
fn model(config: Value) -> Model {
    let shape = planner::Model::from_config("tiny", &config).unwrap();
    Model {
        name: "tiny".into(),
        source: ModelSource::Synthetic { id: None },
        family: shape.architecture.model_type().to_owned(),
        context_tokens: shape.max_tokens.0,
        config,
        shape,
    }
}

/// A small shape of each family, whose widths are whole blocks of every GGUF type.
fn tiny(family: &str) -> Value {
    let mut config = json!({
        "model_type": family, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 320,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "hidden_act": "silu",
        "tie_word_embeddings": false
    });
    match family {
        "gemma2" | "gemma3_text" => {
            config["hidden_activation"] = json!("gelu_pytorch_tanh");
            config["query_pre_attn_scalar"] = json!(64);
            config["tie_word_embeddings"] = json!(true);
            config["sliding_window"] = json!(256);
            if family == "gemma2" {
                config["attn_logit_softcapping"] = json!(50.0);
                config["final_logit_softcapping"] = json!(30.0);
            } else {
                config["rope_theta"] = json!(1_000_000.0);
                config["rope_local_base_freq"] = json!(10_000.0);
                config["sliding_window_pattern"] = json!(2);
                config["num_key_value_heads"] = json!(1);
            }
        }
        "mistral" => config["sliding_window"] = json!(256),
        "qwen3" => config["tie_word_embeddings"] = json!(true),
        "mixtral" => {
            config["num_local_experts"] = json!(4);
            config["num_experts_per_tok"] = json!(2);
        }
        _ => {}
    }
    config
}

fn spec(variant: Variant) -> CaseSpec {
    CaseSpec {
        model: "tiny".into(),
        precision: "fp32".into(),
        variant: Some(variant),
        device: case::Device::Cpu,
        batch: 1,
        prompt_tokens: Tokens(24),
        generate_tokens: Tokens(4),
        repetitions: 1,
        ..CaseSpec::default()
    }
}

/// Logits of the prompt's last token and of each token after it, the same tokens whatever the logits say.
fn logits(model: &Model, spec: &CaseSpec) -> Vec<Vec<f32>> {
    let prepared = prepare(spec, model).unwrap();
    let staged = prepared.stage().unwrap();
    let Loaded::Decoder(mut session) = prepared.load(&staged, &Device::Cpu).unwrap() else {
        panic!("it generates")
    };
    session.reset();
    run(session.as_mut(), spec)
}

fn run(session: &mut dyn Session, spec: &CaseSpec) -> Vec<Vec<f32>> {
    let (batch, tokens) = (spec.batch as usize, as_size(spec.prompt_tokens.0));
    let further = as_size(spec.generate_tokens.0);
    let ids = prompt(batch, tokens + further, 320);
    let ids = Tensor::from_vec(ids, (batch, tokens + further), &Device::Cpu).unwrap();
    let mut all = Vec::new();
    let mut take = |logits: Tensor| {
        let wide = logits.flatten_all().unwrap().to_dtype(candle_core::DType::F32).unwrap();
        all.push(wide.to_vec1::<f32>().unwrap());
    };
    take(session.forward(&ids.narrow(1, 0, tokens).unwrap().contiguous().unwrap(), 0).unwrap());
    for index in tokens..tokens + further {
        take(session.forward(&ids.narrow(1, index, 1).unwrap().contiguous().unwrap(), index).unwrap());
    }
    all
}

/// The largest difference, as a part of the largest number.
fn difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().flatten().fold(0f32, |m, x| m.max(x.abs()));
    assert!(largest > 0.0);
    let pairs = a.iter().zip(b).flat_map(|(a, b)| {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b)
    });
    pairs.fold(0f32, |m, (x, y)| {
        assert!(x.is_finite() && y.is_finite());
        m.max((x - y).abs())
    }) / largest
}

#[test]
fn it_agrees_with_candles_models_on_the_same_weights() {
    for (family, precision, limit) in [
        ("llama", "fp32", 1e-4),
        ("llama", "bf16", 4e-2),
        ("llama", "fp16", 5e-3),
        ("qwen2", "bf16", 4e-2),
        ("qwen3", "fp16", 1e-2),
        ("gemma2", "bf16", 6e-2),
        ("phi3", "bf16", 4e-2),
        ("mistral", "fp32", 1e-4),
        ("qwen2", "fp32", 1e-4),
        ("qwen3", "fp32", 1e-4),
        ("gemma2", "fp32", 1e-4),
        ("gemma3_text", "fp32", 1e-4),
        ("phi3", "fp32", 1e-4),
    ] {
        let model = model(tiny(family));
        let with = |variant| logits(&model, &CaseSpec { precision: precision.into(), ..spec(variant) });
        let apart = difference(&with(Variant::Stock), &with(Variant::Plimsoll));
        assert!(apart < limit, "{family} in {precision}: {apart}");
    }
}

/// The same GGUF file with every tensor in single precision: no product rounds activations, so that what remains between two
/// decoders is how they compute.
fn widened(file: &File) -> File {
    let mut reader = BufReader::new(file);
    let content = Content::read(&mut reader).unwrap();
    let tensors: Vec<(&str, QTensor)> = content
        .tensor_infos
        .keys()
        .map(|name| {
            let wide =
                content.tensor(&mut reader, name, &Device::Cpu).unwrap().dequantize(&Device::Cpu).unwrap();
            (name.as_str(), QTensor::quantize(&wide, GgmlDType::F32).unwrap())
        })
        .collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let metadata: Vec<_> = content.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let mut written = tempfile::tempfile().unwrap();
    gguf_file::write(&mut written, &metadata, &tensors).unwrap();
    written.rewind().unwrap();
    written
}

fn from_start(mut file: &File) -> &File {
    file.rewind().unwrap();
    file
}

/// What candle's module answers of a GGUF file.
fn stock_of_file(file: &File, model: &Model, spec: &CaseSpec) -> Vec<Vec<f32>> {
    let prepared = prepare(spec, model).unwrap();
    let staged = Staged::of(from_start(file).try_clone().unwrap());
    let Loaded::Decoder(mut stock) = prepared.load(&staged, &Device::Cpu).unwrap() else {
        panic!("it generates")
    };
    stock.reset();
    run(stock.as_mut(), spec)
}

/// In the file's own types both round activations to 8 bits before every product, where a sum's last bit can move a whole
/// step: the same numbers in single precision are held closely, those only to be near.
#[test]
fn it_agrees_with_candles_models_on_the_same_gguf_file() {
    for (family, kind, limit) in [
        ("llama", "q8_0", 1e-4),
        ("llama", "q4_k", 1e-4),
        ("mistral", "q4_1", 1e-4),
        ("qwen2", "q5_k", 1e-4),
        // Candle's module rounds the rotary frequencies to fp16.
        ("qwen3", "q6_k", 2e-2),
        ("gemma3_text", "q4_0", 1e-4),
    ] {
        let config = tiny(family);
        let model = model(config.clone());
        let spec = CaseSpec { precision: format!("gguf:{kind}"), ..spec(Variant::Stock) };
        let file = || prepare(&spec, &model).unwrap().stage().unwrap().into_gguf().unwrap();
        let ours = |file: &File| {
            let mut ours = decoder(&From::Gguf(from_start(file)), &config, Precision::AsStored, &spec);
            if family == "gemma3_text" {
                // Candle's quantised module takes SiLU where Gemma has GELU (candle-transformers 0.11.1,
                // `quantized_gemma3.rs`, `Mlp`).
                for layer in &mut ours.layers {
                    layer.feed_forward.activate_by(Activation::Silu);
                }
            }
            run(&mut ours, &spec)
        };
        let wide = widened(&file());
        let wanted = stock_of_file(&wide, &model, &spec);
        let apart = difference(&wanted, &ours(&wide));
        assert!(apart < limit, "{family} in {kind}, widened: {apart}");
        let apart = difference(&stock_of_file(&file(), &model, &spec), &ours(&file()));
        assert!(apart < 3e-2, "{family} in {kind}: {apart}");
    }
}

fn decoder(from: &From<'_>, config: &Value, precision: Precision, spec: &CaseSpec) -> Decoder {
    decoder_of(from, &model(config.clone()), precision, spec)
}

fn decoder_of(from: &From<'_>, model: &Model, precision: Precision, spec: &CaseSpec) -> Decoder {
    let options = Options::of_case(spec, model, precision).unwrap();
    let compute = super::compute_type(precision, spec.device);
    Decoder::load(from, &model.config, precision, options, compute, &Device::Cpu).unwrap()
}

#[test]
fn it_agrees_with_candles_model_on_a_published_file() {
    let dir = std::env::var("PLIMSOLL_TEST_MODELS").expect("PLIMSOLL_TEST_MODELS: `make test` sets it");
    let path = Path::new(&dir).join("SmolLM2-135M-Instruct.Q4_1.gguf");
    let model = Model::from_path(&path).unwrap();
    let spec = |variant| CaseSpec { precision: "native".into(), ..spec(variant) };
    let wide = widened(&File::open(&path).unwrap());
    let stock = stock_of_file(&wide, &model, &spec(Variant::Stock));
    let ours = |file: &File| {
        let spec = spec(Variant::Plimsoll);
        run(&mut decoder_of(&From::Gguf(from_start(file)), &model, Precision::AsStored, &spec), &spec)
    };
    let wanted = ours(&wide);
    let apart = difference(&stock, &wanted);
    assert!(apart < 1e-3, "widened: {apart}");
    // In the file's own types each decoder rounds activations to 8 bits before every product.
    let apart = difference(&wanted, &ours(&File::open(&path).unwrap()));
    assert!(apart > 1e-6 && apart < 0.1, "as stored: {apart}");
}

/// Longer than a block of queries and than every window.
fn long(change: impl Fn(&mut CaseSpec)) -> CaseSpec {
    let mut spec =
        CaseSpec { prompt_tokens: Tokens(300), generate_tokens: Tokens(12), ..spec(Variant::Plimsoll) };
    change(&mut spec);
    spec
}

#[test]
fn every_exact_attention_and_every_cache_gives_the_same() {
    for family in ["llama", "gemma2", "gemma3_text", "mistral"] {
        let mut config = tiny(family);
        if config.get("sliding_window").is_some() {
            config["sliding_window"] = json!(40);
        }
        let model = model(config);
        let rotates = model.shape.layers.iter().any(|l| l.attention().unwrap().window.is_some());
        let wanted = logits(&model, &long(|_| {}));
        for attention in [Attention::Eager, Attention::MemoryEfficient, Attention::Flash] {
            for cache in [CacheKind::Growing, CacheKind::Slab, CacheKind::Rotating] {
                if cache == CacheKind::Rotating && !rotates {
                    continue;
                }
                let spec = long(|s| (s.attention, s.cache) = (Some(attention.clone()), Some(cache)));
                let apart = difference(&wanted, &logits(&model, &spec));
                assert!(apart < 1e-4, "{family} {attention:?} {cache:?}: {apart}");
            }
        }
    }
}

#[test]
fn a_batch_gives_what_each_sequence_gives() {
    for attention in [Attention::Eager, Attention::MemoryEfficient, Attention::Flash] {
        for family in ["llama", "mixtral"] {
            let model = model(tiny(family));
            let spec = CaseSpec { batch: 3, attention: Some(attention.clone()), ..spec(Variant::Plimsoll) };
            let together = logits(&model, &spec);
            // The prompts of a batch are those of one sequence three times as long.
            let ids = prompt(3, 28, 320);
            let mut one = decoder(
                &From::Random(RandomMatrices::default()),
                &model.config,
                Precision::Dense(candle_core::DType::F32),
                &spec,
            );
            for (row, ids) in ids.chunks(28).enumerate() {
                one.reset();
                let alone = Tensor::from_slice(&ids[..24], (1, 24), &Device::Cpu).unwrap();
                let alone: Vec<f32> =
                    one.forward(&alone, 0).unwrap().flatten_all().unwrap().to_vec1().unwrap();
                let apart = difference(&[alone], &[together[0][row * 320..(row + 1) * 320].to_vec()]);
                assert!(apart < 1e-4, "{family} {attention:?} row {row}: {apart}");
            }
        }
    }
}

#[test]
fn sequences_of_different_lengths_continue_as_each_would_alone() {
    let dense = Precision::Dense(candle_core::DType::F32);
    let lengths = [150, 37, 150, 1];
    for family in ["llama", "gemma3_text"] {
        let mut config = tiny(family);
        if family == "gemma3_text" {
            config["sliding_window"] = json!(48);
        }
        for (attention, cache) in [
            (Attention::Eager, CacheKind::Slab),
            (Attention::MemoryEfficient, CacheKind::Growing),
            (Attention::Flash, CacheKind::Slab),
            (Attention::SlidingWindow { window: Tokens(20) }, CacheKind::Rotating),
            (Attention::Longformer { window: Tokens(20), global_tokens: Tokens(3) }, CacheKind::Slab),
            (
                Attention::BigBird { block: Tokens(8), window_blocks: 2, global_blocks: 1, random_blocks: 2 },
                CacheKind::Slab,
            ),
        ] {
            let spec = CaseSpec {
                attention: Some(attention.clone()),
                cache: Some(cache),
                prompt_tokens: Tokens(150),
                generate_tokens: Tokens(10),
                batch: 4,
                ..spec(Variant::Plimsoll)
            };
            let mut decoder = decoder(&From::Random(RandomMatrices::default()), &config, dense, &spec);
            let rows: Vec<Vec<u32>> =
                lengths.iter().map(|length| prompt(1, *length, 320).into_iter().rev().collect()).collect();
            let padded: Vec<u32> = rows
                .iter()
                .flat_map(|row| std::iter::repeat_n(0, 150 - row.len()).chain(row.iter().copied()))
                .collect();
            let padded = Tensor::from_vec(padded, (4, 150), &Device::Cpu).unwrap();
            let together = decoder.generate(&padded, &lengths, 10).unwrap();
            for (row, length) in rows.iter().zip(lengths) {
                let alone = Tensor::from_slice(row, (1, length), &Device::Cpu).unwrap();
                let alone = decoder.generate(&alone, &[length], 10).unwrap();
                let at = lengths.iter().position(|l| *l == length).unwrap();
                assert_eq!(alone[0], together[at], "{family} {attention:?}, a sequence of {length}");
            }
        }
    }
}

#[test]
fn a_prompt_in_pieces_gives_what_it_gives_whole() {
    let dense = Precision::Dense(candle_core::DType::F32);
    for cache in [CacheKind::Growing, CacheKind::Slab, CacheKind::Rotating] {
        for attention in [Attention::Eager, Attention::SlidingWindow { window: Tokens(33) }, Attention::Flash]
        {
            let mut config = tiny("mistral");
            config["sliding_window"] = json!(40);
            let spec = long(|s| (s.attention, s.cache) = (Some(attention.clone()), Some(cache)));
            let mut decoder = decoder(&From::Random(RandomMatrices::default()), &config, dense, &spec);
            let ids = Tensor::from_vec(prompt(1, 310, 320), (1, 310), &Device::Cpu).unwrap();
            let whole: Vec<f32> = decoder.forward(&ids, 0).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            decoder.reset();
            let mut at = 0;
            let mut last = Vec::new();
            for piece in [25, 60, 1, 1, 130, 7, 86] {
                let ids = ids.narrow(1, at, piece).unwrap().contiguous().unwrap();
                last = decoder.forward(&ids, at).unwrap().flatten_all().unwrap().to_vec1().unwrap();
                at += piece;
            }
            assert_eq!(at, 310);
            let apart = difference(&[whole], &[last]);
            assert!(apart < 1e-4, "{attention:?} {cache:?}: {apart}");
        }
    }
}

#[test]
fn narrower_weights_and_caches_change_little() {
    let model = model(tiny("llama"));
    let wanted = logits(&model, &long(|_| {}));
    for (precision, kv_cache, limit) in [
        ("fp32", CachePrecision::Bf16, 0.01),
        ("fp32", CachePrecision::Fp16, 0.002),
        ("fp32", CachePrecision::Int8, 0.02),
        ("fp32", CachePrecision::Fp8, 0.1),
        ("fp8", CachePrecision::Fp32, 0.2),
    ] {
        for attention in [Attention::Eager, Attention::MemoryEfficient, Attention::Flash] {
            let spec = long(|s| {
                s.precision = precision.into();
                (s.attention, s.kv_cache) = (Some(attention.clone()), Some(kv_cache));
            });
            let apart = difference(&wanted, &logits(&model, &spec));
            assert!(apart < limit, "{precision}, cache {kv_cache}, {attention:?}: {apart}");
            assert!(apart > 1e-6, "{precision}, cache {kv_cache}: nothing was narrowed");
        }
    }
}

#[test]
fn exact_variants_agree_with_eager_in_16_bit_within_its_precision() {
    // Eight and eleven bits of a number are kept.
    for (precision, limit) in [("bf16", 8.0 * 2f32.powi(-8)), ("fp16", 8.0 * 2f32.powi(-11))] {
        for family in ["llama", "gemma2"] {
            let model = model(tiny(family));
            let of = |attention: Attention| {
                let spec = long(|s| {
                    (s.precision, s.attention) = (precision.into(), Some(attention.clone()));
                });
                logits(&model, &spec)
            };
            let wanted = of(Attention::Eager);
            for attention in [Attention::MemoryEfficient, Attention::Flash] {
                // Flash has no capped scores.
                if family == "gemma2" && attention == Attention::Flash {
                    continue;
                }
                let apart = difference(&wanted, &of(attention.clone()));
                assert!(apart < limit, "{family} {precision} {attention:?}: {apart}");
            }
        }
    }
}

#[test]
fn safetensors_are_read_by_their_names_and_quantised_while_loading() {
    let dir = tempfile::tempdir().unwrap();
    for family in ["llama", "phi3", "mixtral", "gemma2"] {
        let config = tiny(family);
        let model = model(config.clone());
        let mut tensors = std::collections::HashMap::new();
        for tensor in model.shape.tensors() {
            for copy in 0..as_size(tensor.copies) {
                let family = model.shape.architecture;
                let name = super::names::checkpoint(family, tensor.role, tensor.layer, copy).unwrap();
                let (rows, columns) = (as_size(tensor.rows), as_size(tensor.columns));
                let shape: Vec<usize> = if tensor.is_matrix() { vec![rows, columns] } else { vec![columns] };
                let random =
                    crate::engine::random_tensor(&name, shape.into(), candle_core::DType::F32, &Device::Cpu);
                tensors.insert(name, random.unwrap());
            }
        }
        candle_core::safetensors::save(&tensors, dir.path().join("model.safetensors")).unwrap();
        let spec = spec(Variant::Plimsoll);
        let dense = Precision::Dense(candle_core::DType::F32);
        let from = From::Files(dir.path());
        let wanted =
            run(&mut decoder(&From::Random(RandomMatrices::default()), &config, dense, &spec), &spec);
        let read = run(&mut decoder(&from, &config, dense, &spec), &spec);
        assert!(difference(&wanted, &read) < f32::MIN_POSITIVE, "{family}");
        let q8 = Precision::Quantised(GgmlDType::Q8_0);
        let quantised = run(&mut decoder(&from, &config, q8, &spec), &spec);
        let apart = difference(&wanted, &quantised);
        assert!(apart > 1e-6 && apart < 0.05, "{family}: {apart}");
    }
}

#[test]
fn what_it_cannot_do_is_refused_with_the_reason() {
    type Change = fn(&mut CaseSpec);
    let table: [(&str, Change, &str); 6] = [
        ("llama", |s| s.cache = Some(CacheKind::Paged), "accepted caches: growing, slab, rotating"),
        ("llama", |s| s.cache = Some(CacheKind::Rotating), "no layer of this model has one"),
        ("llama", |s| s.kv_cache = Some(CachePrecision::Q5_1), "accepted: fp32, bf16, fp16, fp8, int8"),
        (
            "llama",
            |s| s.attention = Some(Attention::SlidingWindow { window: Tokens(0) }),
            "window is 0; accepted: 1 or more",
        ),
        ("llama", |s| s.prompt_tokens = Tokens(510), "more than the 512 that tiny was made for"),
        ("gpt2", |_| {}, "gpt2 is not computed; accepted: llama, mistral"),
    ];
    for (family, change, part) in table {
        let config = if family == "gpt2" {
            json!({ "model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 64,
                    "vocab_size": 320, "n_inner": null })
        } else {
            tiny(family)
        };
        let mut spec = spec(Variant::Plimsoll);
        change(&mut spec);
        let refusal = prepare(&spec, &model(config)).expect_err(part).to_string();
        assert!(refusal.contains(part), "{part}: {refusal}");
    }
}

/// `candle-flash-attn` bails out over such heads while it computes; the case is refused before anything is loaded.
#[test]
fn heads_that_flash_attn_does_not_take_are_refused_on_cuda() {
    for (size, refused) in [(20, true), (264, true), (72, cfg!(not(feature = "flash-attn")))] {
        let mut config = tiny("llama");
        config["head_dim"] = json!(size);
        let spec = CaseSpec {
            device: case::Device::Cuda(0),
            attention: Some(Attention::Flash),
            ..spec(Variant::Plimsoll)
        };
        let half = Precision::Dense(candle_core::DType::BF16);
        let found = Options::of_case(&spec, &model(config), half).map_err(|e| e.to_string());
        assert_eq!(found.is_err(), refused, "{size}: {found:?}");
        let named = found.is_err_and(|e| e.contains(&format!("this model's have {size}")));
        assert_eq!(named, size != 72, "heads of {size}");
    }
}

#[test]
fn buffers_beside_the_weights_are_not_in_the_way() {
    let block = |kind: &str, parameters: u64, bytes: u64| planner::document::plan::StoredBlock {
        kind: kind.into(),
        parameters,
        bytes: planner::Bytes(parameters * bytes),
    };
    let mut model = model(tiny("llama"));
    let total = model.shape.parameters().total;
    model.shape.stored = Some(vec![block("bf16", total, 2), block("i64", 512, 8)]);
    assert!(super::computes(&model).is_ok());
    model.shape.stored = Some(vec![block("bf16", 1000, 2), block("i8", total - 1000, 1)]);
    let refusal = super::computes(&model).unwrap_err().to_string();
    assert!(refusal.contains("cannot read tensors stored as i8"), "{refusal}");
}

#[test]
fn options_survive_their_way_to_the_child() {
    let spec = long(|s| s.attention = Some(Attention::SlidingWindow { window: Tokens(7) }));
    let options = Options::of_case(&spec, &model(tiny("llama")), Precision::Fp8).unwrap();
    let read: Options = serde_json::from_str(&serde_json::to_string(&options).unwrap()).unwrap();
    assert_eq!(read, options);
    assert_eq!((read.growth, read.element, read.tokens), (Growth::Slab, Element::Fp32, 312));
}

/// Logits of a session by [`Session::score`] from a place on.
fn scored(session: &mut dyn Session, ids: &[u32], first: usize) -> Vec<Vec<f32>> {
    let mut rows = Vec::new();
    session
        .score(ids, first, &Device::Cpu, &mut |logits| {
            rows.push(logits.to_vec());
            true
        })
        .unwrap();
    rows
}

#[test]
fn a_window_in_one_pass_gives_what_its_tokens_give_one_after_another() {
    // More tokens than the case has room for, and more places than are computed at once.
    let (ids, first) = (prompt(1, 90, 320), 30);
    for (family, attention, cache) in [
        ("llama", None, None),
        ("llama", Some(Attention::Flash), Some(CacheKind::Growing)),
        ("llama", Some(Attention::SlidingWindow { window: Tokens(16) }), Some(CacheKind::Rotating)),
        ("gemma2", Some(Attention::Eager), Some(CacheKind::Rotating)),
    ] {
        let model = model(tiny(family));
        let session = |variant, attention: Option<Attention>, cache| {
            let spec = CaseSpec { attention, cache, ..spec(variant) };
            let prepared = prepare(&spec, &model).unwrap();
            let staged = prepared.stage().unwrap();
            let Loaded::Decoder(session) = prepared.load(&staged, &Device::Cpu).unwrap() else {
                panic!("it generates")
            };
            session
        };
        let mut ours = session(Variant::Plimsoll, attention.clone(), cache);
        let at_once = scored(ours.as_mut(), &ids, first);
        assert_eq!(at_once.len(), 60, "{family} {attention:?}");
        // There is room now; each token computed alone.
        ours.reset();
        let mut singly = Vec::new();
        for (place, id) in ids.iter().enumerate() {
            let token = Tensor::from_slice(&[*id], (1, 1), &Device::Cpu).unwrap();
            let logits = ours.forward(&token, place).unwrap();
            if place >= first {
                singly.push(logits.flatten_all().unwrap().to_vec1::<f32>().unwrap());
            }
        }
        let apart = difference(&at_once, &singly);
        assert!(apart < 1e-4, "{family} {attention:?}: {apart}");
        // A model that gives the last place's logits alone comes to the same.
        if !matches!(attention, Some(Attention::SlidingWindow { .. })) {
            let mut stock = session(Variant::Stock, None, None);
            let apart = difference(&at_once, &scored(stock.as_mut(), &ids, first));
            assert!(apart < 1e-4, "{family}, stock: {apart}");
        }
    }
}

/// Llama's converter interleaves the halves of heads in matrices and in biases alike (llama.cpp
/// `convert_hf_to_gguf.py`, `LlamaModel.modify_tensors`).
#[test]
fn a_gguf_file_of_biased_llama_gives_what_its_checkpoint_gives() {
    let mut config = tiny("llama");
    (config["attention_bias"], config["mlp_bias"]) = (json!(true), json!(true));
    let model = model(config.clone());
    let dir = tempfile::tempdir().unwrap();
    let mut checkpoint = std::collections::HashMap::new();
    let mut stored = Vec::new();
    for tensor in model.shape.tensors() {
        let family = model.shape.architecture;
        let name = super::names::checkpoint(family, tensor.role, tensor.layer, 0).unwrap();
        let (rows, columns) = (as_size(tensor.rows), as_size(tensor.columns));
        let shape: Vec<usize> = if tensor.is_matrix() { vec![rows, columns] } else { vec![columns] };
        let values =
            crate::engine::random_tensor(&name, shape.clone().into(), candle_core::DType::F32, &Device::Cpu);
        let values = values.unwrap();
        let permuted = if name.contains("q_proj") || name.contains("k_proj") {
            let heads = values.dim(0).unwrap() / 64;
            let rest = values.elem_count() / (heads * 64);
            let halves = values.reshape((heads, 2, 32, rest)).unwrap().transpose(1, 2).unwrap();
            halves.contiguous().unwrap().reshape(shape).unwrap()
        } else {
            values.clone()
        };
        let place = super::names::gguf(tensor.role, tensor.layer).unwrap();
        stored.push((place, QTensor::quantize(&permuted, GgmlDType::F32).unwrap()));
        checkpoint.insert(name, values);
    }
    candle_core::safetensors::save(&checkpoint, dir.path().join("model.safetensors")).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    let tensors: Vec<(&str, &QTensor)> =
        stored.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let architecture = gguf_file::Value::String("llama".into());
    gguf_file::write(&mut file, &[("general.architecture", &architecture)], &tensors).unwrap();
    file.rewind().unwrap();

    let (spec, dense) = (spec(Variant::Plimsoll), Precision::Dense(candle_core::DType::F32));
    let wanted = run(&mut decoder(&From::Files(dir.path()), &config, dense, &spec), &spec);
    let read = run(&mut decoder(&From::Gguf(&file), &config, Precision::AsStored, &spec), &spec);
    assert!(difference(&wanted, &read) < 1e-5);
    // Each bias is in what it answers.
    let plain = tiny("llama");
    let without = run(&mut decoder(&From::Files(dir.path()), &plain, dense, &spec), &spec);
    assert!(difference(&wanted, &without) > 1e-3);
}

/// Phi-3's file holds both lists of divisors; which one turns depends on the context that the case has room for.
#[test]
fn the_lists_of_a_phi_3_gguf_file_are_those_of_its_configuration() {
    let short: Vec<f32> = (0..32).map(|i| 1.0 + i as f32 / 32.0).collect();
    let long: Vec<f32> = (0..32).map(|i| 2.0 + i as f32).collect();
    let mut config = tiny("phi3");
    config["original_max_position_embeddings"] = json!(128);
    config["rope_scaling"] = json!({ "rope_type": "longrope", "short_factor": short, "long_factor": long });
    let asked = super::Numbers::of_config(planner::model::Architecture::Phi3, &config).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    let list = |values: &[f32]| {
        let tensor = Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap();
        QTensor::quantize(&tensor, GgmlDType::F32).unwrap()
    };
    let (short, long) = (list(&short), list(&long));
    let word = gguf_file::Value::String("phi3".into());
    let (original, factor) = (gguf_file::Value::U32(128), gguf_file::Value::F32(1.133_893_4));
    let metadata = [
        ("general.architecture", &word),
        ("phi3.rope.scaling.original_context_length", &original),
        ("phi3.rope.scaling.attn_factor", &factor),
    ];
    let both = [("rope_factors_short.weight", &short), ("rope_factors_long.weight", &long)];
    for (tensors, whole) in [(&both[..], true), (&both[..1], false)] {
        file.rewind().unwrap();
        gguf_file::write(&mut file, &metadata, tensors).unwrap();
        file.rewind().unwrap();
        let mut reader = BufReader::new(&file);
        let content = Content::read(&mut reader).unwrap();
        let divisors = super::Weights::divisors(&content, &mut reader).unwrap();
        let plain = tiny("phi3");
        let read = super::Numbers::of_gguf(planner::model::Architecture::Phi3, &content, &plain, divisors);
        if !whole {
            assert!(read.unwrap_err().to_string().contains("does not hold both"));
            continue;
        }
        let read = read.unwrap();
        for tokens in [128, 129] {
            let (wanted, factor) = asked.rotation.frequencies(64, tokens);
            let (found, read_factor) = read.rotation.frequencies(64, tokens);
            assert!((factor - read_factor).abs() < 1e-6, "{factor} {read_factor}");
            for (found, wanted) in found.iter().zip(wanted) {
                assert!((found / wanted - 1.0).abs() < 1e-6, "{tokens} tokens: {found} for {wanted}");
            }
        }
    }
}

//! Numbers of configurations, and rotary frequencies against those that transformers computes.

use planner::model::Architecture;
use serde_json::{Value, json};

use super::{Numbers, Rotation, Scaling};

fn numbers(config: &Value) -> Numbers {
    let family = planner::Model::from_config("tiny", config).unwrap().architecture;
    Numbers::of_config(family, config).unwrap()
}

/// A model of heads of 16, with `change`.
fn config(family: &str, change: &Value) -> Value {
    let mut config = json!({
        "model_type": family, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
        "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 16, "vocab_size": 320,
        "max_position_embeddings": 131_072
    });
    if family.starts_with("gemma") {
        config["sliding_window"] = json!(64);
    }
    for (name, value) in change.as_object().unwrap() {
        config[name] = value.clone();
    }
    config
}

/// What `ROPE_INIT_FUNCTIONS[kind](config, "cpu", seq_len)` of `transformers.modeling_rope_utils` (transformers 5.23.0,
/// `PyTorch` 2.15.0) answered for the same configurations, frequencies in single precision.
#[test]
fn frequencies_are_those_of_transformers() {
    let llama3 = json!({ "rope_theta": 500_000.0, "rope_scaling": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192 } });
    let linear = json!({ "rope_theta": 10_000.0, "rope_scaling": { "rope_type": "linear", "factor": 4.0 } });
    let longrope = |attention: Value| {
        json!({ "rope_theta": 10_000.0, "original_max_position_embeddings": 4096, "rope_scaling": {
            "rope_type": "longrope", "attention_factor": attention,
            "short_factor": [1.0, 1.02, 1.05, 1.1, 1.3, 1.7, 2.2, 2.9],
            "long_factor": [1.08, 1.25, 2.0, 4.5, 9.0, 20.0, 40.5, 60.25] } })
    };
    let short = [
        1.0,
        0.310_027_211_904_525_76,
        0.095_238_097_012_043,
        0.028_747_979_551_553_726,
        0.007_692_307_699_471_712,
        0.001_860_163_290_984_928_6,
        0.000_454_545_457_614_585_76,
        0.000_109_044_056_443_963_2,
    ];
    let long = [
        0.925_925_910_472_869_9,
        0.252_982_228_994_369_5,
        0.050_000_000_745_058_06,
        0.007_027_283_776_551_485,
        0.001_111_111_138_015_985_5,
        0.000_158_113_893_121_480_94,
        2.469_135_870_342_143e-5,
        5.248_593_879_514_374e-6,
    ];
    let table: [(&str, Value, usize, [f64; 8], f64); 6] = [
        (
            "llama",
            llama3,
            4096,
            [
                1.0,
                0.193_922_758_102_417,
                0.037_606_030_702_590_94,
                0.007_292_665_075_510_74,
                0.000_524_846_022_017_300_1,
                3.428_102_354_519_069e-5,
                6.647_869_668_086_059e-6,
                1.289_173_155_782_919e-6,
            ],
            1.0,
        ),
        (
            "llama",
            linear,
            4096,
            [
                0.25,
                0.079_056_940_972_805_02,
                0.025_000_000_372_529_03,
                0.007_905_694_656_074_047,
                0.002_499_999_944_120_645_5,
                0.000_790_569_465_607_404_7,
                0.000_250_000_011_874_362_8,
                7.905_694_656_074_047e-5,
            ],
            1.0,
        ),
        ("phi3", longrope(Value::Null), 4096, short, 1.190_238_071_423_808_3),
        ("phi3", longrope(Value::Null), 4097, long, 1.190_238_071_423_808_3),
        ("phi3", longrope(json!(1.25)), 4096, short, 1.25),
        ("phi3", longrope(json!(1.25)), 4097, long, 1.25),
    ];
    for (family, change, tokens, wanted, factor) in table {
        let (found, attention) = numbers(&config(family, &change)).rotation.frequencies(16, tokens);
        assert!((attention - factor).abs() < 1e-12, "{change}: {attention}");
        assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found / wanted - 1.0).abs() < 2e-6, "{change}, {tokens} tokens: {found} for {wanted}");
        }
    }
}

/// transformers 5 writes `rope_parameters` where it wrote `rope_theta`, `rope_scaling` and `rope_local_base_freq` before.
#[test]
fn rotary_settings_are_the_same_in_both_spellings() {
    for (family, before, after) in [
        (
            "gemma3_text",
            json!({ "rope_theta": 1e6, "rope_local_base_freq": 1e4,
                    "rope_scaling": { "rope_type": "linear", "factor": 8.0 } }),
            json!({ "rope_parameters": {
                "full_attention": { "rope_type": "linear", "factor": 8.0, "rope_theta": 1e6 },
                "sliding_attention": { "rope_type": "default", "rope_theta": 1e4 } } }),
        ),
        (
            "llama",
            json!({ "rope_theta": 5e5, "rope_scaling": { "rope_type": "linear", "factor": 2.0 } }),
            json!({ "rope_parameters": { "rope_type": "linear", "factor": 2.0, "rope_theta": 5e5 } }),
        ),
        (
            "llama",
            json!({ "rope_theta": 5e5 }),
            json!({ "rope_parameters": { "rope_type": "default", "rope_theta": 5e5 } }),
        ),
    ] {
        let [before, after] = [before, after].map(|change| numbers(&config(family, &change)));
        assert_eq!(before, after, "{family}");
    }
    let gemma = numbers(&config(
        "gemma3_text",
        &json!({ "rope_parameters": {
            "full_attention": { "rope_type": "linear", "factor": 8.0, "rope_theta": 1e6 },
            "sliding_attention": { "rope_type": "default", "rope_theta": 1e4 } } }),
    ));
    assert_eq!(gemma.rotation, Rotation { theta: 1e6, scaling: Scaling::Linear(8.0) });
    assert_eq!(gemma.windowed_rotation, Rotation { theta: 1e4, scaling: Scaling::None });
}

/// `configuration_gemma2.py`: 50 and 30 where a file leaves them out; null is no cap. `configuration_gemma3.py`: none.
#[test]
fn caps_are_the_configurations_own() {
    for (family, change, caps) in [
        ("gemma2", json!({}), (Some(50.0), Some(30.0))),
        ("gemma2", json!({ "attn_logit_softcapping": null }), (None, Some(30.0))),
        ("gemma2", json!({ "final_logit_softcapping": 7.5 }), (Some(50.0), Some(7.5))),
        ("gemma3_text", json!({}), (None, None)),
        ("llama", json!({}), (None, None)),
    ] {
        let found = numbers(&config(family, &change));
        assert_eq!((found.score_cap, found.logit_cap), caps, "{family} {change}");
    }
}

#[test]
fn what_is_not_computed_names_its_field() {
    let lists = |short: usize, long: usize| {
        json!({ "original_max_position_embeddings": 4096, "rope_scaling": {
            "rope_type": "longrope", "short_factor": vec![1.0; short], "long_factor": vec![1.0; long] } })
    };
    for (family, change, part) in [
        ("llama", json!({ "rope_scaling": { "rope_type": "yarn", "factor": 4.0 } }), "of kind yarn"),
        ("llama", json!({ "rope_scaling": { "rope_type": "linear" } }), "rope_scaling.factor: missing"),
        ("llama", json!({ "hidden_act": "relu2" }), "hidden_act relu2"),
        ("mistral", json!({ "attention_bias": true }), "attention_bias true: mistral has no such biases"),
        ("qwen3", json!({ "mlp_bias": true }), "mlp_bias true: qwen3 has no such biases"),
        ("phi3", lists(8, 7), "rope_scaling.long_factor: 7 numbers for the 8 pairs"),
        ("phi3", lists(3, 8), "rope_scaling.short_factor: 3 numbers for the 8 pairs"),
    ] {
        let config = config(family, &change);
        let family = planner::Model::from_config("tiny", &config).unwrap().architecture;
        let refusal = Numbers::of_config(family, &config)
            .and_then(|numbers| numbers.check(16))
            .expect_err(part)
            .to_string();
        assert!(refusal.contains(part), "{part}: {refusal}");
    }
    let biased = config("llama", &json!({ "attention_bias": true, "mlp_bias": true }));
    assert!(Numbers::of_config(Architecture::Llama, &biased).is_ok());
}

//! Shapes from configurations: defaults, patterns, and what is refused.

use serde_json::{Value, json};

use super::*;

fn llama() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "intermediate_size": 1536, "vocab_size": 49152, "max_position_embeddings": 8192,
        "tie_word_embeddings": true, "torch_dtype": "bfloat16"
    })
}

#[test]
fn a_llama_config_gives_the_published_count() {
    let model = Model::from_config("HuggingFaceTB/SmolLM2-135M", &llama()).unwrap();
    // safetensors metadata of huggingface.co/HuggingFaceTB/SmolLM2-135M
    assert_eq!(model.parameters().total, 134_515_008);
    assert_eq!(model.layers.len(), 30);
    assert_eq!(model.layers[0].attention().unwrap().head_size, 64);
    assert_eq!(model.native, Some(Dtype::Bf16));
    assert_eq!(model.cache_elements_per_token(), 30 * 2 * 3 * 64);
}

fn with(mut config: Value, field: &str, value: Value) -> Value {
    config[field] = value;
    config
}

fn without(mut config: Value, field: &str) -> Value {
    config.as_object_mut().unwrap().remove(field);
    config
}

/// Each required number: missing, zero, negative, fractional, enormous, and of another kind.
#[test]
fn bad_numbers_name_their_field() {
    let required = [
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "vocab_size",
        "max_position_embeddings",
    ];
    for field in required {
        let missing = Model::from_config("m", &without(llama(), field)).unwrap_err();
        assert!(matches!(missing, ModelError::Missing { .. }), "{missing}");
        assert_eq!(missing.field(), Some(field));
        let null = Model::from_config("m", &with(llama(), field, Value::Null)).unwrap_err();
        assert_eq!(null.field(), Some(field), "null is missing");
    }
    for field in required.into_iter().chain(["num_key_value_heads", "head_dim"]) {
        for bad in [
            json!(0),
            json!(-1),
            json!(1.5),
            json!(u64::MAX),
            json!(1e300),
            json!("many"),
            json!([1]),
            json!(true),
        ] {
            let error = Model::from_config("m", &with(llama(), field, bad.clone())).unwrap_err();
            assert_eq!(error.field(), Some(field), "{bad}");
            let text = error.to_string();
            assert!(text.contains(&bad.to_string()) && text.contains("from 1 to "), "{text}");
        }
    }
}

#[test]
fn contradictions_name_their_field() {
    let cases = [
        (with(llama(), "num_key_value_heads", json!(2)), "num_key_value_heads", "divisor"),
        (with(llama(), "hidden_size", json!(577)), "num_attention_heads", "head_dim"),
        (
            with(with(llama(), "num_attention_heads", json!(65_535)), "head_dim", json!(16_384)),
            "num_attention_heads",
            "together",
        ),
        (with(llama(), "partial_rotary_factor", json!(2.0)), "partial_rotary_factor", "at most 1"),
        (with(llama(), "tie_word_embeddings", json!("yes")), "tie_word_embeddings", "true or false"),
        (with(llama(), "torch_dtype", json!("int3")), "torch_dtype", "bfloat16"),
        (with(llama(), "layer_types", json!(["full_attention"])), "layer_types", "30"),
        (
            with(llama(), "layer_types", json!(vec!["linear_attention"; 30])),
            "layer_types",
            "sliding_attention",
        ),
        (with(llama(), "layer_types", json!(3)), "layer_types", "list"),
        (with(llama(), "model_type", json!("gpt_bigcode")), "model_type", "known: llama, mistral"),
        (with(llama(), "model_type", json!(7)), "model_type", "7"),
        (without(llama(), "model_type"), "model_type", "architectures"),
        (
            with(
                without(llama(), "model_type"),
                "architectures",
                json!(["Qwen2AudioForConditionalGeneration"]),
            ),
            "architectures",
            "Qwen2Audio",
        ),
    ];
    for (config, field, needle) in cases {
        let error = Model::from_config("m", &config).unwrap_err();
        assert_eq!(error.field(), Some(field), "{error}");
        assert!(error.to_string().contains(needle), "{error}");
    }
    for not_an_object in [json!(null), json!([1]), json!("llama"), json!(3)] {
        let error = Model::from_config("m", &not_an_object).unwrap_err();
        assert!(error.to_string().contains("config.json"), "{error}");
    }
}

#[test]
fn the_family_may_be_named_by_its_class() {
    let classes = [
        ("LlamaForCausalLM", Architecture::Llama),
        ("MistralForCausalLM", Architecture::Mistral),
        ("Qwen3ForCausalLM", Architecture::Qwen3),
        ("Phi3ForCausalLM", Architecture::Phi3),
    ];
    for (class, family) in classes {
        let config = with(without(llama(), "model_type"), "architectures", json!([class]));
        assert_eq!(Model::from_config("m", &config).unwrap().architecture, family);
    }
    assert_eq!(Architecture::from_class("BertModel"), Some(Architecture::Bert));
    assert_eq!(Architecture::from_class("DistilBertForMaskedLM"), Some(Architecture::DistilBert));
    assert_eq!(Architecture::from_class("XLMRobertaModel"), Some(Architecture::Roberta));
    assert_eq!(Architecture::from_class("Qwen2VLForConditionalGeneration"), None);
    assert_eq!(Architecture::from_class("Gemma3nForCausalLM"), None);
}

/// The largest numbers that are accepted do not overflow anything.
#[test]
fn the_largest_accepted_shape_is_summed_without_overflow() {
    let mut config = llama();
    for (field, value) in [
        ("hidden_size", 1u64 << 20),
        ("num_hidden_layers", 1024),
        ("num_attention_heads", 1 << 16),
        ("num_key_value_heads", 1 << 16),
        ("head_dim", 64),
        ("intermediate_size", 1 << 24),
        ("vocab_size", 1 << 24),
        ("max_position_embeddings", 1 << 30),
    ] {
        config[field] = json!(value);
    }
    let total = Model::from_config("m", &config).unwrap().parameters().total;
    assert!(total > 1 << 55 && total < 1 << 63, "{total}");
}

#[test]
fn layer_types_decide_over_the_pattern() {
    let mut config = llama();
    config["model_type"] = json!("qwen3");
    config["head_dim"] = json!(64);
    config["num_hidden_layers"] = json!(2);
    config["layer_types"] = json!(["sliding_attention", "full_attention"]);
    config["use_sliding_window"] = json!(true);
    let missing = Model::from_config("m", &config).unwrap_err();
    assert_eq!(missing.field(), Some("sliding_window"));
    config["sliding_window"] = json!(1024);
    let model = Model::from_config("m", &config).unwrap();
    assert_eq!(model.layers[0].attention().unwrap().window, Some(Tokens(1024)));
    assert_eq!(model.layers[1].attention().unwrap().window, None);
    assert_eq!(model.layers[0].attention().unwrap().visible(Tokens(100)), Tokens(100));
    assert_eq!(model.layers[0].attention().unwrap().visible(Tokens(4096)), Tokens(1024));
}

/// distilbert-base-uncased and xlm-roberta-base, base models without their pre-training heads.
#[test]
fn encoders_have_their_published_counts() {
    let distil = json!({ "model_type": "distilbert", "dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072,
                         "vocab_size": 30522, "max_position_embeddings": 512 });
    let model = Model::from_config("distilbert-base-uncased", &distil).unwrap();
    assert_eq!(model.parameters().total, 66_362_880);
    assert!(!model.is_decoder());
    let bert = json!({ "model_type": "bert", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
                       "intermediate_size": 3072, "vocab_size": 30522, "max_position_embeddings": 512,
                       "type_vocab_size": 2 });
    assert_eq!(Model::from_config("bert-base-uncased", &bert).unwrap().parameters().total, 109_482_240);
    let roberta = json!({ "model_type": "xlm-roberta", "hidden_size": 768, "num_hidden_layers": 12,
                          "num_attention_heads": 12, "intermediate_size": 3072, "vocab_size": 250_002,
                          "max_position_embeddings": 514, "type_vocab_size": 1 });
    let model = Model::from_config("xlm-roberta-base", &roberta).unwrap();
    assert_eq!(model.parameters().total, 278_043_648);
    assert_eq!(model.max_tokens, Tokens(512));
}

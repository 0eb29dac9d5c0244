//! `config.json` as candle's structures want it: fields that a checkpoint may leave out take the defaults of the
//! family's class in `transformers`, those that moved between its versions are put where candle looks.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{EngineError, Stock};

/// Fields that candle's structure requires, with the value that `transformers` assumes where a file leaves them out.
fn defaults(stock: Stock) -> Value {
    match stock {
        Stock::Llama => json!({ "rms_norm_eps": 1e-6, "rope_theta": 10_000.0 }),
        Stock::Mistral => json!({ "rms_norm_eps": 1e-6, "rope_theta": 10_000.0, "hidden_act": "silu" }),
        Stock::Qwen2 => json!({
            "rms_norm_eps": 1e-6, "rope_theta": 10_000.0, "hidden_act": "silu", "max_window_layers": 28,
            "tie_word_embeddings": false, "use_sliding_window": false
        }),
        Stock::Qwen3 => json!({
            "rms_norm_eps": 1e-6, "rope_theta": 10_000.0, "hidden_act": "silu", "max_window_layers": 28,
            "tie_word_embeddings": false, "use_sliding_window": false, "attention_bias": false, "head_dim": 128
        }),
        Stock::Gemma2 => json!({
            "rms_norm_eps": 1e-6, "rope_theta": 10_000.0, "hidden_activation": "gelu_pytorch_tanh",
            "attention_bias": false, "head_dim": 256, "query_pre_attn_scalar": 256
        }),
        Stock::Gemma3 => json!({
            "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0, "rope_local_base_freq": 10_000.0,
            "hidden_activation": "gelu_pytorch_tanh", "attention_bias": false, "head_dim": 256,
            "query_pre_attn_scalar": 256, "sliding_window": 4096, "sliding_window_pattern": 6
        }),
        Stock::Phi3 => json!({ "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "hidden_act": "silu" }),
        Stock::Bert => json!({
            "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "max_position_embeddings": 512, "type_vocab_size": 2,
            "initializer_range": 0.02, "layer_norm_eps": 1e-12, "pad_token_id": 0
        }),
        Stock::QuantizedLlama
        | Stock::QuantizedQwen2
        | Stock::QuantizedQwen3
        | Stock::QuantizedGemma3
        | Stock::QuantizedPhi3 => json!({}),
    }
}

/// `config` with everything that candle's structure for `stock` wants.
fn complete(stock: Stock, config: &Value) -> Value {
    let mut fields: Map<String, Value> =
        config.get("text_config").unwrap_or(config).as_object().cloned().unwrap_or_default();
    if stock == Stock::Gemma2 {
        // Caps that a file leaves out; null is none.
        for (name, cap) in [("attn_logit_softcapping", 50.0), ("final_logit_softcapping", 30.0)] {
            fields.entry(name).or_insert(json!(cap));
        }
    }
    fields.retain(|_, v| !v.is_null());
    move_rope(&mut fields);
    if let Value::Object(defaults) = defaults(stock) {
        for (name, value) in defaults {
            fields.entry(name).or_insert(value);
        }
    }
    if stock == Stock::Qwen2 {
        // The module masks by `sliding_window` whatever the switch says; a window of the whole context is none.
        let whole = fields.get("max_position_embeddings").cloned().unwrap_or(json!(32_768));
        if fields.get("use_sliding_window") != Some(&Value::Bool(true)) {
            fields.insert("sliding_window".into(), whole);
        }
    }
    if stock == Stock::Phi3 {
        // Lists of end tokens are for generation, candle's structure takes one.
        fields.retain(|name, v| !(matches!(name.as_str(), "eos_token_id" | "bos_token_id") && v.is_array()));
    }
    Value::Object(fields)
}

/// transformers 5 keeps the rotary settings in `rope_parameters`, per kind of layer for Gemma 3.
pub(crate) fn move_rope(fields: &mut Map<String, Value>) {
    let Some(Value::Object(rope)) = fields.remove("rope_parameters") else {
        return drop_default_scaling(fields);
    };
    if let Some(full) = rope.get("full_attention") {
        for (kind, theta, scaling) in [
            (Some(full), "rope_theta", "rope_scaling"),
            (rope.get("sliding_attention"), "rope_local_base_freq", "rope_local_scaling"),
        ] {
            let Some(kind) = kind else { continue };
            fields.extend(kind.get("rope_theta").map(|t| (theta.to_owned(), t.clone())));
            if scales(kind) {
                fields.entry(scaling).or_insert_with(|| kind.clone());
            }
        }
        return drop_default_scaling(fields);
    }
    for name in ["rope_theta", "partial_rotary_factor"] {
        fields.extend(rope.get(name).map(|v| (name.to_owned(), v.clone())));
    }
    let rope = Value::Object(rope);
    if scales(&rope) {
        fields.entry("rope_scaling").or_insert(rope);
    }
    drop_default_scaling(fields);
}

/// Whether rotary settings say a scaling, and one that changes something.
fn scales(rope: &Value) -> bool {
    scaling_kind(rope).is_some_and(|kind| kind != "default")
}

/// A scaling of kind `default` scales nothing.
fn drop_default_scaling(fields: &mut Map<String, Value>) {
    let kind = fields.get("rope_scaling").and_then(scaling_kind).map(str::to_owned);
    if kind.as_deref() == Some("default") {
        fields.remove("rope_scaling");
    }
}

fn scaling_kind(scaling: &Value) -> Option<&str> {
    scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str)
}

/// Candle's configuration of a module.
///
/// # Errors
/// Where a field is missing that has no default, or is of another type.
pub(super) fn parse<C: DeserializeOwned>(stock: Stock, config: &Value) -> Result<C, EngineError> {
    Ok(serde_json::from_value(complete(stock, config))?)
}

/// Whether candle's module can be configured so.
///
/// # Errors
/// Says what it lacks.
pub(super) fn check(stock: Stock, config: &Value) -> Result<(), String> {
    use candle_transformers::models::{bert, gemma2, gemma3, llama, mistral, phi3, qwen2, qwen3};
    let full = complete(stock, config);
    let scaling = full.get("rope_scaling").or_else(|| full.get("rope_local_scaling"));
    if let Some(kind) = scaling.and_then(scaling_kind) {
        let known: &[&str] = match stock {
            Stock::Llama => &["llama3"],
            Stock::Phi3 => &["longrope"],
            _ => &[],
        };
        if !known.contains(&kind) {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(format!("it has no rotary scaling of kind {kind}; accepted: {known}"));
        }
    }
    let result = match stock {
        Stock::Llama => serde_json::from_value::<llama::LlamaConfig>(full).map(drop),
        Stock::Mistral => serde_json::from_value::<mistral::Config>(full).map(drop),
        Stock::Qwen2 => serde_json::from_value::<qwen2::Config>(full).map(drop),
        Stock::Qwen3 => serde_json::from_value::<qwen3::Config>(full).map(drop),
        Stock::Gemma2 => serde_json::from_value::<gemma2::Config>(full).map(drop),
        Stock::Gemma3 => serde_json::from_value::<gemma3::Config>(full).map(drop),
        Stock::Phi3 => serde_json::from_value::<phi3::Config>(full).map(drop),
        Stock::Bert => serde_json::from_value::<bert::Config>(full).map(drop),
        Stock::QuantizedLlama
        | Stock::QuantizedQwen2
        | Stock::QuantizedQwen3
        | Stock::QuantizedGemma3
        | Stock::QuantizedPhi3 => Ok(()),
    };
    result.map_err(|e| format!("config.json: {e}"))
}

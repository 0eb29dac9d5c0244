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
    assert_eq!(model.layers[0].attention.head_size, 64);
    assert_eq!(model.native, Some(Dtype::Bf16));
    assert_eq!(model.cache_elements_per_token(), 30 * 2 * 3 * 64);
}

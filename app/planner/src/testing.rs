//! Models of published training runs that the catalogue lacks, for the tests of memory and of speed.

use serde_json::{Value, json};

use crate::model::{DenseFeedForward, Experts, FeedForward, LatentAttention, Mixer, Model};

/// The `config.json` of a Llama 3 with 8 key heads of 128.
pub(crate) fn llama(layers: u64, hidden: u64, inner: u64, heads: u64, vocab: u64) -> Value {
    json!({
        "model_type": "llama", "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": vocab,
        "max_position_embeddings": 131_072, "tie_word_embeddings": false
    })
}

/// The `config.json` whose layers [`deepseek_v2`] replaces: as many of DeepSeek-V2's width.
pub(crate) fn deepseek_v2_frame(layers: u64) -> Value {
    llama(layers, 5120, 12288, 128, 102_400)
}

/// Makes the layers of a model DeepSeek-V2's (arXiv 2405.04434, section 3.1.2): one dense, the rest experts.
pub(crate) fn deepseek_v2(model: &mut Model) {
    let expert =
        |intermediate| DenseFeedForward { intermediate, gated: true, fused_gate_up: false, bias: false };
    for (i, layer) in model.layers.iter_mut().enumerate() {
        layer.mixer = Mixer::Latent(LatentAttention {
            heads: 128,
            query_rank: Some(1536),
            kv_rank: 512,
            nope_size: 128,
            rope_size: 64,
            value_size: 128,
        });
        if i > 0 {
            layer.feed_forward = FeedForward::Experts(Experts {
                routed: 160,
                active: 6,
                expert: expert(1536),
                shared: Some(expert(3072)),
                shared_gate: false,
                router_bias: false,
            });
        }
    }
}

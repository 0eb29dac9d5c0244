//! Names of tensors in checkpoints.

use planner::model::{Architecture, NormPlace, Role};

/// A tensor's name in safetensors, without the prefix that vision models put before their language model's. `expert` is
/// the place of a routed expert.
pub(super) fn checkpoint(
    family: Architecture,
    role: Role,
    layer: Option<u64>,
    expert: usize,
) -> Option<String> {
    let gemma = matches!(family, Architecture::Gemma2 | Architecture::Gemma3);
    let outside = match role {
        Role::TokenEmbedding => Some("model.embed_tokens.weight"),
        Role::FinalNorm => Some("model.norm.weight"),
        Role::OutputHead => Some("lm_head.weight"),
        _ => None,
    };
    if let Some(name) = outside {
        return Some(name.to_owned());
    }
    let part = match role {
        Role::Query => "self_attn.q_proj.weight",
        Role::Key => "self_attn.k_proj.weight",
        Role::Value => "self_attn.v_proj.weight",
        Role::QueryBias => "self_attn.q_proj.bias",
        Role::KeyBias => "self_attn.k_proj.bias",
        Role::ValueBias => "self_attn.v_proj.bias",
        Role::QueryKeyValue => "self_attn.qkv_proj.weight",
        Role::QueryNorm => "self_attn.q_norm.weight",
        Role::KeyNorm => "self_attn.k_norm.weight",
        Role::AttentionOutput => "self_attn.o_proj.weight",
        Role::AttentionOutputBias => "self_attn.o_proj.bias",
        Role::Gate => "mlp.gate_proj.weight",
        Role::Up => "mlp.up_proj.weight",
        Role::Down => "mlp.down_proj.weight",
        Role::GateBias => "mlp.gate_proj.bias",
        Role::UpBias => "mlp.up_proj.bias",
        Role::DownBias => "mlp.down_proj.bias",
        Role::GateUp => "mlp.gate_up_proj.weight",
        Role::LayerNorm(NormPlace::BeforeAttention) => "input_layernorm.weight",
        Role::LayerNorm(NormPlace::AfterAttention) => "post_attention_layernorm.weight",
        // Llama names it after what is before it.
        Role::LayerNorm(NormPlace::BeforeFeedForward) if !gemma => "post_attention_layernorm.weight",
        Role::LayerNorm(NormPlace::BeforeFeedForward) => "pre_feedforward_layernorm.weight",
        Role::LayerNorm(NormPlace::AfterFeedForward) => "post_feedforward_layernorm.weight",
        Role::Router => "block_sparse_moe.gate.weight",
        _ => {
            let part = match role {
                Role::ExpertGate => "w1",
                Role::ExpertUp => "w3",
                Role::ExpertDown => "w2",
                _ => return None,
            };
            return layer
                .map(|l| format!("model.layers.{l}.block_sparse_moe.experts.{expert}.{part}.weight"));
        }
    };
    layer.map(|layer| format!("model.layers.{layer}.{part}"))
}

/// A tensor's name in a GGUF file (llama.cpp `gguf-py/gguf/constants.py`, `TENSOR_NAMES`). Experts of a layer are one
/// tensor.
pub(crate) fn gguf(role: Role, layer: Option<u64>) -> Option<String> {
    let outside = match role {
        Role::TokenEmbedding => Some("token_embd.weight"),
        Role::FinalNorm => Some("output_norm.weight"),
        Role::OutputHead => Some("output.weight"),
        _ => None,
    };
    if let Some(name) = outside {
        return Some(name.to_owned());
    }
    let part = match role {
        Role::Query => "attn_q.weight",
        Role::Key => "attn_k.weight",
        Role::Value => "attn_v.weight",
        Role::QueryBias => "attn_q.bias",
        Role::KeyBias => "attn_k.bias",
        Role::ValueBias => "attn_v.bias",
        Role::QueryKeyValue => "attn_qkv.weight",
        Role::QueryNorm => "attn_q_norm.weight",
        Role::KeyNorm => "attn_k_norm.weight",
        Role::AttentionOutput => "attn_output.weight",
        Role::AttentionOutputBias => "attn_output.bias",
        Role::Gate => "ffn_gate.weight",
        // Phi-3's file has gate and up in the tensor of the up projection.
        Role::Up | Role::GateUp => "ffn_up.weight",
        Role::Down => "ffn_down.weight",
        Role::GateBias => "ffn_gate.bias",
        Role::UpBias => "ffn_up.bias",
        Role::DownBias => "ffn_down.bias",
        Role::LayerNorm(NormPlace::BeforeAttention) => "attn_norm.weight",
        Role::LayerNorm(NormPlace::AfterAttention) => "post_attention_norm.weight",
        Role::LayerNorm(NormPlace::BeforeFeedForward) => "ffn_norm.weight",
        Role::LayerNorm(NormPlace::AfterFeedForward) => "post_ffw_norm.weight",
        Role::Router => "ffn_gate_inp.weight",
        Role::ExpertGate => "ffn_gate_exps.weight",
        Role::ExpertUp => "ffn_up_exps.weight",
        Role::ExpertDown => "ffn_down_exps.weight",
        _ => return None,
    };
    layer.map(|layer| format!("blk.{layer}.{part}"))
}

//! What mixes the tokens of every layer: attention, latent attention, recurrent states.

use serde_json::Value;

use super::super::{Architecture, Attention, LatentAttention, Mixer, ModelError, Recurrent};
use super::decoder::qk_norm;
use super::fields::{
    Fields, MAX_HEAD_SIZE, MAX_HEADS, MAX_HIDDEN, MAX_LAYERS, MAX_RANK, MAX_TOKENS, check_width, shown,
};
use crate::bytes::Tokens;

/// The mixer of each of `count` layers.
pub(super) fn mixers(
    family: Architecture,
    fields: &Fields<'_>,
    hidden: u64,
    count: u64,
) -> Result<Vec<Mixer>, ModelError> {
    use Architecture as A;
    let all = |m: Mixer| vec![m; usize::try_from(count).unwrap_or(0)];
    match family {
        A::DeepSeekV2 | A::DeepSeekV3 => Ok(all(Mixer::Latent(latent(fields)?))),
        A::Mamba | A::FalconMamba => Ok(all(Mixer::Recurrent(mamba(family, fields, hidden)?))),
        A::Mamba2 => Ok(all(Mixer::Recurrent(mamba2(family, fields, hidden)?))),
        A::Jamba => {
            let period = fields.optional("attn_layer_period", 1, MAX_LAYERS)?.unwrap_or(8);
            let offset = fields.optional("attn_layer_offset", 0, MAX_LAYERS)?.unwrap_or(4);
            let attends: Vec<bool> = (0..count).map(|i| i % period == offset).collect();
            Ok(mixed(&attends, &mamba(family, fields, hidden)?, &attention(family, fields, hidden)?))
        }
        A::NemotronH => {
            let attends: Vec<bool> =
                nemotron_blocks(fields)?.into_iter().map(|(mixer, _)| mixer == '*').collect();
            Ok(mixed(&attends, &mamba2(family, fields, hidden)?, &attention(family, fields, hidden)?))
        }
        A::GraniteHybrid => {
            let attends = layer_types(fields, count, &["mamba", "attention"])?
                .ok_or(ModelError::Missing { field: "layer_types", min: count, max: count })?;
            let attends: Vec<bool> = attends.iter().map(|t| t == "attention").collect();
            Ok(mixed(&attends, &mamba2(family, fields, hidden)?, &attention(family, fields, hidden)?))
        }
        A::Qwen3Next | A::Qwen35 | A::Qwen35Moe => {
            let attends: Vec<bool> =
                if let Some(types) = layer_types(fields, count, &["linear_attention", "full_attention"])? {
                    types.iter().map(|t| t == "full_attention").collect()
                } else {
                    let interval = fields.optional("full_attention_interval", 1, MAX_LAYERS)?.unwrap_or(4);
                    (0..count).map(|i| (i + 1).is_multiple_of(interval)).collect()
                };
            Ok(mixed(&attends, &gated_delta(fields)?, &attention(family, fields, hidden)?))
        }
        _ => {
            let template = attention(family, fields, hidden)?;
            let windows = windows(family, fields, count)?;
            Ok(windows
                .into_iter()
                .map(|window| Mixer::Attention(Attention { window, ..template.clone() }))
                .collect())
        }
    }
}

/// A state, or attention where the layer attends.
fn mixed(attends: &[bool], state: &Recurrent, attention: &Attention) -> Vec<Mixer> {
    let mixer = |attends: &bool| {
        if *attends { Mixer::Attention(attention.clone()) } else { Mixer::Recurrent(state.clone()) }
    };
    attends.iter().map(mixer).collect()
}

/// Softmax attention as the family has it, without its window.
fn attention(family: Architecture, fields: &Fields<'_>, hidden: u64) -> Result<Attention, ModelError> {
    use Architecture as A;
    let heads = fields.first(&["num_attention_heads", "n_head", "n_heads"], 1, MAX_HEADS)?;
    let kv_heads = key_heads(family, fields, heads)?;
    if heads % kv_heads != 0 {
        return Err(ModelError::Invalid {
            field: "num_key_value_heads",
            problem: format!("{kv_heads} does not divide num_attention_heads {heads}; give a divisor of it"),
        });
    }
    let head_size = match fields.optional("head_dim", 1, MAX_HEAD_SIZE)? {
        Some(size) => size,
        None if family == A::Qwen => fields.optional("kv_channels", 1, MAX_HEAD_SIZE)?.unwrap_or(128),
        None if matches!(family, A::Qwen3 | A::Llama4) => 128,
        None if matches!(family, A::Gemma | A::Gemma2 | A::Gemma3) => 256,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => {
            return Err(ModelError::Invalid {
                field: "num_attention_heads",
                problem: format!(
                    "{heads} does not divide hidden_size {hidden}; correct one of them, or give head_dim"
                ),
            });
        }
    };
    check_width(heads, head_size)?;
    let given = fields.flag("attention_bias", false)?;
    let rotary = match family {
        A::Gpt2 | A::Bloom | A::Opt | A::Mpt | A::Jamba | A::NemotronH => 0,
        A::GptNeoX | A::StableLm | A::Qwen3Next | A::Qwen35 | A::Qwen35Moe => head_size / 4,
        A::Phi | A::Glm | A::Glm4 | A::Glm4Moe => head_size / 2,
        A::Falcon if fields.flag("alibi", false)? => 0,
        _ => head_size,
    };
    let rotary_size = if rotary == 0 { 0 } else { fields.rotary_size(head_size, rotary)? };
    let qkv_bias = match family {
        A::Qwen2 | A::Qwen2Moe | A::Qwen | A::GptNeoX | A::Gpt2 | A::Bloom | A::Opt | A::Phi => true,
        A::StableLm => fields.flag("use_qkv_bias", false)?,
        A::Starcoder2 => fields.flag("use_bias", true)?,
        A::Falcon | A::InternLm2 => fields.flag("bias", false)?,
        A::Mistral | A::Phi3 | A::Mixtral | A::Mpt | A::Jamba | A::MiniMaxM2 => false,
        _ => given,
    };
    let output_bias = match family {
        A::GptNeoX | A::Gpt2 | A::Bloom | A::Opt | A::Phi => true,
        A::Starcoder2 | A::Falcon | A::InternLm2 => qkv_bias,
        A::Llama
        | A::Granite
        | A::GraniteMoe
        | A::GraniteHybrid
        | A::SmolLm3
        | A::Qwen3
        | A::Qwen3Moe
        | A::Qwen3Next
        | A::Qwen35
        | A::Qwen35Moe
        | A::Gemma
        | A::Gemma2
        | A::Gemma3
        | A::Olmo2
        | A::OlmoE
        | A::Cohere
        | A::Cohere2
        | A::GptOss
        | A::PhiMoe
        | A::Llama4
        | A::NemotronH => given,
        _ => false,
    };
    Ok(Attention {
        heads,
        kv_heads,
        head_size,
        rotary_size,
        window: None,
        causal: true,
        qkv_bias,
        output_bias,
        qk_norm: qk_norm(family, fields)?,
        fused_qkv: matches!(
            family,
            A::Phi3 | A::Qwen | A::InternLm2 | A::GptNeoX | A::Gpt2 | A::Bloom | A::Mpt | A::Falcon
        ),
        softcap: family == A::Gemma2 && fields.number_or_null("attn_logit_softcapping", true)?,
        output_gate: matches!(family, A::Qwen3Next | A::Qwen35 | A::Qwen35Moe),
        sinks: family == A::GptOss,
        cross: false,
    })
}

/// Key and value heads: as given, or what the family's class takes where they are left out.
fn key_heads(family: Architecture, fields: &Fields<'_>, heads: u64) -> Result<u64, ModelError> {
    use Architecture as A;
    match family {
        A::Falcon => {
            if fields.flag("new_decoder_architecture", false)? {
                Ok(fields.first(&["num_kv_heads", "n_head_kv"], 1, heads)?)
            } else {
                Ok(if fields.flag("multi_query", true)? { 1 } else { heads })
            }
        }
        A::Qwen | A::GptNeoX | A::Gpt2 | A::Bloom | A::Opt | A::Mpt => Ok(heads),
        // Their classes take the number of query heads where it is left out; the others' defaults belong to one model.
        A::Llama | A::Phi3 | A::Phi | A::Granite | A::Cohere | A::Olmo2 | A::InternLm2 => {
            Ok(fields.optional("num_key_value_heads", 1, heads)?.unwrap_or(heads))
        }
        _ => fields.required("num_key_value_heads", 1, heads),
    }
}

fn latent(fields: &Fields<'_>) -> Result<LatentAttention, ModelError> {
    let heads = fields.required("num_attention_heads", 1, MAX_HEADS)?;
    let latent = LatentAttention {
        heads,
        query_rank: fields.optional("q_lora_rank", 1, MAX_RANK)?,
        kv_rank: fields.required("kv_lora_rank", 1, MAX_RANK)?,
        nope_size: fields.required("qk_nope_head_dim", 1, MAX_HEAD_SIZE)?,
        rope_size: fields.required("qk_rope_head_dim", 1, MAX_HEAD_SIZE)?,
        value_size: fields.required("v_head_dim", 1, MAX_HEAD_SIZE)?,
    };
    check_width(heads, latent.nope_size + latent.rope_size + latent.value_size)?;
    Ok(latent)
}

fn mamba(family: Architecture, fields: &Fields<'_>, hidden: u64) -> Result<Recurrent, ModelError> {
    let jamba = family == Architecture::Jamba;
    let expand = fields.first(&["mamba_expand", "expand"], 1, 64).or_else(|e| match e {
        ModelError::Missing { .. } => Ok(2),
        other => Err(other),
    })?;
    let inner = match fields.optional("intermediate_size", 1, MAX_HIDDEN)? {
        Some(inner) if !jamba => inner,
        _ => hidden.saturating_mul(expand),
    };
    let step_rank = match fields.get(if jamba { "mamba_dt_rank" } else { "time_step_rank" }) {
        // mamba_ssm: a sixteenth of the width.
        None => hidden.div_ceil(16),
        Some(value) if value.as_str() == Some("auto") => hidden.div_ceil(16),
        Some(_) => fields.first(&["mamba_dt_rank", "time_step_rank"], 1, MAX_RANK)?,
    };
    let or = |names: [&'static str; 2], default: u64| match fields.first(&names, 1, MAX_RANK) {
        Err(ModelError::Missing { .. }) => Ok(default),
        other => other,
    };
    Ok(Recurrent::Mamba {
        inner,
        state_size: or(["mamba_d_state", "state_size"], 16)?,
        conv_kernel: or(["mamba_d_conv", "conv_kernel"], 4)?,
        step_rank,
        conv_bias: fields.flag(if jamba { "mamba_conv_bias" } else { "use_conv_bias" }, true)?,
        bias: fields.flag(if jamba { "mamba_proj_bias" } else { "use_bias" }, false)?,
        norms: jamba,
    })
}

fn mamba2(family: Architecture, fields: &Fields<'_>, hidden: u64) -> Result<Recurrent, ModelError> {
    use Architecture as A;
    let (heads, head_size): (&[&'static str], &[&'static str]) = match family {
        A::NemotronH => (&["mamba_num_heads"], &["mamba_head_dim"]),
        A::GraniteHybrid => (&["mamba_n_heads"], &["mamba_d_head"]),
        _ => (&["num_heads"], &["head_dim"]),
    };
    let or = |names: &[&'static str], default: u64| match fields.first(names, 1, MAX_RANK) {
        Err(ModelError::Missing { .. }) => Ok(default),
        other => other,
    };
    let heads = fields.first(heads, 1, MAX_HEADS)?;
    let head_size = match fields.first(head_size, 1, MAX_HEAD_SIZE) {
        // Granite's `auto`: what the expanded width leaves to each head.
        Err(_) if family == A::GraniteHybrid => hidden.saturating_mul(or(&["mamba_expand"], 2)?) / heads,
        other => other?,
    };
    check_width(heads, head_size)?;
    Ok(Recurrent::Mamba2 {
        heads,
        head_size,
        groups: or(&["n_groups", "mamba_n_groups"], 1)?,
        state_size: or(&["ssm_state_size", "mamba_d_state", "state_size"], 128)?,
        conv_kernel: or(&["conv_kernel", "mamba_d_conv"], 4)?,
        conv_bias: fields
            .flag(if family == A::GraniteHybrid { "mamba_conv_bias" } else { "use_conv_bias" }, true)?,
        bias: fields.flag(
            match family {
                A::NemotronH | A::GraniteHybrid => "mamba_proj_bias",
                _ => "use_bias",
            },
            false,
        )?,
        norm: fields.flag("rms_norm", true)?,
    })
}

fn gated_delta(fields: &Fields<'_>) -> Result<Recurrent, ModelError> {
    let key_heads = fields.required("linear_num_key_heads", 1, MAX_HEADS)?;
    let value_heads = fields.required("linear_num_value_heads", 1, MAX_HEADS)?;
    let key_size = fields.required("linear_key_head_dim", 1, MAX_HEAD_SIZE)?;
    let value_size = fields.required("linear_value_head_dim", 1, MAX_HEAD_SIZE)?;
    check_width(key_heads, key_size)?;
    check_width(value_heads, value_size)?;
    let conv_kernel = fields.optional("linear_conv_kernel_dim", 1, MAX_RANK)?.unwrap_or(4);
    Ok(Recurrent::GatedDelta { key_heads, value_heads, key_size, value_size, conv_kernel })
}

/// Nemotron-H's pattern as layers: each mixer (`M`, or `*` for attention) with the feed-forward (`-`, or `E` for experts)
/// that follows it, if one does.
pub(super) fn nemotron_blocks(fields: &Fields<'_>) -> Result<Vec<(char, Option<char>)>, ModelError> {
    let field = "hybrid_override_pattern";
    let invalid = |problem: String| ModelError::Invalid { field, problem };
    let pattern = fields
        .text(field)
        .ok_or_else(|| invalid("missing; give the pattern of blocks, for example M-M*-".to_owned()))?;
    let mut blocks: Vec<(char, Option<char>)> = Vec::new();
    for block in pattern.chars().take(usize::try_from(MAX_LAYERS).unwrap_or(1024)) {
        match (block, blocks.last_mut()) {
            ('M' | '*', _) => blocks.push((block, None)),
            ('-' | 'E', Some((_, follows @ None))) => *follows = Some(block),
            ('-' | 'E', _) => {
                return Err(invalid(format!("a {block} follows no mixer; each must follow an M or a *")));
            }
            (other, _) => return Err(invalid(format!("\"{other}\" is unknown; accepted: M * - E"))),
        }
    }
    if blocks.is_empty() {
        return Err(invalid("names no block; give at least one of M and *".to_owned()));
    }
    Ok(blocks)
}

/// `layer_types`, checked against the kinds that the family has.
fn layer_types(
    fields: &Fields<'_>,
    count: u64,
    accepted: &[&str],
) -> Result<Option<Vec<String>>, ModelError> {
    let field = "layer_types";
    let invalid = |problem: String| ModelError::Invalid { field, problem };
    let Some(value) = fields.get(field) else { return Ok(None) };
    let Value::Array(types) = value else {
        return Err(invalid(format!("{} is not a list of layer types", shown(value))));
    };
    if types.len() as u64 != count {
        return Err(invalid(format!(
            "{} entries for num_hidden_layers {count}; give one for each",
            types.len()
        )));
    }
    types
        .iter()
        .map(|kind| match kind.as_str() {
            Some(kind) if accepted.contains(&kind) => Ok(kind.to_owned()),
            _ => Err(invalid(format!("{} is unknown; accepted: {}", shown(kind), accepted.join(", ")))),
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

/// The window of every layer: `layer_types` where it is given, else the family's own pattern.
fn windows(family: Architecture, fields: &Fields<'_>, count: u64) -> Result<Vec<Option<Tokens>>, ModelError> {
    use Architecture as A;
    let field = if family == A::Llama4 { "attention_chunk_size" } else { "sliding_window" };
    let has_windows = match family {
        // Their configurations carry the field but use it only where a switch says so.
        A::Qwen2 | A::Qwen3 | A::Qwen2Moe | A::Qwen3Moe => fields.flag("use_sliding_window", false)?,
        // The others never read it.
        A::Mistral
        | A::Mixtral
        | A::Phi3
        | A::PhiMoe
        | A::Gemma2
        | A::Gemma3
        | A::Cohere2
        | A::Starcoder2
        | A::GptOss
        | A::Llama4 => true,
        _ => false,
    };
    let window = if has_windows { fields.optional(field, 1, MAX_TOKENS)?.map(Tokens) } else { None };
    let kinds = ["full_attention", "sliding_attention", "chunked_attention"];
    if let Some(types) = layer_types(fields, count, if family == A::Llama4 { &kinds } else { &kinds[..2] })? {
        return types
            .iter()
            .map(|kind| match (kind.as_str(), window) {
                ("full_attention", _) => Ok(None),
                (_, Some(window)) => Ok(Some(window)),
                (_, None) => Err(ModelError::Missing { field, min: 1, max: MAX_TOKENS }),
            })
            .collect();
    }
    let every = |default: u64| -> Result<u64, ModelError> {
        Ok(fields.optional("sliding_window_pattern", 1, MAX_LAYERS)?.unwrap_or(default))
    };
    let sliding: Box<dyn Fn(u64) -> bool> = match family {
        // modeling_gemma2, modeling_gpt_oss: every layer with an even index is windowed.
        A::Gemma2 | A::GptOss => Box::new(|i| i.is_multiple_of(2)),
        // modeling_gemma3: every sixth layer is full; modeling_cohere2 and modeling_llama4: every fourth.
        A::Gemma3 | A::Cohere2 | A::Llama4 => {
            let pattern = every(if family == A::Gemma3 { 6 } else { 4 })?;
            Box::new(move |i| !(i + 1).is_multiple_of(pattern))
        }
        // modeling_qwen2: the first max_window_layers are full.
        A::Qwen2 | A::Qwen3 | A::Qwen2Moe | A::Qwen3Moe => {
            let full = fields.optional("max_window_layers", 0, MAX_LAYERS)?.unwrap_or(28);
            Box::new(move |i| i >= full)
        }
        _ => Box::new(|_| true),
    };
    if matches!(family, A::Gemma2 | A::Gemma3) && window.is_none() {
        return Err(ModelError::Missing { field, min: 1, max: MAX_TOKENS });
    }
    Ok((0..count).map(|i| window.filter(|_| sliding(i))).collect())
}

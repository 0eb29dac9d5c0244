//! Encoders: embeddings, rerankers.

use super::super::{
    Architecture, Attention, DenseFeedForward, Embeddings, FeedForward, Head, Layer, LayerNorm, Mixer, Model,
    ModelError, Norm, NormPlace, QkNorm,
};
use super::fields::{
    Fields, MAX_HEADS, MAX_HIDDEN, MAX_INTERMEDIATE, MAX_LAYERS, MAX_TOKENS, MAX_VOCAB, check_width,
};
use crate::bytes::Tokens;

/// An encoder of any family.
#[allow(clippy::too_many_lines, reason = "one field after the other, each by family")]
pub(super) fn encoder(name: &str, family: Architecture, fields: &Fields<'_>) -> Result<Model, ModelError> {
    use Architecture as A;
    let names: [&'static str; 4] = match family {
        A::DistilBert => ["dim", "n_layers", "n_heads", "hidden_dim"],
        A::NomicBert => ["n_embd", "n_layer", "n_head", "n_inner"],
        _ => ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"],
    };
    let hidden = fields.required(names[0], 1, MAX_HIDDEN)?;
    let count = fields.required(names[1], 1, MAX_LAYERS)?;
    let heads = fields.required(names[2], 1, MAX_HEADS)?;
    let intermediate = fields.required(names[3], 1, MAX_INTERMEDIATE)?;
    let vocab = fields.required("vocab_size", 1, MAX_VOCAB)?;
    let positions = fields.first(&["max_position_embeddings", "n_positions"], 1, MAX_TOKENS)?;
    if hidden % heads != 0 {
        return Err(ModelError::Invalid {
            field: names[2],
            problem: format!("{heads} does not divide {} {hidden}; correct one of them", names[0]),
        });
    }
    let head_size = hidden / heads;
    check_width(heads, head_size)?;
    let rotary = matches!(family, A::NomicBert | A::ModernBert);
    let attention_bias = match family {
        A::NomicBert => fields.flag("qkv_proj_bias", false)?,
        A::ModernBert => fields.flag("attention_bias", false)?,
        _ => true,
    };
    let attention = Attention {
        heads,
        kv_heads: heads,
        head_size,
        rotary_size: if rotary { fields.rotary_size(head_size, head_size)? } else { 0 },
        window: None,
        causal: false,
        qkv_bias: attention_bias,
        output_bias: attention_bias,
        qk_norm: QkNorm::None,
        fused_qkv: rotary,
        softcap: false,
        output_gate: false,
        sinks: false,
        cross: false,
    };
    let feed_forward = DenseFeedForward {
        intermediate,
        gated: rotary,
        fused_gate_up: family == A::ModernBert,
        bias: match family {
            A::NomicBert => fields.flag("mlp_fc1_bias", false)?,
            A::ModernBert => fields.flag("mlp_bias", false)?,
            _ => true,
        },
    };
    let norm =
        if family == A::ModernBert && !fields.flag("norm_bias", false)? { Norm::Rms } else { Norm::Layer };
    let layer = |index: u64| -> Result<Layer, ModelError> {
        let (window, places): (Option<Tokens>, &[NormPlace]) = if family == A::ModernBert {
            let every = fields.optional("global_attn_every_n_layers", 1, MAX_LAYERS)?.unwrap_or(3);
            let local = Tokens(fields.required("local_attention", 1, MAX_TOKENS)?);
            // modeling_modernbert: the embedding's norm is the first layer's.
            let places: &[NormPlace] = match index {
                0 => &[NormPlace::BeforeFeedForward],
                _ => &[NormPlace::BeforeAttention, NormPlace::BeforeFeedForward],
            };
            ((!index.is_multiple_of(every)).then_some(local), places)
        } else {
            (None, &[NormPlace::AfterAttention, NormPlace::AfterFeedForward])
        };
        Ok(Layer {
            mixer: Mixer::Attention(Attention { window, ..attention.clone() }),
            feed_forward: FeedForward::Dense(feed_forward.clone()),
            norms: places.iter().map(|&place| LayerNorm { place, norm }).collect(),
        })
    };
    // RoBERTa and MPNet number positions from padding_idx + 1 = 2, so their tables have two rows that no token uses.
    let unused = if matches!(family, A::Roberta | A::MpNet) { 2 } else { 0 };
    if positions <= unused {
        return Err(ModelError::OutOfRange {
            field: "max_position_embeddings",
            given: positions.to_string(),
            min: unused + 1,
            max: MAX_TOKENS,
        });
    }
    Ok(Model {
        name: name.to_owned(),
        architecture: family,
        hidden,
        vocab,
        max_tokens: Tokens(positions - unused),
        layers: (0..count).map(layer).collect::<Result<_, _>>()?,
        tied_embeddings: true,
        embeddings: Embeddings {
            positions: if rotary { 0 } else { positions },
            token_types: match family {
                A::DistilBert | A::ModernBert | A::MpNet => 0,
                _ => fields.optional("type_vocab_size", 0, MAX_VOCAB)?.unwrap_or(2),
            },
            norm: Some(norm),
            relative_buckets: match family {
                A::MpNet => fields.optional("relative_attention_num_buckets", 1, MAX_TOKENS)?.unwrap_or(32),
                _ => 0,
            },
        },
        final_norm: (family == A::ModernBert).then_some(norm),
        head: head(family, fields)?,
        head_bias: false,
        towers: Vec::new(),
        next_token_layers: Vec::new(),
        native: fields.dtype()?,
        stored: None,
    })
}

fn head(family: Architecture, fields: &Fields<'_>) -> Result<Head, ModelError> {
    use Architecture as A;
    let class = |suffix: &str| fields.classes().any(|c| c.ends_with(suffix));
    if class("ForSequenceClassification") {
        if matches!(family, A::ModernBert | A::NomicBert) {
            return Err(ModelError::Invalid {
                field: "architectures",
                problem: format!("the classifier of {family} is not known; give the class of its encoder"),
            });
        }
        let given = match fields.get("id2label").and_then(serde_json::Value::as_object) {
            Some(labels) => Some(labels.len() as u64),
            None => fields.optional("num_labels", 1, MAX_VOCAB)?,
        };
        // PretrainedConfig has two labels where none are named.
        return Ok(Head::Classifier { labels: given.unwrap_or(2).max(1) });
    }
    Ok(match family {
        A::ModernBert if class("ForMaskedLM") => Head::MaskedLanguageModel,
        A::DistilBert | A::NomicBert | A::ModernBert => Head::None,
        _ => Head::Pooler,
    })
}

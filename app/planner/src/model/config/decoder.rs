//! Decoders: what they share, and what each family changes.

use super::super::{
    Architecture, DenseFeedForward, Embeddings, FeedForward, Head, Layer, LayerNorm, Mixer, Model,
    ModelError, Norm, NormPlace, QkNorm,
};
use super::fields::{Fields, MAX_HIDDEN, MAX_LAYERS, MAX_TOKENS, MAX_VOCAB};
use super::{feed_forward, mixer};
use crate::bytes::Tokens;

/// A decoder of any family.
pub(super) fn decoder(name: &str, family: Architecture, fields: &Fields<'_>) -> Result<Model, ModelError> {
    use Architecture as A;
    let hidden = fields.first(&["hidden_size", "n_embd", "d_model"], 1, MAX_HIDDEN)?;
    let count = layer_count(family, fields)?;
    let vocab = fields.required("vocab_size", 1, MAX_VOCAB)?;
    let max_tokens = match family {
        // A state has no length, and ALiBi no table.
        A::Mamba | A::Mamba2 | A::FalconMamba => {
            fields.optional("max_position_embeddings", 1, MAX_TOKENS)?.unwrap_or(MAX_TOKENS)
        }
        A::Bloom => fields.optional("seq_length", 1, MAX_TOKENS)?.unwrap_or(2048),
        A::Falcon => fields.optional("max_position_embeddings", 1, MAX_TOKENS)?.unwrap_or(2048),
        _ => fields.first(&["max_position_embeddings", "n_positions", "max_seq_len"], 1, MAX_TOKENS)?,
    };
    let mixers = mixer::mixers(family, fields, hidden, count)?;
    let feed_forwards = feed_forward::feed_forwards(family, fields, hidden, count)?;
    let norm = norm_kind(family);
    let layers: Vec<Layer> = mixers
        .into_iter()
        .zip(feed_forwards)
        .map(|(mixer, feed_forward)| {
            let norms = norms(family, fields, norm, &feed_forward);
            Layer { mixer, feed_forward, norms }
        })
        .collect();
    let softcap = matches!(family, A::Gemma2);
    let headless = fields.classes().any(|c| c.ends_with("Model") && !c.ends_with("LMHeadModel"));
    Ok(Model {
        name: name.to_owned(),
        architecture: family,
        hidden,
        vocab,
        max_tokens: Tokens(max_tokens),
        next_token_layers: next_token_layers(family, fields, &layers)?,
        layers,
        tied_embeddings: fields.outer_flag("tie_word_embeddings", tied_by_default(family))?,
        embeddings: Embeddings {
            positions: match family {
                A::Gpt2 => max_tokens,
                // modeling_opt: two rows before the first position.
                A::Opt => max_tokens.saturating_add(2),
                _ => 0,
            },
            norm: (family == A::Bloom).then_some(Norm::Layer),
            ..Embeddings::default()
        },
        final_norm: Some(norm),
        head: if headless {
            Head::None
        } else {
            Head::LanguageModel {
                softcap: softcap && fields.number_or_null("final_logit_softcapping", true)?,
            }
        },
        head_bias: family == A::Phi || fields.flag("lm_head_bias", false)?,
        towers: Vec::new(),
        native: fields.dtype()?,
        stored: None,
    })
}

/// Layers as a plan counts them: a mixer with its feed-forward. Nemotron-H writes the two apart.
fn layer_count(family: Architecture, fields: &Fields<'_>) -> Result<u64, ModelError> {
    if family == Architecture::NemotronH {
        return Ok(mixer::nemotron_blocks(fields)?.len() as u64);
    }
    fields.first(&["num_hidden_layers", "n_layer", "n_layers"], 1, MAX_LAYERS)
}

const fn norm_kind(family: Architecture) -> Norm {
    use Architecture as A;
    match family {
        A::GptNeoX
        | A::Gpt2
        | A::Bloom
        | A::Opt
        | A::Phi
        | A::Falcon
        | A::StableLm
        | A::Starcoder2
        | A::PhiMoe => Norm::Layer,
        // MPT's and Command R's layer norms have no bias: a weight, as an RMS norm has.
        _ => Norm::Rms,
    }
}

fn norms(
    family: Architecture,
    fields: &Fields<'_>,
    norm: Norm,
    feed_forward: &FeedForward,
) -> Vec<LayerNorm> {
    use Architecture as A;
    use NormPlace::{AfterAttention, AfterFeedForward, BeforeAttention, BeforeFeedForward};
    let one_norm = match family {
        A::Phi | A::Cohere | A::Cohere2 => true,
        A::Falcon => !matches!(fields.flag("new_decoder_architecture", false), Ok(true)),
        _ => *feed_forward == FeedForward::None,
    };
    let places: &[NormPlace] = match family {
        A::Gemma2 | A::Gemma3 | A::Glm4 => {
            &[BeforeAttention, AfterAttention, BeforeFeedForward, AfterFeedForward]
        }
        A::Olmo2 => &[AfterAttention, AfterFeedForward],
        _ if one_norm => &[BeforeAttention],
        _ => &[BeforeAttention, BeforeFeedForward],
    };
    places.iter().map(|&place| LayerNorm { place, norm }).collect()
}

/// Whether the output head is the embedding where the configuration does not say: the defaults of the classes.
const fn tied_by_default(family: Architecture) -> bool {
    use Architecture as A;
    matches!(
        family,
        A::Gemma
            | A::Gemma2
            | A::Gemma3
            | A::Cohere
            | A::Cohere2
            | A::Falcon
            | A::Gpt2
            | A::Bloom
            | A::Opt
            | A::Mpt
            | A::Mamba
            | A::FalconMamba
            | A::Starcoder2
    )
}

/// Layers of multi-token prediction, each like the last layer of full attention.
fn next_token_layers(
    family: Architecture,
    fields: &Fields<'_>,
    layers: &[Layer],
) -> Result<Vec<Layer>, ModelError> {
    use Architecture as A;
    let field = match family {
        A::DeepSeekV3 | A::Glm4Moe => "num_nextn_predict_layers",
        A::Qwen35 | A::Qwen35Moe => "mtp_num_hidden_layers",
        _ => return Ok(Vec::new()),
    };
    let count = fields.optional(field, 0, 16)?.unwrap_or(0);
    let like = layers.iter().rev().find(|l| !matches!(l.mixer, Mixer::Recurrent(_)));
    Ok(like.map(|layer| (0..count).map(|_| layer.clone()).collect()).unwrap_or_default())
}

/// A feed-forward of two or three matrices.
pub(super) const fn dense(intermediate: u64, gated: bool) -> DenseFeedForward {
    DenseFeedForward { intermediate, gated, fused_gate_up: false, bias: false }
}

/// Norms of query and key heads by family.
pub(super) fn qk_norm(family: Architecture, fields: &Fields<'_>) -> Result<QkNorm, ModelError> {
    use Architecture as A;
    Ok(match family {
        A::Qwen3 | A::Gemma3 | A::Qwen3Moe | A::Qwen3Next | A::Qwen35 | A::Qwen35Moe => QkNorm::Head,
        A::Glm4Moe if fields.flag("use_qk_norm", false)? => QkNorm::Head,
        A::Olmo2 | A::OlmoE => QkNorm::Full,
        A::MiniMaxM2 if fields.flag("use_qk_norm", true)? => QkNorm::Full,
        A::Cohere if fields.flag("use_qk_norm", false)? => QkNorm::Full,
        _ => QkNorm::None,
    })
}

//! The feed-forward of every layer.

use super::super::{Architecture, DenseFeedForward, Experts, FeedForward, ModelError};
use super::decoder::dense;
use super::fields::{Fields, MAX_EXPERTS, MAX_INTERMEDIATE, MAX_LAYERS};
use super::mixer;

/// The feed-forward of each of `count` layers.
pub(super) fn feed_forwards(
    family: Architecture,
    fields: &Fields<'_>,
    hidden: u64,
    count: u64,
) -> Result<Vec<FeedForward>, ModelError> {
    use Architecture as A;
    let all = |f: FeedForward| vec![f; usize::try_from(count).unwrap_or(0)];
    match family {
        A::Mamba | A::Mamba2 | A::FalconMamba => Ok(all(FeedForward::None)),
        A::NemotronH => nemotron(fields),
        A::GraniteHybrid => {
            let width = fields.required("shared_intermediate_size", 1, MAX_INTERMEDIATE)?;
            Ok(all(match fields.optional("num_local_experts", 0, MAX_EXPERTS)?.unwrap_or(0) {
                0 => FeedForward::Dense(DenseFeedForward { fused_gate_up: true, ..dense(width, true) }),
                _ => FeedForward::Experts(Experts {
                    shared: Some(dense(width, true)),
                    ..experts(family, fields)?
                }),
            }))
        }
        _ => {
            let sparse = sparse_layers(family, fields, count)?;
            let experts = if sparse.contains(&true) { Some(experts(family, fields)?) } else { None };
            let plain = if sparse.contains(&false) { Some(plain(family, fields, hidden)?) } else { None };
            Ok(sparse
                .into_iter()
                .map(|is_sparse| match (is_sparse, &experts, &plain) {
                    (true, Some(e), _) => FeedForward::Experts(e.clone()),
                    (false, _, Some(d)) => FeedForward::Dense(d.clone()),
                    _ => FeedForward::None,
                })
                .collect())
        }
    }
}

/// Which layers route to experts.
fn sparse_layers(family: Architecture, fields: &Fields<'_>, count: u64) -> Result<Vec<bool>, ModelError> {
    use Architecture as A;
    let step = |field: &'static str, default: u64| -> Result<u64, ModelError> {
        Ok(fields.optional(field, 1, MAX_LAYERS)?.unwrap_or(default))
    };
    let rule: Box<dyn Fn(u64) -> bool> = match family {
        A::Mixtral | A::OlmoE | A::PhiMoe | A::GraniteMoe | A::GptOss | A::MiniMaxM2 | A::Qwen35Moe => {
            Box::new(|_| true)
        }
        A::Qwen2Moe | A::Qwen3Moe | A::Qwen3Next => {
            let every = step("decoder_sparse_step", 1)?;
            let dense: Vec<u64> = fields
                .list("mlp_only_layers")
                .map(|l| l.iter().filter_map(serde_json::Value::as_u64).collect())
                .unwrap_or_default();
            Box::new(move |i| (i + 1).is_multiple_of(every) && !dense.contains(&i))
        }
        A::DeepSeekV2 | A::DeepSeekV3 | A::Glm4Moe => {
            let first = fields.optional("first_k_dense_replace", 0, MAX_LAYERS)?.unwrap_or(0);
            let every = step("moe_layer_freq", 1)?;
            Box::new(move |i| i >= first && i.is_multiple_of(every))
        }
        A::Llama4 => {
            let every = step("interleave_moe_layer_step", 1)?;
            Box::new(move |i| (i + 1).is_multiple_of(every))
        }
        A::Jamba => {
            let every = step("expert_layer_period", 2)?;
            let offset = fields.optional("expert_layer_offset", 0, MAX_LAYERS)?.unwrap_or(1);
            Box::new(move |i| i % every == offset)
        }
        _ => Box::new(|_| false),
    };
    Ok((0..count).map(rule).collect())
}

/// The experts of a layer that has some.
fn experts(family: Architecture, fields: &Fields<'_>) -> Result<Experts, ModelError> {
    use Architecture as A;
    let routed = fields.first(&["num_local_experts", "num_experts", "n_routed_experts"], 1, MAX_EXPERTS)?;
    let active = fields.required("num_experts_per_tok", 1, routed)?;
    let width = match fields.optional("moe_intermediate_size", 1, MAX_INTERMEDIATE)? {
        Some(width) => width,
        None => fields.required("intermediate_size", 1, MAX_INTERMEDIATE)?,
    };
    let shared = match family {
        A::Qwen2Moe | A::Qwen3Next | A::Qwen35Moe => {
            fields.optional("shared_expert_intermediate_size", 1, MAX_INTERMEDIATE)?
        }
        A::DeepSeekV2 | A::DeepSeekV3 | A::Glm4Moe => {
            fields.optional("n_shared_experts", 0, 64)?.filter(|n| *n > 0).map(|n| n.saturating_mul(width))
        }
        // Its shared expert is as wide as a routed one.
        A::Llama4 => Some(width),
        _ => None,
    };
    let gated = family != A::NemotronH;
    let bias = family == A::GptOss;
    Ok(Experts {
        routed,
        active,
        expert: DenseFeedForward { bias, ..dense(width, gated) },
        shared: shared.map(|width| dense(width, gated)),
        shared_gate: matches!(family, A::Qwen2Moe | A::Qwen3Next | A::Qwen35Moe),
        router_bias: matches!(family, A::DeepSeekV3 | A::Glm4Moe | A::MiniMaxM2 | A::GptOss),
    })
}

/// The feed-forward of a layer that every token takes.
fn plain(family: Architecture, fields: &Fields<'_>, hidden: u64) -> Result<DenseFeedForward, ModelError> {
    use Architecture as A;
    let times = |n: u64| hidden.saturating_mul(n).min(MAX_INTERMEDIATE);
    let intermediate = match family {
        // The configuration counts gate and up together.
        A::Qwen => fields.required("intermediate_size", 2, MAX_INTERMEDIATE)? / 2,
        A::Gpt2 => fields.optional("n_inner", 1, MAX_INTERMEDIATE)?.unwrap_or(times(4)),
        A::Bloom => times(4),
        A::Mpt => times(fields.optional("expansion_ratio", 1, 64)?.unwrap_or(4)),
        A::Falcon => fields.optional("ffn_hidden_size", 1, MAX_INTERMEDIATE)?.unwrap_or(times(4)),
        A::Opt => fields.required("ffn_dim", 1, MAX_INTERMEDIATE)?,
        A::Llama4 => fields.required("intermediate_size_mlp", 1, MAX_INTERMEDIATE)?,
        _ => fields.required("intermediate_size", 1, MAX_INTERMEDIATE)?,
    };
    let ungated = matches!(
        family,
        A::Gpt2 | A::Bloom | A::Mpt | A::Falcon | A::Opt | A::GptNeoX | A::Phi | A::Starcoder2
    );
    let bias = match family {
        A::Gpt2 | A::Bloom | A::Opt | A::GptNeoX | A::Phi => true,
        A::Starcoder2 => fields.flag("use_bias", true)?,
        A::Falcon => fields.flag("bias", false)?,
        A::Llama | A::Granite | A::SmolLm3 => fields.flag("mlp_bias", false)?,
        _ => false,
    };
    Ok(DenseFeedForward {
        fused_gate_up: matches!(family, A::Phi3 | A::Glm | A::Glm4),
        bias,
        ..dense(intermediate, !ungated)
    })
}

/// Nemotron-H's blocks that follow a mixer: `E` routes to experts, `-` is dense, with squared `ReLU` instead of a gate.
fn nemotron(fields: &Fields<'_>) -> Result<Vec<FeedForward>, ModelError> {
    let bias = fields.flag("mlp_bias", false)?;
    mixer::nemotron_blocks(fields)?
        .into_iter()
        .map(|(_, feed_forward)| {
            Ok(match feed_forward {
                None => FeedForward::None,
                Some('E') => {
                    let width =
                        fields.required("moe_shared_expert_intermediate_size", 1, MAX_INTERMEDIATE)?;
                    FeedForward::Experts(Experts {
                        shared: Some(dense(width, false)),
                        router_bias: true,
                        ..experts(Architecture::NemotronH, fields)?
                    })
                }
                Some(_) => {
                    let width = fields.required("intermediate_size", 1, MAX_INTERMEDIATE)?;
                    FeedForward::Dense(DenseFeedForward { bias, ..dense(width, false) })
                }
            })
        })
        .collect()
}

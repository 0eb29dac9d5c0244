//! The tables of cosines and sines that vLLM keeps of rotary positions, on every rank
//! (`model_executor/layers/rotary_embedding/`). One table a kind of rotation, shared by the layers; its rows are the positions
//! that the configuration names, whatever `max_model_len` is, multiplied where the scaling says so. Gemma 3's linear scaling by
//! 8 makes half a GiB of them.

use serde_json::Value;

use crate::catalogue;
use crate::document::plan::Plan;
use crate::model::{Mixer, Model};

/// The configuration that a plan's model was read from.
pub(in crate::engine) fn config(plan: &Plan) -> Option<&Value> {
    match (&plan.model.config, &plan.model.id) {
        (Some(config), _) => Some(config),
        (None, Some(id)) => catalogue::model(id).map(|entry| &entry.config),
        (None, None) => None,
    }
}

/// A field of the language model: of `text_config` where there is one, else of the whole.
pub(in crate::engine) fn field<'a>(config: &'a Value, name: &str) -> Option<&'a Value> {
    let text = ["text_config", "llm_config", "language_config"].into_iter().find_map(|key| config.get(key));
    text.and_then(|t| t.get(name)).or_else(|| config.get(name)).filter(|v| !v.is_null())
}

/// Whether images are taken in their own resolution (Qwen's towers), so that the profile run takes the largest.
pub(in crate::engine) fn free_images(config: Option<&Value>) -> bool {
    config.and_then(|c| c.get("vision_config")).is_some_and(|vision| {
        let kind = vision.get("model_type").or_else(|| config.and_then(|c| c.get("model_type")));
        vision.get("spatial_merge_size").is_some()
            && kind.and_then(Value::as_str).is_some_and(|k| k.starts_with("qwen"))
    })
}

/// Bytes of all tables; `element` is the width of the compute precision.
pub(in crate::engine) fn bytes(model: &Model, config: Option<&Value>, element: u64) -> u64 {
    let mut widths: Vec<u64> = model
        .layers
        .iter()
        .filter_map(|layer| match &layer.mixer {
            Mixer::Attention(a) => Some(a.rotary_size),
            Mixer::Latent(a) => Some(a.rope_size),
            Mixer::Recurrent(_) => None,
        })
        .filter(|width| *width > 0)
        .collect();
    widths.sort_unstable();
    widths.dedup();
    let rows = rows(model.max_tokens.0, config);
    // Gemma 3's windowed layers rotate with a base of their own, unscaled.
    let local = if config.and_then(|c| field(c, "rope_local_base_freq")).is_some()
        || (rows > model.max_tokens.0
            && model.layers.iter().any(|l| l.attention().is_some_and(|a| a.window.is_some())))
    {
        model.max_tokens.0
    } else {
        0
    };
    widths
        .iter()
        .map(|width| width.saturating_mul(element).saturating_mul(rows.saturating_add(local)))
        .fold(0, u64::saturating_add)
}

/// Rows of the table that `positions` and the scaling make.
fn rows(positions: u64, config: Option<&Value>) -> u64 {
    let Some(scaling) = config.and_then(|c| field(c, "rope_scaling").or_else(|| field(c, "rope_parameters")))
    else {
        return positions;
    };
    // Gemma 3 of transformers 5 writes one set of parameters a kind of layer.
    let scaling = scaling.get("full_attention").unwrap_or(scaling);
    let kind = scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str);
    let original = scaling
        .get("original_max_position_embeddings")
        .or_else(|| config.and_then(|c| field(c, "original_max_position_embeddings")))
        .and_then(Value::as_u64);
    let times = |n: u64| match scaling.get("factor").and_then(Value::as_f64) {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positions times a scaling factor, saturating at the type's ends"
        )]
        Some(factor) if factor > 0.0 => (n as f64 * factor) as u64,
        _ => n,
    };
    let rows = match kind {
        Some("linear" | "dynamic") => times(positions),
        Some("yarn" | "deepseek_yarn") => times(original.unwrap_or(positions)),
        Some("longrope" | "su") => positions.saturating_add(original.unwrap_or(0)),
        _ => positions,
    };
    // `MRotaryEmbedding` makes room for four times the positions.
    if scaling.get("mrope_section").is_some() { rows.saturating_mul(4) } else { rows }
}

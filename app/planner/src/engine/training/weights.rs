//! Weights as trainers hold them.

use crate::document::precision::WeightPrecision;
use crate::engine::stored::{Format, plain};
use crate::error::PlanError;
use crate::model::{Dtype, FeedForward, Layer, Mixer, Model, Role, WeightTensor};

/// Whether the output head is quantized with the layers' matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Head {
    /// It stays in 16 bit.
    Plain,
    /// It is quantized too.
    Quantized,
}

/// The storage of a precision that trainers load.
///
/// # Errors
/// `field` where no trainer loads it.
pub(in crate::engine) fn format(field: &str, precision: WeightPrecision) -> Result<Format, PlanError> {
    if let Some(dtype) = plain(precision) {
        return Ok(Format::Plain(dtype));
    }
    match precision {
        WeightPrecision::Nf4 => Ok(Format::Nf4 { double: false }),
        WeightPrecision::Nf4Dq => Ok(Format::Nf4 { double: true }),
        // bitsandbytes' LLM.int8 (arXiv 2208.07339): an fp32 scale a row.
        WeightPrecision::Int8 => Ok(Format::Int8Row { scale_bytes: 4 }),
        WeightPrecision::Int4G128 => Ok(Format::Int4Group { group: 128, zeros: true, indices: true }),
        other => Err(PlanError::unsupported(
            field,
            format!("{} weights are not trained on", other.as_str()),
            "give fp32, bf16, fp16, int8, nf4, nf4-dq or int4-g128",
        )),
    }
}

/// Whether a tensor is a linear module of a layer (what quantizers replace), or the head where `head` says so.
pub(in crate::engine) const fn is_quantized(t: &WeightTensor, head: Head) -> bool {
    match t.role {
        Role::OutputHead => matches!(head, Head::Quantized),
        Role::TokenEmbedding | Role::PositionEmbedding | Role::TokenTypeEmbedding | Role::Router => false,
        _ => t.is_matrix() && t.layer.is_some(),
    }
}

/// Bytes of one tensor.
pub(in crate::engine) const fn tensor_bytes(t: &WeightTensor, format: Format, head: Head) -> u64 {
    match format {
        Format::Plain(dtype) => t.elements().saturating_mul(dtype.bytes()),
        quantized if is_quantized(t, head) => quantized.tensor_bytes(t),
        _ => t.elements().saturating_mul(Dtype::Bf16.bytes()),
    }
}

/// Bytes of all weights.
pub(in crate::engine) fn stored(model: &Model, format: Format, head: Head) -> u64 {
    model.tensors().iter().map(|t| tensor_bytes(t, format, head)).fold(0, u64::saturating_add)
}

/// Elements of a token in the widest tensor of a layer.
pub(in crate::engine) fn widest(model: &Model, layer: &Layer) -> u64 {
    let mixer = match &layer.mixer {
        Mixer::Attention(a) => a.query_width().saturating_add(a.kv_width().saturating_mul(2)),
        Mixer::Latent(a) => a.heads.saturating_mul(a.nope_size.saturating_add(a.value_size)),
        Mixer::Recurrent(r) => super::lora::recurrent_widths(r).1,
    };
    let inner = match &layer.feed_forward {
        FeedForward::Dense(f) => f.intermediate,
        FeedForward::Experts(e) => {
            let shared = e.shared.as_ref().map_or(0, |s| s.intermediate);
            e.active.saturating_mul(e.expert.intermediate).saturating_add(shared)
        }
        FeedForward::None => 0,
    };
    mixer.max(inner).max(model.hidden)
}

/// Sums over the tensors of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::engine) struct LayerSum {
    /// Parameters of the largest layer.
    pub(in crate::engine) parameters: u64,
    /// Parameters of linear modules in that layer.
    pub(in crate::engine) linear: u64,
    /// Stored bytes of the layer with the most bytes.
    pub(in crate::engine) bytes: u64,
    /// Parameters of the largest single matrix of a layer (one expert, where there are several).
    pub(in crate::engine) largest_matrix: u64,
}

/// The largest layer, by each sum.
pub(in crate::engine) fn largest_layer(model: &Model, format: Format) -> LayerSum {
    let mut each = vec![LayerSum::default(); model.layers.len()];
    for t in model.tensors() {
        let Some(sum) = t.layer.and_then(|l| each.get_mut(usize::try_from(l).ok()?)) else { continue };
        sum.parameters = sum.parameters.saturating_add(t.elements());
        sum.bytes = sum.bytes.saturating_add(tensor_bytes(&t, format, Head::Plain));
        if is_quantized(&t, Head::Plain) {
            sum.linear = sum.linear.saturating_add(t.elements());
            sum.largest_matrix = sum.largest_matrix.max(t.rows.saturating_mul(t.columns));
        }
    }
    each.into_iter().fold(LayerSum::default(), |a, b| LayerSum {
        parameters: a.parameters.max(b.parameters),
        linear: a.linear.max(b.linear),
        bytes: a.bytes.max(b.bytes),
        largest_matrix: a.largest_matrix.max(b.largest_matrix),
    })
}

//! Weights as TensorRT-LLM holds them.

use std::ops::Range;

use crate::bytes::Bytes;
use crate::document::plan::Plan;
use crate::document::precision::WeightPrecision;
use crate::engine::shard;
use crate::engine::stored::{self, Format};
use crate::error::PlanError;
use crate::model::{Dtype, Mixer, Model, Role, WeightTensor};

/// How the matrices of the layers are stored; embedding, head, router, norms and biases stay in the compute precision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    /// Matrices outside the experts.
    dense: Format,
    /// Matrices of the experts.
    experts: Format,
    /// Everything else.
    plain: Dtype,
    /// Whether the input of a product is copied in 8 bit or less.
    pub(super) eight_bit_inputs: bool,
}

/// The formats of the plan's precision.
pub(super) fn stored(plan: &Plan, model: &Model, compute: Dtype) -> Result<Stored, PlanError> {
    let whole = Format::Plain(compute);
    let same = |format: Format, eight_bit_inputs: bool| Stored {
        dense: format,
        experts: format,
        plain: compute,
        eight_bit_inputs,
    };
    let Some(precision) = plan.precision.weights else {
        return Ok(same(Format::Plain(model.native.unwrap_or(compute)), false));
    };
    Ok(match precision {
        WeightPrecision::Bf16 | WeightPrecision::Fp16 => {
            same(Format::Plain(stored::plain(precision).unwrap_or(compute)), false)
        }
        WeightPrecision::Fp8 => same(Format::Fp8Tensor, true),
        WeightPrecision::Int4G128 => {
            same(Format::Int4Group { group: 128, zeros: false, indices: false }, false)
        }
        WeightPrecision::Nvfp4 => same(Format::Nvfp4, true),
        // gpt-oss: only the experts are stored so.
        WeightPrecision::Mxfp4 => Stored { dense: whole, ..same(Format::Mxfp4, true) },
        other => {
            return Err(PlanError::unsupported(
                "precision.weights",
                format!("TensorRT-LLM's PyTorch backend does not load {other}"),
                "give bf16, fp16, fp8, int4-g128, nvfp4 or mxfp4, or leave it out",
            ));
        }
    })
}

impl Stored {
    fn bytes(&self, t: &WeightTensor) -> u64 {
        let format = match t.role {
            Role::ExpertGate | Role::ExpertUp | Role::ExpertDown => self.experts,
            Role::TokenEmbedding
            | Role::PositionEmbedding
            | Role::TokenTypeEmbedding
            | Role::OutputHead
            | Role::Router
            | Role::SharedExpertGate => Format::Plain(self.plain),
            _ if t.is_matrix() => self.dense,
            _ => Format::Plain(self.plain),
        };
        let bytes = format.tensor_bytes(t);
        // Latent attention keeps the expansion twice: as it was loaded, for prompts, and split by head into
        // `k_b_proj_trans` and `v_b_proj`, for decoding.
        if t.role == Role::KeyValueUp { bytes.saturating_mul(2) } else { bytes }
    }
}

/// Layers of a pipeline stage: as even as it goes, the remainder to the first stages (`Mapping.pp_layers`, a
/// `tensor_split`).
pub(super) fn stage_layers(layers: u64, stage: u64, stages: u64) -> Range<u64> {
    let (each, over) = (layers / stages.max(1), layers % stages.max(1));
    let start = stage * each + stage.min(over);
    start..start + each + u64::from(stage < over)
}

/// The weights of one tensor parallel rank of the stage that holds most, and the rotary table that its layers share.
pub(super) fn heaviest_stage(
    model: &Model,
    stored: &Stored,
    tensor: u64,
    expert: u64,
    pipeline: u64,
) -> Bytes {
    let tensors = shard::rank_tensors(model, tensor, expert);
    let table = rotary_table(model);
    (0..pipeline)
        .map(|stage| {
            let layers = stage_layers(model.layers.len() as u64, stage, pipeline);
            let (first, last) = (stage == 0, stage + 1 == pipeline);
            let mut held = table;
            for t in &tensors {
                let here = match (t.layer, t.role) {
                    (Some(layer), _) => layers.contains(&layer),
                    // A tied embedding is the head as well.
                    (None, Role::TokenEmbedding) => first || (last && model.tied_embeddings),
                    (None, Role::FinalNorm | Role::FinalNormBias | Role::OutputHead) => last,
                    (None, _) => first,
                };
                if !here {
                    continue;
                }
                held += Bytes(stored.bytes(t));
            }
            held
        })
        .max()
        .unwrap_or_default()
}

/// Cosines and sines in fp32 for every position (`RopeParams.create_rope_const_params`).
fn rotary_table(model: &Model) -> Bytes {
    let size = model
        .layers
        .iter()
        .map(|l| match &l.mixer {
            Mixer::Attention(a) => a.rotary_size,
            Mixer::Latent(a) => a.rope_size,
            Mixer::Recurrent(_) => 0,
        })
        .max()
        .unwrap_or(0);
    Bytes(model.max_tokens.0.saturating_mul(size).saturating_mul(4))
}

//! Weights as Transformers loads them.

use crate::bytes::Bytes;
use crate::document::plan::Plan;
use crate::document::precision::WeightPrecision;
use crate::engine::shard;
use crate::engine::stored::{self, Format};
use crate::error::PlanError;
use crate::model::{Dtype, Model, Role, WeightTensor};

/// How the linear layers are stored; embedding, head, norms and biases stay in the compute precision.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine::transformers) struct Stored {
    linear: Linear,
    plain: Dtype,
    experts_only: bool,
}

#[derive(Debug, Clone, Copy)]
enum Linear {
    Of(Format),
    /// GPTQ in 8 bit: groups of 128 with an fp16 scale and an 8-bit zero point, and a 32-bit group index a column.
    Gptq8,
}

/// What a GPU holds.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::engine::transformers) struct Held {
    /// Parameters.
    pub(in crate::engine::transformers) bytes: Bytes,
    /// What a product of many tokens dequantizes for its time.
    pub(in crate::engine::transformers) dequantized: Bytes,
    /// A workspace of the kernels that stays.
    pub(in crate::engine::transformers) kept: Bytes,
}

impl Stored {
    pub(in crate::engine::transformers) fn of(
        plan: &Plan,
        model: &Model,
        compute: Dtype,
    ) -> Result<Self, PlanError> {
        let whole = |dtype: Dtype| Self {
            linear: Linear::Of(Format::Plain(dtype)),
            plain: dtype,
            experts_only: false,
        };
        let quantized = |linear: Linear| Self { linear, plain: compute, experts_only: false };
        let Some(precision) = plan.precision.weights else {
            return Ok(whole(model.native.unwrap_or(compute)));
        };
        if let Some(dtype) = stored::plain(precision) {
            return Ok(whole(dtype));
        }
        Ok(match precision {
            WeightPrecision::Int4G128 => {
                quantized(Linear::Of(Format::Int4Group { group: 128, zeros: true, indices: true }))
            }
            WeightPrecision::Int8 => quantized(Linear::Gptq8),
            WeightPrecision::Nf4 => quantized(Linear::Of(Format::Nf4 { double: false })),
            WeightPrecision::Nf4Dq => quantized(Linear::Of(Format::Nf4 { double: true })),
            WeightPrecision::Fp8 => quantized(Linear::Of(Format::Fp8Block)),
            WeightPrecision::W8a8 => quantized(Linear::Of(Format::Int8Row { scale_bytes: 4 })),
            WeightPrecision::Mxfp4 => Self { experts_only: true, ..quantized(Linear::Of(Format::Mxfp4)) },
            other => {
                return Err(PlanError::unsupported(
                    "precision.weights",
                    format!(
                        "Transformers does not compute in {other} (it dequantizes GGUF files as it loads them)"
                    ),
                    "give fp32, bf16, fp16, fp8, int8, w8a8, int4-g128, nf4, nf4-dq or mxfp4",
                ));
            }
        })
    }

    fn is_quantized(&self, t: &WeightTensor) -> bool {
        let expert = matches!(t.role, Role::ExpertGate | Role::ExpertUp | Role::ExpertDown);
        let kept = matches!(
            t.role,
            Role::TokenEmbedding
                | Role::PositionEmbedding
                | Role::TokenTypeEmbedding
                | Role::OutputHead
                | Role::Router
                | Role::SharedExpertGate
        );
        t.is_matrix() && !kept && (expert || !self.experts_only)
    }

    fn bytes(&self, t: &WeightTensor) -> u64 {
        match self.linear {
            _ if !self.is_quantized(t) => Format::Plain(self.plain).tensor_bytes(t),
            Linear::Of(format) => format.tensor_bytes(t),
            Linear::Gptq8 => {
                let n = t.rows.saturating_mul(t.columns);
                let groups = t.columns.div_ceil(128).saturating_mul(t.rows).saturating_mul(3);
                n.saturating_add(groups).saturating_add(t.columns.saturating_mul(4)).saturating_mul(t.copies)
            }
        }
    }

    /// One tensor parallel rank of the stage that holds most. A layer split (`device_map`) keeps the embedding on the
    /// first and the head on the last GPU.
    pub(in crate::engine::transformers) fn heaviest_stage(
        &self,
        model: &Model,
        tensor: u64,
        pipeline: u64,
    ) -> Held {
        let tensors = shard::rank_tensors(model, tensor, 1);
        let stages = pipeline.max(1);
        (0..stages)
            .map(|stage| {
                let (start, end) = shard::stage_layers(model.layers.len() as u64, stage, stages);
                let (first, last) = (stage == 0, stage + 1 == stages);
                let here = |t: &&WeightTensor| match (t.layer, t.role) {
                    (Some(layer), _) => (start..end).contains(&layer),
                    (None, Role::FinalNorm | Role::FinalNormBias | Role::OutputHead) => last,
                    (None, Role::TokenEmbedding) => first || (last && model.tied_embeddings),
                    (None, _) => first,
                };
                let mut held = Held::default();
                let mut widest = 0;
                for t in tensors.iter().filter(here) {
                    held.bytes += Bytes(self.bytes(t));
                    if self.is_quantized(t) {
                        widest = widest.max(t.rows.saturating_mul(t.columns));
                    }
                }
                let in_16_bit = Bytes(widest) * 2;
                match self.linear {
                    // `MatMul4Bit` dequantizes to the format that the weights had, which is the computation's here.
                    Linear::Of(Format::Nf4 { .. }) => held.dequantized = in_16_bit,
                    // ExLlama's `temp_dq`, allocated once for the largest matrix (AutoGPTQ's `autogptq_post_init`).
                    Linear::Of(Format::Int4Group { .. }) => held.kept = in_16_bit,
                    _ => {}
                }
                held
            })
            .max_by_key(|h| h.bytes)
            .unwrap_or_default()
    }
}

//! Bytes of a weight tensor as an engine holds it, scales and zeros included.

use crate::document::precision::WeightPrecision;
use crate::model::{Dtype, Role, WeightTensor};

/// A storage format of matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    /// One number each.
    Plain(Dtype),
    /// fp8 with one fp32 scale for the whole tensor (vLLM's dynamic quantization) .
    Fp8Tensor,
    /// fp8 with one scale (`scale_bytes`) for each row.
    Fp8Row {
        /// Bytes of a scale.
        scale_bytes: u64,
    },
    /// fp8 with one fp32 scale for each block of 128 × 128 (DeepSeek-V3).
    Fp8Block,
    /// int8 with one scale (`scale_bytes`) for each row.
    Int8Row {
        /// Bytes of a scale.
        scale_bytes: u64,
    },
    /// int8 in groups along the row, an fp16 scale a group (GPTQ in 8 bit).
    Int8Group {
        /// Elements of a group.
        group: u64,
    },
    /// 4-bit integers in groups along the row, an fp16 scale a group, and where `zeros` 4-bit zero points (GPTQ, AWQ).
    Int4Group {
        /// Elements of a group.
        group: u64,
        /// Whether zero points are stored.
        zeros: bool,
        /// Whether a 32-bit group index a column is stored (GPTQ with act order).
        indices: bool,
    },
    /// bitsandbytes NF4 in blocks of 64 with an fp32 absmax; with `double`, that absmax in 8 bits with an fp32 a 256 blocks
    /// (arXiv 2305.14314, section 3).
    Nf4 {
        /// Whether the absmax is quantized too.
        double: bool,
    },
    /// 4-bit floats in blocks of 32 with an 8-bit exponent (OCP microscaling formats).
    Mxfp4,
    /// 4-bit floats in blocks of 16 with an fp8 scale, and an fp32 scale a tensor.
    Nvfp4,
}

impl Format {
    /// Bytes of one matrix of `rows` × `columns`.
    pub(crate) const fn matrix_bytes(self, rows: u64, columns: u64) -> u64 {
        let n = rows.saturating_mul(columns);
        match self {
            Self::Plain(dtype) => n.saturating_mul(dtype.bytes()),
            Self::Fp8Tensor => n.saturating_add(4),
            Self::Fp8Row { scale_bytes } | Self::Int8Row { scale_bytes } => {
                n.saturating_add(rows.saturating_mul(scale_bytes))
            }
            Self::Fp8Block => {
                n.saturating_add(rows.div_ceil(128).saturating_mul(columns.div_ceil(128)).saturating_mul(4))
            }
            Self::Int8Group { group } => {
                n.saturating_add(columns.div_ceil(group).saturating_mul(rows).saturating_mul(2))
            }
            Self::Int4Group { group, zeros, indices } => {
                let groups = columns.div_ceil(group).saturating_mul(rows);
                let mut bytes = n.div_ceil(2).saturating_add(groups.saturating_mul(2));
                if zeros {
                    bytes = bytes.saturating_add(groups.div_ceil(2));
                }
                if indices {
                    bytes = bytes.saturating_add(columns.saturating_mul(4));
                }
                bytes
            }
            Self::Nf4 { double } => {
                let blocks = n.div_ceil(64);
                let scales = if double {
                    blocks.saturating_add(blocks.div_ceil(256).saturating_mul(4))
                } else {
                    blocks.saturating_mul(4)
                };
                n.div_ceil(2).saturating_add(scales)
            }
            Self::Mxfp4 => n.div_ceil(2).saturating_add(columns.div_ceil(32).saturating_mul(rows)),
            Self::Nvfp4 => {
                n.div_ceil(2).saturating_add(columns.div_ceil(16).saturating_mul(rows)).saturating_add(4)
            }
        }
    }

    /// Bytes of all copies of a tensor.
    pub(crate) const fn tensor_bytes(self, t: &WeightTensor) -> u64 {
        self.matrix_bytes(t.rows, t.columns).saturating_mul(t.copies)
    }
}

/// The 16- or 32-bit format of a precision that has one.
pub(crate) const fn plain(precision: WeightPrecision) -> Option<Dtype> {
    match precision {
        WeightPrecision::Fp32 | WeightPrecision::Tf32 => Some(Dtype::F32),
        WeightPrecision::Bf16 => Some(Dtype::Bf16),
        WeightPrecision::Fp16 => Some(Dtype::F16),
        _ => None,
    }
}

/// Where a tensor stands to a method of quantization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Left as it is: token embedding and output head (`ignore: ["lm_head"]` of compressed-tensors, GPTQ's and AWQ's
    /// `modules_in_block_to_quantize`, bitsandbytes' `llm_int8_skip_modules`), the router and the gate of shared experts, norms,
    /// biases, sinks, convolutions, decay and step of recurrent layers, and vision towers with their projectors.
    Plain,
    /// A linear layer of a block; the expansion of latent attention (`kv_b_proj`) is one.
    Linear,
    /// A routed expert's matrix.
    Expert,
}

/// Where a tensor stands.
pub(crate) const fn place(t: &WeightTensor) -> Place {
    match t.role {
        Role::ExpertGate | Role::ExpertUp | Role::ExpertDown => Place::Expert,
        Role::Query
        | Role::Key
        | Role::Value
        | Role::QueryKeyValue
        | Role::AttentionOutput
        | Role::QueryDown
        | Role::QueryUp
        | Role::KeyValueDown
        | Role::KeyValueUp
        | Role::Gate
        | Role::Up
        | Role::GateUp
        | Role::Down
        | Role::SharedGate
        | Role::SharedUp
        | Role::SharedDown
        | Role::RecurrentInput
        | Role::RecurrentOutput => Place::Linear,
        _ => Place::Plain,
    }
}

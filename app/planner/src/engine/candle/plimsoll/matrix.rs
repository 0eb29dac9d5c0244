//! `bench-runner/src/decoder/matrix.rs` and the kernels that it calls (`bench-runner/src/kernels`).

use super::super::load::Gguf;
use super::super::quantized::QMatMul;
use super::super::tensor::{Context, Element, Refused, Tensor};
use crate::bytes::Bytes;
use crate::engine::request::Device;
use crate::engine::tape::{Block, Kind};
use crate::error::PlanError;
use crate::ggml::GgmlType;
use crate::model::Role;

/// A matrix of outputs × inputs.
pub(super) enum Matrix {
    Dense(Tensor),
    Fp8 {
        data: Tensor,
        scales: Tensor,
    },
    Quantized(QMatMul),
    /// Blocks in the order of the runner's kernels.
    Packed {
        rows: u64,
        columns: u64,
        _stored: Block,
    },
}

/// Rows of a tile (`kernels/format.rs`).
const TILE: u64 = 8;
/// Columns of bf16 that are widened at once (`kernels/bf16.rs`).
const WIDTH: u64 = 16;

/// Whether the runner's kernels multiply blocks of a type, in their own order (`kernels/mod.rs`, `kind`).
fn is_packed(cx: &Context, kind: GgmlType) -> bool {
    cx.device == Device::Cpu
        && cx.isa.is_x86_or_generic()
        && matches!(kind, GgmlType::Q4_0 | GgmlType::Q4_1 | GgmlType::Q5_0 | GgmlType::Q5_1 | GgmlType::Q8_0)
}

/// Whether they widen bf16 in registers (`kernels/mod.rs`, `widen_bf16`).
fn is_widened(cx: &Context) -> bool {
    cx.device == Device::Cpu && cx.isa.is_x86()
}

impl Matrix {
    /// Loads a matrix of a GGUF file: what was read becomes the matrix, or goes when its copy in another order is there.
    pub(super) fn gguf(gguf: &mut Gguf<'_>, role: Role, layer: Option<u64>) -> Result<Self, PlanError> {
        let (t, kind) = gguf.find(role, layer)?;
        let cx = gguf.context().clone();
        let packed = is_packed(&cx, kind);
        let ours = packed || kind == GgmlType::Bf16 && is_widened(&cx);
        if !ours {
            return Ok(Self::Quantized(gguf.matrix(role, layer)?));
        }
        let refused = super::super::refused;
        let raw = super::super::quantized::bytes(kind, t.rows, t.columns).map_err(refused)?;
        let _reading = gguf.raw(&t, raw);
        if !packed {
            return Ok(Self::Dense(Tensor::new(&cx, &[t.rows, t.columns], Element::Bf16, Kind::Weights)));
        }
        let rows = t.rows.next_multiple_of(TILE);
        let stored = super::super::quantized::bytes(kind, rows, t.columns).map_err(refused)?;
        let stored = cx.tape.alloc(Kind::Weights, stored);
        Ok(Self::Packed { rows: t.rows, columns: t.columns, _stored: stored })
    }

    /// What quantising to fp8 leaves of weights and takes meanwhile.
    pub(super) fn fp8(weights: &Tensor, compute: Element) -> Self {
        let wide = weights.to_dtype(Element::F32);
        let scales = {
            let magnitudes = wide.unary();
            magnitudes.reduce_last_keepdim().scaled().scaled()
        };
        let data = {
            let parts = wide.binary(&scales);
            parts.to_dtype(Element::U8)
        };
        data.retag(Kind::Weights);
        let rows = scales.dims()[0];
        let scales = scales.reshape(&[rows]).to_dtype(compute);
        scales.retag(Kind::Weights);
        Self::Fp8 { data, scales }
    }

    /// Rows by number.
    pub(super) fn rows(&self, ids: &Tensor, compute: Element) -> Result<Tensor, Refused> {
        match self {
            Self::Dense(weight) | Self::Quantized(QMatMul::Dense(weight)) => {
                Ok(weight.embed(ids).to_dtype(compute))
            }
            Self::Quantized(QMatMul::Blocks { columns, .. }) | Self::Packed { columns, .. } => {
                let dims = [ids.dims()[0], ids.dims()[1], *columns];
                Ok(Tensor::new(ids.cx(), &dims, Element::F32, Kind::Activation))
            }
            Self::Fp8 { .. } => Err(Refused("a table of embeddings in fp8".to_owned())),
        }
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, Refused> {
        match self {
            Self::Dense(weight) if weight.element() == Element::Bf16 && is_widened(x.cx()) => {
                Ok(widened(x, weight))
            }
            Self::Dense(weight) => Ok(x.matmul_weight(weight)),
            Self::Packed { rows, columns, .. } => Ok(by_tiles(x, *rows, *columns)),
            Self::Fp8 { data, scales } => {
                let y = {
                    let wide = data.to_dtype(x.element());
                    x.matmul_weight(&wide)
                };
                Ok(y.binary(scales))
            }
            Self::Quantized(matrix) => matrix.forward(x),
        }
    }
}

/// Dimensions of a product, and how many rows of activations it has.
fn dims_of(x: &Tensor, outputs: u64) -> (Vec<u64>, u64) {
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = outputs;
    }
    let rows = dims.iter().rev().skip(1).copied().fold(1, u64::saturating_mul);
    (dims, rows)
}

/// A product with tiles: beside its result there are the activations in bytes, with a scale and a sum in single
/// precision for every 32 (`kernels/activations.rs`).
fn by_tiles(x: &Tensor, outputs: u64, inputs: u64) -> Tensor {
    let (dims, rows) = dims_of(x, outputs);
    let out = Tensor::new(x.cx(), &dims, Element::F32, Kind::Activation);
    let elements = rows.saturating_mul(inputs);
    let _numbers = x.cx().tape.alloc(Kind::Temporary, Bytes(elements));
    let _scales = x.cx().tape.alloc(Kind::Temporary, Bytes(elements / 32) * 8);
    out
}

/// A product with bf16: in single precision, with the activations in single precision beside it, then narrowed where
/// these are in bf16 themselves.
fn widened(x: &Tensor, weight: &Tensor) -> Tensor {
    let (dims, rows) = dims_of(x, weight.dims()[0]);
    let wide = Tensor::new(x.cx(), &dims, Element::F32, Kind::Activation);
    let padded = weight.dims()[1].next_multiple_of(WIDTH);
    let activations = x.cx().tape.alloc(Kind::Temporary, Bytes(rows.saturating_mul(padded)) * 4);
    drop(activations);
    if x.element() == Element::F32 { wide } else { wide.to_dtype(x.element()) }
}

/// A matrix and its bias.
pub(super) struct Linear {
    pub(super) matrix: Matrix,
    pub(super) bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, Refused> {
        Ok(self.with_bias(self.matrix.forward(x)?))
    }

    /// A product of the matrix, and its bias.
    pub(super) fn with_bias(&self, y: Tensor) -> Tensor {
        match &self.bias {
            Some(bias) => y.binary(bias),
            None => y,
        }
    }
}

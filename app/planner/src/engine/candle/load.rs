//! Weights as the models hold them after loading.

use super::quantized::{self, QMatMul};
use super::tensor::{Context, Element, Tensor};
use crate::bytes::Bytes;
use crate::engine::tape::{Block, Kind};
use crate::error::PlanError;
use crate::ggml::GgmlType;
use crate::model::{Dtype, Model, Role, WeightTensor};

/// Weights in one number format.
pub(super) struct Dense {
    cx: Context,
    element: Element,
    /// What the files hold, where that is another format.
    from: Option<Element>,
    tensors: Vec<WeightTensor>,
}

impl Dense {
    /// `from` is what safetensors are converted from while loading.
    pub(super) fn new(cx: &Context, model: &Model, dtype: Dtype, from: Option<Dtype>) -> Self {
        let element = element(dtype);
        let from = from.map(self::element).filter(|from| *from != element);
        Self { from, ..Self::of(cx, model, element) }
    }

    /// Those of any type that is computed in, not converted.
    pub(super) fn of(cx: &Context, model: &Model, element: Element) -> Self {
        Self { cx: cx.clone(), element, from: None, tensors: model.tensors() }
    }

    /// Rows and columns of the tensor of a role.
    pub(super) fn size(&self, role: Role, layer: Option<u64>) -> Option<(u64, u64)> {
        self.find(role, layer).map(|t| (t.rows, t.columns))
    }

    fn find(&self, role: Role, layer: Option<u64>) -> Option<&WeightTensor> {
        self.tensors.iter().find(|t| t.role == role && t.layer == layer)
    }

    /// Loads the tensor of a role.
    pub(super) fn get(&mut self, role: Role, layer: Option<u64>) -> Result<Tensor, PlanError> {
        self.optional(role, layer).ok_or_else(|| missing(role, layer))
    }

    /// The same, where the model has one.
    pub(super) fn optional(&mut self, role: Role, layer: Option<u64>) -> Option<Tensor> {
        let found = self.find(role, layer)?;
        Some(converted(&self.cx, &dims(found), self.from, self.element, Kind::Weights))
    }
}

/// A tensor read from safetensors (`safetensors.rs`, `Load`, then `to_dtype`): beside it, for as long as it takes to make,
/// what the file holds where that is of another format.
fn converted(cx: &Context, dims: &[u64], from: Option<Element>, element: Element, kind: Kind) -> Tensor {
    let _file = from.map(|from| Tensor::new(cx, dims, from, Kind::Temporary));
    Tensor::new(cx, dims, element, kind)
}

fn dims(tensor: &WeightTensor) -> Vec<u64> {
    if tensor.is_matrix() { vec![tensor.rows, tensor.columns] } else { vec![tensor.columns] }
}

/// Weights of a GGUF file, or those that are quantised while loading.
pub(super) struct Gguf<'a> {
    cx: Context,
    /// The safetensors' format where they are quantised while loading.
    from: Option<Element>,
    tensors: Vec<(WeightTensor, &'a GgmlType)>,
}

impl<'a> Gguf<'a> {
    pub(super) fn new(
        cx: &Context,
        model: &Model,
        types: &'a [GgmlType],
        from: Option<Dtype>,
    ) -> Result<Self, PlanError> {
        let tensors = model.tensors();
        if tensors.len() != types.len() {
            return Err(PlanError::invalid(
                "model.stored",
                format!("{} storage types for {} tensors", types.len(), tensors.len()),
                "give one type for each tensor",
            ));
        }
        for kind in types {
            if !reads(*kind) {
                return Err(PlanError::unsupported(
                    "precision.weights",
                    format!("Candle 0.11.1 does not read {kind}"),
                    "take a file of f32, f16, bf16, q4_0 to q8_1 or q2_k to q6_k",
                ));
            }
        }
        let from = from.map(element);
        Ok(Self { cx: cx.clone(), from, tensors: tensors.into_iter().zip(types).collect() })
    }

    pub(super) const fn context(&self) -> &Context {
        &self.cx
    }

    /// A tensor and the type that it is stored in.
    pub(super) fn find(&self, role: Role, layer: Option<u64>) -> Result<(WeightTensor, GgmlType), PlanError> {
        self.tensors
            .iter()
            .find(|(t, _)| t.role == role && t.layer == layer)
            .map(|(t, kind)| (t.clone(), **kind))
            .ok_or_else(|| missing(role, layer))
    }

    /// A matrix as `QMatMul`. While it is read, the file's bytes lie beside it (`gguf_file.rs`, `TensorInfo::read`), or its
    /// numbers in f32 (`QTensor::quantize`), and for unquantized types the blocks beside their f32 copy.
    pub(super) fn matrix(&mut self, role: Role, layer: Option<u64>) -> Result<QMatMul, PlanError> {
        let (t, kind) = self.find(role, layer)?;
        let raw = quantized::bytes(kind, t.rows, t.columns).map_err(super::refused)?;
        let stored = if let Some(from) = self.from {
            let _wide = self.wide(&t, from, Kind::Temporary);
            self.cx.tape.alloc(Kind::Temporary, raw)
        } else {
            let _reading = self.cx.tape.alloc(Kind::Temporary, raw);
            self.cx.tape.alloc(Kind::Temporary, raw)
        };
        self.matrix_of(Blocks { stored, kind, rows: t.rows, columns: t.columns })
    }

    /// The blocks of a matrix that others are made of: read from the file, or quantised from numbers that go again.
    pub(super) fn raw(&self, tensor: &WeightTensor, bytes: Bytes) -> Block {
        let _wide = self.from.map(|from| self.wide(tensor, from, Kind::Temporary));
        self.cx.tape.alloc(Kind::Temporary, bytes)
    }

    /// A tensor of safetensors in f32.
    fn wide(&self, tensor: &WeightTensor, from: Element, kind: Kind) -> Tensor {
        let from = Some(from).filter(|from| *from != Element::F32);
        converted(&self.cx, &dims(tensor), from, Element::F32, kind)
    }

    /// A tensor dequantised to f32: embeddings, norms, biases.
    pub(super) fn dequantised(&mut self, role: Role, layer: Option<u64>) -> Result<Tensor, PlanError> {
        let (t, kind) = self.find(role, layer)?;
        if let Some(from) = self.from {
            return Ok(self.wide(&t, from, Kind::Weights));
        }
        let raw = quantized::bytes(kind, t.rows, t.columns).map_err(super::refused)?;
        let reading = self.cx.tape.alloc(Kind::Temporary, raw);
        let _stored = self.cx.tape.alloc(Kind::Temporary, raw);
        drop(reading);
        Ok(Tensor::new(&self.cx, &dims(&t), Element::F32, Kind::Weights))
    }

    /// Blocks as read, not yet a matrix.
    pub(super) fn blocks(&mut self, role: Role) -> Result<Blocks, PlanError> {
        let (t, kind) = self.find(role, None)?;
        let raw = quantized::bytes(kind, t.rows, t.columns).map_err(super::refused)?;
        let _reading = self.cx.tape.alloc(Kind::Temporary, raw);
        Ok(Blocks {
            stored: self.cx.tape.alloc(Kind::Temporary, raw),
            kind,
            rows: t.rows,
            columns: t.columns,
        })
    }

    /// A table of embeddings in f32, and the blocks that the models hold until loading ends.
    pub(super) fn embedding(&mut self) -> Result<(Tensor, Blocks), PlanError> {
        let blocks = self.blocks(Role::TokenEmbedding)?;
        let table = Tensor::new(&self.cx, &[blocks.rows, blocks.columns], Element::F32, Kind::Weights);
        Ok((table, blocks))
    }

    /// A matrix of blocks that were read before (`QMatMul::from_qtensor`).
    pub(super) fn matrix_of(&mut self, blocks: Blocks) -> Result<QMatMul, PlanError> {
        let Blocks { stored, kind, rows, columns } = blocks;
        // Quantized blocks become the matrix; others are widened beside it.
        let _beside = (!kind.is_quantized()).then_some(stored);
        QMatMul::load(&self.cx, kind, rows, columns).map_err(super::refused)
    }

    /// The output head; where the file has none, the embedding read once more.
    pub(super) fn head(&mut self) -> Result<QMatMul, PlanError> {
        self.matrix(Role::OutputHead, None).or_else(|_| self.matrix(Role::TokenEmbedding, None))
    }
}

/// A tensor as a GGUF file holds it, in memory.
pub(super) struct Blocks {
    stored: Block,
    kind: GgmlType,
    rows: u64,
    columns: u64,
}

/// Whether Candle 0.11.1 reads blocks of this type (`candle-core/src/quantized/mod.rs`, `GgmlDType::from_u32`).
pub(crate) const fn reads(kind: GgmlType) -> bool {
    matches!(
        kind,
        GgmlType::F32
            | GgmlType::F16
            | GgmlType::Bf16
            | GgmlType::Q4_0
            | GgmlType::Q4_1
            | GgmlType::Q5_0
            | GgmlType::Q5_1
            | GgmlType::Q8_0
            | GgmlType::Q8_1
            | GgmlType::Q2_K
            | GgmlType::Q3_K
            | GgmlType::Q4_K
            | GgmlType::Q5_K
            | GgmlType::Q6_K
            | GgmlType::Q8_K
    )
}

pub(super) const fn element(dtype: Dtype) -> Element {
    match dtype {
        Dtype::F32 => Element::F32,
        Dtype::Bf16 => Element::Bf16,
        Dtype::F16 => Element::F16,
    }
}

/// Tables of cosines and sines of `positions` × `size / 2`, with what making them takes
/// (`Tensor::arange`, a product, `cos` and `sin`, each converted).
pub(super) fn rotary(cx: &Context, positions: u64, size: u64, element: Element) -> (Tensor, Tensor) {
    let half = size / 2;
    let angles = Tensor::new(cx, &[positions, half], Element::F32, Kind::Temporary);
    let cos = angles.unary().to_dtype(element);
    let sin = angles.unary().to_dtype(element);
    cos.retag(Kind::Weights);
    sin.retag(Kind::Weights);
    (cos, sin)
}

pub(super) fn missing(role: Role, layer: Option<u64>) -> PlanError {
    let place = layer.map_or_else(String::new, |l| format!(" of layer {l}"));
    PlanError::invalid("model", format!("has no {role:?}{place}"), "give the model's own configuration")
}

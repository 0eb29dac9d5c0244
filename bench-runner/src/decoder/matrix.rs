//! Weight matrices as they are held, and products with them.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, D, DType, Device, Layout, Module, Result, Shape, Storage, Tensor,
};
use half::bf16;

use crate::kernels::{self, Factor, Isa, Packed};

/// A matrix of outputs × inputs.
#[derive(Debug, Clone)]
pub(super) enum Matrix {
    /// In the type that is computed in.
    Dense(Tensor),
    /// In fp8 (E4M3, arXiv 2209.05433), each output's row with a scale of its own; widened whenever it is used.
    Fp8 {
        /// E4M3 numbers: the weights divided by their row's scale.
        data: Tensor,
        /// One for each row, in the type that is computed in.
        scales: Tensor,
    },
    /// In blocks of a GGUF type, multiplied by candle.
    Quantised(QMatMul),
    /// In blocks of a GGUF type, in the order of our kernels.
    Packed(Arc<Packed>),
}

/// The largest number of E4M3.
const FP8_MAX: f64 = 448.0;

impl Matrix {
    /// A matrix whose rows' blocks are as a GGUF file has them.
    pub(super) fn of_blocks(
        blocks: Vec<u8>,
        kind: GgmlDType,
        (rows, columns): (usize, usize),
        device: &Device,
    ) -> Result<Self> {
        if let (true, Some(kind)) = (device.is_cpu(), kernels::kind(kind)) {
            return Ok(Self::Packed(Arc::new(Packed::new(kind, rows, columns, &blocks)?)));
        }
        if kind == GgmlDType::BF16 && device.is_cpu() && kernels::widen_bf16() {
            return Ok(Self::Dense(Tensor::from_raw_buffer(&blocks, DType::BF16, &[rows, columns], device)?));
        }
        let stored = QTensor::new(QStorage::from_data(Cow::Owned(blocks), device, kind)?, (rows, columns))?;
        Ok(Self::Quantised(QMatMul::from_qtensor(stored)?))
    }

    /// A matrix that was quantised here.
    pub(super) fn of_tensor(stored: QTensor) -> Result<Self> {
        if let (true, Some(kind)) = (stored.device().is_cpu(), kernels::kind(stored.dtype())) {
            let (rows, columns) = stored.shape().dims2()?;
            return Ok(Self::Packed(Arc::new(Packed::new(kind, rows, columns, &stored.data()?)?)));
        }
        Ok(Self::Quantised(QMatMul::from_qtensor(stored)?))
    }

    /// `weights` in fp8, computed with in `compute`.
    pub(super) fn fp8(weights: &Tensor, compute: DType) -> Result<Self> {
        let wide = weights.to_dtype(DType::F32)?;
        // A row of zeros has a scale of no meaning; the smallest that divides is taken.
        let scales =
            (wide.abs()?.max_keepdim(D::Minus1)? / FP8_MAX)?.maximum(f64::from(f32::MIN_POSITIVE))?;
        let data = wide.broadcast_div(&scales)?.to_dtype(DType::F8E4M3)?;
        Ok(Self::Fp8 { data, scales: scales.flatten_all()?.to_dtype(compute)? })
    }

    /// `x` (… × inputs, contiguous) times the transposed matrix: … × outputs.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            // The kernels have no backward pass.
            Self::Dense(weight) if is_widened(weight) && !x.track_op() && !weight.track_op() => {
                x.apply_op2_no_bwd(weight, &Widened)
            }
            Self::Dense(weight) => product(x, weight),
            Self::Fp8 { data, scales } => {
                let y = {
                    let wide = data.to_dtype(x.dtype())?;
                    product(x, &wide)?
                };
                y.broadcast_mul(scales)
            }
            Self::Quantised(matrix) => matrix.forward(x),
            Self::Packed(matrix) => x.apply_op1_no_bwd(&ByTiles(matrix)),
        }
    }

    /// The type of weights that our kernels multiply it as. None: candle does.
    pub(super) fn kernel(&self) -> Option<&'static str> {
        match self {
            Self::Dense(weight) if is_widened(weight) => Some("bf16"),
            Self::Packed(matrix) => Some(matrix.kind().as_str()),
            Self::Dense(_) | Self::Fp8 { .. } | Self::Quantised(_) => None,
        }
    }

    /// Rows by number, in `compute`: `ids` (batch × tokens) gives batch × tokens × inputs.
    pub(super) fn rows(&self, ids: &Tensor, compute: DType) -> Result<Tensor> {
        let (batch, tokens) = ids.dims2()?;
        let flat = ids.flatten_all()?;
        let rows = match self {
            Self::Dense(weight) => weight.index_select(&flat, 0)?.to_dtype(compute)?,
            Self::Fp8 { .. } => candle_core::bail!("a table of embeddings is not held in fp8"),
            Self::Quantised(matrix) => matrix.embedding(&flat)?.to_dtype(compute)?,
            Self::Packed(matrix) => {
                let ids = flat.to_vec1::<u32>()?;
                let mut rows = vec![0f32; ids.len() * matrix.columns()];
                for (id, row) in ids.iter().zip(rows.chunks_exact_mut(matrix.columns())) {
                    matrix.row(*id as usize, row)?;
                }
                Tensor::from_vec(rows, (ids.len(), matrix.columns()), flat.device())?.to_dtype(compute)?
            }
        };
        let width = rows.dim(D::Minus1)?;
        rows.reshape((batch, tokens, width))
    }
}

/// Whether our kernels multiply a dense matrix.
fn is_widened(weight: &Tensor) -> bool {
    weight.dtype() == DType::BF16 && weight.device().is_cpu() && kernels::widen_bf16()
}

fn product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let (outputs, inputs) = weight.dims2()?;
    let rows = x.elem_count() / inputs;
    if let Some(last) = dims.last_mut() {
        *last = outputs;
    }
    x.reshape((rows, inputs))?.matmul(&weight.t()?)?.reshape(dims)
}

/// The numbers of a contiguous tensor.
fn contiguous<'a, T>(numbers: &'a [T], layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&numbers[start..end]),
        None => candle_core::bail!("a product takes contiguous tensors, not {layout:?}"),
    }
}

/// The shape of a product of activations with `outputs` rows of `inputs`.
fn shape_of(x: &Layout, outputs: usize, inputs: usize) -> Result<Shape> {
    let mut dims = x.dims().to_vec();
    match dims.last_mut() {
        Some(last) if *last == inputs => *last = outputs,
        _ => candle_core::bail!("activations of {dims:?} with weights of {outputs} × {inputs}"),
    }
    Ok(dims.into())
}

/// `x` times each of some matrices: at once, where our kernels multiply all of them.
pub(super) fn together<const N: usize>(matrices: [&Matrix; N], x: &Tensor) -> Result<[Tensor; N]> {
    let packed: Vec<&Packed> = matrices
        .iter()
        .filter_map(|matrix| if let Matrix::Packed(packed) = matrix { Some(&**packed) } else { None })
        .collect();
    let made = if packed.len() == N && N > 0 {
        let (storage, layout) = x.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else {
            candle_core::bail!("matrices in tiles are a processor's")
        };
        let x = contiguous(storage.as_slice::<f32>()?, layout)?;
        let shapes =
            packed.iter().map(|p| shape_of(layout, p.rows(), p.columns())).collect::<Result<Vec<_>>>()?;
        let mut made: Vec<Vec<f32>> = shapes.iter().map(|shape| vec![0.0; shape.elem_count()]).collect();
        let mut factors: Vec<Factor<'_>> =
            packed.iter().zip(&mut made).map(|(packed, out)| (*packed, out.as_mut_slice())).collect();
        kernels::products(&mut factors, x, Isa::detected())?;
        made.into_iter()
            .zip(shapes)
            .map(|(out, shape)| Tensor::from_vec(out, shape, &Device::Cpu))
            .collect::<Result<Vec<_>>>()?
    } else {
        matrices.iter().map(|matrix| matrix.forward(x)).collect::<Result<Vec<_>>>()?
    };
    made.try_into().map_err(|_| candle_core::Error::Msg(format!("not {N} products")))
}

/// The product with a matrix in tiles.
struct ByTiles<'a>(&'a Packed);

impl CustomOp1 for ByTiles<'_> {
    fn name(&self) -> &'static str {
        "product by tiles"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = shape_of(layout, self.0.rows(), self.0.columns())?;
        let mut out = vec![0f32; shape.elem_count()];
        let x = contiguous(x.as_slice::<f32>()?, layout)?;
        kernels::products(&mut [(self.0, &mut out)], x, Isa::detected())?;
        Ok((CpuStorage::F32(out), shape))
    }
}

/// The product with weights in bf16, in the type of the activations.
struct Widened;

impl CustomOp2 for Widened {
    fn name(&self) -> &'static str {
        "product with bf16"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (outputs, inputs) = weights_layout.shape().dims2()?;
        let shape = shape_of(layout, outputs, inputs)?;
        let weights = contiguous(weights.as_slice::<bf16>()?, weights_layout)?;
        let mut out = vec![0f32; shape.elem_count()];
        let isa = Isa::detected();
        match x {
            CpuStorage::F32(x) => {
                let x = contiguous(x, layout)?;
                kernels::bf16_product(x, |x| x, weights, inputs, &mut out, isa)?;
                Ok((CpuStorage::F32(out), shape))
            }
            CpuStorage::BF16(x) => {
                let x = contiguous(x, layout)?;
                kernels::bf16_product(x, bf16::to_f32, weights, inputs, &mut out, isa)?;
                Ok((CpuStorage::BF16(out.iter().map(|y| bf16::from_f32(*y)).collect()), shape))
            }
            other => candle_core::bail!("activations of {:?} with weights in bf16", other.dtype()),
        }
    }
}

/// A matrix and its bias.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    pub(super) matrix: Matrix,
    pub(super) bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.with_bias(self.matrix.forward(x)?)
    }

    /// A product of the matrix, and its bias.
    pub(super) fn with_bias(&self, y: Tensor) -> Result<Tensor> {
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

//! Weight matrices as they are held, and products with them.

use candle_core::quantized::QMatMul;
use candle_core::{D, DType, Module, Result, Tensor};

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
    /// In blocks of a GGUF type.
    Quantised(QMatMul),
}

/// The largest number of E4M3.
const FP8_MAX: f64 = 448.0;

impl Matrix {
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
            Self::Dense(weight) => product(x, weight),
            Self::Fp8 { data, scales } => {
                let y = {
                    let wide = data.to_dtype(x.dtype())?;
                    product(x, &wide)?
                };
                y.broadcast_mul(scales)
            }
            Self::Quantised(matrix) => matrix.forward(x),
        }
    }

    /// Rows by number, in `compute`: `ids` (batch × tokens) gives batch × tokens × inputs.
    pub(super) fn rows(&self, ids: &Tensor, compute: DType) -> Result<Tensor> {
        let (batch, tokens) = ids.dims2()?;
        let flat = ids.flatten_all()?;
        let rows = match self {
            Self::Dense(weight) => weight.index_select(&flat, 0)?,
            Self::Fp8 { .. } => candle_core::bail!("a table of embeddings is not held in fp8"),
            Self::Quantised(matrix) => matrix.embedding(&flat)?.to_dtype(compute)?,
        };
        let width = rows.dim(D::Minus1)?;
        rows.reshape((batch, tokens, width))
    }
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

/// A matrix and its bias.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    pub(super) matrix: Matrix,
    pub(super) bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.matrix.forward(x)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

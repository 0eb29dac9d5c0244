//! `bench-runner/src/decoder/matrix.rs`.

use super::super::quantized::QMatMul;
use super::super::tensor::{Element, Refused, Tensor};
use crate::engine::tape::Kind;

/// A matrix of outputs × inputs.
pub(super) enum Matrix {
    Dense(Tensor),
    Fp8 { data: Tensor, scales: Tensor },
    Quantized(QMatMul),
}

impl Matrix {
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
    pub(super) fn rows(&self, ids: &Tensor) -> Result<Tensor, Refused> {
        match self {
            Self::Dense(weight) | Self::Quantized(QMatMul::Dense(weight)) => Ok(weight.embed(ids)),
            Self::Quantized(QMatMul::Blocks { columns, .. }) => {
                let dims = [ids.dims()[0], ids.dims()[1], *columns];
                Ok(Tensor::new(ids.cx(), &dims, Element::F32, Kind::Activation))
            }
            Self::Fp8 { .. } => Err(Refused("a table of embeddings in fp8".to_owned())),
        }
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, Refused> {
        match self {
            Self::Dense(weight) => Ok(x.matmul_weight(weight)),
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

/// A matrix and its bias.
pub(super) struct Linear {
    pub(super) matrix: Matrix,
    pub(super) bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, Refused> {
        let y = self.matrix.forward(x)?;
        Ok(match &self.bias {
            Some(bias) => y.binary(bias),
            None => y,
        })
    }
}

//! How a cache holds its numbers.

use candle_core::{D, DType, Device, Result, Tensor};
use planner::document::precision::CachePrecision;
use serde::{Deserialize, Serialize};

/// A cache's number format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Element {
    /// Single precision.
    Fp32,
    /// Brain float.
    Bf16,
    /// Half precision.
    Fp16,
    /// E4M3 without a scale: keys and values are of the size that it holds.
    Fp8,
    /// 8-bit integers with a scale in single precision for each head of each token.
    Int8,
}

impl Element {
    /// As the contract spells it.
    #[must_use]
    pub const fn precision(self) -> CachePrecision {
        match self {
            Self::Fp32 => CachePrecision::Fp32,
            Self::Bf16 => CachePrecision::Bf16,
            Self::Fp16 => CachePrecision::Fp16,
            Self::Fp8 => CachePrecision::Fp8,
            Self::Int8 => CachePrecision::Int8,
        }
    }

    const fn dtype(self) -> DType {
        match self {
            Self::Fp32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::Fp16 => DType::F16,
            Self::Fp8 => DType::F8E4M3,
            Self::Int8 => DType::U8,
        }
    }

    /// The format of a type that is computed in.
    pub(crate) const fn of(dtype: DType) -> Self {
        match dtype {
            DType::BF16 => Self::Bf16,
            DType::F16 => Self::Fp16,
            _ => Self::Fp32,
        }
    }
}

/// What unsigned numbers stand above the integers that they mean.
const ZERO: f64 = 128.0;

/// Keys or values as they are held.
#[derive(Debug, Clone)]
pub(super) struct Encoded {
    data: Tensor,
    /// Of 8-bit integers.
    scales: Option<Tensor>,
}

impl Encoded {
    /// `x` as `element`, contiguous.
    pub(super) fn new(x: Tensor, element: Element) -> Result<Self> {
        if element != Element::Int8 {
            let data = x.to_dtype(element.dtype())?;
            drop(x);
            return Ok(Self { data: data.contiguous()?, scales: None });
        }
        let wide = x.to_dtype(DType::F32)?;
        drop(x);
        let scales = {
            let largest = wide.abs()?.max_keepdim(D::Minus1)?;
            (largest / 127.0)?.maximum(f64::from(f32::MIN_POSITIVE))?
        };
        let levels = wide.broadcast_div(&scales)?;
        drop(wide);
        // Between 1 and 255, so that rounding is adding a half and cutting off.
        let shifted = (levels + (ZERO + 0.5))?;
        Ok(Self { data: shifted.to_dtype(DType::U8)?, scales: Some(scales) })
    }

    /// Applies the same to numbers and scales.
    fn each(&self, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self { data: f(&self.data)?, scales: self.scales.as_ref().map(f).transpose()? })
    }

    pub(super) fn dim(&self, dim: usize) -> Result<usize> {
        self.data.dim(dim)
    }

    pub(super) fn narrow(&self, dim: usize, start: usize, len: usize) -> Result<Self> {
        self.each(|t| t.narrow(dim, start, len))
    }

    pub(super) fn cat(parts: &[&Self], dim: usize) -> Result<Self> {
        let data: Vec<&Tensor> = parts.iter().map(|p| &p.data).collect();
        let scales: Vec<&Tensor> = parts.iter().filter_map(|p| p.scales.as_ref()).collect();
        let scales = if scales.is_empty() { None } else { Some(Tensor::cat(&scales, dim)?.contiguous()?) };
        Ok(Self { data: Tensor::cat(&data, dim)?.contiguous()?, scales })
    }

    /// Room for numbers of `dims`, the last of which are a head's.
    pub(super) fn room(dims: [usize; 4], element: Element, device: &Device) -> Result<Self> {
        let [a, b, c, _] = dims;
        let scales = match element {
            Element::Int8 => Some(Tensor::zeros((a, b, c, 1), DType::F32, device)?),
            _ => None,
        };
        Ok(Self { data: Tensor::zeros(&dims, element.dtype(), device)?, scales })
    }

    /// Room for `tokens` of the same.
    pub(super) fn zeros(&self, dim: usize, tokens: usize) -> Result<Self> {
        self.each(|t| {
            let mut dims = t.dims().to_vec();
            dims[dim] = tokens;
            Tensor::zeros(dims, t.dtype(), t.device())
        })
    }

    /// Writes `new` in place from the `at`th token on.
    pub(super) fn set(&self, new: &Self, dim: usize, at: usize) -> Result<()> {
        self.data.slice_set(&new.data.contiguous()?, dim, at)?;
        match (&self.scales, &new.scales) {
            (Some(all), Some(new)) => all.slice_set(&new.contiguous()?, dim, at),
            _ => Ok(()),
        }
    }

    /// The numbers in `dtype`.
    pub(super) fn decode(&self, dtype: DType) -> Result<Tensor> {
        let Some(scales) = &self.scales else { return self.data.to_dtype(dtype) };
        let levels = (self.data.to_dtype(DType::F32)? - ZERO)?;
        let wide = levels.broadcast_mul(scales)?;
        drop(levels);
        wide.to_dtype(dtype)
    }
}

//! Rotary position embedding (arXiv 2104.09864), the halves of a head rotated against each other.

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::rotary_emb;

use super::host;
use super::numbers::Rotation;

/// Cosines and sines of a kind of layer.
#[derive(Debug, Clone)]
pub(super) struct Rope {
    /// Positions × half of the rotated elements.
    cos: Tensor,
    sin: Tensor,
    /// Elements of a head that are rotated.
    size: usize,
}

/// The angles of one forward pass.
#[derive(Debug, Clone)]
pub(super) struct Angles {
    cos: Tensor,
    sin: Tensor,
    size: usize,
}

impl Rope {
    /// Tables for `tokens` positions.
    #[allow(clippy::cast_precision_loss, reason = "positions are below 2^24, which an f64 holds")]
    #[allow(clippy::cast_possible_truncation, reason = "a cosine is rounded to single precision")]
    pub(super) fn new(
        rotation: &Rotation,
        size: usize,
        tokens: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let (frequencies, factor) = rotation.frequencies(size, tokens);
        let table = |f: fn(f64) -> f64| -> Result<Tensor> {
            // Room for exactly these: what a list has to spare stays with its tensor.
            let mut values: Vec<f32> = Vec::with_capacity(tokens * (size / 2));
            for position in 0..tokens {
                values.extend(frequencies.iter().map(|angle| (f(position as f64 * angle) * factor) as f32));
            }
            Tensor::from_vec(values, (tokens, size / 2), device)?.to_dtype(dtype)
        };
        Ok(Self { cos: table(f64::cos)?, sin: table(f64::sin)?, size })
    }

    /// Those of `tokens` positions from `start` on.
    pub(super) fn from(&self, start: usize, tokens: usize) -> Result<Angles> {
        let part = |table: &Tensor| table.narrow(0, start, tokens);
        Ok(Angles { cos: part(&self.cos)?, sin: part(&self.sin)?, size: self.size })
    }

    /// Those of any positions: `positions` is sequences × tokens.
    pub(super) fn at(&self, positions: &Tensor) -> Result<Angles> {
        let (batch, tokens) = positions.dims2()?;
        let flat = positions.flatten_all()?;
        let part = |table: &Tensor| table.index_select(&flat, 0)?.reshape((batch, tokens, self.size / 2));
        Ok(Angles { cos: part(&self.cos)?, sin: part(&self.sin)?, size: self.size })
    }
}

/// Where heads stand among the dimensions of queries, keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Sequences × heads × tokens × size.
    HeadsFirst,
    /// Sequences × tokens × heads × size.
    TokensFirst,
}

impl Order {
    /// The dimension of tokens.
    pub(super) const fn tokens(self) -> usize {
        match self {
            Self::HeadsFirst => 2,
            Self::TokensFirst => 1,
        }
    }
}

impl Angles {
    /// Those of the way back: the transposed rotation.
    pub(super) fn turned_back(&self) -> Result<Self> {
        Ok(Self { cos: self.cos.clone(), sin: self.sin.neg()?, size: self.size })
    }

    /// `x` (contiguous), rotated.
    #[allow(clippy::needless_pass_by_value, reason = "it is freed as soon as its rotation is there")]
    pub(super) fn rotate(&self, x: Tensor, order: Order) -> Result<Tensor> {
        let rotate = |x: &Tensor| match order {
            Order::HeadsFirst => rotary_emb::rope(x, &self.cos, &self.sin),
            Order::TokensFirst => rotary_emb::rope_thd(x, &self.cos, &self.sin),
        };
        let size = x.dim(D::Minus1)?;
        if self.size == size {
            if host::takes(&x) {
                return host::rotate(x, &self.cos, &self.sin, order);
            }
            return rotate(&x);
        }
        let turned = rotate(&x.narrow(D::Minus1, 0, self.size)?.contiguous()?)?;
        let kept = x.narrow(D::Minus1, self.size, size - self.size)?;
        Tensor::cat(&[&turned, &kept], D::Minus1)
    }
}

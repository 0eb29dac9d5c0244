//! A layer's forward pass of operations that have a backward.

use candle_core::{D, DType, Result, Tensor, Var};

use super::operations::{self, Frozen, Turn};
use super::parameter::{Mode, Weight, recorded};

/// A norm by the root mean square (arXiv 1910.07467), step by step and in single precision: candle's kernel has no backward.
#[derive(Debug)]
pub(super) struct Norm {
    pub(super) weight: Weight,
    pub(super) epsilon: f64,
}

impl Norm {
    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let width = x.dim(D::Minus1)? as f64;
        let normed = {
            let wide = x.to_dtype(DType::F32)?;
            let root = wide.sqr()?.sum_keepdim(D::Minus1)?.affine(1.0 / width, self.epsilon)?.sqrt()?;
            wide.broadcast_div(&root)?
        };
        let weight = self.weight.tensor(mode).to_dtype(DType::F32)?;
        let scaled = match self.weight {
            Weight::Trained(_) => normed.broadcast_mul(&weight)?,
            Weight::Frozen(_) => operations::times(&normed, &weight)?,
        };
        drop(normed);
        scaled.to_dtype(x.dtype())
    }
}

/// A matrix of outputs × inputs.
#[derive(Debug)]
pub(super) enum Matrix {
    Trained(Var),
    Frozen(Frozen),
}

/// Two narrow matrices beside a frozen one (arXiv 2106.09685).
#[derive(Debug)]
pub(super) struct Adapter {
    /// Rank × inputs.
    pub(super) down: Var,
    /// Outputs × rank; zero at first, so that an adapter begins without effect.
    pub(super) up: Var,
}

/// What an adapter's product is multiplied by: alpha over rank, where alpha is twice the rank.
pub(super) const ADAPTER_SCALE: f64 = 2.0;

/// A matrix, its bias and its adapter.
#[derive(Debug)]
pub(super) struct Linear {
    pub(super) matrix: Matrix,
    pub(super) bias: Option<Weight>,
    pub(super) adapter: Option<Adapter>,
}

impl Linear {
    /// `x` is sequences × tokens × inputs, contiguous.
    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let (batch, tokens, inputs) = x.dims3()?;
        let rows = x.reshape((batch * tokens, inputs))?;
        let mut y = match &self.matrix {
            Matrix::Trained(var) => rows.matmul(&recorded(var, mode).t()?)?,
            Matrix::Frozen(weight) => operations::product(&rows, weight)?,
        };
        if let Some(Adapter { down, up }) = &self.adapter {
            let wide = {
                let narrow = rows.matmul(&recorded(down, mode).t()?)?;
                narrow.matmul(&recorded(up, mode).t()?)?
            };
            y = (y + (wide * ADAPTER_SCALE)?)?;
        }
        match &self.bias {
            None => {}
            Some(Weight::Trained(bias)) => y = y.broadcast_add(&recorded(bias, mode))?,
            Some(Weight::Frozen(bias)) => y = operations::plus(&y, bias)?,
        }
        let outputs = y.dim(D::Minus1)?;
        y.reshape((batch, tokens, outputs))
    }
}

/// A layer.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) before_attention: Norm,
    pub(super) before_feed_forward: Norm,
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) query_norm: Option<Norm>,
    pub(super) key_norm: Option<Norm>,
    pub(super) output: Linear,
    pub(super) gate: Linear,
    pub(super) up: Linear,
    pub(super) down: Linear,
    pub(super) heads: usize,
    pub(super) key_heads: usize,
    pub(super) head_size: usize,
    pub(super) scale: f64,
    /// Which of the model's rotations.
    pub(super) rope: usize,
    /// Which of its masks.
    pub(super) mask: usize,
}

impl Layer {
    /// `x` is sequences × tokens × width. `mask` is tokens × tokens.
    pub(super) fn forward(&self, x: &Tensor, turn: &Turn, mask: &Tensor, mode: Mode) -> Result<Tensor> {
        let x = {
            let mixed = {
                let normed = self.before_attention.forward(x, mode)?;
                self.attend(&normed, turn, mask, mode)?
            };
            (x + mixed)?
        };
        let fed = {
            let normed = self.before_feed_forward.forward(&x, mode)?;
            let inner = {
                let gate = self.gate.forward(&normed, mode)?.silu()?;
                let up = self.up.forward(&normed, mode)?;
                (gate * up)?
            };
            self.down.forward(&inner, mode)?
        };
        x + fed
    }

    fn attend(&self, x: &Tensor, turn: &Turn, mask: &Tensor, mode: Mode) -> Result<Tensor> {
        let (batch, tokens, _) = x.dims3()?;
        let (groups, size) = (self.heads / self.key_heads, self.head_size);
        let query = {
            let query = self.query.forward(x, mode)?;
            let query = self.heads_of(query, self.heads, self.query_norm.as_ref(), mode)?;
            let turned = operations::rotate(&query, turn)?;
            drop(query);
            // The heads that share keys become rows of one product.
            (turned * self.scale)?.reshape((batch, self.key_heads, groups * tokens, size))?
        };
        let key = {
            let key = self.key.forward(x, mode)?;
            let key = self.heads_of(key, self.key_heads, self.key_norm.as_ref(), mode)?;
            operations::rotate(&key, turn)?
        };
        let weights = {
            let scores = query.matmul(&key.t()?)?.to_dtype(DType::F32)?;
            let scores = scores.reshape((batch, self.key_heads, groups, tokens, tokens))?;
            let weights = operations::softmax(&scores, mask)?;
            drop(scores);
            weights.to_dtype(x.dtype())?.reshape((batch, self.key_heads, groups * tokens, tokens))?
        };
        drop((query, key));
        let value = {
            let value = self.value.forward(x, mode)?;
            self.heads_of(value, self.key_heads, None, mode)?
        };
        let out = weights.matmul(&value)?;
        drop((weights, value));
        let out = out.reshape((batch, self.heads, tokens, size))?.transpose(1, 2)?;
        let out = out.reshape((batch, tokens, self.heads * size))?;
        self.output.forward(&out, mode)
    }

    /// Heads apart and normalised, before their tokens, contiguous.
    fn heads_of(&self, x: Tensor, heads: usize, norm: Option<&Norm>, mode: Mode) -> Result<Tensor> {
        let (batch, tokens, _) = x.dims3()?;
        let apart = x.reshape((batch, tokens, heads, self.head_size))?;
        drop(x);
        let apart = match norm {
            Some(norm) => norm.forward(&apart, mode)?,
            None => apart,
        };
        apart.transpose(1, 2)?.contiguous()
    }
}

//! `candle-transformers/src/models/bert.rs`; a checkpoint's pooler and classifier are not loaded.

use super::Family;
use super::eager::Linear;
use super::load::Dense;
use super::tensor::{Element, Refused, Tensor};
use crate::bytes::Bytes;
use crate::engine::tape::Kind;
use crate::error::PlanError;
use crate::model::{Model, NormPlace, Role};

pub(super) struct Bert {
    words: Tensor,
    positions: Tensor,
    token_types: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
}

struct Layer {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    attention_norm: Norm,
    intermediate: Linear,
    output: Linear,
    output_norm: Norm,
    heads: u64,
    head_size: u64,
}

/// `candle_nn::LayerNorm` with a bias: one kernel on contiguous tensors, which these are.
struct Norm {
    weight: Tensor,
    #[allow(dead_code, reason = "alive as long as the model")]
    bias: Option<Tensor>,
}

impl Norm {
    fn load(weights: &mut Dense, weight: Role, bias: Role, layer: Option<u64>) -> Result<Self, PlanError> {
        Ok(Self { weight: weights.get(weight, layer)?, bias: weights.optional(bias, layer) })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, Refused> {
        x.require_contiguous("a layer norm")?;
        debug_assert_eq!(self.weight.dims().last(), x.dims().last());
        Ok(x.unary())
    }
}

impl Bert {
    pub(super) fn load(model: &Model, weights: &mut Dense) -> Result<Self, PlanError> {
        let words = weights.get(Role::TokenEmbedding, None)?;
        let positions = weights.get(Role::PositionEmbedding, None)?;
        let token_types = weights.get(Role::TokenTypeEmbedding, None)?;
        let norm = Norm::load(weights, Role::EmbeddingNorm, Role::EmbeddingNormBias, None)?;
        let mut layers = Vec::with_capacity(model.layers.len());
        for (index, layer) in (0u64..).zip(&model.layers) {
            let a = super::softmax(layer)?;
            let at = Some(index);
            let mut linear = |weight, bias| Linear::load(weights, weight, bias, at);
            let (q, v) = (linear(Role::Query, Role::QueryBias)?, linear(Role::Value, Role::ValueBias)?);
            let k = linear(Role::Key, Role::KeyBias)?;
            let o = linear(Role::AttentionOutput, Role::AttentionOutputBias)?;
            let intermediate = linear(Role::Up, Role::UpBias)?;
            let output = linear(Role::Down, Role::DownBias)?;
            let mut norm =
                |place| Norm::load(weights, Role::LayerNorm(place), Role::LayerNormBias(place), at);
            layers.push(Layer {
                q,
                k,
                v,
                o,
                attention_norm: norm(NormPlace::AfterAttention)?,
                intermediate,
                output,
                output_norm: norm(NormPlace::AfterFeedForward)?,
                heads: a.heads,
                head_size: a.head_size,
            });
        }
        Ok(Self { words, positions, token_types, norm, layers })
    }

    /// `BertEmbeddings::forward`.
    fn embed(&self, ids: &Tensor, types: &Tensor) -> Result<Tensor, Refused> {
        let length = ids.dims()[1];
        let input_embeddings = self.words.embed(ids);
        let token_type_embeddings = self.token_types.embed(types);
        let mut embeddings = &input_embeddings + token_type_embeddings;
        let list = ids.cx().tape.alloc(Kind::Temporary, Bytes(length) * Element::U32.bytes());
        let position_ids = Tensor::new(ids.cx(), &[length], Element::U32, Kind::Temporary);
        embeddings = embeddings.binary(&self.positions.embed(&position_ids));
        drop((list, position_ids));
        self.norm.forward(&embeddings)
    }
}

impl Bert {
    /// `BertModel::forward`. Without a mask given it makes one.
    fn pass(&self, ids: &Tensor, types: &Tensor, mask: Option<&Tensor>) -> Result<Tensor, Refused> {
        let (batch, length) = (ids.dims()[0], ids.dims()[1]);
        let embedding_output = self.embed(ids, types)?;
        let mask = match mask {
            Some(mask) => mask.clone(),
            None => Tensor::new(ids.cx(), ids.dims(), Element::U32, Kind::Temporary),
        };
        // `get_extended_attention_mask`.
        let extended = {
            let mask = mask.reshape(&[batch, 1, 1, length]).to_dtype(embedding_output.element());
            (mask.unary() - &mask).scaled()
        };
        let mut hidden_states = embedding_output.clone();
        for layer in &self.layers {
            hidden_states = layer.forward(&hidden_states, &extended)?;
        }
        Ok(hidden_states)
    }

    /// One vector for each sequence, as a program does that follows sentence-transformers: `Transformer`, `Pooling` by the
    /// mean under the attention mask, `Normalize`.
    pub(super) fn embedding(&self, ids: &Tensor, mask: &Tensor) -> Result<Tensor, Refused> {
        let (batch, length) = (ids.dims()[0], ids.dims()[1]);
        let hidden = {
            let types = Tensor::new(ids.cx(), ids.dims(), Element::U32, Kind::Activation);
            self.pass(ids, &types, Some(mask))?
        };
        let weights = mask.to_dtype(hidden.element()).reshape(&[batch, length, 1]);
        let sum = hidden.binary(&weights).sum(1);
        let mean = sum.binary(&weights.sum(1).scaled());
        let length = mean.unary().reduce_last_keepdim().scaled();
        Ok(mean.binary(&length))
    }
}

impl Family for Bert {
    fn forward(&mut self, ids: &Tensor, _position: u64) -> Result<Tensor, Refused> {
        let types = Tensor::new(ids.cx(), ids.dims(), Element::U32, Kind::Activation);
        self.pass(ids, &types, None)
    }

    fn reset(&mut self) {}

    fn seek(&mut self, _tokens: u64) {}
}

impl Layer {
    fn forward(&self, hidden_states: &Tensor, mask: &Tensor) -> Result<Tensor, Refused> {
        let attention_output = {
            let self_outputs = self.attention(hidden_states, mask);
            residual_norm(&self.o, &self.attention_norm, &self_outputs, hidden_states)?
        };
        let intermediate_output = {
            let hidden_states = self.intermediate.forward(&attention_output);
            hidden_states.unary()
        };
        let layer_output =
            residual_norm(&self.output, &self.output_norm, &intermediate_output, &attention_output)?;
        Ok(layer_output)
    }

    fn attention(&self, hidden_states: &Tensor, mask: &Tensor) -> Tensor {
        let (batch, length) = (hidden_states.dims()[0], hidden_states.dims()[1]);
        let q = self.q.forward(hidden_states);
        let k = self.k.forward(hidden_states);
        let v = self.v.forward(hidden_states);
        let scores =
            |x: &Tensor| x.reshape(&[batch, length, self.heads, self.head_size]).transpose(1, 2).contiguous();
        let q = scores(&q);
        let k = scores(&k);
        let v = scores(&v);
        let attention = q.matmul(&k.t());
        let attention = attention.scaled();
        let attention = attention.binary(mask);
        let attention = softmax(&attention);
        let context = attention.matmul(&v);
        let context = context.transpose(1, 2).contiguous();
        context.reshape(&[batch, length, self.heads.saturating_mul(self.head_size)])
    }
}

/// `BertSelfOutput::forward` and `BertOutput::forward`.
fn residual_norm(dense: &Linear, norm: &Norm, x: &Tensor, input: &Tensor) -> Result<Tensor, Refused> {
    let x = dense.forward(x);
    // Dropout clones the handle, so that the sum takes one of two.
    let dropped = x.clone();
    norm.forward(&(dropped + input))
}

/// `candle_nn::ops::softmax`, step by step.
fn softmax(x: &Tensor) -> Tensor {
    let max = x.reduce_last_keepdim();
    let diff = x.binary(&max);
    let num = diff.unary();
    let den = num.reduce_last_keepdim();
    num.binary(&den)
}

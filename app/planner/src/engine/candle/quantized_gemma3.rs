//! `candle-transformers/src/models/quantized_gemma3.rs`, from GGUF.

use super::Family;
use super::kv::seek_pair;
use super::llama::{collected, repeat_kv};
use super::load::{self, Gguf};
use super::quantized::QMatMul;
use super::tensor::{Context, Element, Refused, Tensor};
use crate::engine::tape::Kind;
use crate::error::PlanError;
use crate::model::{Model, NormPlace, Role};

/// `MAX_SEQ_LEN`: positions of the rotary tables, which every layer has of its own: 2.4 GB in a model of 270 million
/// parameters.
const MAX_SEQ_LEN: u64 = 131_072;

pub(super) struct QuantizedGemma3 {
    tok_embeddings: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    output: QMatMul,
}

struct Layer {
    q: QMatMul,
    k: QMatMul,
    v: QMatMul,
    o: QMatMul,
    q_norm: Tensor,
    k_norm: Tensor,
    attention_norm: Tensor,
    post_attention_norm: Tensor,
    ffn_norm: Tensor,
    post_ffn_norm: Tensor,
    gate: QMatMul,
    up: QMatMul,
    down: QMatMul,
    heads: u64,
    kv_heads: u64,
    head_size: u64,
    #[allow(dead_code, reason = "alive as long as the model")]
    rotary: (Tensor, Tensor),
    kv_cache: Option<(Tensor, Tensor)>,
}

impl QuantizedGemma3 {
    pub(super) fn load(cx: &Context, model: &Model, weights: &mut Gguf<'_>) -> Result<Self, PlanError> {
        let (tok_embeddings, _embedding) = weights.embedding()?;
        let norm = weights.dequantised(Role::FinalNorm, None)?;
        let output = weights.head()?;
        let mut layers = Vec::with_capacity(model.layers.len());
        for (index, layer) in (0u64..).zip(&model.layers) {
            let at = Some(index);
            let a = super::softmax(layer)?;
            layers.push(Layer {
                q: weights.matrix(Role::Query, at)?,
                k: weights.matrix(Role::Key, at)?,
                v: weights.matrix(Role::Value, at)?,
                o: weights.matrix(Role::AttentionOutput, at)?,
                q_norm: weights.dequantised(Role::QueryNorm, at)?,
                k_norm: weights.dequantised(Role::KeyNorm, at)?,
                attention_norm: weights.dequantised(Role::LayerNorm(NormPlace::BeforeAttention), at)?,
                post_attention_norm: weights.dequantised(Role::LayerNorm(NormPlace::AfterAttention), at)?,
                ffn_norm: weights.dequantised(Role::LayerNorm(NormPlace::BeforeFeedForward), at)?,
                post_ffn_norm: weights.dequantised(Role::LayerNorm(NormPlace::AfterFeedForward), at)?,
                gate: weights.matrix(Role::Gate, at)?,
                up: weights.matrix(Role::Up, at)?,
                down: weights.matrix(Role::Down, at)?,
                heads: a.heads,
                kv_heads: a.kv_heads,
                head_size: a.head_size,
                rotary: load::rotary(cx, MAX_SEQ_LEN, a.head_size, Element::F32),
                kv_cache: None,
            });
        }
        Ok(Self { tok_embeddings, layers, norm, output })
    }
}

impl Family for QuantizedGemma3 {
    fn forward(&mut self, ids: &Tensor, position: u64) -> Result<Tensor, Refused> {
        let (batch, length) = (ids.dims()[0], ids.dims()[1]);
        let mut layer_in = self.tok_embeddings.embed(ids);
        layer_in = layer_in.scaled();
        for layer in &mut self.layers {
            let mask = (length > 1).then(|| mask(ids.cx(), batch, length));
            let residual = &layer_in;
            let x = layer_in.rms_norm(&layer.attention_norm);
            let x = layer.attention(&x, mask.as_ref(), position)?;
            let x = x.rms_norm(&layer.post_attention_norm);
            let x = x + residual;

            let residual = &x;
            let x = x.rms_norm(&layer.ffn_norm);
            let x = layer.mlp(&x)?;
            let x = x.rms_norm(&layer.post_ffn_norm);
            let x = x + residual;
            layer_in = x;
        }
        let x = layer_in.without(1);
        let x = x.rms_norm(&self.norm);
        self.output.forward(&x)
    }

    fn reset(&mut self) {
        for layer in &mut self.layers {
            layer.kv_cache = None;
        }
    }

    fn seek(&mut self, tokens: u64) {
        for layer in &mut self.layers {
            seek_pair(&mut layer.kv_cache, tokens);
        }
    }
}

/// `LayerWeights::mask`: made anew for every layer, of `u32`.
fn mask(cx: &Context, batch: u64, length: u64) -> Tensor {
    let _list = collected(cx, length, length, Element::U32);
    let mask = Tensor::new(cx, &[length, length], Element::U32, Kind::Temporary);
    mask.broadcast_as(&[batch, 1, length, length])
}

impl Layer {
    fn mlp(&self, x: &Tensor) -> Result<Tensor, Refused> {
        let gate = self.gate.forward(x)?;
        let up = self.up.forward(x)?;
        let silu = gate.unary();
        let gated = silu * up;
        self.down.forward(&gated)
    }

    fn attention(&mut self, x: &Tensor, mask: Option<&Tensor>, position: u64) -> Result<Tensor, Refused> {
        let (batch, length) = (x.dims()[0], x.dims()[1]);
        let q = self.q.forward(x)?;
        let k = self.k.forward(x)?;
        let v = self.v.forward(x)?;

        let q = q.reshape(&[batch, length, self.heads, self.head_size]).transpose(1, 2);
        let k = k.reshape(&[batch, length, self.kv_heads, self.head_size]).transpose(1, 2);
        let v = v.reshape(&[batch, length, self.kv_heads, self.head_size]).transpose(1, 2);

        let q = q.contiguous().rms_norm(&self.q_norm);
        let k = k.contiguous().rms_norm(&self.k_norm);

        let (q, k) = (q.contiguous().rope()?, k.contiguous().rope()?);

        let (k, v) = match &self.kv_cache {
            Some((k_cache, v_cache)) if position > 0 => {
                let k = Tensor::cat(&[k_cache, &k], 2);
                let v = Tensor::cat(&[v_cache, &v], 2);
                (k, v)
            }
            _ => (k, v),
        };
        k.retag(Kind::Cache);
        v.retag(Kind::Cache);
        self.kv_cache = Some((k.clone(), v.clone()));

        let k = repeat_kv(k, self.heads / self.kv_heads.max(1));
        let v = repeat_kv(v, self.heads / self.kv_heads.max(1));

        let mut weights = q.matmul(&k.transpose(2, 3)).scaled();
        if let Some(mask) = mask {
            let mask = mask.broadcast_as(weights.dims());
            let zero = Tensor::new(x.cx(), weights.dims(), Element::U8, Kind::Temporary);
            weights = zero.where_cond(&weights, &mask);
        }
        let weights = weights.softmax_last_dim()?;
        let out = weights.matmul(&v);
        let out = out.transpose(1, 2).reshape(&[batch, length, self.heads * self.head_size]);
        self.o.forward(&out)
    }
}

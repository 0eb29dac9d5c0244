//! `candle-transformers/src/models/quantized_llama.rs`, from GGUF, without experts.

use super::Family;
use super::kv::seek_pair;
use super::llama::{kept_mask, repeat_kv};
use super::load::{self, Gguf};
use super::quantized::QMatMul;
use super::tensor::{Context, Element, Refused, Tensor};
use crate::engine::tape::Kind;
use crate::error::PlanError;
use crate::model::{Model, NormPlace, Role};

/// `MAX_SEQ_LEN`: positions of the rotary tables, whatever the model says.
const MAX_SEQ_LEN: u64 = 4096;

pub(super) struct QuantizedLlama {
    tok_embeddings: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    output: QMatMul,
    masks: Vec<((u64, u64), Tensor)>,
    #[allow(dead_code, reason = "alive as long as the model")]
    rotary: (Tensor, Tensor),
}

struct Layer {
    q: QMatMul,
    k: QMatMul,
    v: QMatMul,
    o: QMatMul,
    attention_norm: Tensor,
    ffn_norm: Tensor,
    gate: QMatMul,
    down: QMatMul,
    up: QMatMul,
    heads: u64,
    kv_heads: u64,
    head_size: u64,
    kv_cache: Option<(Tensor, Tensor)>,
}

impl QuantizedLlama {
    pub(super) fn load(cx: &Context, model: &Model, weights: &mut Gguf<'_>) -> Result<Self, PlanError> {
        let rotary_size =
            model.layers.first().and_then(crate::model::Layer::attention).map_or(0, |a| a.rotary_size);
        let rotary = load::rotary(cx, MAX_SEQ_LEN, rotary_size, Element::F32);
        let (tok_embeddings, embedding) = weights.embedding()?;
        let norm = weights.dequantised(Role::FinalNorm, None)?;
        let head = weights.blocks(Role::OutputHead).ok();
        let mut layers = Vec::with_capacity(model.layers.len());
        for (index, layer) in (0u64..).zip(&model.layers) {
            let at = Some(index);
            let a = super::softmax(layer)?;
            layers.push(Layer {
                q: weights.matrix(Role::Query, at)?,
                k: weights.matrix(Role::Key, at)?,
                v: weights.matrix(Role::Value, at)?,
                o: weights.matrix(Role::AttentionOutput, at)?,
                gate: weights.matrix(Role::Gate, at)?,
                down: weights.matrix(Role::Down, at)?,
                up: weights.matrix(Role::Up, at)?,
                attention_norm: weights.dequantised(Role::LayerNorm(NormPlace::BeforeAttention), at)?,
                ffn_norm: weights.dequantised(Role::LayerNorm(NormPlace::BeforeFeedForward), at)?,
                heads: a.heads,
                kv_heads: a.kv_heads,
                head_size: a.head_size,
                kv_cache: None,
            });
        }
        // The embedding's blocks live until here: unused beside a head's, else they become the head.
        let (output, _unused) = match head {
            Some(head) => (weights.matrix_of(head)?, Some(embedding)),
            None => (weights.matrix_of(embedding)?, None),
        };
        Ok(Self { tok_embeddings, layers, norm, output, masks: Vec::new(), rotary })
    }
}

impl Family for QuantizedLlama {
    fn forward(&mut self, ids: &Tensor, position: u64) -> Result<Tensor, Refused> {
        let length = ids.dims()[1];
        let mask = (length > 1).then(|| kept_mask(&mut self.masks, ids.cx(), length, position));
        let mut layer_in = self.tok_embeddings.embed(ids);
        for layer in &mut self.layers {
            let x = layer_in;
            let residual = &x;
            let x = x.rms_norm(&layer.attention_norm);
            let attn = layer.attention(&x, mask.as_ref(), position)?;
            let x = attn + residual;

            let residual = &x;
            let x = x.rms_norm(&layer.ffn_norm);
            let x = layer.mlp(&x)?;
            let x = x + residual;
            layer_in = x;
        }
        let x = layer_in.rms_norm(&self.norm);
        let x = x.without(1);
        self.output.forward(&x)
    }

    fn reset(&mut self) {
        self.masks.clear();
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

impl Layer {
    fn mlp(&self, x: &Tensor) -> Result<Tensor, Refused> {
        let w1 = self.gate.forward(x)?;
        let w3 = self.up.forward(x)?;
        self.down.forward(&(w1.unary() * w3))
    }

    fn attention(&mut self, x: &Tensor, mask: Option<&Tensor>, position: u64) -> Result<Tensor, Refused> {
        let (batch, length, width) = (x.dims()[0], x.dims()[1], x.dims()[2]);
        let q = self.q.forward(x)?;
        let k = self.k.forward(x)?;
        let v = self.v.forward(x)?;

        let q = q.reshape(&[batch, length, self.heads, self.head_size]).transpose(1, 2);
        let k = k.reshape(&[batch, length, self.kv_heads, self.head_size]).transpose(1, 2);
        let v = v.reshape(&[batch, length, self.kv_heads, self.head_size]).transpose(1, 2).contiguous();

        let q = rotated(&q)?;
        let k = rotated(&k)?;

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

        let y = {
            let k = repeat_kv(k, self.heads / self.kv_heads.max(1));
            let v = repeat_kv(v, self.heads / self.kv_heads.max(1));
            let att = q.matmul(&k.t()).scaled();
            let att = match mask {
                None => att,
                Some(mask) => {
                    let mask = mask.broadcast_as(att.dims());
                    mask.where_cond(&att, &att)
                }
            };
            let att = att.softmax_last_dim()?;
            att.matmul(&v.contiguous())
        };
        let y = y.transpose(1, 2).reshape(&[batch, length, width]);
        self.o.forward(&y)
    }
}

/// `apply_rotary_emb`: a contiguous copy, then the kernel.
fn rotated(x: &Tensor) -> Result<Tensor, Refused> {
    let x = x.contiguous();
    x.rope()
}

//! `candle-transformers/src/models/qwen3.rs`: on the CPU a fused attention kernel
//! (`candle-nn/src/attention/cpu_flash`), elsewhere scores as a tensor.

use super::Family;
use super::eager::Linear;
use super::kv::seek_pair;
use super::llama::{collected, repeat_kv};
use super::load::{self, Dense};
use super::tensor::{Context, Element, Refused, Tensor};
use crate::bytes::Bytes;
use crate::engine::request::Device;
use crate::engine::tape::Kind;
use crate::error::PlanError;
use crate::model::{Dtype, Model, NormPlace, Role};

pub(super) struct Qwen3 {
    embed_tokens: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    lm_head: Tensor,
    element: Element,
    #[allow(dead_code, reason = "alive as long as the model")]
    rotary: (Tensor, Tensor),
}

struct Layer {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    q_norm: Tensor,
    k_norm: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
    ln1: Tensor,
    ln2: Tensor,
    heads: u64,
    kv_heads: u64,
    head_size: u64,
    kv_cache: Option<(Tensor, Tensor)>,
}

impl Qwen3 {
    pub(super) fn load(
        cx: &Context,
        model: &Model,
        dtype: Dtype,
        weights: &mut Dense,
    ) -> Result<Self, PlanError> {
        let element = load::element(dtype);
        let embed_tokens = weights.get(Role::TokenEmbedding, None)?;
        let head_size =
            model.layers.first().and_then(crate::model::Layer::attention).map_or(0, |a| a.head_size);
        let rotary = load::rotary(cx, model.max_tokens.0, head_size, element);
        let mut layers = Vec::with_capacity(model.layers.len());
        for (index, layer) in (0u64..).zip(&model.layers) {
            let at = Some(index);
            let a = super::softmax(layer)?;
            layers.push(Layer {
                q: Linear::load(weights, Role::Query, Role::QueryBias, at)?,
                k: Linear::load(weights, Role::Key, Role::KeyBias, at)?,
                v: Linear::load(weights, Role::Value, Role::ValueBias, at)?,
                o: Linear::load(weights, Role::AttentionOutput, Role::AttentionOutputBias, at)?,
                q_norm: weights.get(Role::QueryNorm, at)?,
                k_norm: weights.get(Role::KeyNorm, at)?,
                gate: weights.get(Role::Gate, at)?,
                up: weights.get(Role::Up, at)?,
                down: weights.get(Role::Down, at)?,
                ln1: weights.get(Role::LayerNorm(NormPlace::BeforeAttention), at)?,
                ln2: weights.get(Role::LayerNorm(NormPlace::BeforeFeedForward), at)?,
                heads: a.heads,
                kv_heads: a.kv_heads,
                head_size: a.head_size,
                kv_cache: None,
            });
        }
        let norm = weights.get(Role::FinalNorm, None)?;
        let lm_head =
            if model.tied_embeddings { embed_tokens.clone() } else { weights.get(Role::OutputHead, None)? };
        Ok(Self { embed_tokens, layers, norm, lm_head, element, rotary })
    }

    /// `Model::forward`.
    fn base(&mut self, ids: &Tensor, position: u64) -> Result<Tensor, Refused> {
        let cx = ids.cx();
        let length = ids.dims()[1];
        let mut h = self.embed_tokens.embed(ids);
        let causal = (cx.device != Device::Cpu && length > 1)
            .then(|| additive_mask(cx, length, position, self.element));
        for layer in &mut self.layers {
            h = layer.forward(&h, causal.as_ref())?;
        }
        Ok(h.rms_norm(&self.norm))
    }
}

/// `utils::build_additive_causal_mask`.
pub(super) fn additive_mask(cx: &Context, rows: u64, before: u64, element: Element) -> Tensor {
    let columns = rows.saturating_add(before);
    let _list = collected(cx, rows, columns, Element::F32);
    Tensor::new(cx, &[1, 1, rows, columns], Element::F32, Kind::Temporary).to_dtype(element)
}

impl Family for Qwen3 {
    fn forward(&mut self, ids: &Tensor, position: u64) -> Result<Tensor, Refused> {
        Ok(self.base(ids, position)?.narrow(1, 1).matmul_weight(&self.lm_head))
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

impl Layer {
    fn forward(&mut self, x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor, Refused> {
        let h = x.rms_norm(&self.ln1);
        let h = self.attention(&h, mask)?;
        let x = x + h;
        let h2 = x.rms_norm(&self.ln2);
        let h2 = {
            let lhs = h2.matmul_weight(&self.gate).unary();
            let rhs = h2.matmul_weight(&self.up);
            (lhs * rhs).matmul_weight(&self.down)
        };
        // The second `h2` is added by value; the first lives to the end.
        Ok(x + h2)
    }

    fn attention(&mut self, x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor, Refused> {
        let (b, l) = (x.dims()[0], x.dims()[1]);
        let q = self.q.forward(x);
        let k = self.k.forward(x);
        let v = self.v.forward(x);

        let q = q.reshape(&[b, l, self.heads, self.head_size]).transpose(1, 2);
        let k = k.reshape(&[b, l, self.kv_heads, self.head_size]).transpose(1, 2);
        let v = v.reshape(&[b, l, self.kv_heads, self.head_size]).transpose(1, 2);

        let q_flat = q.reshape(&[b.saturating_mul(self.heads).saturating_mul(l), self.head_size]);
        let k_flat = k.reshape(&[b.saturating_mul(self.kv_heads).saturating_mul(l), self.head_size]);
        let q_flat = q_flat.rms_norm(&self.q_norm);
        let k_flat = k_flat.rms_norm(&self.k_norm);
        let q = q_flat.reshape(&[b, self.heads, l, self.head_size]);
        let k = k_flat.reshape(&[b, self.kv_heads, l, self.head_size]);

        let (q, k) = (q.contiguous().rope()?, k.contiguous().rope()?);

        let (k, v) = append(&mut self.kv_cache, &k, &v);

        if x.cx().device == Device::Cpu {
            let q = q.transpose(1, 2).contiguous();
            let k = k.transpose(1, 2).contiguous();
            let v = v.transpose(1, 2).contiguous();
            let ctx = if q.element() == Element::F32 {
                fused_attention(&q, &k, &v)
            } else {
                let q_f32 = q.to_dtype(Element::F32);
                let k_f32 = k.to_dtype(Element::F32);
                let v_f32 = v.to_dtype(Element::F32);
                let ctx_f32 = fused_attention(&q_f32, &k_f32, &v_f32);
                ctx_f32.to_dtype(q.element())
            };
            let ctx = ctx.transpose(1, 2);
            return Ok(self.o.forward(&ctx.reshape(&[b, l, self.heads * self.head_size])));
        }
        let times = self.heads / self.kv_heads.max(1);
        let k = repeat_kv(k.clone(), times).contiguous();
        let v = repeat_kv(v.clone(), times).contiguous();
        let mut scores = q.matmul(&k.transpose(2, 3)).scaled();
        if let Some(mask) = mask {
            scores = scores.binary(mask);
        }
        let probs = scores.softmax_last_dim()?;
        let ctx = probs.matmul(&v);
        Ok(self.o.forward(&ctx.transpose(1, 2).reshape(&[b, l, self.heads * self.head_size])))
    }
}

/// `ConcatKvCache::append`.
pub(super) fn append(pair: &mut Option<(Tensor, Tensor)>, k: &Tensor, v: &Tensor) -> (Tensor, Tensor) {
    let k = k.contiguous();
    let v = v.contiguous();
    let (k, v) = match pair.take() {
        None => (k, v),
        Some((k_cache, v_cache)) => {
            // Keys are replaced before values are joined.
            let k_all = Tensor::cat(&[&k_cache, &k], 2);
            drop(k_cache);
            let v_all = Tensor::cat(&[&v_cache, &v], 2);
            drop(v_cache);
            (k_all, v_all)
        }
    };
    k.retag(Kind::Cache);
    v.retag(Kind::Cache);
    *pair = Some((k.clone(), v.clone()));
    (k, v)
}

/// `flash_attn` for causal attention over (batch, tokens, heads, size) in f32: a result, and an accumulator for each
/// thread; several sequences are packed, which keeps two indices of every position, and the result is copied once more.
pub(super) fn fused_attention(q: &Tensor, k: &Tensor, v: &Tensor) -> Tensor {
    let cx = q.cx();
    let [b, s, h, d] = [q.dims()[0], q.dims()[1], q.dims()[2], q.dims()[3]];
    if b == 1 {
        let q = q.without(0).contiguous();
        let k = k.without(0).contiguous();
        let v = v.without(0).contiguous();
        let out = Tensor::new(cx, &[h, s, d], Element::F32, Kind::Activation);
        let _scratch = cx.tape.alloc(Kind::Temporary, Bytes(cx.threads) * d * Element::F32.bytes());
        drop((q, k, v));
        return out.reshape(&[1, h, s, d]);
    }
    let ctx = {
        let _q = q.contiguous();
        let _k = k.contiguous();
        let _v = v.contiguous();
        let _batch_and_position = cx.tape.alloc(Kind::Temporary, Bytes(b.saturating_mul(s)) * 16);
        let out = Tensor::new(cx, &[b.saturating_mul(s), h, d], Element::F32, Kind::Activation);
        let _scratch = cx.tape.alloc(Kind::Temporary, Bytes(cx.threads) * d * Element::F32.bytes());
        out
    };
    ctx.reshape(&[b, s, h, d]).transpose(1, 2).contiguous()
}

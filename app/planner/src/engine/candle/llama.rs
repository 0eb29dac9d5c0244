//! `candle-transformers/src/models/llama.rs`, eager attention.

use super::Family;
use super::kv;
use super::load::{self, Dense};
use super::tensor::{Context, Element, Refused, Tensor};
use crate::engine::tape::Kind;
use crate::error::PlanError;
use crate::model::{Dtype, Model, NormPlace, Role};

pub(super) struct Llama {
    wte: Tensor,
    blocks: Vec<Block>,
    ln_f: Tensor,
    lm_head: Tensor,
    cache: Cache,
}

struct Cache {
    /// Kept by lengths.
    masks: Vec<((u64, u64), Tensor)>,
    kvs: Vec<Option<(Tensor, Tensor)>>,
    #[allow(dead_code, reason = "alive as long as the model")]
    rotary: (Tensor, Tensor),
}

struct Block {
    rms_1: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    rms_2: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
    heads: u64,
    kv_heads: u64,
    head_size: u64,
}

impl Llama {
    pub(super) fn load(
        cx: &Context,
        model: &Model,
        dtype: Dtype,
        weights: &mut Dense,
    ) -> Result<Self, PlanError> {
        let head_size =
            model.layers.first().and_then(crate::model::Layer::attention).map_or(0, |a| a.head_size);
        let rotary = load::rotary(cx, model.max_tokens.0, head_size, load::element(dtype));
        let wte = weights.get(Role::TokenEmbedding, None)?;
        let lm_head =
            if model.tied_embeddings { wte.clone() } else { weights.get(Role::OutputHead, None)? };
        let ln_f = weights.get(Role::FinalNorm, None)?;
        let mut blocks = Vec::with_capacity(model.layers.len());
        for (index, layer) in (0u64..).zip(&model.layers) {
            let mut get = |role| weights.get(role, Some(index));
            let a = super::softmax(layer)?;
            blocks.push(Block {
                rms_1: get(Role::LayerNorm(NormPlace::BeforeAttention))?,
                q: get(Role::Query)?,
                k: get(Role::Key)?,
                v: get(Role::Value)?,
                o: get(Role::AttentionOutput)?,
                rms_2: get(Role::LayerNorm(NormPlace::BeforeFeedForward))?,
                gate: get(Role::Gate)?,
                up: get(Role::Up)?,
                down: get(Role::Down)?,
                heads: a.heads,
                kv_heads: a.kv_heads,
                head_size: a.head_size,
            });
        }
        let kvs = vec![None; blocks.len()];
        Ok(Self { wte, blocks, ln_f, lm_head, cache: Cache { masks: Vec::new(), kvs, rotary } })
    }
}

impl Family for Llama {
    fn forward(&mut self, ids: &Tensor, position: u64) -> Result<Tensor, Refused> {
        let mut x = self.wte.embed(ids);
        for (index, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x, position, index, &mut self.cache)?;
        }
        let x = x.rms_norm(&self.ln_f);
        let x = x.without(1).contiguous();
        let logits = x.matmul_weight(&self.lm_head);
        Ok(logits.to_dtype(Element::F32))
    }

    fn reset(&mut self) {
        self.cache.masks.clear();
        self.cache.kvs.fill(None);
    }

    fn seek(&mut self, tokens: u64) {
        for kv in &mut self.cache.kvs {
            kv::seek_pair(kv, tokens);
        }
    }
}

impl Block {
    fn forward(&self, x: &Tensor, position: u64, index: usize, cache: &mut Cache) -> Result<Tensor, Refused> {
        let residual = x;
        let x = x.rms_norm(&self.rms_1);
        let x = self.attention(&x, position, index, cache)? + residual;
        let residual = &x;
        let x = self.mlp(&x.rms_norm(&self.rms_2)) + residual;
        Ok(x)
    }

    fn mlp(&self, x: &Tensor) -> Tensor {
        let x = x.matmul_weight(&self.gate).unary() * x.matmul_weight(&self.up);
        x.matmul_weight(&self.down)
    }

    fn attention(
        &self,
        x: &Tensor,
        position: u64,
        index: usize,
        cache: &mut Cache,
    ) -> Result<Tensor, Refused> {
        let (batch, length) = (x.dims()[0], x.dims()[1]);
        let q = x.matmul_weight(&self.q);
        let k = x.matmul_weight(&self.k);
        let v = x.matmul_weight(&self.v);

        let q = q.reshape(&[batch, length, self.heads, self.head_size]).transpose(1, 2).contiguous();
        let k = k.reshape(&[batch, length, self.kv_heads, self.head_size]).transpose(1, 2).contiguous();
        let mut v = v.reshape(&[batch, length, self.kv_heads, self.head_size]).transpose(1, 2);

        let q = q.rope()?;
        let mut k = k.rope()?;

        if let Some((cache_k, cache_v)) = &cache.kvs[index] {
            k = Tensor::cat(&[cache_k, &k], 2).contiguous();
            v = Tensor::cat(&[cache_v, &v], 2).contiguous();
        }
        k.retag(Kind::Cache);
        v.retag(Kind::Cache);
        cache.kvs[index] = Some((k.clone(), v.clone()));

        let k = repeat_kv(k, self.heads / self.kv_heads.max(1));
        let v = repeat_kv(v, self.heads / self.kv_heads.max(1));

        let y = {
            let in_dtype = q.element();
            let q = q.to_dtype(Element::F32);
            let k = k.to_dtype(Element::F32);
            let v = v.to_dtype(Element::F32);
            let att = q.matmul(&k.t()).scaled();
            let att = if length == 1 {
                att
            } else {
                let mask = cache.mask(x.cx(), length, position).broadcast_as(att.dims());
                let on_true =
                    Tensor::new(x.cx(), &[], Element::F32, Kind::Temporary).broadcast_as(att.dims());
                mask.where_cond(&on_true, &att)
            };
            let att = att.softmax_last_dim()?;
            att.matmul(&v.contiguous()).to_dtype(in_dtype)
        };
        let y = y.transpose(1, 2).reshape(&[batch, length, self.heads * self.head_size]);
        Ok(y.matmul_weight(&self.o))
    }
}

impl Cache {
    fn mask(&mut self, cx: &Context, length: u64, position: u64) -> Tensor {
        kept_mask(&mut self.masks, cx, length, position)
    }
}

/// A mask by its lengths, made when first needed and kept (`Cache::mask`, `ModelWeights::mask`).
pub(super) fn kept_mask(
    masks: &mut Vec<((u64, u64), Tensor)>,
    cx: &Context,
    length: u64,
    position: u64,
) -> Tensor {
    let key = (length, position.saturating_add(length));
    if let Some((_, mask)) = masks.iter().find(|(k, _)| *k == key) {
        return mask.clone();
    }
    let mask = causal_mask(cx, key.0, key.1);
    masks.push((key, mask.clone()));
    mask
}

/// `utils::build_causal_mask`: a vector that grows by doubling from one row, copied into a tensor.
pub(super) fn causal_mask(cx: &Context, rows: u64, columns: u64) -> Tensor {
    let _list = collected(cx, rows, columns, Element::U8);
    Tensor::new(cx, &[rows, columns], Element::U8, Kind::Temporary)
}

/// What `(0..rows).flat_map(|_| (0..columns).map(…)).collect::<Vec<_>>()` allocates: room for one row, then twice as much
/// until all fits.
pub(super) fn collected(
    cx: &Context,
    rows: u64,
    columns: u64,
    element: Element,
) -> crate::engine::tape::Block {
    let capacity = columns.max(8).saturating_mul(rows.next_power_of_two());
    cx.tape.alloc(Kind::Temporary, crate::bytes::Bytes(capacity) * element.bytes())
}

/// `utils::repeat_kv`.
pub(super) fn repeat_kv(x: Tensor, times: u64) -> Tensor {
    if times <= 1 {
        return x;
    }
    let [batch, heads, length, size] = [x.dims()[0], x.dims()[1], x.dims()[2], x.dims()[3]];
    // `times` references to one tensor: only their number matters, and only whether there is more than one.
    let parts = vec![&x; usize::try_from(times).unwrap_or(usize::MAX).min(1 << 16)];
    Tensor::cat(&parts, 2).reshape(&[batch, heads.saturating_mul(times), length, size])
}

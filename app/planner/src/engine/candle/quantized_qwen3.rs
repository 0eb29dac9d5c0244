//! `candle-transformers/src/models/quantized_qwen3.rs`, from GGUF: on the CPU the fused kernels and two caches beside
//! each other; elsewhere a growing cache and scores as a tensor.

use super::Family;
use super::kv::seek_pair;
use super::llama::repeat_kv;
use super::load::Gguf;
use super::quantized::QMatMul;
use super::qwen3::{additive_mask, append, fused_attention};
use super::tensor::{Context, Element, Refused, Tensor};
use crate::bytes::Bytes;
use crate::engine::request::Device;
use crate::engine::tape::{Block, Kind};
use crate::error::PlanError;
use crate::model::{Model, NormPlace, Role};

/// Positions of the raw cache from loading on; it doubles when full.
const RAW_POSITIONS: u64 = 4096;

pub(super) struct QuantizedQwen3 {
    embed_tokens: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    lm_head: QMatMul,
    #[allow(dead_code, reason = "alive as long as the model")]
    rotary: [Tensor; 4],
}

struct Layer {
    q: QMatMul,
    k: QMatMul,
    v: QMatMul,
    o: QMatMul,
    q_norm: Tensor,
    k_norm: Tensor,
    gate: QMatMul,
    up: QMatMul,
    down: QMatMul,
    ln1: Tensor,
    ln2: Tensor,
    heads: u64,
    kv_heads: u64,
    head_size: u64,
    cache: Cache,
}

enum Cache {
    /// The prompt's keys and values as a tensor, and all of them in a plain buffer.
    Cpu {
        interleaved: Option<Tensor>,
        raw: Block,
        filled: u64,
        capacity: u64,
    },
    Other(Option<(Tensor, Tensor)>),
}

impl QuantizedQwen3 {
    pub(super) fn load(cx: &Context, model: &Model, weights: &mut Gguf<'_>) -> Result<Self, PlanError> {
        let (embed_tokens, _embedding) = weights.embedding()?;
        let head_size =
            model.layers.first().and_then(crate::model::Layer::attention).map_or(0, |a| a.head_size);
        let rotary = rotary(cx, model.max_tokens.0, head_size);
        let mut layers = Vec::with_capacity(model.layers.len());
        for (index, layer) in (0u64..).zip(&model.layers) {
            let at = Some(index);
            let a = super::softmax(layer)?;
            let cache = if cx.device == Device::Cpu {
                let row = Bytes(a.kv_width()) * 2 * Element::F32.bytes();
                Cache::Cpu {
                    interleaved: None,
                    raw: cx.tape.alloc(Kind::Cache, row * RAW_POSITIONS),
                    filled: 0,
                    capacity: RAW_POSITIONS,
                }
            } else {
                Cache::Other(None)
            };
            layers.push(Layer {
                ln1: weights.dequantised(Role::LayerNorm(NormPlace::BeforeAttention), at)?,
                ln2: weights.dequantised(Role::LayerNorm(NormPlace::BeforeFeedForward), at)?,
                q: weights.matrix(Role::Query, at)?,
                k: weights.matrix(Role::Key, at)?,
                v: weights.matrix(Role::Value, at)?,
                o: weights.matrix(Role::AttentionOutput, at)?,
                q_norm: weights.dequantised(Role::QueryNorm, at)?,
                k_norm: weights.dequantised(Role::KeyNorm, at)?,
                gate: weights.matrix(Role::Gate, at)?,
                up: weights.matrix(Role::Up, at)?,
                down: weights.matrix(Role::Down, at)?,
                heads: a.heads,
                kv_heads: a.kv_heads,
                head_size: a.head_size,
                cache,
            });
        }
        let norm = weights.dequantised(Role::FinalNorm, None)?;
        let lm_head = weights.head()?;
        Ok(Self { embed_tokens, layers, norm, lm_head, rotary })
    }
}

/// `RotaryEmbedding::new`: tables in f16 (what a file that says nothing gets), and once more as plain f32.
fn rotary(cx: &Context, positions: u64, size: u64) -> [Tensor; 4] {
    let table = |element| Tensor::new(cx, &[positions, size / 2], element, Kind::Weights);
    let _angles = Tensor::new(cx, &[positions, size / 2], Element::F16, Kind::Temporary);
    let (sin, cos) = (table(Element::F16), table(Element::F16));
    let flat = || {
        let _converted = Tensor::new(cx, &[positions, size / 2], Element::F32, Kind::Temporary);
        table(Element::F32)
    };
    [sin, cos, flat(), flat()]
}

impl Family for QuantizedQwen3 {
    fn forward(&mut self, ids: &Tensor, position: u64) -> Result<Tensor, Refused> {
        let cx = ids.cx();
        let length = ids.dims()[1];
        let mut h = self.embed_tokens.embed(ids);
        let causal = (length > 1 && cx.device != Device::Cpu)
            .then(|| additive_mask(cx, length, position, Element::F16));
        for layer in &mut self.layers {
            h = layer.forward(&h, causal.as_ref())?;
        }
        let h = h.rms_norm(&self.norm);
        let last = h.narrow(1, 1);
        Ok(self.lm_head.forward(&last)?.without(1))
    }

    fn reset(&mut self) {
        for layer in &mut self.layers {
            match &mut layer.cache {
                // The plain buffer stays.
                Cache::Cpu { interleaved, filled, .. } => {
                    *interleaved = None;
                    *filled = 0;
                }
                Cache::Other(pair) => *pair = None,
            }
        }
    }

    fn seek(&mut self, tokens: u64) {
        for layer in &mut self.layers {
            match &mut layer.cache {
                Cache::Cpu { raw, filled, capacity, .. } => fill(raw, filled, capacity, tokens),
                Cache::Other(pair) => seek_pair(pair, tokens),
            }
        }
    }
}

/// `RawInterleavedKvCache::write_kv`, until `tokens` positions are there.
fn fill(raw: &Block, filled: &mut u64, capacity: &mut u64, tokens: u64) {
    while *capacity < tokens {
        raw.resize(raw.bytes() * 2);
        *capacity = capacity.saturating_mul(2);
    }
    *filled = tokens;
}

impl Layer {
    fn forward(&mut self, x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor, Refused> {
        let h = x.rms_norm(&self.ln1);
        let h = self.attention(&h, mask)?;
        let x = x + h;
        let h2 = x.rms_norm(&self.ln2);
        let h2 = {
            let gate = self.gate.forward(&h2)?.unary();
            let up = self.up.forward(&h2)?;
            let gated = gate * up;
            self.down.forward(&gated)?
        };
        Ok(x + h2)
    }

    fn attention(&mut self, x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor, Refused> {
        let (b, l) = (x.dims()[0], x.dims()[1]);
        let width = self.heads * self.head_size;
        let q = self.q.forward(x)?;
        let k = self.k.forward(x)?;
        let v = self.v.forward(x)?;

        let q = q.reshape(&[b, l, self.heads, self.head_size]).transpose(1, 2);
        let k = k.reshape(&[b, l, self.kv_heads, self.head_size]).transpose(1, 2);
        let v = v.reshape(&[b, l, self.kv_heads, self.head_size]).transpose(1, 2);

        let q_flat = q.reshape(&[b.saturating_mul(self.heads).saturating_mul(l), self.head_size]);
        let k_flat = k.reshape(&[b.saturating_mul(self.kv_heads).saturating_mul(l), self.head_size]);
        let q_flat = q_flat.rms_norm(&self.q_norm);
        let k_flat = k_flat.rms_norm(&self.k_norm);
        let q = q_flat.reshape(&[b, self.heads, l, self.head_size]);
        let k = k_flat.reshape(&[b, self.kv_heads, l, self.head_size]);

        let (q, k) = {
            let table = || Tensor::new(x.cx(), &[l, self.head_size / 2], Element::F32, Kind::Temporary);
            let (_cos, _sin) = (table(), table());
            (q.contiguous().rope()?, k.contiguous().rope()?)
        };
        match &mut self.cache {
            Cache::Cpu { raw, filled, capacity, .. } if l == 1 => {
                let to = filled.saturating_add(1);
                fill(raw, filled, capacity, to);
                let ctx =
                    Tensor::new(x.cx(), &[self.heads, 1, self.head_size], Element::F32, Kind::Activation);
                self.o.forward(&ctx.reshape(&[b, l, width]))
            }
            Cache::Cpu { interleaved, raw, filled, capacity } => {
                let rows = |t: &Tensor| t.without(0).transpose(0, 1).contiguous();
                let kv = {
                    let k_seq = rows(&k);
                    let v_seq = rows(&v);
                    let kv_new = Tensor::cat(&[&k_seq, &v_seq], 2);
                    kv_new.retag(Kind::Cache);
                    *interleaved = Some(kv_new.clone());
                    kv_new
                };
                {
                    let _k = rows(&k);
                    let _v = rows(&v);
                    let to = filled.saturating_add(l);
                    fill(raw, filled, capacity, to);
                }
                let half = || kv.narrow(2, self.head_size);
                let one = |t: Tensor| {
                    let dims = [1, t.dims()[0], t.dims()[1], t.dims()[2]];
                    // `unsqueeze`, then `contiguous`: half of every row, so a copy.
                    let copy = t.contiguous();
                    copy.reshape(&dims)
                };
                let q = q.transpose(1, 2).contiguous();
                let k = one(half());
                let v = one(half());
                let ctx = fused_attention(&q, &k, &v);
                let ctx = ctx.transpose(1, 2);
                self.o.forward(&ctx.reshape(&[b, l, width]))
            }
            Cache::Other(pair) => {
                let (k, v) = append(pair, &k, &v);
                let times = self.heads / self.kv_heads.max(1);
                let k = repeat_kv(k, times).contiguous();
                let v = repeat_kv(v, times).contiguous();
                let mut scores = q.matmul(&k.transpose(2, 3)).scaled();
                if let Some(mask) = mask {
                    let mask = mask.to_dtype(scores.element());
                    scores = scores.binary(&mask);
                }
                let probs = scores.softmax_last_dim()?;
                let ctx = probs.matmul(&v);
                let ctx = ctx.transpose(1, 2).reshape(&[b, l, width]);
                self.o.forward(&ctx)
            }
        }
    }
}

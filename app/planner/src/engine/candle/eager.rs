//! `mistral.rs`, `qwen2.rs`, `phi3.rs`, `gemma2.rs` and `gemma3.rs` of candle-transformers, eager attention.
//!
//! Their passes have the same statements in the same order; where one differs, [`Style`] says how.

use super::Family;
use super::kv::Kv;
use super::llama::{collected, repeat_kv};
use super::load::{self, Dense};
use super::tensor::{Context, Element, Refused, Tensor};
use crate::engine::tape::Kind;
use crate::error::PlanError;
use crate::model::{Architecture, Dtype, Head, Layer, Model, NormPlace, Role};

/// What the families do differently.
#[derive(Debug, Clone, Copy)]
struct Style(Architecture);

impl Style {
    /// Query, key and value are copied to be contiguous at once.
    const fn contiguous_heads(self) -> bool {
        matches!(self.0, Architecture::Mistral)
    }

    /// The mask is converted with a row for each sequence.
    const fn mask_of_batch(self) -> bool {
        !matches!(self.0, Architecture::Mistral)
    }

    /// `RmsNorm` step by step in f32, and embeddings scaled.
    const fn gemma(self) -> bool {
        matches!(self.0, Architecture::Gemma2) || self.gemma3()
    }

    /// Slabs and rotating caches, a second mask, rotary tables of each layer.
    const fn gemma3(self) -> bool {
        matches!(self.0, Architecture::Gemma3)
    }

    /// The last norm runs over every position, not the last alone.
    const fn norm_all(self) -> bool {
        matches!(self.0, Architecture::Qwen2)
    }
}

pub(super) struct Eager {
    style: Style,
    element: Element,
    embed_tokens: Tensor,
    layers: Vec<Decoder>,
    norm: Tensor,
    lm_head: Tensor,
    softcap: bool,
    #[allow(dead_code, reason = "alive as long as the model")]
    rotary: Option<(Tensor, Tensor)>,
}

struct Decoder {
    attention: Attention,
    gate: Option<Tensor>,
    up: Option<Tensor>,
    gate_up: Option<Tensor>,
    down: Tensor,
    intermediate: u64,
    before_attention: Tensor,
    after_attention: Option<Tensor>,
    before_feed_forward: Tensor,
    after_feed_forward: Option<Tensor>,
    #[allow(dead_code, reason = "alive as long as the model")]
    rotary: Option<(Tensor, Tensor)>,
}

struct Attention {
    style: Style,
    q: Option<Linear>,
    k: Option<Linear>,
    v: Option<Linear>,
    qkv: Option<Tensor>,
    o: Linear,
    q_norm: Option<Tensor>,
    k_norm: Option<Tensor>,
    heads: u64,
    kv_heads: u64,
    head_size: u64,
    rotary_size: u64,
    softcap: bool,
    windowed: bool,
    kv: Kv,
}

/// `candle_nn::Linear`.
pub(super) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn load(
        weights: &mut Dense,
        weight: Role,
        bias: Role,
        layer: Option<u64>,
    ) -> Result<Self, PlanError> {
        Ok(Self { weight: weights.get(weight, layer)?, bias: weights.optional(bias, layer) })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        let x = x.matmul_weight(&self.weight);
        match &self.bias {
            None => x,
            Some(bias) => x.binary(bias),
        }
    }
}

impl Eager {
    pub(super) fn load(
        cx: &Context,
        model: &Model,
        dtype: Dtype,
        weights: &mut Dense,
    ) -> Result<Self, PlanError> {
        let style = Style(model.architecture);
        let element = load::element(dtype);
        let embed_tokens = weights.get(Role::TokenEmbedding, None)?;
        let tables =
            |a: &crate::model::Attention| load::rotary(cx, model.max_tokens.0, a.rotary_size, element);
        let rotary =
            if style.gemma3() { None } else { model.layers.first().and_then(Layer::attention).map(tables) };
        let mut layers = Vec::with_capacity(model.layers.len());
        for (index, layer) in (0u64..).zip(&model.layers) {
            let rotary = style.gemma3().then(|| layer.attention().map(tables)).flatten();
            layers.push(Decoder::load(style, model, layer, index, weights, rotary)?);
        }
        let norm = weights.get(Role::FinalNorm, None)?;
        // mistral.rs always reads a head of its own.
        let lm_head = match weights.optional(Role::OutputHead, None) {
            Some(head) => head,
            None if model.architecture == Architecture::Mistral => {
                Tensor::new(cx, embed_tokens.dims(), element, Kind::Weights)
            }
            None => embed_tokens.clone(),
        };
        let softcap = matches!(model.head, Head::LanguageModel { softcap: true });
        Ok(Self { style, element, embed_tokens, layers, norm, lm_head, softcap, rotary })
    }

    /// `prepare_decoder_attention_mask`, without cached positions before it.
    fn mask(&self, cx: &Context, batch: u64, length: u64) -> Tensor {
        let _list = collected(cx, length, length, Element::F32);
        let mask = Tensor::new(cx, &[length, length], Element::F32, Kind::Temporary);
        let rows = if self.style.mask_of_batch() { batch } else { 1 };
        mask.broadcast_as(&[rows, 1, length, length]).to_dtype(self.element)
    }
}

impl Family for Eager {
    fn forward(&mut self, ids: &Tensor, _position: u64) -> Result<Tensor, Refused> {
        let (batch, length) = (ids.dims()[0], ids.dims()[1]);
        let early_mask = (length > 1 && !self.style.gemma3()).then(|| self.mask(ids.cx(), batch, length));
        let mut xs = self.embed_tokens.embed(ids);
        if self.style.gemma() {
            xs = xs.scaled();
        }
        let full_mask = (length > 1 && self.style.gemma3()).then(|| self.mask(ids.cx(), batch, length));
        let window_mask = (length > 1 && self.style.gemma3()).then(|| self.mask(ids.cx(), batch, length));
        for layer in &mut self.layers {
            let mask = match (&early_mask, layer.attention.windowed) {
                (Some(mask), _) => Some(mask),
                (None, true) => window_mask.as_ref(),
                (None, false) => full_mask.as_ref(),
            };
            xs = layer.forward(&xs, mask)?;
        }
        let logits = if self.style.norm_all() {
            let normed = norm(self.style, &xs, &self.norm);
            // The inner model's function ends here.
            drop((xs, early_mask, full_mask, window_mask));
            let xs = normed;
            xs.narrow(1, 1).matmul_weight(&self.lm_head)
        } else {
            norm(self.style, &xs.narrow(1, 1), &self.norm).matmul_weight(&self.lm_head)
        };
        Ok(if self.softcap { logits.scaled().unary().scaled() } else { logits })
    }

    fn reset(&mut self) {
        for layer in &mut self.layers {
            layer.attention.kv.reset();
        }
    }

    fn seek(&mut self, tokens: u64) {
        for layer in &mut self.layers {
            layer.attention.kv.seek(tokens);
        }
    }
}

/// The family's norm: `candle_nn::RmsNorm`, or Gemma's own in f32 with a weight counted from one.
fn norm(style: Style, x: &Tensor, weight: &Tensor) -> Tensor {
    if !style.gemma() {
        return x.rms_norm(weight);
    }
    let element = x.element();
    let internal = match element {
        Element::F16 | Element::Bf16 => Element::F32,
        other => other,
    };
    let x = x.to_dtype(internal);
    let norm_x = x.unary().reduce_last_keepdim().scaled();
    let x_normed = x.binary(&norm_x.scaled().unary());
    x_normed.to_dtype(element).binary(&weight.unary())
}

impl Decoder {
    fn load(
        style: Style,
        model: &Model,
        layer: &Layer,
        index: u64,
        weights: &mut Dense,
        rotary: Option<(Tensor, Tensor)>,
    ) -> Result<Self, PlanError> {
        let at = Some(index);
        let a = super::softmax(layer)?;
        let f = super::dense(layer)?;
        let mut linear = |weight, bias| Linear::load(weights, weight, bias, at);
        let (q, k, v) = if a.fused_qkv {
            (None, None, None)
        } else {
            (
                Some(linear(Role::Query, Role::QueryBias)?),
                Some(linear(Role::Key, Role::KeyBias)?),
                Some(linear(Role::Value, Role::ValueBias)?),
            )
        };
        let o = linear(Role::AttentionOutput, Role::AttentionOutputBias)?;
        let window = a.window.filter(|_| style.gemma3());
        let attention = Attention {
            style,
            q,
            k,
            v,
            qkv: weights.optional(Role::QueryKeyValue, at),
            o,
            q_norm: weights.optional(Role::QueryNorm, at),
            k_norm: weights.optional(Role::KeyNorm, at),
            heads: a.heads,
            kv_heads: a.kv_heads,
            head_size: a.head_size,
            rotary_size: a.rotary_size,
            softcap: a.softcap,
            windowed: window.is_some(),
            kv: match (style.gemma3(), window) {
                (false, _) => Kv::growing(),
                (true, None) => Kv::slab(model.max_tokens.0),
                (true, Some(window)) => Kv::rotating(window.0),
            },
        };
        Ok(Self {
            attention,
            gate: weights.optional(Role::Gate, at),
            up: weights.optional(Role::Up, at),
            gate_up: weights.optional(Role::GateUp, at),
            down: weights.get(Role::Down, at)?,
            intermediate: f.intermediate,
            before_attention: weights.get(Role::LayerNorm(NormPlace::BeforeAttention), at)?,
            after_attention: weights.optional(Role::LayerNorm(NormPlace::AfterAttention), at),
            before_feed_forward: weights.get(Role::LayerNorm(NormPlace::BeforeFeedForward), at)?,
            after_feed_forward: weights.optional(Role::LayerNorm(NormPlace::AfterFeedForward), at),
            rotary,
        })
    }

    fn forward(&mut self, xs: &Tensor, mask: Option<&Tensor>) -> Result<Tensor, Refused> {
        let style = self.attention.style;
        let residual = xs;
        let xs = norm(style, xs, &self.before_attention);
        let xs = self.attention.forward(&xs, mask)?;
        if let (Some(after_attention), Some(after_feed_forward)) =
            (&self.after_attention, &self.after_feed_forward)
        {
            let xs = norm(style, &xs, after_attention);
            let xs = xs + residual;
            let residual = &xs;
            let xs = norm(style, &xs, &self.before_feed_forward);
            let xs = self.mlp(&xs);
            let xs = norm(style, &xs, after_feed_forward);
            Ok(residual + xs)
        } else {
            let xs = xs + residual;
            let residual = &xs;
            let xs = self.mlp(&norm(style, &xs, &self.before_feed_forward));
            Ok(residual + xs)
        }
    }

    fn mlp(&self, xs: &Tensor) -> Tensor {
        if let (Some(gate), Some(up)) = (&self.gate, &self.up) {
            let lhs = xs.matmul_weight(gate).unary();
            let rhs = xs.matmul_weight(up);
            return (lhs * rhs).matmul_weight(&self.down);
        }
        let Some(gate_up) = &self.gate_up else { return xs.clone() };
        let up_states = xs.matmul_weight(gate_up);
        let gate = up_states.narrow(2, self.intermediate);
        let up_states = up_states.narrow(2, self.intermediate);
        let up_states = up_states * gate.unary();
        up_states.matmul_weight(&self.down)
    }
}

impl Attention {
    fn forward(&mut self, xs: &Tensor, mask: Option<&Tensor>) -> Result<Tensor, Refused> {
        let (batch, length) = (xs.dims()[0], xs.dims()[1]);
        let (query, kv) = (self.heads * self.head_size, self.kv_heads * self.head_size);
        let (q, k, v) = match (&self.q, &self.k, &self.v, &self.qkv) {
            (Some(q), Some(k), Some(v), _) => (q.forward(xs), k.forward(xs), v.forward(xs)),
            (_, _, _, Some(qkv)) => {
                let qkv = xs.matmul_weight(qkv);
                (qkv.narrow(2, query), qkv.narrow(2, kv), qkv.narrow(2, kv))
            }
            _ => return Err(Refused("an attention without query, key and value".to_owned())),
        };
        let heads = |x: &Tensor, n: u64| {
            let x = x.reshape(&[batch, length, n, self.head_size]).transpose(1, 2);
            if self.style.contiguous_heads() { x.contiguous() } else { x }
        };
        let q = heads(&q, self.heads);
        let k = heads(&k, self.kv_heads);
        let v = heads(&v, self.kv_heads);
        let (q, k) = match (&self.q_norm, &self.k_norm) {
            (Some(q_norm), Some(k_norm)) => {
                let normed = norm(self.style, &q, q_norm);
                let k_normed = norm(self.style, &k, k_norm);
                // Shadowed in the source: what was normalised lives on.
                (Shadow(normed, Some(q)), Shadow(k_normed, Some(k)))
            }
            _ => (Shadow(q, None), Shadow(k, None)),
        };
        let rotated_q = self.rope(&q.0.contiguous())?;
        let rotated_k = self.rope(&k.0.contiguous())?;
        let (k_all, v_all) = self.kv.append(rotated_k.clone(), v.clone())?;
        let times = self.heads / self.kv_heads.max(1);
        let k_all = repeat_kv(k_all, times).contiguous();
        let v_all = repeat_kv(v_all, times).contiguous();
        let out = {
            let weights = rotated_q.matmul(&k_all.transpose(2, 3)).scaled();
            let weights = if self.softcap { weights.scaled().unary().scaled() } else { weights };
            let weights = match mask {
                None => weights,
                Some(mask) => weights.binary(mask),
            };
            let weights = weights.softmax_last_dim()?;
            weights.matmul(&v_all)
        };
        Ok(self.o.forward(&out.transpose(1, 2).reshape(&[batch, length, query])))
    }

    /// `rope`, or for a part of each head (Phi-4 mini) the rotated part and the rest put together again.
    fn rope(&self, x: &Tensor) -> Result<Tensor, Refused> {
        if self.rotary_size >= self.head_size {
            return x.rope();
        }
        let rotated = x.narrow(3, self.rotary_size).contiguous();
        let passed = x.narrow(3, self.head_size - self.rotary_size);
        let rotated = rotated.rope()?;
        Ok(Tensor::cat(&[&rotated, &passed], 3).contiguous())
    }
}

/// A binding and the one that it shadows.
struct Shadow(Tensor, #[allow(dead_code, reason = "held until the end of the scope")] Option<Tensor>);

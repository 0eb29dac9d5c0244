//! Plimsoll's own decoder (`bench-runner/src/decoder`), walked as candle-transformers' models are: the same statements in
//! the same order over tensors without numbers.

mod attention;
mod cache;
mod matrix;

use std::rc::Rc;

use super::load::{self, Dense, Gguf};
use super::tensor::{Context, Element, Refused, Tensor};
use super::{Family, softmax};
use crate::engine::request::{CandleRequest, Decoder as Asked, Device, WeightStorage};
use crate::engine::tape::Kind;
use crate::error::PlanError;
use crate::model::{Architecture, Dtype, FeedForward, Head, Model, NormPlace, Role};
use crate::pattern::{Pattern, Visibility};
use attention::{Kernel, Pass, Query};
use cache::Cache;
use matrix::{Linear, Matrix};

/// Families that the decoder computes and that are walked: their passes do not depend on what a router chooses.
const fn is_walked(family: Architecture) -> bool {
    matches!(
        family,
        Architecture::Llama
            | Architecture::Mistral
            | Architecture::Qwen2
            | Architecture::Qwen3
            | Architecture::Gemma2
            | Architecture::Gemma3
            | Architecture::Phi3
    )
}

/// The type that is computed in.
pub(super) const fn compute(weights: &WeightStorage, device: Device) -> Dtype {
    match (weights, device) {
        (WeightStorage::Dense(dtype), _) => *dtype,
        (WeightStorage::Fp8, Device::Cuda) => Dtype::Bf16,
        (WeightStorage::Fp8 | WeightStorage::Gguf { .. }, _) => Dtype::F32,
    }
}

pub(super) struct Decoder {
    embedding: Rc<Matrix>,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Rc<Matrix>,
    kernel: Kernel,
    visibilities: Vec<Visibility>,
    compute: Element,
    gemma: bool,
    logits_capped: bool,
    /// Alive as long as the model.
    _ropes: Vec<(Tensor, Tensor)>,
}

struct Layer {
    before_attention: Tensor,
    after_attention: Option<Tensor>,
    before_feed_forward: Tensor,
    after_feed_forward: Option<Tensor>,
    projections: Projections,
    query_norm: Option<Tensor>,
    key_norm: Option<Tensor>,
    output: Linear,
    gate_up: GateUp,
    down: Matrix,
    heads: u64,
    key_heads: u64,
    head_size: u64,
    rotary_size: u64,
    capped: bool,
    /// Gates by a GELU, as Gemma does.
    gelu: bool,
    kind: usize,
    cache: Cache,
}

#[allow(clippy::large_enum_variant, reason = "one for each layer")]
enum Projections {
    Apart { query: Linear, key: Linear, value: Linear },
    Fused(Linear),
}

enum GateUp {
    Apart { gate: Matrix, up: Matrix },
    Fused(Matrix),
}

/// Weights of a request, in any storage.
struct Weights<'a> {
    cx: &'a Context,
    compute: Element,
    source: Source<'a>,
    /// Gemma's norms are stored less one, but in GGUF files.
    norm_offset: bool,
}

enum Source<'a> {
    Dense(Dense),
    Fp8(Dense),
    Gguf(Gguf<'a>),
}

impl Weights<'_> {
    fn matrix(&mut self, role: Role, layer: Option<u64>) -> Result<Matrix, PlanError> {
        match &mut self.source {
            Source::Dense(dense) => Ok(Matrix::Dense(dense.get(role, layer)?)),
            Source::Fp8(dense) if matches!(role, Role::TokenEmbedding | Role::OutputHead) => {
                Ok(Matrix::Dense(dense.get(role, layer)?))
            }
            Source::Fp8(dense) => {
                let read = dense.get(role, layer)?;
                read.retag(Kind::Temporary);
                Ok(Matrix::fp8(&read, self.compute))
            }
            Source::Gguf(gguf) => Matrix::gguf(gguf, role, layer),
        }
    }

    fn optional(&mut self, role: Role, layer: Option<u64>) -> Option<Tensor> {
        match &mut self.source {
            Source::Dense(dense) | Source::Fp8(dense) => dense.optional(role, layer),
            Source::Gguf(gguf) => gguf.dequantised(role, layer).ok(),
        }
    }

    fn norm(&mut self, role: Role, layer: Option<u64>) -> Result<Tensor, PlanError> {
        self.optional_norm(role, layer).ok_or_else(|| load::missing(role, layer))
    }

    fn optional_norm(&mut self, role: Role, layer: Option<u64>) -> Option<Tensor> {
        let stored = self.optional(role, layer)?;
        if !self.norm_offset {
            return Some(stored);
        }
        let whole = stored.unary();
        whole.retag(Kind::Weights);
        Some(whole)
    }

    fn linear(&mut self, weight: Role, bias: Role, layer: Option<u64>) -> Result<Linear, PlanError> {
        Ok(Linear { matrix: self.matrix(weight, layer)?, bias: self.optional(bias, layer) })
    }
}

impl Decoder {
    pub(super) fn load(
        cx: &Context,
        model: &Model,
        request: &CandleRequest,
        asked: Asked,
    ) -> Result<Self, PlanError> {
        if !is_walked(model.architecture) || !model.towers.is_empty() {
            return Err(PlanError::not_planned_yet(
                "model",
                format!("memory of Plimsoll's decoder for {}", model.architecture.model_type()),
                "plan one of llama, mistral, qwen2, qwen3, gemma2, gemma3_text, phi3, or measure this one with \
                 `bench-runner run --variant plimsoll`",
            ));
        }
        let compute = load::element(compute(&request.weights, request.device));
        let dtype = self::compute(&request.weights, request.device);
        let gemma = matches!(model.architecture, Architecture::Gemma2 | Architecture::Gemma3);
        let (source, in_gguf) = match &request.weights {
            WeightStorage::Dense(dtype) => (Source::Dense(Dense::new(cx, model, *dtype)), false),
            WeightStorage::Fp8 => (Source::Fp8(Dense::new(cx, model, dtype)), false),
            WeightStorage::Gguf { types, .. } => (Source::Gguf(Gguf::new(cx, model, types)?), true),
        };
        let weights = Weights { cx, compute, source, norm_offset: gemma && !in_gguf };
        Self::build(weights, model, request, asked)
    }

    fn build(
        mut weights: Weights<'_>,
        model: &Model,
        request: &CandleRequest,
        asked: Asked,
    ) -> Result<Self, PlanError> {
        let (cx, compute) = (weights.cx.clone(), weights.compute);
        let tokens = request.prompt.0.saturating_add(request.generate.0);
        let attention = request.attention.clone().unwrap_or(crate::document::plan::Attention::Eager);
        let (kernel, pattern) = (Kernel::of(&attention), Pattern::of(&attention));
        let embedding = Rc::new(weights.matrix(Role::TokenEmbedding, None)?);
        let (mut ropes, mut rotations) = (Vec::new(), Vec::new());
        let mut visibilities: Vec<Visibility> = Vec::new();
        let mut layers = Vec::with_capacity(model.layers.len());
        for (index, shape) in (0u64..).zip(&model.layers) {
            let at = Some(index);
            let a = softmax(shape)?;
            let visibility = Visibility { pattern, window: a.window.map(|w| w.0) };
            // Gemma 3 turns its windowed layers by another base.
            let turned = (a.window.is_some() && model.architecture == Architecture::Gemma3, a.rotary_size);
            if !rotations.contains(&turned) {
                rotations.push(turned);
                ropes.push(rope(&cx, tokens, a.rotary_size, compute));
            }
            let kind = visibilities.iter().position(|v| *v == visibility).unwrap_or_else(|| {
                visibilities.push(visibility);
                visibilities.len() - 1
            });
            let FeedForward::Dense(_) = shape.feed_forward else {
                return Err(PlanError::not_planned_yet(
                    "model",
                    "a mixture of experts in Plimsoll's decoder",
                    "plan a dense model",
                ));
            };
            let mut norm = |place| weights.norm(Role::LayerNorm(place), at);
            let before_attention = norm(NormPlace::BeforeAttention)?;
            let before_feed_forward = norm(NormPlace::BeforeFeedForward)?;
            let after_attention = weights.optional_norm(Role::LayerNorm(NormPlace::AfterAttention), at);
            let after_feed_forward = weights.optional_norm(Role::LayerNorm(NormPlace::AfterFeedForward), at);
            let query_norm = weights.optional_norm(Role::QueryNorm, at);
            let key_norm = weights.optional_norm(Role::KeyNorm, at);
            let projections = if a.fused_qkv {
                Projections::Fused(weights.linear(Role::QueryKeyValue, Role::QueryBias, at)?)
            } else {
                Projections::Apart {
                    query: weights.linear(Role::Query, Role::QueryBias, at)?,
                    key: weights.linear(Role::Key, Role::KeyBias, at)?,
                    value: weights.linear(Role::Value, Role::ValueBias, at)?,
                }
            };
            let output = weights.linear(Role::AttentionOutput, Role::AttentionOutputBias, at)?;
            let gate_up = if super::dense(shape)?.fused_gate_up {
                GateUp::Fused(weights.matrix(Role::GateUp, at)?)
            } else {
                let gate = weights.matrix(Role::Gate, at)?;
                GateUp::Apart { gate, up: weights.matrix(Role::Up, at)? }
            };
            layers.push(Layer {
                before_attention,
                after_attention,
                before_feed_forward,
                after_feed_forward,
                projections,
                query_norm,
                key_norm,
                output,
                gate_up,
                down: weights.matrix(Role::Down, at)?,
                heads: a.heads,
                key_heads: a.kv_heads,
                head_size: a.head_size,
                rotary_size: a.rotary_size,
                capped: a.softcap,
                gelu: matches!(model.architecture, Architecture::Gemma2 | Architecture::Gemma3),
                kind,
                cache: Cache::new(asked, kernel, tokens, visibility.reach()),
            });
        }
        let norm = weights.norm(Role::FinalNorm, None)?;
        let head = if model.tied_embeddings {
            Rc::clone(&embedding)
        } else {
            Rc::new(weights.matrix(Role::OutputHead, None)?)
        };
        let logits_capped = matches!(model.head, Head::LanguageModel { softcap: true });
        let gemma = matches!(model.architecture, Architecture::Gemma2 | Architecture::Gemma3);
        Ok(Self {
            embedding,
            layers,
            norm,
            head,
            kernel,
            visibilities,
            compute,
            gemma,
            logits_capped,
            _ropes: ropes,
        })
    }
}

/// Tables of cosines and sines, each made on the host and narrowed.
fn rope(cx: &Context, tokens: u64, size: u64, element: Element) -> (Tensor, Tensor) {
    let table = || {
        // A list that grows by doubling from the first rows on.
        let wide = Tensor::new(cx, &[tokens, size / 2], Element::F32, Kind::Temporary);
        let table = wide.to_dtype(element);
        table.retag(Kind::Weights);
        table
    };
    (table(), table())
}

impl Family for Decoder {
    fn forward(&mut self, ids: &Tensor, position: u64) -> Result<Tensor, Refused> {
        let (batch, length) = (ids.dims()[0], ids.dims()[1]);
        if position == 0 {
            for layer in &mut self.layers {
                layer.cache.allocate(ids.cx(), (batch, layer.key_heads, layer.head_size));
            }
        }
        let mut pass = Pass::new(ids.cx(), position, length);
        let mut x = self.embedding.rows(ids, self.compute)?;
        if self.gemma {
            x = x.scaled();
        }
        for layer in &mut self.layers {
            let visibility = self.visibilities[layer.kind];
            x = layer.forward(x, self.kernel, visibility, &mut pass)?;
        }
        drop(pass);
        let last = x.narrow(1, 1).contiguous();
        drop(x);
        let normed = last.rms_norm(&self.norm);
        let logits = {
            let logits = self.head.forward(&normed)?.without(1);
            logits.to_dtype(Element::F32)
        };
        drop(normed);
        Ok(capped(logits, self.logits_capped))
    }

    fn reset(&mut self) {
        for layer in &mut self.layers {
            layer.cache.reset();
        }
    }

    fn seek(&mut self, tokens: u64) {
        for layer in &mut self.layers {
            layer.cache.seek(tokens);
        }
    }
}

impl Layer {
    fn forward(
        &mut self,
        x: Tensor,
        kernel: Kernel,
        visibility: Visibility,
        pass: &mut Pass,
    ) -> Result<Tensor, Refused> {
        let mixed = {
            let normed = x.rms_norm(&self.before_attention);
            self.attend(normed, kernel, visibility, pass)?
        };
        let mixed = normed_by(self.after_attention.as_ref(), mixed);
        let x = x + mixed;
        let fed = {
            let normed = x.rms_norm(&self.before_feed_forward);
            self.feed(&normed)?
        };
        let fed = normed_by(self.after_feed_forward.as_ref(), fed);
        Ok(x + fed)
    }

    fn feed(&self, x: &Tensor) -> Result<Tensor, Refused> {
        let inner = match &self.gate_up {
            GateUp::Apart { gate, up } => {
                let gate = gate.forward(x)?;
                let up = up.forward(x)?;
                if !self.gelu && in_place(&gate) {
                    gate
                } else {
                    let bent = gate.unary();
                    drop(gate);
                    bent * up
                }
            }
            GateUp::Fused(both) => {
                let both = both.forward(x)?;
                let width = both.dims()[2] / 2;
                let gate = both.narrow(2, width).unary();
                gate * both.narrow(2, width)
            }
        };
        self.down.forward(&inner)
    }

    fn attend(
        &mut self,
        x: Tensor,
        kernel: Kernel,
        visibility: Visibility,
        pass: &mut Pass,
    ) -> Result<Tensor, Refused> {
        let (query, key, value) = self.project(&x)?;
        drop(x);
        let view = {
            let key = self.heads_of(key, self.key_heads, self.key_norm.as_ref(), kernel);
            let key = self.rotate(key)?;
            let value = self.heads_of(value, self.key_heads, None, kernel);
            self.cache.append(key, value)
        };
        let query = self.heads_of(query, self.heads, self.query_norm.as_ref(), kernel);
        let query = self.rotate(query)?;
        let query = Query { tensor: query, key_heads: self.key_heads, capped: self.capped };
        let out = kernel.attend(query, view, visibility, pass)?;
        self.output.forward(&out)
    }

    fn project(&self, x: &Tensor) -> Result<(Tensor, Tensor, Tensor), Refused> {
        match &self.projections {
            Projections::Apart { query, key, value } => {
                Ok((query.forward(x)?, key.forward(x)?, value.forward(x)?))
            }
            Projections::Fused(all) => {
                let all = all.forward(x)?;
                let part = |heads: u64| all.narrow(2, heads * self.head_size).contiguous();
                Ok((part(self.heads), part(self.key_heads), part(self.key_heads)))
            }
        }
    }

    fn heads_of(&self, x: Tensor, heads: u64, norm: Option<&Tensor>, kernel: Kernel) -> Tensor {
        let (batch, tokens) = (x.dims()[0], x.dims()[1]);
        let apart = x.reshape(&[batch, tokens, heads, self.head_size]);
        drop(x);
        let x = match norm {
            Some(norm) => apart.rms_norm(norm),
            None => apart.clone(),
        };
        drop(apart);
        if kernel.tokens_first() { x } else { x.transpose(1, 2).contiguous() }
    }

    #[allow(clippy::needless_pass_by_value, reason = "freed where the source frees it")]
    fn rotate(&self, x: Tensor) -> Result<Tensor, Refused> {
        if self.rotary_size >= self.head_size {
            if in_place(&x) {
                return Ok(x);
            }
            return x.rope();
        }
        let turned = {
            let part = x.narrow(3, self.rotary_size).contiguous();
            part.rope()?
        };
        let kept = x.narrow(3, self.head_size - self.rotary_size);
        Ok(Tensor::cat(&[&turned, &kept], 3))
    }
}

/// Whether the decoder computes a step in the place of its operand (`bench-runner/src/decoder/host.rs`, `takes`).
fn in_place(x: &Tensor) -> bool {
    x.cx().device == Device::Cpu && x.element() == Element::F32 && x.is_contiguous()
}

fn normed_by(norm: Option<&Tensor>, x: Tensor) -> Tensor {
    match norm {
        Some(norm) => x.rms_norm(norm),
        None => x,
    }
}

/// Caps by a tanh.
fn capped(x: Tensor, is_capped: bool) -> Tensor {
    if !is_capped {
        return x;
    }
    let parts = x.scaled();
    let bent = parts.unary();
    drop(parts);
    bent.scaled()
}

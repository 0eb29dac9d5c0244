//! `bench-runner/src/decoder/training`: the training step of Plimsoll's decoder.

use std::rc::Rc;

use super::super::graph::{Frozen, Gradients, Node, Unary};
use super::super::load::{Dense, missing};
use super::super::tensor::{Context, Element, Refused, Tensor};
use super::super::{dense, quantized, refused, softmax};
use super::rope;
use crate::document::plan::Lora;
use crate::engine::request::WeightStorage;
use crate::engine::tape::{Alive, Kind};
use crate::error::PlanError;
use crate::ggml::GgmlType;
use crate::model::{Architecture, Attention, Model, NormPlace, Role};

/// Families whose layers the training step computes.
pub(in crate::engine::candle) const fn is_trained(family: Architecture) -> bool {
    matches!(family, Architecture::Llama | Architecture::Mistral | Architecture::Qwen2 | Architecture::Qwen3)
}

/// What a training step does.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::engine::candle) struct Step {
    /// Adapters alone are trained; none: everything is.
    pub(in crate::engine::candle) lora: Option<Lora>,
    /// The optimizer keeps two moments of each parameter (`AdamW`).
    pub(in crate::engine::candle) moments: bool,
    /// Parameters have copies in fp32.
    pub(in crate::engine::candle) masters: bool,
    /// Only the inputs of layers are kept for the backward pass.
    pub(in crate::engine::candle) checkpoints: bool,
    /// The type that is computed in.
    pub(in crate::engine::candle) compute: Element,
    /// How frozen matrices of layers are held.
    pub(in crate::engine::candle) weights: WeightStorage,
}

/// What was alive at the fullest moment of each phase.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine::candle) struct Peaks {
    pub(in crate::engine::candle) load: Alive,
    pub(in crate::engine::candle) forward: Alive,
    pub(in crate::engine::candle) backward: Alive,
    pub(in crate::engine::candle) update: Alive,
}

/// The peaks of a step of `accumulation` micro batches of `batch` × `tokens`.
///
/// # Errors
/// What the training step does not compute.
pub(in crate::engine::candle) fn peaks(
    cx: &Context,
    model: &Model,
    step: &Step,
    (batch, tokens, accumulation): (u64, u64, u64),
) -> Result<Peaks, PlanError> {
    let mut trainer = Trainer::load(cx, model, step, tokens)?;
    let load = cx.tape.peak();
    let mut peaks =
        Peaks { load, forward: Alive::default(), backward: Alive::default(), update: Alive::default() };
    let keep = |phase: &mut Alive| {
        let peak = cx.tape.peak();
        if peak.total() > phase.total() {
            *phase = peak;
        }
        cx.tape.reset_peak();
    };
    cx.tape.reset_peak();
    // A warm-up, after which the kernels' workspaces are there, and a step.
    for _ in 0..2 {
        // From the second micro batch on all are alike.
        for _ in 0..accumulation.clamp(1, 2) {
            let ids = Tensor::new(cx, &[batch, tokens], Element::U32, Kind::Activation);
            let targets = Tensor::new(cx, &[batch * tokens, 1], Element::U32, Kind::Activation);
            let passed = trainer.forward(ids, &targets).map_err(refused)?;
            drop(targets);
            keep(&mut peaks.forward);
            trainer.backward(passed).map_err(refused)?;
            keep(&mut peaks.backward);
        }
        trainer.update();
        keep(&mut peaks.update);
    }
    Ok(peaks)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Recorded,
    Plain,
}

/// A tensor that is trained, or one that is not.
#[derive(Debug, Clone)]
enum Weight {
    Trained(Node),
    Frozen(Tensor),
}

impl Weight {
    fn tensor(&self, mode: Mode) -> Node {
        match self {
            Self::Trained(var) => recorded(var, mode),
            Self::Frozen(tensor) => Node::constant(tensor.clone()),
        }
    }
}

fn recorded(var: &Node, mode: Mode) -> Node {
    match mode {
        Mode::Recorded => var.clone(),
        Mode::Plain => var.detach(),
    }
}

struct Parameter {
    var: Node,
    master: Option<Tensor>,
    moments: Option<(Tensor, Tensor)>,
    gradient: Option<Node>,
}

struct Trainer {
    embedding: Weight,
    layers: Vec<Layer>,
    norm: Weight,
    head: Option<Linear>,
    mask: Vec<Tensor>,
    parameters: Vec<Parameter>,
    checkpoints: bool,
    /// Alive as long as the model.
    _ropes: Vec<(Tensor, Tensor, Tensor)>,
}

struct Linear {
    matrix: Matrix,
    bias: Option<Weight>,
    adapter: Option<(Node, Node)>,
}

enum Matrix {
    Trained(Node),
    Frozen(Frozen),
}

struct Layer {
    before_attention: Weight,
    before_feed_forward: Weight,
    query: Linear,
    key: Linear,
    value: Linear,
    query_norm: Option<Weight>,
    key_norm: Option<Weight>,
    output: Linear,
    gate: Linear,
    up: Linear,
    down: Linear,
    attention: Attention,
    mask: usize,
}

/// A forward pass that waits for its backward pass.
enum Passed {
    Graph { loss: Node },
    Inputs { ids: Tensor, inputs: Vec<Node>, last: Node, loss: Node },
}

struct Loader<'a> {
    cx: &'a Context,
    step: &'a Step,
    dense: Dense,
    /// Types of the tensors in blocks, in the model's order.
    types: Vec<(Role, Option<u64>, GgmlType)>,
    parameters: Vec<Parameter>,
}

impl Loader<'_> {
    fn train(&mut self, tensor: Tensor) -> Node {
        tensor.retag(Kind::Temporary);
        let var = Node::variable(&tensor, Kind::Weights);
        drop(tensor);
        let state = |element| Tensor::new(self.cx, var.dims(), element, Kind::Optimizer);
        let master = self.step.masters.then(|| state(Element::F32));
        let held = master.as_ref().map_or(self.step.compute, |_| Element::F32);
        let moments = self.step.moments.then(|| (state(held), state(held)));
        self.parameters.push(Parameter { var: var.clone(), master, moments, gradient: None });
        var
    }

    fn vector(&mut self, role: Role, layer: Option<u64>) -> Result<Weight, PlanError> {
        let tensor = self.dense.get(role, layer)?;
        Ok(if self.step.lora.is_none() {
            Weight::Trained(self.train(tensor))
        } else {
            Weight::Frozen(tensor)
        })
    }

    fn optional(&mut self, role: Role, layer: u64) -> Option<Weight> {
        self.vector(role, Some(layer)).ok()
    }

    fn linear(
        &mut self,
        role: Role,
        bias: Option<Role>,
        layer: u64,
        module: &str,
    ) -> Result<Linear, PlanError> {
        let at = Some(layer);
        let (rows, columns) = self.dense.size(role, at).ok_or_else(|| missing(role, at))?;
        let blocks = self.types.iter().find(|(r, l, _)| *r == role && *l == at).map(|(_, _, kind)| *kind);
        let matrix = match blocks {
            Some(kind) => {
                let bytes = quantized::bytes(kind, rows, columns).map_err(refused)?;
                let stored = Rc::new(self.cx.tape.alloc(Kind::Weights, bytes));
                Matrix::Frozen(Frozen::Blocks { rows, columns, _stored: stored })
            }
            None => match self.vector(role, at)? {
                Weight::Trained(var) => Matrix::Trained(var),
                Weight::Frozen(tensor) => Matrix::Frozen(Frozen::Dense(tensor)),
            },
        };
        let bias = bias.and_then(|role| self.optional(role, layer));
        let rank = self.step.lora.as_ref().filter(|l| l.targets.iter().any(|t| t == module)).map(|l| l.rank);
        let adapter = rank.map(|rank| {
            let (cx, element) = (self.cx, self.step.compute);
            let new = |dims: [u64; 2]| Tensor::new(cx, &dims, element, Kind::Temporary);
            let down = self.train(new([u64::from(rank), columns]));
            (down, self.train(new([rows, u64::from(rank)])))
        });
        Ok(Linear { matrix, bias, adapter })
    }
}

impl Trainer {
    fn load(cx: &Context, model: &Model, step: &Step, tokens: u64) -> Result<Self, PlanError> {
        let types = match &step.weights {
            WeightStorage::Gguf { types, .. } => {
                let tensors = model.tensors().into_iter().zip(types);
                tensors
                    .filter(|(t, _)| t.layer.is_some() && t.is_matrix())
                    .map(|(t, kind)| (t.role, t.layer, *kind))
                    .collect()
            }
            _ => Vec::new(),
        };
        let tensors = Dense::of(cx, model, step.compute);
        let mut loader = Loader { cx, step, dense: tensors, types, parameters: Vec::new() };
        let embedding = loader.vector(Role::TokenEmbedding, None)?;
        let (mut rotations, mut ropes) = (Vec::new(), Vec::new());
        let (mut seen, mut masks) = (Vec::new(), Vec::new());
        let mut layers = Vec::with_capacity(model.layers.len());
        for (index, shape) in (0u64..).zip(&model.layers) {
            let at = Some(index);
            let attention = softmax(shape)?.clone();
            dense(shape)?;
            if !rotations.contains(&attention.rotary_size) {
                rotations.push(attention.rotary_size);
                let (cos, sin) = rope(cx, tokens, attention.rotary_size, step.compute);
                let back = sin.unary();
                back.retag(Kind::Weights);
                ropes.push((cos, sin, back));
            }
            let mask = seen.iter().position(|known| *known == attention.window).unwrap_or_else(|| {
                masks.push(Tensor::new(cx, &[tokens, tokens], Element::F32, Kind::Weights));
                seen.push(attention.window);
                masks.len() - 1
            });
            layers.push(Layer {
                before_attention: loader.vector(Role::LayerNorm(NormPlace::BeforeAttention), at)?,
                before_feed_forward: loader.vector(Role::LayerNorm(NormPlace::BeforeFeedForward), at)?,
                query: loader.linear(Role::Query, Some(Role::QueryBias), index, "q_proj")?,
                key: loader.linear(Role::Key, Some(Role::KeyBias), index, "k_proj")?,
                value: loader.linear(Role::Value, Some(Role::ValueBias), index, "v_proj")?,
                query_norm: loader.optional(Role::QueryNorm, index),
                key_norm: loader.optional(Role::KeyNorm, index),
                output: loader.linear(
                    Role::AttentionOutput,
                    Some(Role::AttentionOutputBias),
                    index,
                    "o_proj",
                )?,
                gate: loader.linear(Role::Gate, None, index, "gate_proj")?,
                up: loader.linear(Role::Up, None, index, "up_proj")?,
                down: loader.linear(Role::Down, None, index, "down_proj")?,
                attention,
                mask,
            });
        }
        let norm = loader.vector(Role::FinalNorm, None)?;
        let head = if model.tied_embeddings {
            None
        } else {
            let matrix = match loader.vector(Role::OutputHead, None)? {
                Weight::Trained(var) => Matrix::Trained(var),
                Weight::Frozen(tensor) => Matrix::Frozen(Frozen::Dense(tensor)),
            };
            Some(Linear { matrix, bias: None, adapter: None })
        };
        let (parameters, checkpoints) = (loader.parameters, step.checkpoints);
        Ok(Self { embedding, layers, norm, head, mask: masks, parameters, checkpoints, _ropes: ropes })
    }

    fn forward(&self, ids: Tensor, targets: &Tensor) -> Result<Passed, Refused> {
        if !self.checkpoints {
            let mut x = self.embed(&ids, Mode::Recorded);
            drop(ids);
            for layer in &self.layers {
                x = layer.forward(&x, &self.mask[layer.mask], Mode::Recorded)?;
            }
            return Ok(Passed::Graph { loss: self.loss(&x, targets) });
        }
        let mut inputs = Vec::with_capacity(self.layers.len());
        let mut x = self.embed(&ids, Mode::Plain);
        for layer in &self.layers {
            let next = layer.forward(&x, &self.mask[layer.mask], Mode::Plain)?;
            inputs.push(std::mem::replace(&mut x, next));
        }
        let last = Node::variable(x.tensor(), Kind::Activation);
        drop(x);
        let loss = self.loss(&last, targets);
        Ok(Passed::Inputs { ids, inputs, last, loss })
    }

    fn backward(&mut self, passed: Passed) -> Result<(), Refused> {
        let (ids, inputs, last, loss) = match passed {
            Passed::Graph { loss } => {
                let gradients = scaled_backward(loss)?;
                self.take(gradients);
                return Ok(());
            }
            Passed::Inputs { ids, inputs, last, loss } => (ids, inputs, last, loss),
        };
        let mut gradients = scaled_backward(loss)?;
        let mut upstream = upstream_of(&mut gradients, last)?;
        self.take(gradients);
        for (index, input) in inputs.into_iter().enumerate().rev() {
            let leaf = Node::variable(input.tensor(), Kind::Activation);
            drop(input);
            let mut gradients = {
                let layer = &self.layers[index];
                let output = layer.forward(&leaf, &self.mask[layer.mask], Mode::Recorded)?;
                pulled(&output, &upstream).backward()?
            };
            upstream = upstream_of(&mut gradients, leaf)?;
            self.take(gradients);
        }
        if matches!(self.embedding, Weight::Trained(_)) {
            let gradients = {
                let output = self.embed(&ids, Mode::Recorded);
                pulled(&output, &upstream).backward()?
            };
            drop(upstream);
            self.take(gradients);
        }
        Ok(())
    }

    fn take(&mut self, mut gradients: Gradients) {
        for parameter in &mut self.parameters {
            let Some(new) = gradients.remove(&parameter.var) else { continue };
            parameter.gradient = Some(match parameter.gradient.take() {
                None => new,
                Some(before) => {
                    let sum = before.add(&new);
                    sum.tensor().retag(Kind::Gradients);
                    sum
                }
            });
        }
    }

    fn update(&mut self) {
        for parameter in &mut self.parameters {
            let Some(gradient) = parameter.gradient.take() else { continue };
            let held = if parameter.master.is_some() { Element::F32 } else { gradient.element() };
            let wide = gradient.tensor().to_dtype(held);
            drop(gradient);
            parameter.step(wide.scaled());
        }
    }

    fn embed(&self, ids: &Tensor, mode: Mode) -> Node {
        let (batch, tokens) = (ids.dims()[0], ids.dims()[1]);
        let rows = self.embedding.tensor(mode).index_select(&ids.reshape(&[batch * tokens]));
        let width = rows.dims()[1];
        rows.reshape(&[batch, tokens, width])
    }

    fn loss(&self, x: &Node, targets: &Tensor) -> Node {
        let normed = norm(&self.norm, x, Mode::Recorded);
        let logits = match (&self.head, &self.embedding) {
            (Some(head), _) => head.forward(&normed, Mode::Recorded),
            (None, table) => {
                let (batch, tokens, width) = (normed.dims()[0], normed.dims()[1], normed.dims()[2]);
                let rows = normed.reshape(&[batch * tokens, width]);
                match table {
                    Weight::Trained(var) => rows.matmul(&recorded(var, Mode::Recorded).t()),
                    Weight::Frozen(table) => rows.product(&Frozen::Dense(table.clone())),
                }
            }
        };
        drop(normed);
        let vocabulary = logits.dims().last().copied().unwrap_or(1);
        let flat = logits.reshape(&[targets.dims()[0], vocabulary]);
        drop(logits);
        cross_entropy(flat, targets)
    }
}

/// `loss.rs`.
fn cross_entropy(logits: Node, targets: &Tensor) -> Node {
    let wide = logits.to_dtype(Element::F32);
    drop(logits);
    let shifted = {
        let largest = wide.tensor().reduce_last_keepdim().scaled();
        wide.plus(&largest)
    };
    drop(wide);
    let chosen = shifted.gather(targets);
    let total = shifted.unary(Unary::Exp).sum_last_keepdim().unary(Unary::Log);
    total.sub(&chosen).sum_all().affine()
}

fn scaled_backward(loss: Node) -> Result<Gradients, Refused> {
    let scaled = loss.affine();
    drop(loss);
    scaled.backward()
}

fn pulled(output: &Node, upstream: &Node) -> Node {
    output.times(upstream.tensor()).sum_all()
}

#[allow(clippy::needless_pass_by_value, reason = "freed where the source frees it")]
fn upstream_of(gradients: &mut Gradients, leaf: Node) -> Result<Node, Refused> {
    let gradient = gradients.remove(&leaf).ok_or_else(|| Refused("a layer without a gradient".to_owned()))?;
    gradient.tensor().retag(Kind::Activation);
    Ok(gradient)
}

/// `layer.rs`, `Norm`.
fn norm(weight: &Weight, x: &Node, mode: Mode) -> Node {
    let normed = {
        let wide = x.to_dtype(Element::F32);
        let root = wide.unary(Unary::Sqr).sum_last_keepdim().affine().unary(Unary::Sqrt);
        wide.broadcast_div(&root)
    };
    let tensor = weight.tensor(mode).to_dtype(Element::F32);
    let scaled = match weight {
        Weight::Trained(_) => normed.broadcast_mul(&tensor),
        Weight::Frozen(_) => normed.times(tensor.tensor()),
    };
    drop(normed);
    scaled.to_dtype(x.element())
}

impl Linear {
    fn forward(&self, x: &Node, mode: Mode) -> Node {
        let (batch, tokens, inputs) = (x.dims()[0], x.dims()[1], x.dims()[2]);
        let rows = x.reshape(&[batch * tokens, inputs]);
        let mut y = match &self.matrix {
            Matrix::Trained(var) => rows.matmul(&recorded(var, mode).t()),
            Matrix::Frozen(weight) => rows.product(weight),
        };
        if let Some((down, up)) = &self.adapter {
            let wide = {
                let narrow = rows.matmul(&recorded(down, mode).t());
                narrow.matmul(&recorded(up, mode).t())
            };
            let scaled = wide.affine();
            drop(wide);
            y = y.add(&scaled);
        }
        match &self.bias {
            None => {}
            Some(Weight::Trained(bias)) => y = y.broadcast_add(&recorded(bias, mode)),
            Some(Weight::Frozen(bias)) => y = y.plus(bias),
        }
        let outputs = y.dims()[1];
        y.reshape(&[batch, tokens, outputs])
    }
}

impl Layer {
    fn forward(&self, x: &Node, mask: &Tensor, mode: Mode) -> Result<Node, Refused> {
        let x = {
            let mixed = {
                let normed = norm(&self.before_attention, x, mode);
                self.attend(&normed, mask, mode)?
            };
            x.add(&mixed)
        };
        let fed = {
            let normed = norm(&self.before_feed_forward, &x, mode);
            let inner = {
                let gate = self.gate.forward(&normed, mode).unary(Unary::Silu);
                let up = self.up.forward(&normed, mode);
                gate.mul(&up)
            };
            self.down.forward(&inner, mode)
        };
        Ok(x.add(&fed))
    }

    fn attend(&self, x: &Node, mask: &Tensor, mode: Mode) -> Result<Node, Refused> {
        let (batch, tokens) = (x.dims()[0], x.dims()[1]);
        let Attention { heads, kv_heads, head_size, rotary_size, .. } = self.attention;
        let groups = heads / kv_heads.max(1);
        let query = {
            let query = self.query.forward(x, mode);
            let query = self.heads_of(query, heads, self.query_norm.as_ref(), mode);
            let turned = query.rotate(rotary_size)?;
            drop(query);
            let scaled = turned.affine();
            drop(turned);
            scaled.reshape(&[batch, kv_heads, groups * tokens, head_size])
        };
        let key = {
            let key = self.key.forward(x, mode);
            let key = self.heads_of(key, kv_heads, self.key_norm.as_ref(), mode);
            key.rotate(rotary_size)?
        };
        let weights = {
            let scores = query.matmul(&key.t()).to_dtype(Element::F32);
            let scores = scores.reshape(&[batch, kv_heads, groups, tokens, tokens]);
            let weights = scores.softmax(mask);
            drop(scores);
            weights.to_dtype(x.element()).reshape(&[batch, kv_heads, groups * tokens, tokens])
        };
        drop((query, key));
        let value = {
            let value = self.value.forward(x, mode);
            self.heads_of(value, kv_heads, None, mode)
        };
        let out = weights.matmul(&value);
        drop((weights, value));
        let out = out.reshape(&[batch, heads, tokens, head_size]).transpose(1, 2);
        let out = out.reshape(&[batch, tokens, heads * head_size]);
        Ok(self.output.forward(&out, mode))
    }

    #[allow(clippy::needless_pass_by_value, reason = "freed where the source frees it")]
    fn heads_of(&self, x: Node, heads: u64, norm_by: Option<&Weight>, mode: Mode) -> Node {
        let (batch, tokens) = (x.dims()[0], x.dims()[1]);
        let apart = x.reshape(&[batch, tokens, heads, self.attention.head_size]);
        drop(x);
        let apart = match norm_by {
            Some(weight) => norm(weight, &apart, mode),
            None => apart,
        };
        apart.transpose(1, 2).contiguous()
    }
}

impl Parameter {
    /// `optimizer.rs`.
    #[allow(clippy::needless_pass_by_value, reason = "freed where the source frees it")]
    fn step(&mut self, gradient: Tensor) {
        let change = match self.moments.take() {
            None => gradient.scaled(),
            Some((first, second)) => {
                let first = first.scaled() + gradient.unary();
                let second = second.scaled() + gradient.unary().scaled();
                drop(gradient);
                let scaled = second.unary();
                let root = scaled.unary().scaled();
                drop(scaled);
                let mean = first.unary();
                let change = (mean * root).scaled();
                first.retag(Kind::Optimizer);
                second.retag(Kind::Optimizer);
                self.moments = Some((first, second));
                change
            }
        };
        let is_master = self.master.is_some();
        let held = self.master.take().unwrap_or_else(|| self.var.tensor().clone());
        let next = held.scaled() - change;
        if is_master {
            drop(next.to_dtype(self.var.element()));
            next.retag(Kind::Optimizer);
            self.master = Some(next);
        }
    }
}

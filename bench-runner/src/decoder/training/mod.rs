//! A training step of our decoder: forward and backward over candle's graph, then the optimizer, each apart, so that each
//! can be measured.
//!
//! Everything that is trained is a candle `Var`; what is frozen is a part of the operations that read it
//! ([`operations`]), so that no gradient of it is made. With full checkpointing the forward pass keeps the input of each
//! layer alone; the backward pass runs each layer again, from the last to the first, recorded this time.

mod layer;
mod loss;
mod operations;
mod optimizer;
mod options;
mod parameter;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use planner::document::plan::{Checkpointing, Optimizer, TrainMethod};
use planner::model::{Layer as Shape, Model, NormPlace, Role};
use planner::pattern::{Pattern, Visibility};
use serde_json::Value;

pub use options::{Options, compute_type};

use super::From;
use super::numbers::Numbers;
use super::rope::Rope;
use super::weights::{Weights, as_size};
use crate::engine::{EngineError, Precision, Refusal, random_tensor};
use layer::{Adapter, Layer, Linear, Matrix, Norm};
use operations::{Frozen, Turn};
use optimizer::Rule;
use parameter::{Mode, Parameters, Weight, recorded};

/// Below any score, and finite, so that a row of nothing but these is still a row of numbers.
const UNSEEN: f32 = -1e30;

/// What the loss is multiplied by before a backward pass in fp16, whose smallest number is 6·10⁻⁸ (arXiv 1710.03740, section
/// 3.2); a power of two, so that nothing is rounded.
const HALF_LOSS_SCALE: f64 = 1024.0;

/// A model, what is trained of it, and its optimizer.
#[derive(Debug)]
pub struct Trainer {
    embedding: Weight,
    layers: Vec<Layer>,
    norm: Norm,
    /// None: the embedding.
    head: Option<Linear>,
    turns: Vec<Turn>,
    masks: Vec<Tensor>,
    parameters: Parameters,
    checkpoints: bool,
    /// What the loss of a micro batch is multiplied by before its backward pass.
    loss_factor: f64,
}

/// A forward pass that waits for its backward pass.
#[derive(Debug)]
pub struct Passed(Kept);

#[derive(Debug)]
enum Kept {
    /// The whole graph, by its loss.
    Graph { loss: Tensor },
    /// The input of each layer, and the graph from the last layer's output on.
    Inputs { ids: Tensor, inputs: Vec<Tensor>, last: Var, loss: Tensor },
}

impl Passed {
    /// Mean cross entropy of the next token, in nats.
    ///
    /// # Errors
    /// Where Candle fails.
    pub fn loss(&self) -> candle_core::Result<f32> {
        match &self.0 {
            Kept::Graph { loss } | Kept::Inputs { loss, .. } => loss.to_scalar(),
        }
    }
}

impl Trainer {
    /// Loads a model of a configuration onto `device`, and prepares what is trained of it.
    ///
    /// # Errors
    /// Where a file is not what its configuration says, the device has no memory, or Candle fails.
    pub(crate) fn load(
        from: &From<'_>,
        config: &Value,
        precision: Precision,
        options: &Options,
        device: &Device,
    ) -> Result<Self, EngineError> {
        let compute = compute_type(&options.training, precision);
        super::opened(from, config, precision, compute, device, |weights, model, numbers| {
            Loader { weights, numbers, options, compute, device, parameters: parameters(options, compute) }
                .load(model)
        })
    }

    /// The loss of `ids` (sequences × tokens, u32) against `targets` (a flat list of as many): each the token after.
    ///
    /// # Errors
    /// Where Candle fails.
    pub fn forward(&self, ids: Tensor, targets: &Tensor) -> candle_core::Result<Passed> {
        if !self.checkpoints {
            let mut x = self.embed(&ids, Mode::Recorded)?;
            drop(ids);
            for layer in &self.layers {
                x = self.layer(layer, &x, Mode::Recorded)?;
            }
            return Ok(Passed(Kept::Graph { loss: self.loss(&x, targets)? }));
        }
        let mut inputs = Vec::with_capacity(self.layers.len());
        let mut x = self.embed(&ids, Mode::Plain)?;
        for layer in &self.layers {
            let next = self.layer(layer, &x, Mode::Plain)?;
            inputs.push(std::mem::replace(&mut x, next));
        }
        let last = Var::from_tensor(&x)?;
        drop(x);
        let loss = self.loss(last.as_tensor(), targets)?;
        Ok(Passed(Kept::Inputs { ids, inputs, last, loss }))
    }

    /// Adds the gradients of a forward pass to those before.
    ///
    /// # Errors
    /// Where Candle fails.
    pub fn backward(&mut self, passed: Passed) -> candle_core::Result<()> {
        let (ids, inputs, last, loss) = match passed.0 {
            Kept::Graph { loss } => {
                let gradients = {
                    let scaled = (loss * self.loss_factor)?;
                    scaled.backward()?
                };
                return self.parameters.take(gradients);
            }
            Kept::Inputs { ids, inputs, last, loss } => (ids, inputs, last, loss),
        };
        let mut gradients = {
            let scaled = (loss * self.loss_factor)?;
            scaled.backward()?
        };
        let mut upstream = gradient_of(&mut gradients, &last)?;
        drop(last);
        self.parameters.take(gradients)?;
        for (layer, input) in self.layers.iter().zip(inputs).rev() {
            let leaf = Var::from_tensor(&input)?;
            drop(input);
            let mut gradients = {
                let output = self.layer(layer, leaf.as_tensor(), Mode::Recorded)?;
                pulled(&output, &upstream)?.backward()?
            };
            upstream = gradient_of(&mut gradients, &leaf)?;
            drop(leaf);
            self.parameters.take(gradients)?;
        }
        if matches!(self.embedding, Weight::Trained(_)) {
            let gradients = {
                let output = self.embed(&ids, Mode::Recorded)?;
                pulled(&output, &upstream)?.backward()?
            };
            drop(upstream);
            self.parameters.take(gradients)?;
        }
        Ok(())
    }

    /// One step of the optimizer.
    ///
    /// # Errors
    /// Where Candle fails.
    pub fn update(&mut self) -> candle_core::Result<()> {
        self.parameters.update()
    }

    fn embed(&self, ids: &Tensor, mode: Mode) -> candle_core::Result<Tensor> {
        let (batch, tokens) = ids.dims2()?;
        let rows = self.embedding.tensor(mode).index_select(&ids.flatten_all()?, 0)?;
        let width = rows.dim(1)?;
        rows.reshape((batch, tokens, width))
    }

    fn layer(&self, layer: &Layer, x: &Tensor, mode: Mode) -> candle_core::Result<Tensor> {
        layer.forward(x, &self.turns[layer.rope], &self.masks[layer.mask], mode)
    }

    fn loss(&self, x: &Tensor, targets: &Tensor) -> candle_core::Result<Tensor> {
        let normed = self.norm.forward(x, Mode::Recorded)?;
        let logits = match (&self.head, &self.embedding) {
            (Some(head), _) => head.forward(&normed, Mode::Recorded)?,
            (None, table) => {
                let (batch, tokens, width) = normed.dims3()?;
                let rows = normed.reshape((batch * tokens, width))?;
                match table {
                    Weight::Trained(var) => rows.matmul(&recorded(var, Mode::Recorded).t()?)?,
                    Weight::Frozen(table) => operations::product(&rows, &Frozen::Dense(table.clone()))?,
                }
            }
        };
        drop(normed);
        let vocabulary = logits.dim(candle_core::D::Minus1)?;
        let rows = logits.elem_count() / vocabulary;
        loss::cross_entropy(logits.reshape((rows, vocabulary))?, targets)
    }
}

/// A number whose gradient by `output` is `upstream`: what continues a backward pass at another graph's end.
fn pulled(output: &Tensor, upstream: &Tensor) -> candle_core::Result<Tensor> {
    operations::times(output, upstream)?.sum_all()
}

fn gradient_of(gradients: &mut candle_core::backprop::GradStore, leaf: &Var) -> candle_core::Result<Tensor> {
    match gradients.remove(leaf.as_tensor()) {
        Some(gradient) => Ok(gradient),
        None => candle_core::bail!("no gradient came to a layer's input"),
    }
}

fn parameters(options: &Options, compute: DType) -> Parameters {
    let rule = match options.training.optimizer {
        Optimizer::Adamw => Rule::AdamW { rate: options.learning_rate },
        _ => Rule::Sgd { rate: options.learning_rate },
    };
    let masters = compute != DType::F32 && options.training.mixed_precision;
    Parameters::new(rule, masters, loss_scale(compute))
}

fn loss_scale(compute: DType) -> f64 {
    if compute == DType::F16 { HALF_LOSS_SCALE } else { 1.0 }
}

/// Loads the parts of a trainer.
struct Loader<'a, 'w> {
    weights: Weights<'w>,
    numbers: Numbers,
    options: &'a Options,
    compute: DType,
    device: &'a Device,
    parameters: Parameters,
}

impl Loader<'_, '_> {
    fn load(mut self, model: &Model) -> Result<Trainer, EngineError> {
        let embedding = self.vector(Role::TokenEmbedding, None)?;
        let (mut rotations, mut turns) = (Vec::new(), Vec::new());
        let (mut seen, mut masks) = (Vec::new(), Vec::new());
        let mut layers = Vec::with_capacity(model.layers.len());
        for (index, shape) in (0u64..).zip(&model.layers) {
            let attention = shape
                .attention()
                .ok_or_else(|| Refusal(format!("layer {index} has no softmax attention")))?;
            let window = attention.window.map(|w| w.0);
            let rotation =
                if window.is_some() { &self.numbers.windowed_rotation } else { &self.numbers.rotation };
            let rotated = (rotation.clone(), as_size(attention.rotary_size));
            let known = rotations.iter().position(|known| *known == rotated);
            let rope = if let Some(rope) = known {
                rope
            } else {
                let tokens = self.options.tokens;
                let rope = Rope::new(rotation, rotated.1, tokens, self.compute, self.device)?;
                let there = rope.from(0, tokens)?;
                turns.push(Turn { back: there.turned_back()?, there });
                rotations.push(rotated);
                turns.len() - 1
            };
            let visibility = Visibility { pattern: Pattern::Full, window };
            let known = seen.iter().position(|known| *known == visibility);
            let mask = if let Some(mask) = known {
                mask
            } else {
                masks.push(mask_of(visibility, self.options.tokens, self.device)?);
                seen.push(visibility);
                masks.len() - 1
            };
            layers.push(self.layer(shape, index, rope, mask)?);
        }
        let norm = self.norm(Role::FinalNorm, None)?;
        let head = if self.weights.has(Role::OutputHead, None) {
            let weight = self.vector(Role::OutputHead, None)?;
            let matrix = match weight {
                Weight::Trained(var) => Matrix::Trained(var),
                Weight::Frozen(tensor) => Matrix::Frozen(Frozen::Dense(tensor)),
            };
            Some(Linear { matrix, bias: None, adapter: None })
        } else {
            None
        };
        let training = &self.options.training;
        let loss_factor = loss_scale(self.compute) / f64::from(training.gradient_accumulation);
        let checkpoints = training.checkpointing == Checkpointing::Full;
        let parameters = self.parameters;
        Ok(Trainer { embedding, layers, norm, head, turns, masks, parameters, checkpoints, loss_factor })
    }

    /// A tensor in the type that is computed in: trained where everything is.
    fn vector(&mut self, role: Role, layer: Option<u64>) -> candle_core::Result<Weight> {
        let tensor = self.weights.vector(role, layer)?;
        if self.options.training.method == TrainMethod::Full {
            self.parameters.add(tensor).map(Weight::Trained)
        } else {
            Ok(Weight::Frozen(tensor))
        }
    }

    fn norm(&mut self, role: Role, layer: Option<u64>) -> candle_core::Result<Norm> {
        Ok(Norm { weight: self.vector(role, layer)?, epsilon: self.numbers.epsilon })
    }

    fn optional_norm(&mut self, role: Role, layer: u64) -> candle_core::Result<Option<Norm>> {
        if self.weights.has(role, Some(layer)) { self.norm(role, Some(layer)).map(Some) } else { Ok(None) }
    }

    /// A matrix with its bias and its adapter; `module` is its name in checkpoints.
    fn linear(
        &mut self,
        role: Role,
        bias: Option<Role>,
        layer: u64,
        module: &str,
    ) -> candle_core::Result<Linear> {
        let at = Some(layer);
        let training = &self.options.training;
        let matrix = match training.method {
            TrainMethod::Qlora => Matrix::Frozen(Frozen::Blocks(Arc::new(self.weights.blocks(role, at)?))),
            TrainMethod::Full => Matrix::Trained({
                let tensor = self.weights.vector(role, at)?;
                self.parameters.add(tensor)?
            }),
            _ => Matrix::Frozen(Frozen::Dense(self.weights.vector(role, at)?)),
        };
        let bias = match bias {
            Some(role) if self.weights.has(role, at) => Some(self.vector(role, at)?),
            _ => None,
        };
        let adapter = match &training.lora {
            Some(lora) if lora.targets.iter().any(|t| t == module) => {
                let (outputs, inputs) = self.weights.size(role, at)?;
                let rank = lora.rank as usize;
                let name = format!("layers.{layer}.{module}.lora_a");
                let down = random_tensor(&name, (rank, inputs).into(), self.compute, self.device)?;
                let down = self.parameters.add(down)?;
                let up = Tensor::zeros((outputs, rank), self.compute, self.device)?;
                Some(Adapter { down, up: self.parameters.add(up)? })
            }
            _ => None,
        };
        Ok(Linear { matrix, bias, adapter })
    }

    fn layer(&mut self, shape: &Shape, index: u64, rope: usize, mask: usize) -> Result<Layer, EngineError> {
        let at = Some(index);
        let attention =
            shape.attention().ok_or_else(|| Refusal(format!("layer {index} has no softmax attention")))?;
        let head_size = as_size(attention.head_size);
        let scale = (head_size as f64).powf(-0.5);
        Ok(Layer {
            before_attention: self.norm(Role::LayerNorm(NormPlace::BeforeAttention), at)?,
            before_feed_forward: self.norm(Role::LayerNorm(NormPlace::BeforeFeedForward), at)?,
            query: self.linear(Role::Query, Some(Role::QueryBias), index, "q_proj")?,
            key: self.linear(Role::Key, Some(Role::KeyBias), index, "k_proj")?,
            value: self.linear(Role::Value, Some(Role::ValueBias), index, "v_proj")?,
            query_norm: self.optional_norm(Role::QueryNorm, index)?,
            key_norm: self.optional_norm(Role::KeyNorm, index)?,
            output: self.linear(Role::AttentionOutput, Some(Role::AttentionOutputBias), index, "o_proj")?,
            gate: self.linear(Role::Gate, None, index, "gate_proj")?,
            up: self.linear(Role::Up, None, index, "up_proj")?,
            down: self.linear(Role::Down, None, index, "down_proj")?,
            heads: as_size(attention.heads),
            key_heads: as_size(attention.kv_heads),
            head_size,
            scale,
            rope,
            mask,
        })
    }
}

/// What is added to the scores of `tokens` queries against as many keys.
fn mask_of(visibility: Visibility, tokens: usize, device: &Device) -> candle_core::Result<Tensor> {
    let mut values = Vec::with_capacity(tokens * tokens);
    for query in 0..tokens as u64 {
        values.extend((0..tokens as u64).map(|key| if visibility.sees(query, key) { 0.0 } else { UNSEEN }));
    }
    Tensor::from_vec(values, (tokens, tokens), device)
}

#[cfg(test)]
mod tests;

//! The feed-forward of a layer.

use candle_core::{D, DType, Result, Tensor};
use planner::model::{FeedForward as Shape, Layer, Role};
use planner::pattern::expert_rows;

use super::host;
use super::matrix::{Linear, Matrix, together};
use super::numbers::Activation;
use super::weights::{Weights, as_size};

/// A layer's feed-forward.
#[derive(Debug)]
pub(super) enum FeedForward {
    /// Every token takes the same one.
    Dense(Gated),
    /// A router sends each token to some experts.
    Experts { router: Matrix, experts: Vec<Gated>, active: usize },
}

/// A gated feed-forward: down · (activation(gate · x) ∘ up · x).
#[derive(Debug)]
pub(super) struct Gated {
    input: Input,
    down: Linear,
    activation: Activation,
}

#[derive(Debug)]
enum Input {
    Apart {
        gate: Linear,
        up: Linear,
    },
    /// The gate's rows, then those of the up projection.
    Fused(Linear),
}

impl FeedForward {
    /// Loads that of a layer.
    ///
    /// # Errors
    /// Where a tensor is missing or of another shape.
    pub(super) fn load(
        weights: &mut Weights<'_>,
        layer: &Layer,
        index: u64,
        activation: Activation,
    ) -> Result<Self> {
        let at = Some(index);
        match &layer.feed_forward {
            Shape::Dense(_) => {
                let input = if weights.has(Role::GateUp, at) {
                    Input::Fused(weights.linear(Role::GateUp, Role::GateBias, at)?)
                } else {
                    let gate = weights.linear(Role::Gate, Role::GateBias, at)?;
                    Input::Apart { gate, up: weights.linear(Role::Up, Role::UpBias, at)? }
                };
                let down = weights.linear(Role::Down, Role::DownBias, at)?;
                Ok(Self::Dense(Gated { input, down, activation }))
            }
            Shape::Experts(shape) => {
                let router = weights.matrix(Role::Router, at, 0)?;
                let experts = (0..as_size(shape.routed))
                    .map(|expert| {
                        let mut of = |role| {
                            weights.matrix(role, at, expert).map(|matrix| Linear { matrix, bias: None })
                        };
                        let (gate, up) = (of(Role::ExpertGate)?, of(Role::ExpertUp)?);
                        let down = of(Role::ExpertDown)?;
                        Ok(Gated { input: Input::Apart { gate, up }, down, activation })
                    })
                    .collect::<Result<_>>()?;
                Ok(Self::Experts { router, experts, active: as_size(shape.active) })
            }
            Shape::None => candle_core::bail!("layer {index} has no feed-forward"),
        }
    }

    /// `x` is sequences × tokens × width.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(gated) => gated.forward(x),
            Self::Experts { router, experts, active } => routed(x, router, experts, *active),
        }
    }
}

#[cfg(test)]
impl FeedForward {
    /// Computes with another activation.
    pub(super) fn activate_by(&mut self, activation: Activation) {
        match self {
            Self::Dense(gated) => gated.activation = activation,
            Self::Experts { experts, .. } => {
                for expert in experts {
                    expert.activation = activation;
                }
            }
        }
    }
}

impl Gated {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let inner = match &self.input {
            Input::Apart { gate, up } => {
                let [gated, upped] = together([&gate.matrix, &up.matrix], x)?;
                let gated = gate.with_bias(gated)?;
                self.activation.times(gated, up.with_bias(upped)?)?
            }
            Input::Fused(both) => {
                let both = both.forward(x)?;
                let width = both.dim(D::Minus1)? / 2;
                let gate = self.activation.of(&both.narrow(D::Minus1, 0, width)?)?;
                (gate * both.narrow(D::Minus1, width, width)?)?
            }
        };
        self.down.forward(&inner)
    }
}

impl Activation {
    /// What it makes of `gate`, times `up`.
    fn times(self, gate: Tensor, up: Tensor) -> Result<Tensor> {
        if self == Self::Silu {
            return host::silu_times(gate, &up);
        }
        let bent = self.of(&gate)?;
        drop(gate);
        bent * up
    }

    fn of(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Silu => x.silu(),
            Self::GeluTanh => x.gelu(),
            Self::Gelu => x.gelu_erf(),
        }
    }
}

/// Mixtral's experts (arXiv 2401.04088, section 2.1): the softmax over the chosen ones' scores weighs them. Which they are
/// is read on the host: one wait a layer where that is not the host's own memory.
fn routed(x: &Tensor, router: &Matrix, experts: &[Gated], active: usize) -> Result<Tensor> {
    let (batch, tokens, width) = x.dims3()?;
    let x = x.reshape((batch * tokens, width))?;
    let scores: Vec<Vec<f32>> = {
        let wide = router.forward(&x)?.to_dtype(DType::F32)?;
        candle_nn::ops::softmax_last_dim(&wide)?.to_vec2()?
    };
    let mut rows: Vec<(Vec<u32>, Vec<f32>)> = vec![(Vec::new(), Vec::new()); experts.len()];
    for (row, scores) in (0u32..).zip(&scores) {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        order.truncate(active);
        let sum: f32 = order.iter().map(|e| scores[*e]).sum();
        for expert in order {
            rows[expert].0.push(row);
            rows[expert].1.push(scores[expert] / sum);
        }
    }
    drop(scores);
    let at_once = as_size(expert_rows((batch * tokens) as u64, active as u64, experts.len() as u64));
    let mut out = x.zeros_like()?;
    for (expert, (rows, shares)) in experts.iter().zip(&rows) {
        for (rows, shares) in rows.chunks(at_once).zip(shares.chunks(at_once)) {
            let rows = Tensor::new(rows, x.device())?;
            let shares = Tensor::new(shares, x.device())?.to_dtype(x.dtype())?.unsqueeze(1)?;
            let answer = {
                let own = x.index_select(&rows, 0)?;
                expert.forward(&own)?.broadcast_mul(&shares)?
            };
            out = out.index_add(&rows, &answer, 0)?;
        }
    }
    out.reshape((batch, tokens, width))
}

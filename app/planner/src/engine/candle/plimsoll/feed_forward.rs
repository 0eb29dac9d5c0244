//! `bench-runner/src/decoder/feed_forward.rs`.

use super::super::tensor::{Element, Refused, Tensor};
use super::matrix::{Linear, Matrix};
use super::{Weights, in_place};
use crate::bytes::Bytes;
use crate::engine::tape::Kind;
use crate::error::PlanError;
use crate::model::{FeedForward as Shape, Role};
use crate::pattern::expert_rows;

/// A layer's feed-forward.
#[allow(clippy::large_enum_variant, reason = "one for each layer")]
pub(super) enum FeedForward {
    Dense(Gated),
    Experts { router: Matrix, experts: Vec<Gated>, active: u64 },
}

pub(super) struct Gated {
    input: Input,
    down: Linear,
    /// Gates by a GELU, as Gemma does.
    gelu: bool,
}

enum Input {
    Apart { gate: Linear, up: Linear },
    Fused(Linear),
}

impl FeedForward {
    pub(super) fn load(
        weights: &mut Weights<'_>,
        shape: &Shape,
        layer: u64,
        gelu: bool,
    ) -> Result<Self, PlanError> {
        let at = Some(layer);
        match shape {
            Shape::Dense(shape) => {
                let input = if shape.fused_gate_up {
                    Input::Fused(weights.linear(Role::GateUp, Role::GateBias, at)?)
                } else {
                    let gate = weights.linear(Role::Gate, Role::GateBias, at)?;
                    Input::Apart { gate, up: weights.linear(Role::Up, Role::UpBias, at)? }
                };
                Ok(Self::Dense(Gated { input, down: weights.linear(Role::Down, Role::DownBias, at)?, gelu }))
            }
            Shape::Experts(shape) if shape.shared.is_none() && !shape.router_bias => {
                let router = weights.router(at)?;
                let experts = (0..shape.routed)
                    .map(|_| {
                        let mut of = |role| Ok(Linear { matrix: weights.matrix(role, at)?, bias: None });
                        let input = Input::Apart { gate: of(Role::ExpertGate)?, up: of(Role::ExpertUp)? };
                        Ok(Gated { input, down: of(Role::ExpertDown)?, gelu })
                    })
                    .collect::<Result<_, PlanError>>()?;
                Ok(Self::Experts { router, experts, active: shape.active })
            }
            Shape::Experts(_) | Shape::None => Err(super::super::not_walked(
                "layers with shared experts or without a feed-forward in Plimsoll's decoder",
            )),
        }
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, Refused> {
        match self {
            Self::Dense(gated) => gated.forward(x),
            Self::Experts { router, experts, active } => routed(x, router, experts, *active),
        }
    }
}

impl Gated {
    fn forward(&self, x: &Tensor) -> Result<Tensor, Refused> {
        let inner = match &self.input {
            Input::Apart { gate, up } => {
                let (gated, upped) = (gate.matrix.forward(x)?, up.matrix.forward(x)?);
                let (gate, up) = (gate.with_bias(gated), up.with_bias(upped));
                if !self.gelu && in_place(&gate) {
                    gate
                } else {
                    let bent = gate.unary();
                    drop(gate);
                    bent * up
                }
            }
            Input::Fused(both) => {
                let both = both.forward(x)?;
                let last = both.dims().len() - 1;
                let width = both.dims()[last] / 2;
                let gate = both.narrow(last, width).unary();
                gate * both.narrow(last, width)
            }
        };
        self.down.forward(&inner)
    }
}

/// Which experts tokens take is known only when they run; how many an expert computes at once does not depend on it.
fn routed(x: &Tensor, router: &Matrix, experts: &[Gated], active: u64) -> Result<Tensor, Refused> {
    let (dims, cx) = (x.dims().to_vec(), x.cx());
    let (tokens, width) = (dims[0].saturating_mul(dims[1]), dims[2]);
    let x = x.reshape(&[tokens, width]);
    let count = experts.len() as u64;
    // Scores, then rows and shares, in lists on the host.
    let scores = {
        let wide = router.forward(&x)?.to_dtype(Element::F32);
        let _softmax = wide.softmax_last_dim()?;
        cx.tape.alloc(Kind::Temporary, Bytes(tokens.saturating_mul(count)) * 4)
    };
    let chosen = tokens.saturating_mul(active.min(count));
    let _lists = cx.tape.alloc(Kind::Temporary, Bytes(chosen) * 8);
    drop(scores);
    let busy = count.min(chosen);
    let rows = expert_rows(tokens, active, count).min(tokens);
    let mut out = x.unary();
    for expert in experts.iter().take(usize::try_from(busy).unwrap_or(usize::MAX)) {
        let _rows = Tensor::new(cx, &[rows], Element::U32, Kind::Temporary);
        let shares = {
            let shares = Tensor::new(cx, &[rows], Element::F32, Kind::Temporary);
            shares.to_dtype(x.element()).reshape(&[rows, 1])
        };
        let answer = {
            let own = Tensor::new(cx, &[rows, width], x.element(), Kind::Activation);
            let answer = expert.forward(&own)?;
            answer.binary(&shares)
        };
        let next = out.unary();
        drop(answer);
        out = next;
    }
    Ok(out.reshape(&dims))
}

//! Optimizers. Candle's own (`candle_nn::optim`) know no masters; the rules are the same.

use candle_core::{Result, Tensor};

use super::parameter::Parameter;

/// A rule and its rates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rule {
    /// Decoupled weight decay (arXiv 1711.05101, algorithm 2), with the constants of `candle_nn::ParamsAdamW`.
    AdamW { rate: f64 },
    /// Plain descent, without momentum.
    Sgd { rate: f64 },
}

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;
const DECAY: f64 = 0.01;

impl Rule {
    pub(super) const fn has_moments(self) -> bool {
        matches!(self, Self::AdamW { .. })
    }

    /// The parameter after a step against `gradient`; `step` counts from 1. What is needed no more goes at once, for the
    /// largest parameter is a good part of a small model.
    pub(super) fn apply(self, parameter: &mut Parameter, gradient: Tensor, step: i32) -> Result<()> {
        let (kept, change) = match self {
            Self::Sgd { rate } => (1.0, (gradient * rate)?),
            Self::AdamW { rate } => {
                let Some((first, second)) = parameter.moments.take() else {
                    candle_core::bail!("a parameter of AdamW has no moments")
                };
                let first = ((first * BETA_1)? + (&gradient * (1.0 - BETA_1))?)?;
                let second = ((second * BETA_2)? + (gradient.sqr()? * (1.0 - BETA_2))?)?;
                drop(gradient);
                let root = ((&second / (1.0 - BETA_2.powi(step)))?.sqrt()? + EPSILON)?;
                let mean = (&first / (1.0 - BETA_1.powi(step)))?;
                let change = ((mean / root)? * rate)?;
                parameter.moments = Some((first, second));
                (1.0 - rate * DECAY, change)
            }
        };
        let held = parameter.master.take().unwrap_or_else(|| parameter.var.as_detached_tensor());
        let is_master = held.dtype() != parameter.var.dtype();
        let next = ((held * kept)? - change)?;
        if is_master {
            parameter.var.set(&next.to_dtype(parameter.var.dtype())?)?;
            parameter.master = Some(next);
            Ok(())
        } else {
            parameter.var.set(&next)
        }
    }
}

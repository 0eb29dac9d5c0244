//! What is trained: parameters, their gradients, and what the optimizer keeps of each.

use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Tensor, Var};

use super::optimizer::Rule;

/// Whether operations on a parameter are recorded for a backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are.
    Recorded,
    /// They are not: results go when the pass is done with them.
    Plain,
}

/// A tensor that is trained, or one that is not.
#[derive(Debug, Clone)]
pub(super) enum Weight {
    Trained(Var),
    Frozen(Tensor),
}

impl Weight {
    /// As an argument of an operation.
    pub(super) fn tensor(&self, mode: Mode) -> Tensor {
        match self {
            Self::Trained(var) => recorded(var, mode),
            Self::Frozen(tensor) => tensor.clone(),
        }
    }
}

/// A trained tensor as an argument of an operation.
pub(super) fn recorded(var: &Var, mode: Mode) -> Tensor {
    match mode {
        Mode::Recorded => var.as_tensor().clone(),
        Mode::Plain => var.as_detached_tensor(),
    }
}

/// A trained tensor and what belongs to it.
#[derive(Debug)]
pub(super) struct Parameter {
    /// In the type that is computed in.
    pub(super) var: Var,
    /// The same in single precision, where that is not what is computed in: what the optimizer changes.
    pub(super) master: Option<Tensor>,
    /// `AdamW`'s first and second moment.
    pub(super) moments: Option<(Tensor, Tensor)>,
    /// The sum over the micro batches of a step so far.
    gradient: Option<Tensor>,
}

/// Everything that is trained.
#[derive(Debug)]
pub(super) struct Parameters {
    list: Vec<Parameter>,
    rule: Rule,
    masters: bool,
    /// What the loss is multiplied by before the backward pass.
    loss_scale: f64,
    /// Steps done.
    steps: i32,
}

impl Parameters {
    pub(super) fn new(rule: Rule, masters: bool, loss_scale: f64) -> Self {
        Self { list: Vec::new(), rule, masters, loss_scale, steps: 0 }
    }

    /// Trains `tensor` from now on.
    #[allow(clippy::needless_pass_by_value, reason = "it goes when its copy is there")]
    pub(super) fn add(&mut self, tensor: Tensor) -> Result<Var> {
        let var = Var::from_tensor(&tensor)?;
        drop(tensor);
        let master = if self.masters { Some(var.as_detached_tensor().to_dtype(DType::F32)?) } else { None };
        let moments = if self.rule.has_moments() {
            let like = master.as_ref().unwrap_or_else(|| var.as_tensor());
            Some((like.zeros_like()?, like.zeros_like()?))
        } else {
            None
        };
        self.list.push(Parameter { var: var.clone(), master, moments, gradient: None });
        Ok(var)
    }

    /// Takes the gradients of a backward pass and adds them to those before.
    pub(super) fn take(&mut self, mut gradients: GradStore) -> Result<()> {
        for parameter in &mut self.list {
            let Some(new) = gradients.remove(parameter.var.as_tensor()) else { continue };
            parameter.gradient = Some(match parameter.gradient.take() {
                None => new,
                Some(before) => (before + new)?,
            });
        }
        Ok(())
    }

    /// One step of the optimizer, which uses the gradients up.
    pub(super) fn update(&mut self) -> Result<()> {
        self.steps = self.steps.saturating_add(1);
        for parameter in &mut self.list {
            let Some(gradient) = parameter.gradient.take() else { continue };
            let wide =
                if parameter.master.is_some() { gradient.to_dtype(DType::F32)? } else { gradient.clone() };
            drop(gradient);
            let gradient = (wide / self.loss_scale)?;
            self.rule.apply(parameter, gradient, self.steps)?;
        }
        Ok(())
    }
}

#[cfg(test)]
impl Parameters {
    /// Each parameter and its gradient, in the order of loading.
    pub(super) fn gradients(&self) -> Vec<(&Var, Option<&Tensor>)> {
        self.list.iter().map(|p| (&p.var, p.gradient.as_ref())).collect()
    }
}

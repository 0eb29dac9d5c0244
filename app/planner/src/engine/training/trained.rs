//! What is trained: tensors with the bytes that their copies take.

use super::lora::Adapter;
use super::optimizer::{States, foreach_copies};
use crate::document::plan::{Lora, Optimizer};
use crate::model::{Model, Role, WeightTensor};

/// Tensors that are trained in one number format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct Group {
    /// The tensors.
    pub(in crate::engine) tensors: Vec<WeightTensor>,
    /// Bytes of an element of weight and gradient.
    pub(in crate::engine) element: u64,
    /// Bytes of an element of the optimizer's states, before the optimizer packs them.
    pub(in crate::engine) state: u64,
}

impl Group {
    /// Number of parameters.
    pub(in crate::engine) fn parameters(&self) -> u64 {
        self.tensors.iter().map(WeightTensor::elements).fold(0, u64::saturating_add)
    }

    /// Bytes of weights, and of gradients.
    pub(in crate::engine) fn bytes(&self) -> u64 {
        self.parameters().saturating_mul(self.element)
    }

    /// Optimizer states.
    pub(in crate::engine) fn states(&self, optimizer: Optimizer) -> States {
        States::of(optimizer, &self.tensors, self.state)
    }

    /// Parameters of the largest tensor.
    pub(in crate::engine) fn largest(&self) -> u64 {
        self.tensors.iter().map(|t| t.rows.saturating_mul(t.columns)).max().unwrap_or(0)
    }

    /// What the optimizer's foreach form copies of this group in one step.
    pub(in crate::engine) fn foreach(&self, optimizer: Optimizer) -> u64 {
        self.parameters().saturating_mul(self.state).saturating_mul(foreach_copies(optimizer))
    }
}

/// All parameters.
pub(in crate::engine) fn everything(model: &Model, element: u64) -> Group {
    Group { tensors: model.tensors(), element, state: element }
}

/// The adapters' two matrices each.
pub(in crate::engine) fn of_adapters(adapters: &[Adapter], element: u64) -> Group {
    let tensors = adapters
        .iter()
        .flat_map(|a| {
            let layer = u64::try_from(a.layer).ok();
            // The role only says that it is a matrix.
            let matrix =
                |rows, columns| WeightTensor { role: Role::Up, layer, rows, columns, copies: a.copies };
            [matrix(a.rank, a.inputs), matrix(a.outputs, a.rank)]
        })
        .collect();
    Group { tensors, element, state: element }
}

/// Copies of embedding and head that are trained beside adapters (PEFT's `modules_to_save`).
pub(in crate::engine) fn of_embeddings(model: &Model, lora: Option<&Lora>, element: u64) -> Group {
    let asked = lora.is_some_and(|l| l.train_embeddings);
    let tensors = model
        .tensors()
        .into_iter()
        .filter(|t| asked && matches!(t.role, Role::TokenEmbedding | Role::OutputHead))
        .collect();
    Group { tensors, element, state: element }
}

/// Elements of the token embedding and, where it is a tensor of its own, of the head.
pub(in crate::engine) fn embedding_elements(model: &Model) -> u64 {
    let tables = if model.tied_embeddings { 1 } else { 2 };
    model.vocab.saturating_mul(model.hidden).saturating_mul(tables)
}

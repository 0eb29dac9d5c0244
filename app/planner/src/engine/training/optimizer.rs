//! States of the optimizers.

use crate::document::plan::Optimizer;
use crate::model::{Role, WeightTensor};

/// Elements that share one scale in bitsandbytes' 8-bit states (arXiv 2110.02861, section 2.1; block size of
/// `bitsandbytes/optim/optimizer.py`: 256).
const BLOCK_8BIT: u64 = 256;
/// Tensors with fewer elements keep 32-bit states (`min_8bit_size` of the same file).
const MIN_8BIT: u64 = 4096;

/// Where states live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::engine) struct States {
    /// Bytes from the framework's allocator.
    pub(in crate::engine) device: u64,
    /// Bytes of CUDA unified memory, which moves to the host when the GPU is full and which the framework's allocator does
    /// not count (bitsandbytes' paged optimizers).
    pub(in crate::engine) paged: u64,
}

impl States {
    /// The states of `tensors` that are stored in `element` bytes each.
    pub(in crate::engine) fn of<'a>(
        optimizer: Optimizer,
        tensors: impl IntoIterator<Item = &'a WeightTensor>,
        element: u64,
    ) -> Self {
        let bytes =
            tensors.into_iter().map(|t| state_bytes(optimizer, t, element)).fold(0, u64::saturating_add);
        if optimizer == Optimizer::PagedAdamw8bit {
            Self { device: 0, paged: bytes }
        } else {
            Self { device: bytes, paged: 0 }
        }
    }
}

/// Bytes of the states of one tensor whose parameters (or fp32 masters) take `element` bytes each.
pub(in crate::engine) fn state_bytes(optimizer: Optimizer, t: &WeightTensor, element: u64) -> u64 {
    let n = t.elements();
    let same = n.saturating_mul(element);
    match optimizer {
        // First and second moment (arXiv 1711.05101).
        Optimizer::Adamw => same.saturating_mul(2),
        Optimizer::Adamw8bit | Optimizer::PagedAdamw8bit => {
            if n < MIN_8BIT {
                n.saturating_mul(8)
            } else {
                n.saturating_add(n.div_ceil(BLOCK_8BIT).saturating_mul(4)).saturating_mul(2)
            }
        }
        Optimizer::Sgd => 0,
        Optimizer::SgdMomentum | Optimizer::Lion => same,
        // Row and column sums in fp32 for matrices, the whole second moment for vectors, no first moment
        // (arXiv 1804.04235, section 3; `transformers/optimization.py`).
        Optimizer::Adafactor => {
            if t.rows > 1 {
                t.rows.saturating_add(t.columns).saturating_mul(t.copies).saturating_mul(4)
            } else {
                n.saturating_mul(4)
            }
        }
        // Momentum for hidden matrices; embeddings, the head and vectors take AdamW (Keller Jordan's Muon and
        // `torch.optim.Muon`, which accepts only matrices).
        Optimizer::Muon => {
            if t.rows > 1 && !matches!(t.role, Role::TokenEmbedding | Role::OutputHead) {
                same
            } else {
                same.saturating_mul(2)
            }
        }
    }
}

/// Copies of the largest group of parameters that one step makes: `torch.optim.AdamW`'s foreach form takes the square root of
/// the second moment and adds ε to it, each into a new list (`torch/optim/adamw.py`, `_multi_tensor_adamw`, 2.0).
pub(in crate::engine) const fn foreach_copies(optimizer: Optimizer) -> u64 {
    match optimizer {
        Optimizer::Adamw => 2,
        Optimizer::Adafactor | Optimizer::Lion | Optimizer::Muon => 1,
        Optimizer::Adamw8bit | Optimizer::PagedAdamw8bit | Optimizer::Sgd | Optimizer::SgdMomentum => 0,
    }
}

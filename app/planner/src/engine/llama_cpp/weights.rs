//! The tensors of a GGUF file, by where they go.

use super::cache::between;
use crate::document::plan::Plan;
use crate::document::precision::WeightPrecision;
use crate::error::PlanError;
use crate::model::{Dtype, Model, Role, WeightTensor};
use crate::recipe;

/// Bytes of a file's tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Weights {
    /// Of the layers before each one.
    sums: Vec<u64>,
    /// The output head with the last norm; a tied embedding is that.
    pub(super) head: u64,
    /// What is looked up, in host memory: the token embedding where it is not the head as well, positions.
    pub(super) input: u64,
    /// Matrices of the widest feed-forward of a layer: what is copied to the GPU when its layer is on the host and a prompt
    /// is long enough to be multiplied there.
    pub(super) widest_feed_forward: u64,
}

impl Weights {
    /// The tensors of the plan's file, and how such a file is named.
    pub(super) fn of(plan: &Plan, model: &Model) -> Result<(Self, &'static str), PlanError> {
        let precision = precision(plan, model)?;
        let tensors = model.tensors();
        let sizes = sizes(plan, model, precision, &tensors)?;
        let mut weights = Self { sums: vec![0], head: 0, input: 0, widest_feed_forward: 0 };
        let count = model.layers.len();
        let mut layers = vec![0u64; count];
        let mut inner = vec![0u64; count];
        for (t, bytes) in tensors.iter().zip(sizes) {
            let layer = t.layer.and_then(|l| usize::try_from(l).ok());
            if let Some(slot) = layer.and_then(|l| layers.get_mut(l)) {
                *slot = slot.saturating_add(bytes);
                let expert = matches!(t.role, Role::ExpertGate | Role::ExpertUp | Role::ExpertDown);
                let dense = matches!(t.role, Role::Gate | Role::Up | Role::GateUp | Role::Down);
                if let Some(slot) = layer.and_then(|l| inner.get_mut(l)).filter(|_| expert || dense) {
                    *slot = slot.saturating_add(bytes);
                }
                continue;
            }
            match t.role {
                // Another file.
                Role::Tower(_) => {}
                Role::TokenEmbedding if model.tied_embeddings => {
                    weights.head = weights.head.saturating_add(bytes);
                }
                Role::OutputHead | Role::FinalNorm | Role::FinalNormBias => {
                    weights.head = weights.head.saturating_add(bytes);
                }
                _ => weights.input = weights.input.saturating_add(bytes),
            }
        }
        weights.widest_feed_forward = inner.into_iter().max().unwrap_or(0);
        let mut sum = 0u64;
        weights.sums.extend(layers.into_iter().map(|bytes| {
            sum = sum.saturating_add(bytes);
            sum
        }));
        Ok((weights, name(precision)))
    }

    /// How many layers there are.
    pub(super) fn layers(&self) -> u64 {
        (self.sums.len() as u64).saturating_sub(1)
    }

    /// Bytes of layers `first..last`.
    pub(super) fn between(&self, first: u64, last: u64) -> u64 {
        between(&self.sums, first, last)
    }
}

fn precision(plan: &Plan, model: &Model) -> Result<WeightPrecision, PlanError> {
    Ok(match plan.precision.weights {
        None => match model.native {
            Some(Dtype::F32) => WeightPrecision::GgufF32,
            Some(Dtype::Bf16) => WeightPrecision::GgufBf16,
            Some(Dtype::F16) | None => WeightPrecision::GgufF16,
        },
        Some(WeightPrecision::Fp32) => WeightPrecision::GgufF32,
        Some(WeightPrecision::Bf16) => WeightPrecision::GgufBf16,
        Some(WeightPrecision::Fp16) => WeightPrecision::GgufF16,
        Some(given) if given.as_str().starts_with("gguf:") => given,
        Some(other) => {
            return Err(PlanError::unsupported(
                "precision.weights",
                format!("llama.cpp reads GGUF files, which have no {other}"),
                "give a precision that begins with gguf:, for example gguf:q4_k_m",
            ));
        }
    })
}

/// Bytes of each tensor: by the quantizer's rules, or, where a file's header was given, by its own sums.
fn sizes(
    plan: &Plan,
    model: &Model,
    precision: WeightPrecision,
    tensors: &[WeightTensor],
) -> Result<Vec<u64>, PlanError> {
    let by_header = model.stored.as_ref().filter(|_| plan.precision.weights.is_none());
    let found = match by_header {
        Some(stored) => recipe::recognise(model, stored),
        None => recipe::recipe(model, precision),
    };
    if let Some(found) = found {
        let bytes = |(t, kind): (&WeightTensor, &crate::ggml::GgmlType)| {
            kind.tensor_bytes(t.rows, t.columns).unwrap_or(u64::MAX).saturating_mul(t.copies)
        };
        return Ok(tensors.iter().zip(&found.types).map(bytes).collect());
    }
    if let Some(stored) = by_header {
        // A mix of someone's own: the sum is exact, its division over the tensors is by their elements.
        let total: u128 = stored.iter().map(|b| u128::from(b.bytes.0)).sum();
        let elements: u128 = tensors.iter().map(|t| u128::from(t.elements())).sum();
        return Ok(tensors
            .iter()
            .map(|t| {
                let share = (u128::from(t.elements()) * total).checked_div(elements).unwrap_or(0);
                u64::try_from(share).unwrap_or(u64::MAX)
            })
            .collect());
    }
    Err(PlanError::not_planned_yet(
        "precision.weights",
        format!("the mix {} of {}", precision.as_str(), model.name),
        "give another gguf: precision, or the file itself",
    ))
}

/// The ending of a file's name.
const fn name(precision: WeightPrecision) -> &'static str {
    // Past the `gguf:` that every one of them begins with.
    match precision.as_str().split_at_checked(5) {
        Some((_, name)) => name,
        None => "gguf",
    }
}

//! How the tensors of a model are divided over tensor, expert and pipeline ranks.
//!
//! Megatron's division (arXiv 1909.08053, section 3), which vLLM, `SGLang`, TensorRT-LLM and the trainers share: queries, keys,
//! values, gate and up by rows; the output and down projections by columns; embedding and head by vocabulary; norms on every
//! rank. Where there are fewer key heads than ranks, each rank keeps one and they repeat.

use crate::model::{Mixer, Model, Role, WeightTensor};

/// How a tensor is divided over tensor parallel ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Split {
    /// Rows (outputs) by query heads or inner width.
    Rows,
    /// Rows by key and value heads; repeated where there are fewer heads than ranks.
    KeyValueRows,
    /// Query rows and key and value rows in one matrix.
    FusedRows,
    /// Columns (inputs).
    Columns,
    /// Rows by vocabulary.
    Vocabulary,
    /// Whole on every rank.
    Replicated,
    /// Expert tensors: by rows (gate, up) over the ranks that share an expert.
    ExpertRows,
    /// Expert tensors: by columns (down).
    ExpertColumns,
}

/// How the tensor of a role is divided.
pub(crate) const fn split(role: Role) -> Split {
    match role {
        Role::TokenEmbedding | Role::OutputHead => Split::Vocabulary,
        Role::Query
        | Role::QueryBias
        | Role::QueryUp
        | Role::KeyValueUp
        | Role::Gate
        | Role::Up
        | Role::GateUp
        | Role::GateBias
        | Role::UpBias
        | Role::SharedGate
        | Role::SharedUp
        | Role::Sinks
        | Role::RecurrentInput
        | Role::RecurrentInputBias
        | Role::RecurrentStep
        | Role::RecurrentStepBias
        | Role::RecurrentDecay
        | Role::RecurrentSkip
        | Role::RecurrentSelect
        | Role::Convolution
        | Role::ConvolutionBias => Split::Rows,
        Role::Key | Role::Value | Role::KeyBias | Role::ValueBias => Split::KeyValueRows,
        Role::QueryKeyValue => Split::FusedRows,
        Role::AttentionOutput | Role::Down | Role::SharedDown | Role::RecurrentOutput => Split::Columns,
        Role::ExpertGate | Role::ExpertUp | Role::ExpertGateBias | Role::ExpertUpBias => Split::ExpertRows,
        Role::ExpertDown => Split::ExpertColumns,
        _ => Split::Replicated,
    }
}

/// The part of a tensor that one rank of `tensor` parallel ranks holds, experts divided over `expert` ranks first and each
/// expert over the `tensor / min(expert, tensor)` ranks that share it. `kv_heads` are the layer's; 0 where it has none.
/// Parts are rounded up: the rank that carries most.
pub(crate) fn part(t: &WeightTensor, tensor: u64, expert: u64, kv_heads: u64) -> WeightTensor {
    let mut part = t.clone();
    let vector = t.rows == 1;
    let divide = |n: u64, by: u64| n.div_ceil(by.max(1));
    match split(t.role) {
        Split::Rows | Split::Vocabulary if vector => part.columns = divide(t.columns, tensor),
        // Only models without grouped heads, or with as many ranks as divide them, are fused in a checkpoint; the key and
        // value share is what `KeyValueRows` would give.
        Split::Rows | Split::Vocabulary | Split::FusedRows => part.rows = divide(t.rows, tensor),
        Split::KeyValueRows => {
            let by = tensor.min(kv_heads.max(1));
            if vector {
                part.columns = divide(t.columns, by);
            } else {
                part.rows = divide(t.rows, by);
            }
        }
        Split::Columns => part.columns = divide(t.columns, tensor),
        Split::ExpertRows | Split::ExpertColumns => {
            part.copies = divide(t.copies, expert);
            let sharing = divide(tensor, expert.min(tensor));
            if split(t.role) == Split::ExpertColumns || vector {
                part.columns = divide(t.columns, sharing);
            } else {
                part.rows = divide(t.rows, sharing);
            }
        }
        Split::Replicated => {
            if matches!(t.role, Role::ExpertDownBias) {
                part.copies = divide(t.copies, expert);
            }
        }
    }
    part
}

/// The query heads of a layer that `tensor` ranks do not divide; none where they divide those of every layer.
pub(crate) fn undivided_heads(model: &Model, tensor: u32) -> Option<u64> {
    let heads = model.layers.iter().filter_map(|l| match &l.mixer {
        Mixer::Attention(a) => Some(a.heads),
        Mixer::Latent(a) => Some(a.heads),
        Mixer::Recurrent(_) => None,
    });
    heads.min().filter(|h| h % u64::from(tensor.max(1)) != 0)
}

/// The tensors of one rank: of all layers where `stage` is none, else of the layers in it, with embedding and head where the
/// stage has them.
pub(crate) fn rank_tensors(model: &Model, tensor: u64, expert: u64) -> Vec<WeightTensor> {
    model
        .tensors()
        .iter()
        .map(|t| {
            let kv_heads = t
                .layer
                .and_then(|l| model.layers.get(usize::try_from(l).ok()?))
                .and_then(crate::model::Layer::attention)
                .map_or(0, |a| a.kv_heads);
            part(t, tensor, expert, kv_heads)
        })
        .collect()
}

/// First and one past last layer of pipeline stage `stage` of `stages`: as even as it goes, the remainder to the later
/// stages but the last (vLLM's `get_pp_indices`).
pub(crate) fn stage_layers(layers: u64, stage: u64, stages: u64) -> (u64, u64) {
    let (each, over) = (layers / stages, layers % stages);
    // The remainder goes to the stages before the last, from the back.
    let extra = |s: u64| u64::from(over > 0 && s + 1 < stages && s + 1 + over >= stages);
    let size = |s: u64| each + extra(s);
    let start = (0..stage).map(size).sum();
    (start, start + size(stage))
}

//! Low-rank adapters (arXiv 2106.09685): a matrix of `rank` × inputs and one of outputs × `rank` beside each target.

use crate::document::plan::Lora;
use crate::error::PlanError;
use crate::model::{Architecture, FeedForward, Layer, Mixer, Model, Recurrent};

/// A linear module of a layer that can have an adapter, by what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::engine) enum Reads {
    /// The mixer's normed input: query, key and value projections.
    MixerInput,
    /// The mixer's output: the output projection.
    MixerOutput,
    /// Something narrow inside the mixer (latent attention's expansions).
    Inside,
    /// The feed-forward's normed input: gate and up.
    FeedForwardInput,
    /// The activated product: down.
    FeedForwardInner,
}

/// One adapter of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Adapter {
    /// The layer.
    pub(in crate::engine) layer: usize,
    /// What it reads.
    pub(in crate::engine) reads: Reads,
    /// Elements of its input.
    pub(in crate::engine) inputs: u64,
    /// Elements of its output.
    pub(in crate::engine) outputs: u64,
    /// One, or one for each expert.
    pub(in crate::engine) copies: u64,
    /// Rank.
    pub(in crate::engine) rank: u64,
}

/// Names that checkpoints give to the modules of a layer. A name may stand for several modules (Qwen's `c_proj` is the output
/// projection of attention and of the feed-forward), as PEFT matches suffixes.
const NAMES: &[(&str, &[Module])] = &[
    ("q_proj", &[Module::Query]),
    ("k_proj", &[Module::Key]),
    ("v_proj", &[Module::Value]),
    ("o_proj", &[Module::Output]),
    ("out_proj", &[Module::Output]),
    ("output_proj", &[Module::Output]),
    ("qkv_proj", &[Module::QueryKeyValue]),
    ("Wqkv", &[Module::QueryKeyValue]),
    ("query_key_value", &[Module::QueryKeyValue]),
    ("c_attn", &[Module::QueryKeyValue]),
    ("dense", &[Module::Output]),
    ("gate_proj", &[Module::Gate]),
    ("up_proj", &[Module::Up]),
    ("down_proj", &[Module::Down]),
    ("gate_up_proj", &[Module::GateUp]),
    ("w1", &[Module::Gate]),
    ("w2", &[Module::Down]),
    ("w3", &[Module::Up]),
    ("c_proj", &[Module::Output, Module::Down]),
    ("c_fc", &[Module::Up]),
    ("fc1", &[Module::Up]),
    ("fc2", &[Module::Down]),
    ("dense_h_to_4h", &[Module::Up]),
    ("dense_4h_to_h", &[Module::Down]),
    ("q_a_proj", &[Module::QueryDown]),
    ("q_b_proj", &[Module::QueryUp]),
    ("kv_a_proj_with_mqa", &[Module::KeyValueDown]),
    ("kv_b_proj", &[Module::KeyValueUp]),
    ("in_proj", &[Module::RecurrentInput]),
    ("in_proj_qkvz", &[Module::RecurrentInput]),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Module {
    Query,
    Key,
    Value,
    QueryKeyValue,
    Output,
    Gate,
    Up,
    GateUp,
    Down,
    QueryDown,
    QueryUp,
    KeyValueDown,
    KeyValueUp,
    RecurrentInput,
}

/// The adapters of a plan.
///
/// # Errors
/// `workload.lora.rank` where it is 0 or larger than the model is wide; `workload.lora.targets` where one names no module of
/// this model, with those that do.
pub(in crate::engine) fn adapters(model: &Model, lora: &Lora) -> Result<Vec<Adapter>, PlanError> {
    let rank = u64::from(lora.rank);
    if rank == 0 || rank > model.hidden {
        return Err(PlanError::invalid(
            "workload.lora.rank",
            format!("{rank} is out of range for a model of width {}", model.hidden),
            format!("give 1 to {}", model.hidden),
        ));
    }
    if lora.targets.is_empty() {
        return Err(PlanError::invalid(
            "workload.lora.targets",
            "no module has an adapter",
            format!("give some of {}", known(model)),
        ));
    }
    let mut modules: Vec<Module> = Vec::new();
    for target in &lora.targets {
        let found =
            NAMES.iter().find(|(name, _)| name == target).map_or(&[][..], |(n, m)| named(model, n, m));
        if !found.iter().any(|m| model.layers.iter().any(|l| shape(model, l, *m).is_some())) {
            let shown: String = target.chars().take(40).collect();
            return Err(PlanError::invalid(
                "workload.lora.targets",
                format!("\"{shown}\" is no linear module of a layer of {}", model.name),
                format!("known: {}", known(model)),
            ));
        }
        for module in found {
            if !modules.contains(module) {
                modules.push(*module);
            }
        }
    }
    let mut list = Vec::new();
    for (index, layer) in model.layers.iter().enumerate() {
        for module in &modules {
            if let Some((reads, inputs, outputs, copies)) = shape(model, layer, *module) {
                list.push(Adapter { layer: index, reads, inputs, outputs, copies, rank });
            }
        }
    }
    Ok(list)
}

/// The modules of a name in this model: the first Qwen's `w2` is not what everybody else calls so.
fn named(model: &Model, name: &str, modules: &'static [Module]) -> &'static [Module] {
    match name {
        "w2" if model.architecture == Architecture::Qwen => &[Module::Up],
        "w3" if model.architecture == Architecture::Qwen => &[],
        _ => modules,
    }
}

fn known(model: &Model) -> String {
    let mut names: Vec<&str> = NAMES
        .iter()
        .filter(|(name, modules)| {
            named(model, name, modules)
                .iter()
                .any(|m| model.layers.iter().any(|l| shape(model, l, *m).is_some()))
        })
        .map(|(name, _)| *name)
        .collect();
    names.dedup();
    names.join(", ")
}

/// What `module` reads, its inputs, outputs and copies in `layer`; none where the layer has no such module.
fn shape(model: &Model, layer: &Layer, module: Module) -> Option<(Reads, u64, u64, u64)> {
    let hidden = model.hidden;
    match module {
        Module::Query
        | Module::Key
        | Module::Value
        | Module::QueryKeyValue
        | Module::Output
        | Module::QueryDown
        | Module::QueryUp
        | Module::KeyValueDown
        | Module::KeyValueUp
        | Module::RecurrentInput => mixer_shape(hidden, &layer.mixer, module),
        Module::Gate | Module::Up | Module::GateUp | Module::Down => {
            let (dense, copies) = match &layer.feed_forward {
                FeedForward::Dense(dense) => (dense, 1),
                FeedForward::Experts(experts) => (&experts.expert, experts.routed),
                FeedForward::None => return None,
            };
            let inner = dense.intermediate;
            match module {
                Module::Gate if dense.gated => Some((Reads::FeedForwardInput, hidden, inner, copies)),
                Module::Up => Some((Reads::FeedForwardInput, hidden, inner, copies)),
                Module::GateUp if dense.gated && dense.fused_gate_up => {
                    Some((Reads::FeedForwardInput, hidden, inner.saturating_mul(2), copies))
                }
                Module::Down => Some((Reads::FeedForwardInner, inner, hidden, copies)),
                _ => None,
            }
        }
    }
}

fn mixer_shape(hidden: u64, mixer: &Mixer, module: Module) -> Option<(Reads, u64, u64, u64)> {
    let input = |outputs: u64| Some((Reads::MixerInput, hidden, outputs, 1));
    match mixer {
        Mixer::Attention(a) => {
            let (q, kv) = (a.query_width(), a.kv_width());
            let projected = if a.output_gate { q.saturating_mul(2) } else { q };
            match module {
                Module::Query => input(projected),
                Module::Key | Module::Value => input(kv),
                Module::QueryKeyValue => input(projected.saturating_add(kv.saturating_mul(2))),
                Module::Output => Some((Reads::MixerOutput, q, hidden, 1)),
                _ => None,
            }
        }
        Mixer::Latent(a) => {
            let query = a.heads.saturating_mul(a.nope_size.saturating_add(a.rope_size));
            match (module, a.query_rank) {
                (Module::Query, None) => input(query),
                (Module::QueryDown, Some(rank)) => input(rank),
                (Module::QueryUp, Some(rank)) => Some((Reads::Inside, rank, query, 1)),
                (Module::KeyValueDown, _) => input(a.cache_elements_per_token()),
                (Module::KeyValueUp, _) => {
                    let expanded = a.heads.saturating_mul(a.nope_size.saturating_add(a.value_size));
                    Some((Reads::Inside, a.kv_rank, expanded, 1))
                }
                (Module::Output, _) => {
                    Some((Reads::MixerOutput, a.heads.saturating_mul(a.value_size), hidden, 1))
                }
                _ => None,
            }
        }
        Mixer::Recurrent(r) => {
            let (inner, projected) = recurrent_widths(r);
            match module {
                Module::RecurrentInput => input(projected),
                Module::Output => Some((Reads::MixerOutput, inner, hidden, 1)),
                _ => None,
            }
        }
    }
}

/// Inner width and outputs of the input projection of a recurrent mixer.
pub(in crate::engine) const fn recurrent_widths(r: &Recurrent) -> (u64, u64) {
    match *r {
        Recurrent::Mamba { inner, .. } => (inner, inner.saturating_mul(2)),
        Recurrent::Mamba2 { heads, head_size, .. } => {
            let inner = heads.saturating_mul(head_size);
            (inner, inner.saturating_add(r.conv_channels()).saturating_add(heads))
        }
        Recurrent::GatedDelta { value_heads, value_size, .. } => {
            let inner = value_heads.saturating_mul(value_size);
            (inner, inner.saturating_add(r.conv_channels()))
        }
    }
}

//! An agent's memory: what a conversation holds in its context turn by turn, and what its vector store takes.

mod index;
pub mod presets;
mod turns;

#[cfg(test)]
mod tests;

use crate::bytes::Bytes;
use crate::document::estimate::AgentEstimate;
use crate::document::plan::{AgentMemory, MemoryPolicy, VectorElement, VectorIndex};
use crate::error::PlanError;
use crate::model::{Dtype, Model};

/// The most turns of one conversation: the estimate lists each.
const MAX_TURNS: u32 = 100_000;
/// The most vectors of a store, dimensions of a vector and links of a node.
const MAX_VECTORS: u64 = 1 << 48;
const MAX_DIMENSIONS: u32 = 1 << 20;
const MAX_LINKS: u32 = 1 << 12;

/// An agent's memory, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Agent {
    /// Tokens held after each turn, without an end to the context.
    pub(crate) tokens: Vec<u64>,
    /// See [`AgentEstimate::reprefill_tokens`].
    pub(crate) reprefill: u64,
    /// Weights of the embedding model.
    pub(crate) embedding: Bytes,
    /// The index.
    pub(crate) index: Bytes,
    /// What of it is on the GPU: the embedding model runs there, the index where the plan says so.
    pub(crate) on_gpu: Bytes,
}

impl Agent {
    /// Checks and counts.
    ///
    /// # Errors
    /// The field that is out of range, and an embedding model that is unknown.
    pub(crate) fn of(memory: &AgentMemory) -> Result<Self, PlanError> {
        check(memory)?;
        let (tokens, reprefill) = turns::turns(memory);
        let embedding = match &memory.embedding_model {
            None => Bytes::ZERO,
            Some(reference) => {
                let model = Model::from_ref(reference).map_err(|e| PlanError {
                    field: e.field.replacen("model", "agent_memory.embedding_model", 1),
                    ..e
                })?;
                Bytes(model.parameters().total) * model.native.unwrap_or(Dtype::F32).bytes()
            }
        };
        let (index, resident) = memory.store.as_ref().map_or((Bytes::ZERO, Bytes::ZERO), |store| {
            let bytes = index::bytes(store);
            (bytes, if store.on_gpu { bytes } else { Bytes::ZERO })
        });
        Ok(Self { tokens, reprefill, embedding, index, on_gpu: embedding + resident })
    }

    /// As an estimate shows it; `fits` says whether a context of so many tokens is held.
    pub(crate) fn estimate(&self, fits: impl Fn(u64) -> bool) -> AgentEstimate {
        // Contexts repeat and mostly grow: only a new longest one can be the first that is too long, and memory grows with it.
        let mut longest = Vec::<(u32, u64)>::new();
        for (turn, &tokens) in (1u32..).zip(&self.tokens) {
            if longest.last().is_none_or(|(_, before)| tokens > *before) {
                longest.push((turn, tokens));
            }
        }
        let exhausted_turn = match longest.last() {
            Some((_, most)) if !fits(*most) => {
                let held = longest.partition_point(|(_, tokens)| fits(*tokens));
                longest.get(held).map(|(turn, _)| *turn)
            }
            _ => None,
        };
        AgentEstimate {
            tokens_after_turn: self.tokens.clone(),
            exhausted_turn,
            reprefill_tokens: self.reprefill,
            embedding_bytes: self.embedding,
            index_bytes: self.index,
        }
    }
}

fn range(field: &str, given: impl std::fmt::Display, ok: bool, accepted: &str) -> Result<(), PlanError> {
    if ok {
        return Ok(());
    }
    Err(PlanError::invalid(
        format!("agent_memory.{field}"),
        format!("{given} is out of range"),
        format!("give {accepted}"),
    ))
}

fn check(memory: &AgentMemory) -> Result<(), PlanError> {
    let most = 1u64 << 30;
    range("turns", memory.turns, (1..=MAX_TURNS).contains(&memory.turns), &format!("1 to {MAX_TURNS}"))?;
    let each = memory.tokens_per_turn;
    range("tokens_per_turn", each, (1..=most).contains(&each.0), &format!("1 to {most}"))?;
    range("system_tokens", memory.system_tokens, memory.system_tokens.0 <= most, &format!("0 to {most}"))?;
    match memory.policy {
        MemoryPolicy::FullHistory => {}
        MemoryPolicy::Window { tokens } => {
            range("policy.tokens", tokens, (1..=most).contains(&tokens.0), &format!("1 to {most}"))?;
        }
        MemoryPolicy::Consolidate { every_turns, ratio, .. } => {
            range("policy.every_turns", every_turns, every_turns > 0, "at least 1")?;
            let ok = ratio.is_finite() && (0.0..=1.0).contains(&ratio);
            range("policy.ratio", ratio, ok, "a share from 0 to 1")?;
        }
        MemoryPolicy::Retrieve { chunk_tokens, .. } => {
            range("policy.chunk_tokens", chunk_tokens, chunk_tokens.0 <= most, &format!("0 to {most}"))?;
        }
    }
    let Some(store) = &memory.store else { return Ok(()) };
    range("store.vectors", store.vectors, store.vectors <= MAX_VECTORS, "at most 2^48")?;
    let ok = (1..=MAX_DIMENSIONS).contains(&store.dimensions);
    range("store.dimensions", store.dimensions, ok, &format!("1 to {MAX_DIMENSIONS}"))?;
    if let VectorIndex::Hnsw { m } = store.index {
        range("store.index.m", m, (2..=MAX_LINKS).contains(&m), &format!("2 to {MAX_LINKS}"))?;
    }
    if store.index == VectorIndex::IvfPq && store.element != VectorElement::Pq {
        return Err(PlanError::invalid(
            "agent_memory.store.element",
            "is not pq, but the index ivf-pq stores codes",
            "give pq, or the index flat or hnsw",
        ));
    }
    Ok(())
}

//! Tokens of a context turn by turn, and what of it is prefilled again.
//!
//! Engines keep the keys and values of a prefix (vLLM's automatic prefix caching, `SGLang`'s radix tree): what is appended is
//! prefilled once, and a change in the middle makes all after it be prefilled again. The system prompt stays at the front.

use crate::document::plan::{AgentMemory, MemoryPolicy};

/// Tokens held after each turn, and the sum of tokens that are prefilled again.
pub(super) fn turns(memory: &AgentMemory) -> (Vec<u64>, u64) {
    let (system, each) = (memory.system_tokens.0, memory.tokens_per_turn.0);
    let mut held = Vec::with_capacity(usize::try_from(memory.turns).unwrap_or(0));
    let mut again = 0u64;
    match memory.policy {
        MemoryPolicy::FullHistory => {
            for turn in 1..=u64::from(memory.turns) {
                held.push(system.saturating_add(turn.saturating_mul(each)));
            }
        }
        MemoryPolicy::Window { tokens } => {
            // What is kept after the system prompt; once it is full, every turn drops the oldest and moves all that is left.
            for turn in 1..=u64::from(memory.turns) {
                let history = turn.saturating_mul(each);
                let kept = history.min(tokens.0);
                if history > tokens.0 {
                    again = again.saturating_add(kept.saturating_sub(each));
                }
                held.push(system.saturating_add(kept));
            }
        }
        MemoryPolicy::Consolidate { every_turns, ratio, keep_recent_turns } => {
            let (every, keep) = (u64::from(every_turns), u64::from(keep_recent_turns));
            let mut summary = 0u64;
            let mut verbatim = 0u64;
            for turn in 1..=u64::from(memory.turns) {
                verbatim += 1;
                if turn % every == 0 && verbatim > keep {
                    // The summary and what is older than the recent turns become a shorter summary; the recent turns
                    // follow it and move.
                    let folded = summary.saturating_add((verbatim - keep).saturating_mul(each));
                    summary = scaled(folded, ratio);
                    verbatim = keep;
                    again = again.saturating_add(summary).saturating_add(keep.saturating_mul(each));
                }
                let recent = verbatim.saturating_mul(each);
                held.push(system.saturating_add(summary).saturating_add(recent));
            }
        }
        MemoryPolicy::Retrieve { top_k, chunk_tokens, keep_recent_turns } => {
            // Chunks stand before the recent turns and differ from turn to turn, so that both are prefilled every turn once
            // something is out of the context.
            let (keep, chunk) = (u64::from(keep_recent_turns), chunk_tokens.0);
            for turn in 1..=u64::from(memory.turns) {
                let recent = turn.min(keep.max(1));
                // There is nothing to retrieve but what was said and is no longer in the context.
                let past = (turn - recent).saturating_mul(each);
                let chunks = u64::from(top_k).saturating_mul(chunk).min(past);
                let shown = chunks.saturating_add(recent.saturating_mul(each));
                if past > 0 {
                    again = again.saturating_add(shown.saturating_sub(each));
                }
                held.push(system.saturating_add(shown));
            }
        }
    }
    (held, again)
}

fn scaled(tokens: u64, ratio: f64) -> u64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share from 0 to 1 of a number of tokens"
    )]
    let part = libm::ceil(tokens as f64 * ratio) as u64;
    part
}

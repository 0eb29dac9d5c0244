//! The cache: bytes of a sequence in whole blocks, and what a pool holds.

use crate::model::{Dtype, Mixer, Model, Recurrent};

/// The cache of one GPU: layers by window, each with a pool of blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cache {
    block: u64,
    groups: Vec<Group>,
    /// State of the recurrent layers for one sequence.
    pub(super) state_per_sequence: u64,
    /// Fewest key heads of a layer; 0 where none has heads of its own.
    pub(super) kv_heads: u64,
}

/// Layers that keep as many tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Group {
    /// Tokens kept; none: all.
    window: Option<u64>,
    /// Bytes of a token in all of its layers.
    bytes_per_token: u64,
}

/// Blocks of something, over all groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blocks {
    /// Blocks of the group without a window (or of the only one).
    pub(super) count: u64,
    /// Bytes of all groups.
    pub(super) bytes: u64,
    /// Tokens that those blocks hold.
    pub(super) tokens: u64,
}

impl Cache {
    /// The cache of the stage that keeps most of it. `bytes` are an element's.
    pub(super) fn of(
        model: &Model,
        bytes: u64,
        compute: Dtype,
        tensor: u64,
        pipeline: u64,
        block: u64,
    ) -> Self {
        (0..pipeline)
            .map(|stage| Self::of_stage(model, bytes, compute, tensor, stage, pipeline, block))
            .max_by_key(|c| (c.groups.iter().map(|g| g.bytes_per_token).sum::<u64>(), c.state_per_sequence))
            .unwrap_or(Self { block, groups: Vec::new(), state_per_sequence: 0, kv_heads: 0 })
    }

    fn of_stage(
        model: &Model,
        bytes: u64,
        compute: Dtype,
        tensor: u64,
        stage: u64,
        pipeline: u64,
        block: u64,
    ) -> Self {
        let mut cache = Self { block, groups: Vec::new(), state_per_sequence: 0, kv_heads: 0 };
        let layers = super::weights::stage_layers(model.layers.len() as u64, stage, pipeline);
        for (index, layer) in (0u64..).zip(&model.layers) {
            if !layers.contains(&index) {
                continue;
            }
            match &layer.mixer {
                Mixer::Attention(a) => {
                    let own = a.kv_heads.div_ceil(tensor);
                    cache.kv_heads =
                        if cache.kv_heads == 0 { a.kv_heads } else { cache.kv_heads.min(a.kv_heads) };
                    let each = own.saturating_mul(a.head_size).saturating_mul(2).saturating_mul(bytes);
                    cache.add(a.window.map(|w| w.0), each);
                }
                // One latent vector serves all heads, so every rank keeps it.
                Mixer::Latent(a) => cache.add(None, a.cache_elements_per_token().saturating_mul(bytes)),
                Mixer::Recurrent(r) => {
                    let bytes = state_bytes(r, compute).div_ceil(tensor);
                    cache.state_per_sequence = cache.state_per_sequence.saturating_add(bytes);
                }
            }
        }
        cache
    }

    fn add(&mut self, window: Option<u64>, bytes: u64) {
        match self.groups.iter_mut().find(|g| g.window == window) {
            Some(group) => group.bytes_per_token = group.bytes_per_token.saturating_add(bytes),
            None => self.groups.push(Group { window, bytes_per_token: bytes }),
        }
    }

    /// Whether a layer keeps less than all tokens.
    pub(super) fn has_windows(&self) -> bool {
        self.groups.iter().any(|g| g.window.is_some())
    }

    /// Blocks of one sequence of `tokens`. A window that is full keeps one block more than it spans, since it seldom begins
    /// where a block does.
    pub(super) fn sequence(&self, tokens: u64) -> Blocks {
        let mut answer = Blocks { count: tokens.div_ceil(self.block), bytes: 0, tokens: 0 };
        for group in &self.groups {
            let all = tokens.div_ceil(self.block);
            let kept = group.window.map_or(all, |w| all.min(w.div_ceil(self.block).saturating_add(1)));
            let of_block = group.bytes_per_token.saturating_mul(self.block);
            answer.bytes = answer.bytes.saturating_add(kept.saturating_mul(of_block));
        }
        answer.tokens = answer.count.saturating_mul(self.block);
        answer
    }

    /// Bytes of the whole blocks that sequences with `tokens` first tokens share. A window leaves them behind.
    pub(super) fn common(&self, tokens: u64) -> u64 {
        let blocks = tokens / self.block.max(1);
        self.groups
            .iter()
            .filter(|g| g.window.is_none())
            .map(|g| blocks.saturating_mul(g.bytes_per_token).saturating_mul(self.block))
            .fold(0, u64::saturating_add)
    }

    /// What `budget` bytes hold: with one group whole blocks of it; with several, pools in the proportion in which a
    /// sequence of `blocks` blocks and `bytes` bytes takes from them.
    pub(super) fn blocks(&self, budget: u64, blocks: u64, bytes: u64) -> Blocks {
        let count = match self.groups.as_slice() {
            [only] => budget.checked_div(only.bytes_per_token.saturating_mul(self.block)).unwrap_or(0),
            _ if bytes == 0 => 0,
            _ => {
                u64::try_from(u128::from(budget) * u128::from(blocks) / u128::from(bytes)).unwrap_or(u64::MAX)
            }
        };
        let held = match self.groups.as_slice() {
            [only] => count.saturating_mul(only.bytes_per_token.saturating_mul(self.block)),
            [] => 0,
            _ => budget,
        };
        Blocks { count, bytes: held, tokens: count.saturating_mul(self.block) }
    }
}

/// A sequence's state: the convolution's in the compute precision, the recurrence's in fp32 (`mamba_ssm_cache_dtype`).
fn state_bytes(recurrent: &Recurrent, compute: Dtype) -> u64 {
    let convolution = recurrent.conv_state_elements().saturating_mul(compute.bytes());
    recurrent.state_elements().saturating_mul(4).saturating_add(convolution)
}

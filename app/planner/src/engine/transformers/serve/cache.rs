//! The cache that grows by concatenation.

use crate::bytes::Bytes;
use crate::engine::policy::Numbers;
use crate::engine::shard;
use crate::model::{Dtype, Mixer, Model};

/// How long the old tensors live when new ones are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine::transformers) enum Growth {
    /// Until their layer's are made.
    ByLayer,
    /// Until the pass ends.
    Tuples,
}

/// The cache of the GPU that keeps most of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine::transformers) struct Cache {
    pub(in crate::engine::transformers) growth: Growth,
    /// Bytes of a token in the layers that keep all.
    full: u64,
    /// Window in tokens, and bytes of a token in the layers that keep no more.
    windows: Vec<(u64, u64)>,
    /// Bytes of a token's keys in the widest layer.
    widest_keys: u64,
    /// Bytes of a sequence's recurrent states.
    state: u64,
}

impl Cache {
    pub(in crate::engine::transformers) fn of(
        model: &Model,
        bytes: u64,
        compute: Dtype,
        tensor: u64,
        pipeline: u64,
        growth: Growth,
        windowed: bool,
    ) -> Self {
        (0..pipeline.max(1))
            .map(|stage| {
                let (first, last) = shard::stage_layers(model.layers.len() as u64, stage, pipeline.max(1));
                let empty = Self { growth, full: 0, windows: Vec::new(), widest_keys: 0, state: 0 };
                (0u64..).zip(&model.layers).filter(|(index, _)| (first..last).contains(index)).fold(
                    empty,
                    |mut cache, (_, layer)| {
                        cache.add(&layer.mixer, bytes, compute, tensor, windowed);
                        cache
                    },
                )
            })
            .max_by_key(|c| (c.full.saturating_add(c.windows.iter().map(|w| w.1).sum()), c.state))
            .unwrap_or(Self { growth, full: 0, windows: Vec::new(), widest_keys: 0, state: 0 })
    }

    fn add(&mut self, mixer: &Mixer, bytes: u64, compute: Dtype, tensor: u64, windowed: bool) {
        let (keys, values, window) = match mixer {
            Mixer::Attention(a) => {
                let width = a.kv_heads.div_ceil(tensor).saturating_mul(a.head_size).saturating_mul(bytes);
                (width, width, a.window.filter(|_| windowed).map(|w| w.0))
            }
            // `DeepseekV3Attention.forward` keeps the expanded keys and values of every head, not the latent vector.
            Mixer::Latent(a) => {
                let heads = a.heads.div_ceil(tensor).saturating_mul(bytes);
                let key = a.nope_size.saturating_add(a.rope_size);
                (heads.saturating_mul(key), heads.saturating_mul(a.value_size), None)
            }
            // The convolution keeps one input more than it needs (`conv_kernel` of them); both in the compute precision.
            Mixer::Recurrent(r) => {
                let elements = r
                    .state_elements()
                    .saturating_add(r.conv_state_elements())
                    .saturating_add(r.conv_channels())
                    .saturating_mul(compute.bytes());
                self.state = self.state.saturating_add(elements.div_ceil(tensor));
                return;
            }
        };
        let both = keys.saturating_add(values);
        self.widest_keys = self.widest_keys.max(keys);
        match window {
            None => self.full = self.full.saturating_add(both),
            Some(window) => match self.windows.iter_mut().find(|w| w.0 == window) {
                Some(found) => found.1 = found.1.saturating_add(both),
                None => self.windows.push((window, both)),
            },
        }
    }

    /// One sequence of `tokens`, every layer keeping all: after a prompt's pass a window is a view of the whole, and the
    /// whole lives until the next token.
    pub(in crate::engine::transformers) fn unbounded(&self, tokens: u64) -> Bytes {
        let all = self.windows.iter().map(|w| w.1).fold(self.full, u64::saturating_add);
        Bytes(all.saturating_mul(tokens))
    }

    /// One sequence of `tokens` once a token was generated: a window keeps one less than it sees.
    pub(in crate::engine::transformers) fn kept(&self, tokens: u64) -> Bytes {
        let windows = self.windows.iter().map(|w| w.1.saturating_mul(tokens.min(w.0.max(1))));
        Bytes(windows.fold(self.full.saturating_mul(tokens), u64::saturating_add))
    }

    /// Old tensors of one sequence of `tokens` that are alive beside the new ones.
    pub(in crate::engine::transformers) fn copies(&self, tokens: u64) -> Bytes {
        let before = tokens.saturating_sub(1);
        match self.growth {
            Growth::ByLayer => Bytes(self.widest_keys.saturating_mul(before)),
            Growth::Tuples => self.kept(before),
        }
    }

    /// Recurrent states of `sequences`.
    pub(in crate::engine::transformers) fn state(&self, sequences: u64) -> Bytes {
        Bytes(self.state) * sequences
    }

    /// Bytes of a token, averaged over one sequence of the longest length.
    pub(in crate::engine::transformers) fn per_token(&self, numbers: &Numbers) -> Bytes {
        let tokens = numbers.max_model_len.0.max(1);
        Bytes(self.kept(tokens).0.div_ceil(tokens))
    }
}

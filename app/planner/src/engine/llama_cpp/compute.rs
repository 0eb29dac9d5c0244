//! The compute buffer: what is alive at once in the graph of one micro batch, in fp32.
//!
//! `ggml_gallocr` gives a tensor its place when its operation runs and takes it back after its last use, so the buffer is
//! the largest sum of tensors that live together. Four moments can be the largest: the mask's conversion, attention, the
//! feed-forward, the logits.

use super::version::Behaviour;
use crate::model::{FeedForward, Mixer, Model};

/// Bytes of the graph's tensors for each token of a micro batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Widths {
    /// Residual and normed input: alive through a layer.
    stream: u64,
    /// The widest attention (or recurrent mixer) without scores.
    mixer: u64,
    /// The widest feed-forward.
    feed_forward: u64,
    /// Scores, for each cell seen; 0 with flash attention.
    scores: u64,
    /// Bytes of a mask's element.
    mask: u64,
    /// Whether the mask is made in fp32 and cast.
    cast: bool,
    /// A row of logits.
    logits: u64,
    /// The last hidden state.
    hidden: u64,
    few_outputs: bool,
    attends: bool,
}

impl Widths {
    pub(super) fn of(model: &Model, behaviour: &Behaviour, flash: bool) -> Self {
        let mut widths = Self {
            stream: model.hidden.saturating_mul(8),
            mixer: 0,
            feed_forward: 0,
            scores: 0,
            mask: if flash { 2 } else { 4 },
            cast: flash && !behaviour.few_outputs,
            logits: model.vocab.saturating_mul(4),
            hidden: model.hidden.saturating_mul(4),
            few_outputs: behaviour.few_outputs,
            attends: false,
        };
        for layer in &model.layers {
            let mixer = match &layer.mixer {
                Mixer::Attention(a) => {
                    widths.attends = true;
                    if !flash {
                        widths.scores = widths.scores.max(a.heads.saturating_mul(4));
                    }
                    // Query (with its gate), its rotation, key and value.
                    let gate = if a.output_gate { a.query_width() } else { 0 };
                    a.query_width()
                        .saturating_mul(2)
                        .saturating_add(gate)
                        .saturating_add(a.cache_elements_per_token())
                }
                Mixer::Latent(a) => {
                    widths.attends = true;
                    if !flash {
                        widths.scores = widths.scores.max(a.heads.saturating_mul(4));
                    }
                    // Query, and its projection into the latent space.
                    let query = a.nope_size.saturating_add(a.rope_size);
                    a.heads.saturating_mul(query.saturating_add(a.cache_elements_per_token()))
                }
                // The projected input, transposed for the convolution, its output, and what comes out of the scan.
                Mixer::Recurrent(r) => r.conv_channels().saturating_mul(3),
            };
            widths.mixer = widths.mixer.max(mixer.saturating_mul(4));
            let inner = match &layer.feed_forward {
                FeedForward::Dense(f) if f.gated && behaviour.split_glu => f.intermediate.saturating_mul(3),
                FeedForward::Dense(f) if f.gated => f.intermediate.saturating_mul(2),
                FeedForward::Dense(f) => f.intermediate.saturating_mul(2),
                // Every token's experts at once; their outputs stand side by side before they are weighed and added.
                FeedForward::Experts(e) => {
                    let one = e
                        .expert
                        .intermediate
                        .saturating_mul(3)
                        .max(e.expert.intermediate.saturating_add(model.hidden));
                    let shared = e.shared.as_ref().map_or(0, |f| f.intermediate.saturating_mul(3));
                    one.saturating_mul(e.active)
                        .max(shared.saturating_add(model.hidden))
                        .saturating_add(e.routed)
                }
                FeedForward::None => 0,
            };
            widths.feed_forward = widths.feed_forward.max(inner.saturating_mul(4));
        }
        widths
    }

    /// Bytes for micro batches of `tokens` tokens over slots of `cells` cells, `context` in all. Each slot has its own mask
    /// over its own cells, so the masks of a micro batch that is divided over the slots are one over a slot's cells.
    pub(super) fn buffer(&self, context: u64, cells: u64, tokens: u64, slots: u64) -> u64 {
        let seen = if self.attends { cells } else { 0 };
        let mask = self.mask.saturating_mul(seen);
        let attention = self
            .stream
            .saturating_add(self.mixer)
            .saturating_add(mask)
            .saturating_add(self.scores.saturating_mul(seen));
        let inner = self.stream.saturating_add(self.feed_forward).saturating_add(mask);
        let cast = if self.cast {
            self.stream.saturating_add(self.mixer).saturating_add(seen.saturating_mul(6))
        } else {
            0
        };
        let layers = attention.max(inner).max(cast).saturating_mul(tokens);
        let answered = if self.few_outputs { slots.min(tokens) } else { tokens };
        let logits = self.logits.saturating_add(self.hidden).saturating_mul(answered);
        if context == 0 { 0 } else { layers.max(logits) }
    }
}

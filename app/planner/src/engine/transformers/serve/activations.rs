//! Activations of a pass: those of the widest layer, or the logits.

use crate::bytes::Bytes;
use crate::model::{FeedForward, Layer, Mixer, Model};

/// How the scores are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine::transformers) enum Scores {
    /// As tensors: in the compute precision, in fp32 after the softmax, and cast back (`eager_attention_forward`).
    Eager,
    /// `scaled_dot_product_attention`: none, but keys and values repeated for every query head (`repeat_kv`).
    Sdpa,
    /// `FlashAttention`: none.
    Flash,
}

/// Bytes of one layer's pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine::transformers) struct Widths {
    /// For each token of the pass.
    per_token: u64,
    /// For each token seen by a sequence: keys and values repeated.
    per_seen: u64,
    /// For each pair of a token of the pass and one seen.
    per_pair: u64,
    /// For each token whose logits are computed.
    logits: u64,
    /// Whether those are all tokens of a prompt.
    all_logits: bool,
    scores: Scores,
}

impl Widths {
    /// The widest layer of `model`, its heads and inner widths divided over `tensor` ranks. `bytes` are an activation's.
    pub(in crate::engine::transformers) fn of(
        model: &Model,
        bytes: u64,
        tensor: u64,
        scores: Scores,
        all_logits: bool,
    ) -> Self {
        let mut widths = Self {
            per_token: 0,
            per_seen: 0,
            per_pair: 0,
            // In the compute precision and upcast to fp32; sampling copies the last one once more.
            logits: model.vocab.saturating_mul(bytes.saturating_add(8)),
            all_logits,
            scores,
        };
        for layer in &model.layers {
            widths.per_token = widths.per_token.max(per_token(layer, model.hidden, bytes, tensor));
            let Some(a) = layer.attention() else { continue };
            let heads = a.heads.div_ceil(tensor);
            if scores != Scores::Flash && a.heads > a.kv_heads {
                let repeated = heads.saturating_mul(a.head_size).saturating_mul(2).saturating_mul(bytes);
                widths.per_seen = widths.per_seen.max(repeated);
            }
            if scores == Scores::Eager {
                let capped = if a.softcap { bytes } else { 0 };
                let pair =
                    heads.saturating_mul(bytes.saturating_mul(2).saturating_add(4).saturating_add(capped));
                // The mask is in the compute precision, one for all heads.
                widths.per_pair = widths.per_pair.max(pair.saturating_add(bytes));
            }
        }
        widths
    }

    /// The same without logits: what `AutoModel` computes.
    pub(in crate::engine::transformers) fn without_head(self) -> Self {
        Self { logits: 0, ..self }
    }

    /// Whether scores are tensors.
    pub(in crate::engine::transformers) fn eager(&self) -> bool {
        self.scores == Scores::Eager
    }

    /// A pass of `batch` sequences of `tokens` new tokens each that see `seen`.
    pub(in crate::engine::transformers) fn pass(
        &self,
        batch: u64,
        tokens: u64,
        seen: u64,
        prompt: bool,
    ) -> Bytes {
        let new = batch.saturating_mul(tokens);
        let layer = self
            .per_token
            .saturating_mul(new)
            .saturating_add(self.per_seen.saturating_mul(batch).saturating_mul(seen))
            .saturating_add(self.per_pair.saturating_mul(new).saturating_mul(seen));
        let answered = if prompt && self.all_logits { new } else { batch };
        Bytes(layer.max(self.logits.saturating_mul(answered)))
    }
}

/// Residual and normed input, and the wider of attention's and the feed-forward's own tensors.
fn per_token(layer: &Layer, hidden: u64, bytes: u64, tensor: u64) -> u64 {
    let stream = hidden.saturating_mul(bytes).saturating_mul(2);
    // A norm computes in fp32: the upcast input and its product.
    let norm = hidden.saturating_mul(8);
    let mixer = match &layer.mixer {
        Mixer::Attention(a) => {
            let query = a.query_width().div_ceil(tensor);
            let kv = a.kv_heads.div_ceil(tensor).saturating_mul(a.head_size).saturating_mul(2);
            // Query, key, value; of the rotation two products and a rotated copy; the output.
            query.saturating_mul(4).saturating_add(kv).saturating_mul(bytes)
        }
        Mixer::Latent(a) => {
            let heads = a.heads.div_ceil(tensor);
            let key = a.nope_size.saturating_add(a.rope_size);
            heads
                .saturating_mul(key.saturating_mul(4).saturating_add(a.value_size.saturating_mul(2)))
                .saturating_mul(bytes)
        }
        // The projected input, the convolution's output, and the scan in fp32.
        Mixer::Recurrent(r) => {
            r.conv_channels().div_ceil(tensor).saturating_mul(bytes.saturating_mul(2).saturating_add(4))
        }
    };
    let inner = match &layer.feed_forward {
        // The activated gate, up and their product.
        FeedForward::Dense(f) => {
            f.intermediate.div_ceil(tensor).saturating_mul(f.matrices()).saturating_mul(bytes)
        }
        // One expert after another; each token's sum over its experts stays.
        FeedForward::Experts(e) => e
            .expert
            .intermediate
            .div_ceil(tensor)
            .saturating_mul(3)
            .saturating_add(hidden.saturating_mul(2))
            .saturating_mul(bytes)
            .saturating_add(e.routed.saturating_mul(8)),
        FeedForward::None => 0,
    };
    stream.saturating_add(norm.max(mixer).max(inner))
}

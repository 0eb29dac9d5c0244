//! Tensors alive in an encoder's pass, by the source of Transformers 5.23 and counted there: `PyTorch` 2.15 on a CPU, a
//! dispatch mode that follows every storage (the table of the tests).

use super::Scores;
use crate::bytes::Bytes;
use crate::model::{Architecture, Model};

/// A moment of the widest layer: bytes for each token, and for each pair of tokens of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Moment {
    token: u64,
    pair: u64,
}

/// Bytes of a pass at its fullest moments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Encoder(Vec<Moment>);

impl Encoder {
    /// The widest layer of `model`; `bytes` are an activation's.
    pub(super) fn of(model: &Model, bytes: u64, scores: Scores) -> Self {
        let hidden = model.hidden.saturating_mul(bytes);
        let rotary = matches!(model.architecture, Architecture::ModernBert | Architecture::NomicBert);
        let eager = scores == Scores::Eager;
        let mut moments = Vec::new();
        for layer in &model.layers {
            let (Some(a), Some(f)) = (layer.attention(), layer.dense()) else { continue };
            let one = a.heads.saturating_mul(bytes);
            // The weights that eager attention returns live until their layer is left.
            let kept = if eager { one } else { 0 };
            let width = a.query_width();
            if rotary {
                // `apply_rotary_pos_emb` computes in fp32: queries done, keys in their two products; windows have a mask.
                let mask = if a.window.is_some() && scores != Scores::Flash { 3 } else { 0 };
                moments.push(Moment {
                    token: hidden.saturating_mul(7).saturating_add(width.saturating_mul(4 * 4)),
                    pair: kept.saturating_add(mask),
                });
                if eager {
                    // Scores, their softmax in fp32 and its copy.
                    let wide = if bytes == 4 { 8 } else { bytes * 2 + 4 };
                    moments.push(Moment {
                        token: hidden.saturating_mul(8),
                        pair: a.heads.saturating_mul(wide).saturating_add(2 * bytes + mask),
                    });
                }
            } else {
                // Embedding, the layer's input, queries, keys, values; scores and the same scaled or masked. MPNet keeps its
                // relative positions beside them for the whole pass.
                let (products, copies) = match model.architecture {
                    Architecture::MpNet => (5, 3),
                    _ => (3, 2),
                };
                let products = width.saturating_mul(bytes).saturating_mul(products);
                let pair = if eager { one.saturating_mul(copies) } else { 0 };
                moments.push(Moment { token: hidden.saturating_mul(2).saturating_add(products), pair });
            }
            // Embedding, the layer's input and attention's output, and the feed-forward's own.
            let inner = match (f.gated, f.fused_gate_up) {
                (false, _) => 2,
                (true, false) => 3,
                (true, true) => 4,
            };
            let stream = if rotary { 4 } else { 3 };
            moments.push(Moment {
                token: hidden
                    .saturating_mul(stream)
                    .saturating_add(f.intermediate.saturating_mul(inner).saturating_mul(bytes)),
                pair: kept,
            });
        }
        moments.sort_unstable_by_key(|m| (m.token, m.pair));
        moments.dedup();
        Self(moments)
    }

    /// A batch of sequences of `length` tokens.
    pub(super) fn pass(&self, batch: u64, length: u64) -> Bytes {
        let tokens = batch.saturating_mul(length);
        let bytes = |m: &Moment| m.token.saturating_add(m.pair.saturating_mul(length)).saturating_mul(tokens);
        Bytes(self.0.iter().map(bytes).max().unwrap_or(0))
    }
}

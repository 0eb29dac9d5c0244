//! Logits and cross-entropy: often the largest tensors of all.

use super::cost::Cost;

/// Bytes at the loss, beside what the layers saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::engine) struct Loss {
    /// Alive at the worst moment.
    pub(in crate::engine) allocated: Cost,
    /// Blocks that the caching allocator then holds: sizes that are free but too small for what is asked stay.
    pub(in crate::engine) reserved: Cost,
    /// One of those blocks.
    pub(in crate::engine) block: Cost,
}

impl Loss {
    /// `torch.nn.functional.cross_entropy` on whole logits as Hugging Face's models call it. Of one token, with `vocab`
    /// entries and `element` bytes of a logit:
    ///
    /// - forward: logits, their shifted contiguous copy, the fp32 copy that autocast makes, the fp32 log-softmax
    ///   (`2·element + 8`);
    /// - backward: the log-softmax, the loss's gradient and the softmax's gradient (12), after which they are cast back.
    ///
    /// The blocks of the first two are too small for the gradient, which takes a third of 4 bytes: `2·element + 12` are
    /// reserved. Without autocast everything stays in `element` bytes and fits the same blocks: `3·element` alive,
    /// `4·element` reserved with the gradient of the shift.
    pub(in crate::engine) const fn whole(vocab: u64, element: u64, autocast: bool) -> Self {
        let twice = element.saturating_mul(2);
        let (alive, held) = if autocast {
            let alive = twice.saturating_add(8);
            (if alive < 12 { 12 } else { alive }, twice.saturating_add(12))
        } else {
            (element.saturating_mul(3), element.saturating_mul(4))
        };
        Self {
            allocated: Cost::token(vocab.saturating_mul(alive)),
            reserved: Cost::token(vocab.saturating_mul(held)),
            block: Cost::token(vocab.saturating_mul(element)),
        }
    }

    /// Liger's fused linear cross-entropy (`ops/fused_linear_cross_entropy.py`): the logits of a chunk are as large as the
    /// hidden states of the micro-batch, once in fp32 beside the gradient of the hidden states; the head's own gradient, where
    /// it is trained, is kept in `element` bytes.
    pub(in crate::engine) const fn liger(vocab: u64, hidden: u64, element: u64, head_trained: bool) -> Self {
        let head = if head_trained { vocab.saturating_mul(hidden).saturating_mul(element) } else { 0 };
        let token = hidden.saturating_mul(element.saturating_mul(2).saturating_add(4));
        let cost = Cost { fixed: head, token, pair: 0 };
        Self { allocated: cost, reserved: cost, block: Cost::ZERO }
    }
}

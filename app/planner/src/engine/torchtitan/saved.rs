//! What a block of torchtitan's Llama keeps for its backward pass (`torchtitan/models/llama/model.py`).

use crate::document::plan::Checkpointing;
use crate::engine::training::cost::Cost;
use crate::model::{Attention, DenseFeedForward};

/// How blocks are run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mode {
    /// Bytes of an activation.
    pub(super) element: u64,
    pub(super) checkpointing: Checkpointing,
    pub(super) compile: bool,
    /// Tensor parallel ranks; sequence parallelism always goes with them (`apply_tp`).
    pub(super) tensor: u64,
    pub(super) context: u64,
}

/// What a block keeps and needs, for each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Block {
    /// Kept from the forward to the backward pass.
    pub(super) kept: Cost,
    /// Alive in the block's backward pass beside what is kept: what is recomputed, and the gradients on the way.
    pub(super) backward: Cost,
}

/// What a block of this shape keeps.
pub(super) fn block(hidden: u64, a: &Attention, f: &DenseFeedForward, mode: Mode) -> Block {
    let e = mode.element;
    let t = mode.tensor;
    let split = |width: u64| width.saturating_mul(e).div_ceil(t);
    let stream = split(hidden);
    let (query, kv, inner) = (split(a.query_width()), split(a.kv_width()), split(f.intermediate));
    let lse = (4 * a.heads).div_ceil(t);
    let everything = if mode.compile {
        // Norms and products of two are computed again inside the fused backward kernels: the stream twice, both linear
        // inputs, query, key and value, the attention's output, both halves of the feed-forward.
        4 * stream + 2 * query + 2 * kv + lse + inner * f.matrices().saturating_sub(1)
    } else {
        // An eager RMSNorm keeps its input in fp32 and the normed value before and after the weight; keys and values are
        // repeated for each query head; the gate before and after its activation, the other half, their product.
        let norm = 2 * stream + stream.saturating_mul(4) / e;
        2 * norm + 4 * query + lse + inner * (2 * f.matrices()).saturating_sub(2)
    };
    let kept = match mode.checkpointing {
        Checkpointing::None => everything,
        Checkpointing::Selective => selective(hidden, a, f, mode, lse),
        Checkpointing::Full => stream,
    };
    let again = if mode.checkpointing == Checkpointing::None { 0 } else { everything };
    // Gradients of the product, of both halves and of the stream.
    let gradients = f.matrices() * inner + 2 * stream;
    // Context parallelism gathers the keys and values of all ranks, repeated for each query head.
    let gathered = if mode.context > 1 { 2 * query * mode.context } else { 0 };
    Block { kept: Cost::token(kept), backward: Cost::token(again + gradients + gathered) }
}

/// Selective checkpointing by operation (`_apply_ac_to_transformer_block`, option `op`): the outputs of attention, of
/// reduce-scatters, and of every other matrix product, counted from the first, beside the block's input.
fn selective(hidden: u64, a: &Attention, f: &DenseFeedForward, mode: Mode, lse: u64) -> u64 {
    let (e, t) = (mode.element, mode.tensor);
    let split = |width: u64| width.saturating_mul(e).div_ceil(t);
    let whole = hidden.saturating_mul(e);
    // In the order in which they run; the flag says whether the backward pass needs the output.
    let mut products = vec![
        (split(a.query_width()), true),
        (split(a.kv_width()), true),
        (split(a.kv_width()), true),
        (whole, true),
    ];
    products.extend((1..f.matrices()).map(|_| (split(f.intermediate), true)));
    products.push((whole, false));
    let saved: u64 = products
        .into_iter()
        .step_by(2)
        // Eager mode keeps what the policy names; a compiled graph drops what its backward pass never reads.
        .filter(|&(_, needed)| needed || !mode.compile)
        .map(|(bytes, _)| bytes)
        .fold(0, u64::saturating_add);
    let scattered = if t > 1 { split(hidden).saturating_mul(if mode.compile { 1 } else { 2 }) } else { 0 };
    split(hidden) + saved + split(a.query_width()) + lse + scattered
}

//! Activations at the peak of a step.
//!
//! A step runs layer by layer without a graph; what is alive at once is the residual, the block's input and the widest pair
//! of its own tensors (`tensorrt_llm/_torch/models/modeling_llama.py`, `modules/attention.py`, `modules/gated_mlp.py`,
//! `modules/fused_moe/fused_moe_cutlass.py`).

use crate::model::{DenseFeedForward, FeedForward, Layer, Mixer, Model};

/// Bytes for each token of a step, of the layer that needs most.
///
/// `bytes` is an activation's; with `eight_bit_inputs` the input of a product has an 8-bit copy.
pub(super) fn per_token(model: &Model, bytes: u64, eight_bit_inputs: bool, tensor: u64, expert: u64) -> u64 {
    model
        .layers
        .iter()
        .map(|layer| {
            let mixer = mixer(layer, model.hidden, bytes, eight_bit_inputs, tensor);
            mixer.max(feed_forward(
                &layer.feed_forward,
                model.hidden,
                bytes,
                eight_bit_inputs,
                tensor,
                expert,
            ))
        })
        .max()
        .unwrap_or(0)
        .saturating_add(stream(model.hidden, bytes, tensor))
}

/// Bytes of logits for each sequence that ends in a step: gathered, and in fp32 for the sampler.
pub(super) fn per_sequence(model: &Model, bytes: u64) -> u64 {
    model.vocab.saturating_mul(bytes.saturating_add(4))
}

/// The residual and the normed input; among ranks also what is reduced and the reduction's result.
fn stream(hidden: u64, bytes: u64, tensor: u64) -> u64 {
    let copies = if tensor > 1 { 4 } else { 2 };
    hidden.saturating_mul(bytes).saturating_mul(copies)
}

fn eighth(elements: u64, eight_bit_inputs: bool) -> u64 {
    if eight_bit_inputs { elements } else { 0 }
}

/// Query, key and value beside the attention's output, and that output's 8-bit copy.
fn mixer(layer: &Layer, hidden: u64, bytes: u64, eight_bit: bool, tensor: u64) -> u64 {
    let (projected, output) = match &layer.mixer {
        Mixer::Attention(a) => {
            let q = a.query_width().div_ceil(tensor);
            let kv = a.kv_heads.div_ceil(tensor).saturating_mul(a.head_size).saturating_mul(2);
            (q.saturating_add(kv), q)
        }
        // Queries, expanded keys and values of a prompt, and the compressed vectors.
        Mixer::Latent(a) => {
            let heads = a.heads.div_ceil(tensor);
            let query = heads.saturating_mul(a.nope_size.saturating_add(a.rope_size));
            let value = heads.saturating_mul(a.value_size);
            let compressed = a.cache_elements_per_token().saturating_add(a.query_rank.unwrap_or(0));
            (query.saturating_mul(2).saturating_add(value).saturating_add(compressed), value)
        }
        Mixer::Recurrent(r) => {
            let wide = r.conv_channels().div_ceil(tensor);
            (wide.saturating_mul(2), wide)
        }
    };
    projected
        .saturating_add(output)
        .saturating_mul(bytes)
        .saturating_add(eighth(output.max(hidden), eight_bit))
}

/// Gate and up beside their product, and that product's 8-bit copy. Experts: each token's copies for its experts, gathered
/// before and scattered after.
fn feed_forward(
    feed_forward: &FeedForward,
    hidden: u64,
    bytes: u64,
    eight_bit: bool,
    tensor: u64,
    expert: u64,
) -> u64 {
    match feed_forward {
        FeedForward::Dense(dense) => inner(dense, bytes, eight_bit, tensor),
        FeedForward::Experts(e) => {
            let sharing = tensor.div_ceil(expert.max(1));
            let of_one = inner(&e.expert, bytes, eight_bit, sharing)
                .saturating_add(hidden.saturating_mul(bytes).saturating_mul(2));
            let routed = of_one.saturating_mul(e.active);
            let scores = e.routed.saturating_mul(4);
            routed.saturating_add(scores)
        }
        FeedForward::None => 0,
    }
}

fn inner(dense: &DenseFeedForward, bytes: u64, eight_bit: bool, ranks: u64) -> u64 {
    let wide = dense.intermediate.div_ceil(ranks.max(1));
    wide.saturating_mul(dense.matrices()).saturating_mul(bytes).saturating_add(eighth(wide, eight_bit))
}

//! What a layer saves for its backward pass, operation by operation.
//!
//! Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models" (arXiv 2205.05198, section 4.1), count
//! 34·s·b·h + 5·a·s²·b bytes for a GPT layer. The same count is made here for grouped heads, gated feed-forwards, experts,
//! latent attention and recurrent mixers, and for what a [`Style`] of modelling code keeps: autograd saves a tensor only where
//! a gradient needs it, so that a frozen linear layer saves nothing and an adapter saves its (dropped-out) input.

use super::cost::Cost;
use super::lora::{Adapter, Reads, recurrent_widths};
use crate::document::plan::{Checkpointing, Train};
use crate::model::{
    Attention, DenseFeedForward, Experts, FeedForward, LatentAttention, Layer, Mixer, Model, Norm,
};

/// How attention is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Kernel {
    /// Scores are materialised; with `upcast`, the softmax is in fp32 and cast back (Hugging Face's eager attention).
    Eager {
        /// Whether the softmax is in fp32.
        upcast: bool,
    },
    /// `FlashAttention` or memory-efficient attention: inputs, output and a log-sum-exp a head (arXiv 2205.14135, section 3.1).
    Fused,
}

/// What a norm saves of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum NormStyle {
    /// One kernel: its input.
    Fused,
    /// `x · rsqrt(mean(x²))` step by step in the compute precision: its input and the normed value.
    Composed,
    /// Step by step in fp32 (Hugging Face's RMS norms): an fp32 copy of the input, and the normed value where the weight is
    /// trained.
    ComposedFp32,
}

/// What linear modules save of their input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Linears {
    /// Their weights are trained: the input.
    Trained,
    /// Their weights are frozen: nothing.
    Frozen,
    /// Frozen, but the autograd function of the quantized product keeps its input (`MatMul4Bit`,
    /// `bitsandbytes/autograd/_functions.py`, 0.41).
    FrozenButSaved,
}

/// How query, key and value come out of their projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Qkv {
    /// Three tensors.
    Separate,
    /// Views of one tensor: the value keeps all of it alive beside the rotated copies of query and key.
    View,
}

/// A style of modelling code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each says what some code saves, independent of the others")]
pub(in crate::engine) struct Style {
    /// Bytes of an activation.
    pub(in crate::engine) element: u64,
    /// Attention.
    pub(in crate::engine) kernel: Kernel,
    /// RMS norms; layer norms are one kernel everywhere.
    pub(in crate::engine) norm: NormStyle,
    /// Whether attention and both residual branches have dropout.
    pub(in crate::engine) dropout: bool,
    /// Linear modules.
    pub(in crate::engine) linears: Linears,
    /// Query, key and value.
    pub(in crate::engine) qkv: Qkv,
    /// Whether keys and values are repeated for every query head before attention.
    pub(in crate::engine) repeats_kv: bool,
    /// Whether adapters have dropout: a mask and a dropped-out copy of their input each.
    pub(in crate::engine) adapter_dropout: bool,
    /// `LitGPT` scatters the adapters' outputs into the fused projection with `index_copy`, which saves them.
    pub(in crate::engine) scatters_adapters: bool,
}

/// What one layer keeps and needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::engine) struct Saved {
    /// Everything kept for the backward pass.
    pub(in crate::engine) all: Cost,
    /// Of that, the attention core, which selective checkpointing computes again.
    pub(in crate::engine) core: Cost,
    /// The layer's input, which full checkpointing keeps.
    pub(in crate::engine) input: Cost,
    /// Most that its backward pass adds.
    pub(in crate::engine) backward: Cost,
}

/// What `layer` of a model of width `hidden` keeps; `adapters` are those of this layer.
pub(in crate::engine) fn saved(hidden: u64, layer: &Layer, adapters: &[Adapter], style: &Style) -> Saved {
    let s = Counter { hidden, adapters, style };
    let (mixer, core, mixer_backward) = match &layer.mixer {
        Mixer::Attention(a) => s.attention(a),
        Mixer::Latent(a) => s.latent(a),
        Mixer::Recurrent(r) => {
            let (inner, projected) = recurrent_widths(r);
            // Projection, its convolution, gate, and the scan's input, output and step sizes.
            let kept = s.element(projected.saturating_mul(2).saturating_add(inner.saturating_mul(3)));
            let cost = kept + s.input(Reads::MixerInput, hidden) + s.input(Reads::MixerOutput, inner);
            (cost, Cost::ZERO, s.element(projected.saturating_mul(2)))
        }
    };
    let (feed_forward, feed_forward_backward) = match &layer.feed_forward {
        FeedForward::Dense(f) => s.dense(f),
        FeedForward::Experts(e) => s.experts(e),
        FeedForward::None => (Cost::ZERO, Cost::ZERO),
    };
    let mut all = mixer + feed_forward;
    all += layer.norms.iter().map(|n| s.norm(n.norm)).fold(Cost::ZERO, |a, b| a + b);
    if style.dropout {
        let branches = if layer.feed_forward == FeedForward::None { 1 } else { 2 };
        all += Cost::token(hidden.saturating_mul(branches));
    }
    let residual = s.element(hidden.saturating_mul(2));
    Saved {
        all,
        core,
        input: s.element(hidden),
        backward: mixer_backward.max(feed_forward_backward) + residual,
    }
}

struct Counter<'a> {
    hidden: u64,
    adapters: &'a [Adapter],
    style: &'a Style,
}

impl Counter<'_> {
    /// `n` activations of a token.
    const fn element(&self, n: u64) -> Cost {
        Cost::token(n.saturating_mul(self.style.element))
    }

    fn norm(&self, norm: Norm) -> Cost {
        let (h, e) = (self.hidden, self.style.element);
        let bytes = match (norm, self.style.norm) {
            (Norm::Layer, _) | (Norm::Rms, NormStyle::Fused) => h.saturating_mul(e),
            (Norm::Rms, NormStyle::Composed) => h.saturating_mul(e).saturating_mul(2),
            (Norm::Rms, NormStyle::ComposedFp32) => {
                let normed = if self.style.linears == Linears::Trained { e } else { 0 };
                h.saturating_mul(normed.saturating_add(4))
            }
        };
        Cost::token(bytes)
    }

    /// What modules that read `width` elements keep of them, and their adapters.
    fn input(&self, reads: Reads, width: u64) -> Cost {
        let adapted = || self.adapters.iter().filter(|a| a.reads == reads);
        let undropped = adapted().next().is_some() && !self.style.adapter_dropout;
        let mut cost =
            if self.style.linears != Linears::Frozen || undropped { self.element(width) } else { Cost::ZERO };
        if self.style.adapter_dropout {
            // `LitGPT`'s adapters of query, key and value are one module; elsewhere each drops out by itself.
            let modules = if self.style.scatters_adapters && reads == Reads::MixerInput {
                adapted().count().min(1)
            } else {
                adapted().count()
            };
            let dropped = width.saturating_mul(self.style.element.saturating_add(1));
            cost += Cost::token(dropped).times(modules as u64);
        }
        for adapter in adapted() {
            cost += self.element(adapter.rank);
            if self.style.scatters_adapters && reads == Reads::MixerInput {
                cost += self.element(adapter.outputs);
            }
        }
        cost
    }

    /// Kept, the recomputed core of it, and what backward adds.
    fn attention(&self, a: &Attention) -> (Cost, Cost, Cost) {
        let (q, kv) = (a.query_width(), a.kv_width());
        let repeated = self.style.repeats_kv && a.kv_heads < a.heads && a.kv_heads > 1;
        // A checkpoint with one matrix is run as one.
        let layout = if a.fused_qkv { Qkv::View } else { self.style.qkv };
        let qkv = match layout {
            _ if repeated => q.saturating_mul(3),
            Qkv::Separate => q.saturating_add(kv.saturating_mul(2)),
            Qkv::View => q.saturating_mul(2).saturating_add(kv.saturating_mul(3)),
        };
        let mut kept = self.element(qkv) + self.input(Reads::MixerInput, self.hidden);
        let core = self.core(a.heads, a.softcap);
        match self.style.kernel {
            Kernel::Eager { .. } => kept += self.input(Reads::MixerOutput, q),
            Kernel::Fused => {
                // The output is saved by the kernel; only a dropped-out copy of it comes on top.
                kept += self.element(q) + Cost::token(a.heads.saturating_mul(4));
                kept += self.second_reader(q);
            }
        }
        (kept + core, core, self.element(q.saturating_mul(2).saturating_add(kv.saturating_mul(2))))
    }

    /// What readers of a tensor that is saved already add.
    fn second_reader(&self, width: u64) -> Cost {
        let adapted = self.adapters.iter().filter(|a| a.reads == Reads::MixerOutput);
        adapted.fold(Cost::ZERO, |sum, a| {
            let dropped = if self.style.adapter_dropout {
                width.saturating_mul(self.style.element.saturating_add(1))
            } else {
                0
            };
            sum + self.element(a.rank) + Cost::token(dropped)
        })
    }

    /// What grows with the square of the sequence.
    fn core(&self, heads: u64, softcap: bool) -> Cost {
        let Kernel::Eager { upcast } = self.style.kernel else { return Cost::ZERO };
        let e = self.style.element;
        let mut each = if upcast { e.saturating_add(4) } else { e };
        if self.style.dropout {
            each = each.saturating_add(e).saturating_add(1);
        }
        if softcap {
            each = each.saturating_add(e);
        }
        Cost::pair(heads.saturating_mul(each))
    }

    fn latent(&self, a: &LatentAttention) -> (Cost, Cost, Cost) {
        let head = a.nope_size.saturating_add(a.rope_size);
        let query = a.heads.saturating_mul(head);
        let value = a.heads.saturating_mul(a.value_size);
        // Query and key of full heads, value, and the latents before and after their norms.
        let latents = a.query_rank.unwrap_or(0).saturating_add(a.kv_rank).saturating_mul(2);
        let widths = query.saturating_mul(2).saturating_add(value).saturating_add(latents);
        let mut kept = self.element(widths) + self.input(Reads::MixerInput, self.hidden);
        let core = self.core(a.heads, false);
        match self.style.kernel {
            Kernel::Eager { .. } => kept += self.input(Reads::MixerOutput, value),
            Kernel::Fused => {
                kept += self.element(value) + Cost::token(a.heads.saturating_mul(4));
                kept += self.second_reader(value);
            }
        }
        (kept + core, core, self.element(query.saturating_add(value).saturating_mul(2)))
    }

    /// What an activation of width `inner` keeps: the gate, its activation and the other factor, or the one input.
    fn activated(f: &DenseFeedForward) -> u64 {
        f.intermediate.saturating_mul(if f.gated { 3 } else { 1 })
    }

    fn dense(&self, f: &DenseFeedForward) -> (Cost, Cost) {
        let kept = self.input(Reads::FeedForwardInput, self.hidden)
            + self.element(Self::activated(f))
            + self.input(Reads::FeedForwardInner, f.intermediate);
        (kept, self.element(f.intermediate.saturating_mul(f.matrices())))
    }

    fn experts(&self, e: &Experts) -> (Cost, Cost) {
        let each = self.input(Reads::FeedForwardInput, self.hidden)
            + self.element(Self::activated(&e.expert))
            + self.input(Reads::FeedForwardInner, e.expert.intermediate)
            // The output before it is weighed.
            + self.element(self.hidden);
        // The router's logits and probabilities, in fp32.
        let mut kept = each.times(e.active) + Cost::token(e.routed.saturating_mul(8));
        let mut backward = e.active.saturating_mul(e.expert.intermediate);
        if let Some(shared) = &e.shared {
            kept += self.dense(shared).0;
            backward = backward.saturating_add(shared.intermediate);
        }
        (kept, self.element(backward.saturating_mul(e.expert.matrices())))
    }
}

/// What all layers together keep and the most that one needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::engine) struct Layers {
    /// Kept from forward to backward under the plan's checkpointing.
    pub(in crate::engine) kept: Cost,
    /// Most that one layer's backward pass needs on top, what is computed again included.
    pub(in crate::engine) one: Cost,
    /// Bytes a token that go to the host where activations are offloaded.
    pub(in crate::engine) offloaded: Cost,
}

/// Sums up the layers of a model.
pub(in crate::engine) fn layers(model: &Model, adapters: &[Adapter], style: &Style, train: &Train) -> Layers {
    let mut sum = Layers::default();
    let mut most = Cost::ZERO;
    for (index, layer) in model.layers.iter().enumerate() {
        let of_layer: Vec<Adapter> = adapters.iter().filter(|a| a.layer == index).copied().collect();
        let s = saved(model.hidden, layer, &of_layer, style);
        let without_core = Cost { pair: s.all.pair.saturating_sub(s.core.pair), ..s.all };
        let (kept, again) = match train.checkpointing {
            Checkpointing::None => (s.all, Cost::ZERO),
            Checkpointing::Selective => (without_core, s.core),
            Checkpointing::Full => (s.input, s.all),
        };
        sum.kept += kept;
        sum.one = sum.one.max(again + s.backward);
        most = most.max(kept);
    }
    // The final norm and the head's input.
    sum.kept += Cost::token(model.hidden.saturating_mul(style.element).saturating_mul(2));
    if train.activation_offload {
        // One layer's on its way out while the next computes.
        sum.offloaded = sum.kept;
        sum.kept = most.times(2);
    }
    sum
}

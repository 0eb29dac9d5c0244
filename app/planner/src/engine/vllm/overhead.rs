//! What lies outside the tensors: the driver's memory of captured graphs, loaded kernels, communicators.
//!
//! The forms are what the source and the driver do; their coefficients ([`Fitted`]) are read off the published runs of vLLM 0.19 on
//! H100 SXM that name these figures. `bench-runner validate` fits them again with each model left out.

use super::device::{Device, Generation};
use super::version::{Graphs, Sampler, Version};
use crate::engine::fitted::{Constant, Fitted};
use crate::model::{Dtype, FeedForward, Mixer, Model};

/// Memory of the captured graphs of one stage: everything but the number of sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct GraphMemory {
    /// Kernels of one pass over the layers.
    kernels: u64,
    /// Bytes of `FlashAttention` 3's scratch for one sequence of a captured decode: `max_num_splits` (32) partial outputs in
    /// fp32 for every query head (`FlashAttentionMetadataBuilder`).
    splits: u64,
    /// Bytes of one token in the pool that all graphs share.
    token: u64,
    /// Whether decoding is captured as a whole.
    whole: bool,
    /// Whether pieces are captured.
    pieces: bool,
    /// Whether each batch is captured with and without adapters.
    twice: bool,
    /// Bytes that the driver takes for one kernel node, and that capturing takes at all.
    fitted: (u64, u64),
}

/// `FlashAttention` 3's `flash_attn_max_num_splits_for_cuda_graph` (`config/attention.py`).
const SPLITS: u64 = 32;

/// Kernels of one layer, counted in the compiled graph: fused projection, rotation with the queries' and keys' norms, cache
/// write, attention and its combination, output projection, norm; gate and up, activation, down, norm.
const DENSE_KERNELS: u64 = 10;
/// What inputs in 8 bit add: a quantization before each of four products, which are one kernel then, where cuBLAS splits about
/// half of those in 16 bit and adds up in a second one.
const QUANTIZED_KERNELS: u64 = 2;
/// What experts add: router, its scores, three of `moe_align_block_size`, two grouped products, activation and sum.
const EXPERT_KERNELS: u64 = 10;
/// What shared experts add to that: gate and up, activation, down, sum.
const SHARED_KERNELS: u64 = 4;
/// What latent attention adds: compression, norm, expansion, the two absorbed products.
const LATENT_KERNELS: u64 = 5;
/// What a recurrent mixer has in place of attention's five: the convolution, gates, norms and the recurrence.
const RECURRENT_KERNELS: u64 = 6;

/// What adapters add: a shrinking and an expanding product for each of four fused modules (`add_lora_linear`).
const ADAPTER_KERNELS: u64 = 8;

/// What decides graphs and runtime beside the model.
#[derive(Debug, Clone, Copy)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each says one thing of the plan, independent of the others"
)]
pub(in crate::engine) struct Setting<'a> {
    /// The release.
    pub(in crate::engine) version: &'a Version,
    /// The GPU.
    pub(in crate::engine) device: Device,
    /// Tensor parallel ranks.
    pub(in crate::engine) tensor: u64,
    /// The compute precision.
    pub(in crate::engine) compute: Dtype,
    /// Whether inputs are quantized by kernels of their own.
    pub(in crate::engine) copies_inputs: bool,
    /// Whether layers attend within chunks, which no whole graph captures (`ChunkedLocalAttention`: `NEVER`).
    pub(in crate::engine) chunked: bool,
    /// Figures that were read off measurements.
    pub(in crate::engine) fitted: Fitted,
    /// Whether images attend to themselves in both directions, which `FlashAttention` does not (Gemma 3: Triton).
    pub(in crate::engine) image_prefix: bool,
    /// Whether adapters are served.
    pub(in crate::engine) adapters: bool,
}

impl GraphMemory {
    /// Of the layers `from..to`.
    pub(in crate::engine) fn of(model: &Model, s: &Setting<'_>, from: u64, to: u64) -> Self {
        let span = usize::try_from(from).unwrap_or(0)
            ..usize::try_from(to).unwrap_or(usize::MAX).min(model.layers.len());
        let layers = model.layers.get(span).unwrap_or_default();
        let flash = s.device.flash_attention_3() && s.compute != Dtype::F32 && !s.image_prefix;
        let (mut kernels, mut splits, mut token) = (0u64, 0u64, 0u64);
        for layer in layers {
            kernels += DENSE_KERNELS + if s.copies_inputs { QUANTIZED_KERNELS } else { 0 };
            kernels += if s.adapters { ADAPTER_KERNELS } else { 0 };
            let width = match &layer.mixer {
                Mixer::Attention(a) => a.heads.div_ceil(s.tensor.max(1)).saturating_mul(a.head_size),
                Mixer::Latent(a) => {
                    kernels += LATENT_KERNELS;
                    a.heads.div_ceil(s.tensor.max(1)).saturating_mul(a.kv_rank)
                }
                Mixer::Recurrent(_) => {
                    kernels += RECURRENT_KERNELS;
                    0
                }
            };
            splits = splits.max(width.saturating_mul(SPLITS).saturating_mul(4));
            let inside = match &layer.feed_forward {
                FeedForward::Dense(f) => f.intermediate,
                FeedForward::Experts(e) => {
                    kernels += EXPERT_KERNELS;
                    e.shared.as_ref().map_or(0, |f| {
                        kernels += SHARED_KERNELS;
                        f.intermediate
                    })
                }
                FeedForward::None => 0,
            };
            let elements = inside
                .div_ceil(s.tensor.max(1))
                .saturating_mul(3)
                .saturating_add(model.hidden.saturating_mul(4));
            token = token.max(elements.saturating_mul(s.compute.bytes()));
        }
        let (pieces, whole) = match s.version.graphs {
            Graphs::Full => (false, true),
            Graphs::Piecewise => (true, false),
            Graphs::FullAndPiecewise => (true, !s.chunked),
        };
        let twice = s.adapters && s.version.adapter_graphs;
        let fitted = (s.fitted.whole(Constant::VllmGraphNode), s.fitted.whole(Constant::VllmCapture));
        Self { kernels, splits: if flash && whole { splits } else { 0 }, token, whole, pieces, twice, fitted }
    }

    /// Bytes, where the scheduler admits `sequences` and a step has `tokens`.
    pub(in crate::engine) fn bytes(&self, version: &Version, sequences: u64, tokens: u64) -> u64 {
        // The largest batch that is captured: twice the scheduler's limit, as far as the list goes.
        let mixed = version.sizes.largest.min(sequences.saturating_mul(2)).min(tokens);
        let decoding = mixed.min(sequences);
        let mut graphs = 0;
        if self.pieces {
            graphs += version.captures(mixed);
        }
        if self.whole {
            graphs += version.captures(decoding);
        }
        if self.twice {
            graphs *= 2;
        }
        self.captured(graphs, decoding, mixed)
    }

    /// Bytes of `graphs` captured passes, the largest of `decoding` sequences where it is whole and of `mixed` tokens at all.
    pub(in crate::engine) fn captured(&self, graphs: u64, decoding: u64, mixed: u64) -> u64 {
        let (node, capture) = self.fitted;
        capture
            .saturating_add(graphs.saturating_mul(self.kernels).saturating_mul(node))
            .saturating_add(self.splits.saturating_mul(decoding))
            .saturating_add(self.token.saturating_mul(mixed))
    }
}

/// What tensor parallelism adds where nothing is fused, from NCCL's defaults: 16 channels of 4 MiB to and from a neighbour, and its proxies.
/// Assumed, not measured.
const PLAIN_COMMUNICATOR: u64 = 256 << 20;

/// Bytes of the CUDA context and `PyTorch`'s own modules, before vLLM takes its first snapshot. Assumed from NVIDIA's driver on
/// data-centre cards; vLLM prints no figure of it.
pub(in crate::engine) const CONTEXT: u64 = 500 << 20;

/// Bytes outside `PyTorch`'s allocator.
pub(in crate::engine) fn runtime(s: &Setting<'_>, vocabulary: u64, fused: bool) -> u64 {
    let sm = s.device.multiprocessors;
    let of = |constant| s.fitted.whole(constant);
    let mut bytes = of(Constant::VllmModules).saturating_mul(sm);
    if s.version.sampler == Sampler::Triton && !vocabulary.is_multiple_of(16) {
        bytes = bytes.saturating_add(of(Constant::VllmSpills).saturating_mul(sm));
    }
    if s.tensor > 1 {
        let fused = fused
            && s.version.fused_all_reduce
            && matches!(s.device.generation, Generation::Hopper | Generation::Blackwell);
        let communicator = if fused {
            of(Constant::VllmCommunicator)
                .saturating_add(of(Constant::VllmCommunicatorRank).saturating_mul(s.tensor))
        } else {
            PLAIN_COMMUNICATOR
        };
        bytes = bytes.saturating_add(communicator);
    }
    bytes
}

//! What lies outside the tensors: the driver's memory of captured graphs, loaded kernels, communicators.
//!
//! The forms are what the source and the driver do; three coefficients are fitted to the 31 published runs of vLLM 0.19 on H100
//! SXM that name these figures (13 models): a graph's constant and node, and what tensor parallelism adds. Cross-validated by
//! leaving out one model at a time, graphs are off by 5.7 % on average, 16 % at worst (fitted 5.0 %, n = 22 distinct runs).

use super::device::{Device, Generation};
use super::version::{Graphs, Sampler, Version};
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
}

/// Bytes that the driver takes for one kernel node of a captured graph. Fitted, see the module.
const NODE: u64 = 14_100;
/// Bytes that capturing takes at all: the capture stream's workspaces and the first graphs' pools. Fitted, see the module.
const CAPTURE: u64 = 175 << 20;
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
        Self { kernels, splits: if flash && whole { splits } else { 0 }, token, whole, pieces, twice }
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
        CAPTURE
            .saturating_add(graphs.saturating_mul(self.kernels).saturating_mul(NODE))
            .saturating_add(self.splits.saturating_mul(decoding))
            .saturating_add(self.token.saturating_mul(mixed))
    }
}

/// Bytes outside `PyTorch`'s allocator after the forward pass, by multiprocessor: modules and the local memory that kernels which
/// spill reserve for every thread the GPU can hold. 0.25 GiB on 132 multiprocessors, between 0.24 and 0.26 in 22 runs of 13
/// models.
const MODULES: u64 = (256 << 20) / 132;
/// More of the same where the vocabulary is no multiple of 16, so that the Triton sampler's loads are not vectorized and it
/// spills: 0.21 GiB on 132 multiprocessors in both runs of such a model (Granite 3, 49155 tokens).
const SPILLS: u64 = (215 << 20) / 132;
/// What tensor parallelism adds once: NCCL's channels, `NVLink` SHARP's and the fused all-reduce's buffers; and for each rank.
/// Fitted to 7 runs of 4 models on 2 and 4 H100: 1.82 to 1.96 GiB, of which the form explains all but 3 %.
const COMMUNICATOR: u64 = 1771 << 20;
const COMMUNICATOR_RANK: u64 = 48 << 20;
/// The same where nothing is fused, from NCCL's defaults: 16 channels of 4 MiB to and from a neighbour, and its proxies.
/// Assumed, not measured.
const PLAIN_COMMUNICATOR: u64 = 256 << 20;

/// Bytes of the CUDA context and `PyTorch`'s own modules, before vLLM takes its first snapshot. Assumed from NVIDIA's driver on
/// data-centre cards; vLLM prints no figure of it.
pub(in crate::engine) const CONTEXT: u64 = 500 << 20;

/// Bytes outside `PyTorch`'s allocator.
pub(in crate::engine) fn runtime(s: &Setting<'_>, vocabulary: u64, fused: bool) -> u64 {
    let sm = s.device.multiprocessors;
    let mut bytes = MODULES.saturating_mul(sm);
    if s.version.sampler == Sampler::Triton && !vocabulary.is_multiple_of(16) {
        bytes = bytes.saturating_add(SPILLS.saturating_mul(sm));
    }
    if s.tensor > 1 {
        let fused = fused
            && s.version.fused_all_reduce
            && matches!(s.device.generation, Generation::Hopper | Generation::Blackwell);
        let communicator = if fused {
            COMMUNICATOR.saturating_add(COMMUNICATOR_RANK.saturating_mul(s.tensor))
        } else {
            PLAIN_COMMUNICATOR
        };
        bytes = bytes.saturating_add(communicator);
    }
    bytes
}

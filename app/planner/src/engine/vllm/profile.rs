//! What the profile run holds at its peak: one forward pass of `max_num_batched_tokens`, then a sampling step of `max_num_seqs`
//! logits (`GPUModelRunner.profile_run`, `_dummy_run`, `_dummy_sampler_run` of vLLM 0.19). vLLM logs it as peak activation
//! memory and takes it out of the cache's budget.
//!
//! While it samples, these live at once: the hidden states of the whole step; the chosen hidden states and random ones of the
//! same size; the logits in the compute precision; three copies in fp32 (logits, probabilities, exponential noise), or what
//! `torch.sort` takes; a vision model's outputs and pixels, which the encoder cache and the caller's frame keep; the experts'
//! workspace; cuBLAS's. In the forward pass the widest layer's feed-forward decides.

use super::device::Device;
use super::version::{Sampler, Version};
use crate::model::{DenseFeedForward, Dtype, FeedForward, Mixer, Model, TowerShape};

/// The profile run of one stage of a prepared plan: everything but the numbers of tokens and sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Profile {
    /// Bytes of one token's hidden state.
    hidden: u64,
    /// Bytes of one token in the widest layer of the forward pass, the workspace apart.
    forward: u64,
    /// Bytes of one token in the experts' workspace.
    workspace: u64,
    /// Whether the workspace outlives the forward pass.
    workspace_stays: bool,
    /// Bytes of one logit, all copies together; 0 where the stage does not sample.
    logit: u64,
    /// Logits of a sequence.
    vocabulary: u64,
    /// Most rows of the Triton kernel's scratch.
    scratch_rows: u64,
    /// A matrix widened for its product.
    widened: u64,
    /// cuBLAS's workspace.
    cublas: u64,
    /// Images.
    images: Option<Images>,
}

/// The images of the profile run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Images {
    /// Tokens that one gives to the language model.
    tokens: u64,
    /// Bytes of one's tokens and pixels, which stay until the end.
    kept: u64,
    /// Bytes of one inside the tower.
    inside: u64,
}

/// What decides a profile beside the model.
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
    /// Expert parallel ranks.
    pub(in crate::engine) expert: u64,
    /// Replicas that share experts.
    pub(in crate::engine) data: u64,
    /// The compute precision.
    pub(in crate::engine) compute: Dtype,
    /// Whether inputs of products are copied in 8 bit.
    pub(in crate::engine) copies_inputs: bool,
    /// A matrix widened for its product, in bytes.
    pub(in crate::engine) widened: u64,
    /// Whether the stage samples.
    pub(in crate::engine) samples: bool,
    /// Whether images are taken in their own resolution.
    pub(in crate::engine) free_images: bool,
    /// Bytes of one token's products with adapters.
    pub(in crate::engine) adapters: u64,
    /// Whether proposed tokens are checked: the profile run then samples by rejection.
    pub(in crate::engine) speculates: bool,
}

impl Profile {
    /// The profile of the layers `from..to`.
    pub(in crate::engine) fn of(model: &Model, s: &Setting<'_>, from: u64, to: u64) -> Self {
        let element = s.compute.bytes();
        let hidden = model.hidden.saturating_mul(element);
        let span = usize::try_from(from).unwrap_or(0)
            ..usize::try_from(to).unwrap_or(usize::MAX).min(model.layers.len());
        let layers = model.layers.get(span).unwrap_or_default();
        let mut forward = 0;
        let mut workspace = 0;
        for layer in layers {
            let mixer = mixer_width(&layer.mixer, s.tensor);
            let inside = match &layer.feed_forward {
                FeedForward::Dense(f) => dense(f, s),
                FeedForward::Experts(e) => {
                    let ranks = s.tensor.saturating_mul(s.data).max(1);
                    let sharing = ranks.div_ceil(s.expert.clamp(1, ranks));
                    let width = e.expert.intermediate.div_ceil(sharing);
                    let up = if e.expert.gated { width.saturating_mul(2) } else { width };
                    // `TritonExperts.workspace_shapes`: (tokens, top k, max(width, hidden)) and
                    // (tokens, top k, max(gate and up, hidden)).
                    let bytes = width
                        .max(model.hidden)
                        .saturating_add(up.max(model.hidden))
                        .saturating_mul(e.active)
                        .saturating_mul(element);
                    workspace = workspace.max(bytes);
                    e.shared.as_ref().map_or(0, |f| dense(f, s)).saturating_add(hidden)
                }
                FeedForward::None => 0,
            };
            // The residual that a piece of the graph was given, the one that it makes, and the norm's output.
            let bytes = mixer
                .attended
                .saturating_mul(element)
                .saturating_add(inside)
                .saturating_add(hidden.saturating_mul(3))
                .max(mixer.projected.saturating_mul(element).saturating_add(hidden.saturating_mul(2)));
            forward = forward.max(bytes);
        }
        let forward = forward.saturating_add(s.adapters);
        let shape = model.towers.iter().find_map(|t| t.shape);
        Self {
            hidden,
            forward,
            workspace,
            workspace_stays: s.version.workspace,
            logit: match (s.samples, s.version.sampler) {
                (false, _) => 0,
                // One proposed token a sequence: the logits stand for two rows of it, and are gathered once more for the
                // proposed and for the bonus one (`_dummy_sampler_run`, `RejectionSampler.forward`).
                (true, Sampler::Triton | Sampler::FlashInfer) if s.speculates => 3 * element + 3 * 4,
                (true, Sampler::Triton | Sampler::FlashInfer) => element + 3 * 4,
                // fp32 logits, sorted values, their indices (int64), the indices to sort back (int64), and cub's second
                // buffers of a value and an index (`aten/src/ATen/native/cuda/Sort.cu`, `segmented_sort_pairs`).
                (true, Sampler::Sort) => element + 4 + 4 + 8 + 8 + 12,
            },
            vocabulary: model.vocab,
            scratch_rows: if s.version.sampler == Sampler::Triton { s.device.multiprocessors } else { 0 },
            widened: s.widened,
            cublas: s.device.cublas_workspace(),
            images: shape.filter(|_| from == 0).map(|shape| images(&shape, hidden, element, s)),
        }
    }

    /// Bytes at the peak of a step of `tokens` and a batch of `sequences`: of activations, and of what is temporary.
    pub(in crate::engine) fn peak(&self, tokens: u64, sequences: u64) -> (u64, u64) {
        let rows = sequences.min(tokens);
        let hidden = self.hidden.saturating_mul(tokens);
        let workspace = self.workspace.saturating_mul(tokens);
        let (mut kept, mut inside) = (self.cublas, 0);
        if let Some(images) = self.images {
            // `MultiModalBudget`: a step's worth of image tokens, at least one image.
            let count = (tokens.max(images.tokens) / images.tokens.max(1)).min(sequences.max(1)).max(1);
            kept = kept.saturating_add(images.kept.saturating_mul(count));
            inside = images.inside.saturating_mul(count);
        }
        let logits = rows.saturating_mul(self.vocabulary).saturating_mul(self.logit);
        let scratch = if self.logit == 0 {
            0
        } else {
            rows.next_power_of_two().min(self.scratch_rows).saturating_mul(self.vocabulary).saturating_mul(4)
        };
        let chosen = if self.logit == 0 { 0 } else { self.hidden.saturating_mul(rows).saturating_mul(2) };
        let stays = if self.workspace_stays { workspace } else { 0 };
        let sampling = logits.saturating_add(scratch).saturating_add(chosen).saturating_add(stays);
        let forward = self.forward.saturating_mul(tokens);
        let passing = workspace.saturating_add(self.widened);
        let at_sampler = hidden.saturating_add(sampling);
        let at_forward = forward.saturating_add(passing);
        if inside > at_sampler.max(at_forward) {
            (inside, kept)
        } else if at_sampler >= at_forward {
            (hidden, sampling.saturating_add(kept))
        } else {
            (forward, passing.saturating_add(kept))
        }
    }
}

/// Widths of one token's mixer on one rank, in elements.
struct MixerWidth {
    /// What the output projection reads.
    attended: u64,
    /// All that is alive before the mixing itself.
    projected: u64,
}

fn mixer_width(mixer: &Mixer, tensor: u64) -> MixerWidth {
    let divide = |n: u64| n.div_ceil(tensor.max(1));
    match mixer {
        Mixer::Attention(a) => {
            let query =
                divide(if a.output_gate { a.query_width().saturating_mul(2) } else { a.query_width() });
            let kv = a.kv_width().div_ceil(tensor.min(a.kv_heads).max(1));
            let attended = divide(a.query_width());
            // The fused projection, the rotated queries and keys, the output's room.
            let projected =
                query.saturating_add(kv.saturating_mul(3)).saturating_add(attended.saturating_mul(2));
            MixerWidth { attended, projected }
        }
        Mixer::Latent(a) => {
            let heads = divide(a.heads);
            let query = heads.saturating_mul(a.nope_size.saturating_add(a.rope_size));
            let expanded = heads.saturating_mul(a.nope_size.saturating_add(a.value_size));
            let attended = heads.saturating_mul(a.value_size);
            // Queries, keys with the shared rotation copied to every head, keys and values as expanded, the output.
            let projected = query.saturating_mul(2).saturating_add(expanded).saturating_add(attended);
            MixerWidth { attended, projected }
        }
        Mixer::Recurrent(r) => {
            let channels = divide(r.conv_channels());
            // The projection, its convolved copy, gate and output.
            MixerWidth { attended: channels, projected: channels.saturating_mul(4) }
        }
    }
}

/// Bytes of one token in a dense feed-forward: gate and up, what the activation makes of them, and its copy in 8 bit.
fn dense(f: &DenseFeedForward, s: &Setting<'_>) -> u64 {
    let width = f.intermediate.div_ceil(s.tensor.max(1));
    let up = if f.gated { width.saturating_mul(2) } else { width };
    let copied = if s.copies_inputs { width } else { 0 };
    up.saturating_add(width).saturating_mul(s.compute.bytes()).saturating_add(copied)
}

/// Tokens of the largest image that Qwen's processors make: 12845056 pixels of 28² or 16777216 of 32² to a token
/// (`preprocessor_config.json` of Qwen2-VL and of Qwen3-VL).
const LARGEST_FREE_IMAGE: u64 = 16_384;

fn images(shape: &TowerShape, hidden: u64, element: u64, s: &Setting<'_>) -> Images {
    let mut pixels = shape.image.saturating_mul(shape.image);
    let mut tokens = shape.tokens_per_image;
    if s.free_images {
        // Each pixel stands twice: a still image is a film of two frames.
        pixels = pixels.checked_div(tokens).unwrap_or(0).saturating_mul(LARGEST_FREE_IMAGE).saturating_mul(2);
        tokens = LARGEST_FREE_IMAGE;
    }
    let edges = (shape.image / shape.patch.max(1)).saturating_pow(2);
    let patches = edges.checked_div(shape.tokens_per_image).unwrap_or(0).max(1);
    let patches = if s.free_images { patches.saturating_mul(tokens) } else { edges };
    // The tower runs without compilation: the feed-forward's two widths, the residual, the norm's output and one more.
    let width = shape
        .intermediate
        .div_ceil(s.tensor.max(1))
        .saturating_mul(2)
        .saturating_add(shape.hidden.saturating_mul(3));
    Images {
        tokens,
        kept: tokens.saturating_mul(hidden).saturating_add(pixels.saturating_mul(3).saturating_mul(element)),
        inside: patches.saturating_mul(width).saturating_mul(element),
    }
}

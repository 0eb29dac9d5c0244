//! A pipeline stage under FSDP2, and the moments at which most is alive.

use super::saved::{self, Block, Mode};
use crate::engine::megatron::layout;
use crate::engine::shard;
use crate::engine::training::cost::{Cost, Microbatch};
use crate::error::PlanError;
use crate::model::{FeedForward, Mixer, Model, Role};

/// How the parameters are divided.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "each a switch of its own")]
pub(super) struct Sharding {
    pub(super) tensor: u64,
    pub(super) pipeline: u64,
    /// Model chunks of one stage.
    pub(super) virtual_stages: u64,
    pub(super) gpipe: bool,
    /// Ranks over which FSDP divides: data · context; 1 without FSDP.
    pub(super) shards: u64,
    /// Whether parameters are gathered at all.
    pub(super) fsdp: bool,
    /// Bytes of a gathered parameter of a linear layer: 1 with fp8 gathering, else as activations.
    pub(super) gathered: u64,
    /// Whether states live on the host.
    pub(super) offloaded: bool,
    /// Whether the step runs parameter by parameter in the backward pass.
    pub(super) step_in_backward: bool,
}

/// A stage, prepared. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stage {
    index: u64,
    /// fp32 parameters of this rank.
    pub(super) weights: u64,
    /// fp32 gradients of this rank.
    pub(super) gradients: u64,
    /// fp32 moments of this rank.
    pub(super) optimizer: u64,
    /// What one microbatch keeps in each chunk.
    chunks: Vec<Cost>,
    /// Of the last chunk: what the loss (where it is here) keeps and adds.
    loss: Option<Loss>,
    /// What the last block's backward pass adds.
    backward: Cost,
    /// Gathered parameters alive at the loss.
    live_at_loss: u64,
    /// Gathered parameters and whole gradients alive in the last block's backward pass.
    live_in_backward: u64,
    /// Buffers of the gathering stream, which has a pool of its own.
    pub(super) gathering: u64,
    /// What the optimizer's step adds to the states.
    step: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Loss {
    kept: Cost,
    added: Cost,
    /// Kept of every microbatch until the step ends: the last stage's outputs.
    outputs: Cost,
}

/// What is alive at a stage's fullest moment, beside weights, gradients and moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Alive {
    /// Kept for backward passes.
    pub(super) kept: u64,
    /// Added by what runs: gathered parameters, the loss, recomputed blocks.
    pub(super) added: u64,
    /// At the step alone.
    pub(super) step: u64,
}

impl Stage {
    /// The fullest moments of a step.
    pub(super) fn peak(&self, s: &Sharding, batch: Microbatch, microbatches: u64) -> Alive {
        let chunks = self.chunks.len() as u64;
        let held = layout::in_flight(self.index, s.pipeline, chunks, s.gpipe, microbatches);
        let mut kept = 0u64;
        for (chunk, cost) in (0u64..).zip(&self.chunks) {
            let times = layout::held_of_chunk(held, chunk, s.pipeline, chunks);
            kept = kept.saturating_add(cost.at(batch).saturating_mul(times));
        }
        let mut most = Alive {
            kept,
            added: self.backward.at(batch).saturating_add(self.live_in_backward),
            step: self.step,
        };
        if let Some(loss) = self.loss {
            let outputs =
                if s.pipeline > 1 { loss.outputs.at(batch).saturating_mul(microbatches) } else { 0 };
            most.kept = most.kept.saturating_add(outputs);
            let at_loss = Alive {
                kept: most.kept.saturating_add(loss.kept.at(batch)),
                added: loss.added.at(batch).saturating_add(self.live_at_loss),
                step: self.step,
            };
            if at_loss.kept.saturating_add(at_loss.added) > most.kept.saturating_add(most.added) {
                most = at_loss;
            }
        }
        most
    }
}

/// The stages that can carry most.
///
/// # Errors
/// A layer that torchtitan's Llama does not have, or stages that the layers do not fill.
pub(super) fn stages(model: &Model, s: &Sharding, mode: Mode) -> Result<Vec<Stage>, PlanError> {
    let blocks = model.layers.iter().map(|l| match (&l.mixer, &l.feed_forward) {
        (Mixer::Attention(a), FeedForward::Dense(f)) => Ok(saved::block(model.hidden, a, f, mode)),
        _ => Err(PlanError::not_planned_yet(
            "model",
            "a model that is not all softmax attention and dense feed-forwards in torchtitan",
            "give a dense model, or another engine",
        )),
    });
    let blocks = blocks.collect::<Result<Vec<Block>, PlanError>>()?;
    let of_layer = layer_parameters(model, s.tensor);
    let all = chunks(blocks.len() as u64, s)?;
    let last = all.len().saturating_sub(1);
    let mut each: Vec<Stage> = Vec::new();
    for (index, chunks) in all.iter().enumerate() {
        let ends = (index == 0, index == last);
        let stage =
            Build { model, s, mode, blocks: &blocks, of_layer: &of_layer }.stage(index as u64, chunks, ends);
        if !each.iter().any(|e| Stage { index: stage.index, ..e.clone() } == stage) {
            each.push(stage);
        }
    }
    Ok(each)
}

/// Parameters of each layer on one tensor rank.
fn layer_parameters(model: &Model, tensor: u64) -> Vec<u64> {
    let mut of_layer = vec![0u64; model.layers.len()];
    for t in model.tensors() {
        let Some(sum) = t.layer.and_then(|l| of_layer.get_mut(usize::try_from(l).ok()?)) else { continue };
        let kv_heads = t
            .layer
            .and_then(|l| model.layers.get(usize::try_from(l).ok()?))
            .and_then(crate::model::Layer::attention)
            .map_or(0, |a| a.kv_heads);
        *sum = sum.saturating_add(shard::part(&t, tensor, 1, kv_heads).elements());
    }
    of_layer
}

/// Layers of each rank's chunks (`torchtitan/parallelisms/pipelining_utils.py`, `generate_split_points`): the first has
/// the even share, those in the middle one more while there is a remainder; chunks go round the ranks.
fn chunks(layers: u64, s: &Sharding) -> Result<Vec<Vec<(u64, u64)>>, PlanError> {
    let total = s.pipeline.saturating_mul(s.virtual_stages);
    if total > layers || total == 0 {
        return Err(PlanError::unsupported(
            "parallelism.pipeline",
            format!("{total} chunks are more than the {layers} layers"),
            format!("give at most {layers} in all"),
        ));
    }
    let (each, mut over) = (layers / total, layers % total);
    let mut ranks = vec![Vec::new(); usize::try_from(s.pipeline).unwrap_or_default()];
    let mut start = 0;
    for chunk in 0..total {
        let mut size = each;
        if chunk > 0 && over > 0 {
            size += 1;
            over -= 1;
        }
        let end = if chunk + 1 == total { layers } else { start + size };
        let rank = usize::try_from(chunk % s.pipeline).unwrap_or_default();
        if let Some(list) = ranks.get_mut(rank) {
            list.push((start, end));
        }
        start = end;
    }
    Ok(ranks)
}

struct Build<'a> {
    model: &'a Model,
    s: &'a Sharding,
    mode: Mode,
    blocks: &'a [Block],
    of_layer: &'a [u64],
}

impl Build<'_> {
    fn stage(&self, index: u64, chunks: &[(u64, u64)], (first, last): (bool, bool)) -> Stage {
        let s = self.s;
        let e = self.mode.element;
        let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let layers: u64 = chunks
            .iter()
            .flat_map(|&(from, to)| self.of_layer.get(at(from)..at(to)).unwrap_or_default())
            .fold(0, |sum, n| sum.saturating_add(*n));
        let ends = self.ends(first, last);
        let all = layers.saturating_add(ends);
        let shard = |bytes: u64| if s.offloaded { 0 } else { all.saturating_mul(bytes).div_ceil(s.shards) };
        let kept_of = |&(from, to): &(u64, u64)| {
            self.blocks
                .get(at(from)..at(to))
                .unwrap_or_default()
                .iter()
                .fold(Cost::ZERO, |sum, b| sum + b.kept)
        };
        let final_layer = chunks.last().map_or(0, |&(_, to)| to.saturating_sub(1));
        let last_block = self.blocks.get(at(final_layer)).copied().unwrap_or_default();
        let layer = self.of_layer.get(at(final_layer)).copied().unwrap_or_default();
        // Embedding, final norm and head are one group, gathered in 16 bit and kept to the end of the step.
        let root = ends.saturating_mul(e);
        let (live_at_loss, live_in_backward, gathering) = if !s.fsdp {
            (0, 0, 0)
        } else if s.pipeline > 1 {
            // Nothing is given back between microbatches, and gradients are added up whole in fp32.
            let live = layers.saturating_mul(s.gathered) + root + all.saturating_mul(4);
            let spread = layer.saturating_mul(e) + layer.saturating_mul(4);
            (live, live.saturating_add(spread), root.max(layer.saturating_mul(2 * s.gathered)))
        } else {
            let gathered = layer.saturating_mul(s.gathered);
            // In a backward pass: this layer's and the next one's copies, the head's gradient, this layer's gradients, and
            // the fp32 copy on its way to the reduce-scatter.
            let gradients = root / 2 + layer.saturating_mul(e + 4);
            (
                root + gathered,
                root + 2 * gathered + gradients,
                root.max(2 * gathered) + root.max(gathered) / s.shards,
            )
        };
        // The multi-tensor AdamW (fused is off by default) holds one more tensor of each parameter's size.
        let step = if s.step_in_backward { 0 } else { shard(4) };
        Stage {
            index,
            weights: shard(4),
            gradients: if s.step_in_backward { 0 } else { shard(4) },
            optimizer: shard(8),
            chunks: chunks.iter().map(kept_of).collect(),
            loss: last.then(|| self.loss()),
            backward: last_block.backward,
            live_at_loss,
            live_in_backward,
            gathering,
            step,
        }
    }

    /// Parameters outside the layers on this stage.
    fn ends(&self, first: bool, last: bool) -> u64 {
        self.model
            .tensors()
            .iter()
            .filter(|t| t.layer.is_none())
            .filter(|t| match t.role {
                Role::TokenEmbedding => first || (last && self.model.tied_embeddings),
                Role::PositionEmbedding => first,
                Role::Tower(_) => false,
                _ => last,
            })
            .map(|t| shard::part(t, self.s.tensor, 1, 0).elements())
            .fold(0, u64::saturating_add)
    }

    /// The loss (`train.py`, `loss_fn`): logits copied to fp32, their log-softmax kept. The backward pass holds that, the
    /// gradient of the likelihood and the gradient of the logits; under loss parallelism
    /// (`torch/distributed/tensor/parallel/loss.py`, `_nll_loss_and_log_softmax_backward`) also the exponentials.
    fn loss(&self) -> Loss {
        let e = self.mode.element;
        let rows = self.model.vocab.div_ceil(self.s.tensor);
        let stream = self.model.hidden.saturating_mul(e).div_ceil(self.s.tensor);
        // The final norm is never recomputed: its input in fp32, the normed value before and after the weight.
        let norm = 3 * stream + stream.saturating_mul(4) / e;
        let tensors = if self.s.tensor > 1 { 4 } else { 3 };
        Loss {
            kept: Cost::token(norm + rows.saturating_mul(4)),
            added: Cost::token(rows.saturating_mul(4 * (tensors - 1))),
            outputs: Cost::token(rows.saturating_mul(e)),
        }
    }
}

//! A pipeline stage: what it always holds, what each microbatch adds, and the moments at which most is alive.

use super::layer::{self, Numerics, Saved, Shape};
use super::layout::{self, Ranks};
use crate::document::plan::{Checkpointing, PipelineSchedule};
use crate::engine::shard::{self, Split};
use crate::engine::training::cost::{Cost, Microbatch};
use crate::error::PlanError;
use crate::model::{Head, Model, WeightTensor};

/// How the model is trained, as far as memory depends on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipe {
    pub(super) numerics: Numerics,
    pub(super) checkpointing: Checkpointing,
    /// Whether the loss is computed on the 16-bit logits in place (`--cross-entropy-loss-fusion`).
    pub(super) fused_loss: bool,
    /// Whether linear layers keep fp8 copies of their weights.
    pub(super) fp8: bool,
    pub(super) schedule: PipelineSchedule,
}

/// Parameters of one rank of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Held {
    /// Replicated over data and context ranks.
    pub(super) dense: u64,
    /// Replicated over expert data ranks.
    pub(super) expert: u64,
    /// Of both, those of linear layers.
    pub(super) linear: u64,
}

/// A moment of a microbatch's backward pass: what is still kept of this microbatch, and what the operation adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) kept: Cost,
    pub(super) added: Cost,
}

/// A stage, prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stage {
    /// Its place in the pipeline.
    pub(super) index: u64,
    pub(super) held: Held,
    /// What one microbatch keeps in each chunk.
    pub(super) chunks: Vec<Cost>,
    /// Moments of the chunk whose backward pass comes first: the last one.
    pub(super) moments: Vec<Moment>,
    /// Bytes of the gradients that Transformer Engine makes up: where it adds a weight's gradient to the main gradient
    /// itself, autograd still wants a tensor, and one of each shape is kept for good
    /// (`pytorch/module/base.py`, `get_dummy_wgrad`).
    pub(super) dummy_gradients: u64,
    /// Whether it has experts, whose grouped products have workspaces of their own.
    pub(super) experts: bool,
}

/// What is alive at a stage's peak, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Alive {
    /// Kept for backward passes.
    pub(super) kept: u64,
    /// Added by the operation that runs.
    pub(super) added: u64,
}

impl Stage {
    /// The peak of its backward passes.
    pub(super) fn peak(&self, pipeline: &Pipeline, batch: Microbatch, microbatches: u64) -> Alive {
        let virtual_stages = self.chunks.len() as u64;
        let held =
            layout::in_flight(self.index, pipeline.stages, virtual_stages, pipeline.gpipe, microbatches);
        let mut others = 0u64;
        for (chunk, kept) in (0u64..).zip(&self.chunks) {
            let mut times = layout::held_of_chunk(held, chunk, pipeline.stages, virtual_stages);
            if chunk + 1 == virtual_stages {
                times = times.saturating_sub(1);
            }
            others = others.saturating_add(kept.at(batch).saturating_mul(times));
        }
        let mut most = Alive::default();
        for moment in &self.moments {
            let alive =
                Alive { kept: others.saturating_add(moment.kept.at(batch)), added: moment.added.at(batch) };
            if alive.kept.saturating_add(alive.added) >= most.kept.saturating_add(most.added) {
                most = alive;
            }
        }
        most
    }
}

/// All stages that can carry most.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pub(super) stages: u64,
    pub(super) gpipe: bool,
    pub(super) each: Vec<Stage>,
}

/// The pipeline of a model.
///
/// # Errors
/// As [`layout::chunks`] and [`layer::saved`].
pub(super) fn pipeline(model: &Model, ranks: &Ranks, recipe: &Recipe) -> Result<Pipeline, PlanError> {
    let tensors = model.tensors();
    let layers = model
        .layers
        .iter()
        .map(|l| layer::saved(model.hidden, l, ranks, recipe.numerics))
        .collect::<Result<Vec<_>, _>>()?;
    let all = layout::chunks(layers.len() as u64, ranks.pipeline, recipe.schedule)?;
    let last = all.len().saturating_sub(1);
    let mut each: Vec<Stage> = Vec::new();
    for (index, chunks) in all.iter().enumerate() {
        let ends = Ends { first: index == 0, last: index == last };
        let stage = Build { model, ranks, recipe, tensors: &tensors, layers: &layers }.stage(
            index as u64,
            chunks,
            ends,
        );
        // A stage like an earlier one keeps fewer microbatches: it cannot carry most.
        let dominated = each.iter().any(|s| Stage { index: stage.index, ..s.clone() } == stage);
        if !dominated {
            each.push(stage);
        }
    }
    let gpipe = recipe.schedule == PipelineSchedule::Gpipe;
    Ok(Pipeline { stages: ranks.pipeline, gpipe, each })
}

/// Rows of the vocabulary as Megatron pads them (`--make-vocab-size-divisible-by 128`, times the tensor ranks).
pub(super) const fn padded_vocabulary(vocab: u64, tensor: u64) -> u64 {
    let unit = tensor.saturating_mul(128);
    vocab.div_ceil(unit).saturating_mul(unit)
}

#[derive(Clone, Copy)]
struct Ends {
    first: bool,
    last: bool,
}

struct Build<'a> {
    model: &'a Model,
    ranks: &'a Ranks,
    recipe: &'a Recipe,
    tensors: &'a [WeightTensor],
    layers: &'a [Saved],
}

impl Build<'_> {
    fn stage(&self, index: u64, chunks: &[(u64, u64)], ends: Ends) -> Stage {
        let inside = |layer: u64| chunks.iter().any(|&(from, to)| (from..to).contains(&layer));
        let mut held = Held::default();
        for t in self.tensors {
            let here = t.layer.map_or_else(|| self.ends_have(t, ends), inside);
            if here {
                self.add(t, &mut held);
            }
        }
        let costs: Vec<Cost> = chunks.iter().map(|&range| self.kept_of(range)).collect();
        let range = chunks.last().copied().unwrap_or_default();
        let mut shapes: Vec<Shape> = Vec::new();
        let mut experts = false;
        for &(from, to) in chunks {
            for i in from..to {
                let at = usize::try_from(i).unwrap_or_default();
                if let Some(saved) = self.layers.get(at) {
                    shapes.extend(saved.linears.iter().copied());
                }
                experts |= self.model.layers.get(at).is_some_and(|l| l.experts().is_some());
            }
        }
        shapes.sort_unstable();
        shapes.dedup();
        let dummies =
            shapes.iter().map(|&(rows, columns)| rows.saturating_mul(columns)).fold(0, u64::saturating_add);
        Stage {
            index,
            held,
            chunks: costs,
            moments: self.moments(range, ends),
            dummy_gradients: dummies.saturating_mul(self.recipe.numerics.element),
            experts,
        }
    }

    /// Whether a tensor outside the layers is on this stage. A tied embedding is on both ends.
    fn ends_have(&self, t: &WeightTensor, ends: Ends) -> bool {
        use crate::model::Role;
        match t.role {
            Role::TokenEmbedding => ends.first || (ends.last && self.model.tied_embeddings),
            Role::PositionEmbedding
            | Role::TokenTypeEmbedding
            | Role::EmbeddingNorm
            | Role::EmbeddingNormBias => ends.first,
            Role::Tower(_) => false,
            _ => ends.last,
        }
    }

    fn add(&self, t: &WeightTensor, held: &mut Held) {
        let r = self.ranks;
        let elements = t.elements();
        let kv_heads = t
            .layer
            .and_then(|l| self.model.layers.get(usize::try_from(l).ok()?))
            .and_then(crate::model::Layer::attention)
            .map_or(1, |a| a.kv_heads);
        let (part, expert) = match shard::split(t.role) {
            Split::Rows | Split::Columns | Split::FusedRows => (elements.div_ceil(r.tensor), false),
            Split::KeyValueRows => (elements.div_ceil(r.tensor.min(kv_heads.max(1))), false),
            Split::Vocabulary => {
                (padded_vocabulary(t.rows, r.tensor).saturating_mul(t.columns) / r.tensor, false)
            }
            Split::ExpertRows | Split::ExpertColumns => {
                (elements.div_ceil(r.expert.saturating_mul(r.expert_tensor)), true)
            }
            Split::Replicated => (elements, false),
        };
        let total = if expert { &mut held.expert } else { &mut held.dense };
        *total = total.saturating_add(part);
        if t.is_matrix() && t.layer.is_some() {
            held.linear = held.linear.saturating_add(part);
        }
    }

    /// What one microbatch keeps of one layer.
    fn kept(&self, saved: &Saved) -> Cost {
        match self.recipe.checkpointing {
            Checkpointing::None => saved.all(),
            // The core's inputs and output are kept by their neighbours.
            Checkpointing::Selective => Cost {
                fixed: saved.all().fixed,
                token: saved.all().token - saved.core.token,
                pair: saved.all().pair - saved.core.pair,
            },
            Checkpointing::Full => saved.input,
        }
    }

    fn range(&self, (from, to): (u64, u64)) -> &[Saved] {
        let index = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        self.layers.get(index(from)..index(to)).unwrap_or_default()
    }

    fn kept_of(&self, range: (u64, u64)) -> Cost {
        // Token and position ids, labels (eight bytes each) and the loss mask.
        let ids = Cost::token(28);
        self.range(range).iter().fold(ids, |sum, saved| sum + self.kept(saved))
    }

    /// The moments at which a chunk's backward pass can hold most: at the loss, in the last layer of each kind, and when
    /// the embedding's gradient comes.
    fn moments(&self, range: (u64, u64), ends: Ends) -> Vec<Moment> {
        let mut moments = Vec::new();
        let layers = self.range(range);
        let mut before = Cost::token(28);
        for (i, saved) in layers.iter().enumerate() {
            let last_of_kind = layers.get(i + 1).is_none_or(|next| next != saved);
            if last_of_kind {
                moments.extend(self.layer_moments(before, saved));
            }
            before += self.kept(saved);
        }
        if ends.last {
            moments.extend(self.loss_moments(before));
        }
        if ends.first {
            let rows = padded_vocabulary(self.model.vocab, self.ranks.tensor) / self.ranks.tensor;
            let gradient =
                rows.saturating_mul(self.model.hidden).saturating_mul(self.recipe.numerics.element);
            moments.push(Moment { kept: Cost::ZERO, added: Cost::fixed(gradient) + self.stream_whole() });
        }
        moments
    }

    fn layer_moments(&self, before: Cost, saved: &Saved) -> [Moment; 2] {
        match self.recipe.checkpointing {
            // What was left out is computed again first; the layer's input, which was kept, is part of it.
            Checkpointing::Full => [
                Moment { kept: before, added: saved.all() + saved.feed_forward_backward },
                Moment { kept: before, added: saved.mixer + saved.mixer_backward },
            ],
            Checkpointing::Selective => [
                Moment { kept: before + self.kept(saved), added: saved.feed_forward_backward },
                Moment { kept: before + saved.mixer, added: saved.mixer_backward + saved.core },
            ],
            Checkpointing::None => [
                Moment { kept: before + saved.all(), added: saved.feed_forward_backward },
                Moment { kept: before + saved.mixer, added: saved.mixer_backward },
            ],
        }
    }

    /// The residual stream of whole sequences.
    fn stream_whole(&self) -> Cost {
        Cost::token(self.model.hidden.saturating_mul(self.recipe.numerics.element))
    }

    /// The output layer and the loss. Megatron's output layer (`core/tensor_parallel/layers.py`,
    /// `LinearWithGradAccumulationAndAsyncCommunication`) gathers its input again, computes the input's gradient, scatters
    /// it, and makes up a gradient of the weight's size, all alive together. The loss, where it is not fused, copies the
    /// logits to fp32 (`core/tensor_parallel/cross_entropy.py`) and keeps the probabilities in their place.
    fn loss_moments(&self, before: Cost) -> Vec<Moment> {
        if !matches!(self.model.head, Head::LanguageModel { .. }) {
            return Vec::new();
        }
        let r = self.ranks;
        let e = self.recipe.numerics.element;
        let rows = padded_vocabulary(self.model.vocab, r.tensor) / r.tensor;
        let stream = Cost::token(self.model.hidden.saturating_mul(e).div_ceil(r.sequence_ranks()));
        let kept = before + stream.times(2);
        let logits = Cost::token(rows.saturating_mul(e));
        let made_up = Cost::fixed(rows.saturating_mul(self.model.hidden).saturating_mul(e));
        let mut added = self.stream_whole() + made_up;
        if r.sequence {
            added = added + self.stream_whole() + stream;
        }
        let backward = Moment { kept: kept + logits, added };
        if self.recipe.fused_loss {
            vec![backward]
        } else {
            let upcast = Cost::token(rows.saturating_mul(4));
            vec![backward, Moment { kept: kept + upcast, added: logits }]
        }
    }
}

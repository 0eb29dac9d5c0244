//! What Transformer Engine and Megatron keep of a layer for its backward pass, and what the backward pass adds.
//!
//! Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models" (arXiv 2205.05198, section 4), counts
//! the saved tensors of a GPT layer; here the same is done for what the code saves today: Megatron-LM core 0.14
//! (`core/models/gpt/gpt_layer_specs.py`, `core/transformer/multi_latent_attention.py`, `core/transformer/moe/`) on
//! Transformer Engine 2 (`pytorch/module/layernorm_linear.py`, `linear.py`, `grouped_linear.py`,
//! `attention/dot_product_attention/`). All sizes are of 16-bit elements unless said otherwise.

use super::layout::Ranks;
use crate::engine::training::cost::Cost;
use crate::error::PlanError;
use crate::model::{
    Attention, DenseFeedForward, Experts, FeedForward, LatentAttention, Layer, Mixer, QkNorm,
};

/// A matrix by its rows (outputs) and columns (inputs), as one rank holds it.
pub(super) type Shape = (u64, u64);

/// How a layer is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numerics {
    /// Bytes of an activation: 2 in mixed precision, 4 without.
    pub(super) element: u64,
    /// Bytes of the input that a linear layer saves: 1 in fp8.
    pub(super) linear_input: u64,
    /// Whether attention scores are materialised.
    pub(super) eager: bool,
}

/// What one layer keeps and needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Saved {
    /// Kept of the mixer for the backward pass, its norm's input (the layer's input) included.
    pub(super) mixer: Cost,
    /// Of that, what is recomputed under selective recomputation (the attention core).
    pub(super) core: Cost,
    /// Kept of the feed-forward, its norm's input included.
    pub(super) feed_forward: Cost,
    /// The layer's input alone, which full recomputation keeps.
    pub(super) input: Cost,
    /// Most that the mixer's backward pass adds to what is kept.
    pub(super) mixer_backward: Cost,
    /// Most that the feed-forward's backward pass adds to what is kept.
    pub(super) feed_forward_backward: Cost,
    /// Shapes of the linear layers whose gradient is added to the main gradient in place.
    pub(super) linears: Vec<Shape>,
}

impl Saved {
    /// Everything kept without recomputation.
    pub(super) fn all(&self) -> Cost {
        self.mixer + self.feed_forward
    }
}

/// What `layer` keeps, or the field that says why not.
///
/// # Errors
/// A mixer that Megatron's GPT model does not have.
pub(super) fn saved(hidden: u64, layer: &Layer, ranks: &Ranks, n: Numerics) -> Result<Saved, PlanError> {
    let by = Divided { hidden, ranks: *ranks, n };
    let mut saved = Saved { input: by.stream(n.element), ..Saved::default() };
    match &layer.mixer {
        Mixer::Attention(a) => by.attention(a, &mut saved),
        Mixer::Latent(a) => by.latent(a, &mut saved),
        Mixer::Recurrent(_) => {
            return Err(PlanError::not_planned_yet(
                "model",
                "a recurrent mixer in Megatron",
                "give a model whose layers are attention",
            ));
        }
    }
    match &layer.feed_forward {
        FeedForward::Dense(f) => by.dense(f, &mut saved),
        FeedForward::Experts(e) => by.experts(e, &mut saved),
        FeedForward::None => {}
    }
    // Norms after a part (Gemma) keep their inputs too.
    let extra = (layer.norms.len() as u64).saturating_sub(2);
    saved.feed_forward += by.stream(n.element).times(extra);
    Ok(saved)
}

struct Divided {
    hidden: u64,
    ranks: Ranks,
    n: Numerics,
}

impl Divided {
    /// The residual stream in elements of `bytes`, divided along the sequence where that is asked.
    fn stream(&self, bytes: u64) -> Cost {
        Cost::token((self.hidden.saturating_mul(bytes)).div_ceil(self.ranks.sequence_ranks()))
    }

    fn rows(&self, rows: u64) -> u64 {
        rows.div_ceil(self.ranks.tensor)
    }

    /// A norm and the linear layer behind it: the norm's input, its output (the linear layer's input), and its fp32
    /// reciprocal deviation.
    fn norm_and_linear(&self) -> Cost {
        self.stream(self.n.element) + self.stream(self.n.linear_input) + self.deviation()
    }

    fn deviation(&self) -> Cost {
        Cost::token(4u64.div_ceil(self.ranks.sequence_ranks()))
    }

    /// Key and value heads of one rank: repeated where there are fewer than ranks.
    fn kv_width(&self, a: &Attention) -> u64 {
        a.kv_heads.div_ceil(self.ranks.tensor).saturating_mul(a.head_size)
    }

    fn attention(&self, a: &Attention, saved: &mut Saved) {
        let e = self.n.element;
        let query = self.rows(a.query_width());
        let kv = self.kv_width(a);
        let fused = query.saturating_add(kv.saturating_mul(2));
        let gate = if a.output_gate { query } else { 0 };
        // Query, key and value after the rotation, which saves nothing itself.
        let core = self.core(a.heads);
        saved.core = core;
        saved.mixer = self.norm_and_linear()
            + Cost::token((fused + gate).saturating_mul(e))
            + core
            + Cost::token(query.saturating_mul(self.n.linear_input));
        if a.qk_norm != QkNorm::None {
            // The norms' inputs; their outputs become the rotated query and key.
            saved.mixer += Cost::token((query + kv).saturating_mul(e));
        }
        // Gradients of output, query, key and value, and those of the fused projection before they are let go.
        saved.mixer_backward =
            Cost::token((query + 2 * fused).saturating_mul(e)) + self.stream(e) + self.scores(a.heads);
        saved.linears.push((fused + gate, self.hidden));
        saved.linears.push((self.hidden, query));
    }

    /// What the attention core keeps: the log-sum of each row in fp32, or the probabilities.
    fn core(&self, heads: u64) -> Cost {
        let heads = self.rows(heads);
        if self.n.eager {
            self.scores(heads.saturating_mul(self.ranks.tensor))
        } else {
            Cost::token(4 * heads)
        }
    }

    fn scores(&self, heads: u64) -> Cost {
        if self.n.eager {
            Cost { pair: self.rows(heads).saturating_mul(self.n.element), ..Cost::ZERO }
        } else {
            Cost::ZERO
        }
    }

    fn latent(&self, a: &LatentAttention, saved: &mut Saved) {
        let e = self.n.element;
        let key_size = a.nope_size + a.rope_size;
        let query = self.rows(a.heads.saturating_mul(key_size));
        let value = self.rows(a.heads.saturating_mul(a.value_size));
        let expanded = self.rows(a.heads.saturating_mul(a.nope_size + a.value_size));
        let low = |rank: u64| {
            // A compressed vector before its norm and after it; whole on every rank, divided along the sequence.
            Cost::token(rank.saturating_mul(e + self.n.linear_input).div_ceil(self.ranks.sequence_ranks()))
        };
        let core = self.core(a.heads);
        saved.core = core;
        saved.mixer = self.norm_and_linear()
            + low(a.kv_rank)
            + Cost::token(a.rope_size.saturating_mul(e))
            + Cost::token((2 * query + value).saturating_mul(e))
            + core
            + Cost::token(value.saturating_mul(self.n.linear_input));
        if let Some(rank) = a.query_rank {
            saved.mixer += low(rank);
            saved.linears.push((rank, self.hidden));
            saved.linears.push((query, rank));
        } else {
            saved.linears.push((query, self.hidden));
        }
        saved.linears.push((a.kv_rank + a.rope_size, self.hidden));
        saved.linears.push((expanded, a.kv_rank));
        saved.linears.push((self.hidden, value));
        saved.mixer_backward = Cost::token((2 * query + 2 * value + expanded).saturating_mul(e))
            + self.stream(e)
            + self.scores(a.heads);
    }

    fn dense(&self, f: &DenseFeedForward, saved: &mut Saved) {
        let (kept, added, shapes) = self.matrices(f);
        saved.feed_forward = self.norm_and_linear() + kept;
        saved.feed_forward_backward = added + self.stream(self.n.element);
        saved.linears.extend(shapes);
    }

    /// The two (or, with a gate, three) matrices of a feed-forward: what is kept between them, what their backward pass
    /// adds, their shapes.
    ///
    /// Kept are the first one's output, which the activation function needs, and the second one's input. When the
    /// activation function's backward pass runs, the second one's input has gone and its gradient and that of the first
    /// one's output have come.
    fn matrices(&self, f: &DenseFeedForward) -> (Cost, Cost, [Shape; 2]) {
        let inner = self.rows(f.intermediate);
        let first = if f.gated { 2 * inner } else { inner };
        let e = self.n.element;
        (
            Cost::token(first.saturating_mul(e) + inner.saturating_mul(self.n.linear_input)),
            Cost::token(first.saturating_mul(e)),
            [(first, self.hidden), (self.hidden, inner)],
        )
    }

    fn experts(&self, x: &Experts, saved: &mut Saved) {
        let e = self.n.element;
        let r = self.ranks;
        // Tokens of one rank times the experts each takes; with experts divided over tensor ranks, those ranks' tokens are
        // gathered. Load is planned even.
        let taken = |bytes: u64| {
            Cost::token(
                bytes.saturating_mul(x.active).saturating_mul(r.expert_tensor).div_ceil(r.sequence_ranks()),
            )
        };
        let inner = x.expert.intermediate.div_ceil(r.expert_tensor);
        let first = if x.expert.gated { 2 * inner } else { inner };
        // Router (core/transformer/moe/router.py): fp32 scores for the choice and for the balancing loss, chosen
        // probabilities twice in 16 bit, two maps of one byte.
        let router = Cost::token((x.routed.saturating_mul(14)).div_ceil(r.sequence_ranks()));
        let mut kept = router
            + taken(self.hidden.saturating_mul(self.n.linear_input))
            + taken(first.saturating_mul(e) + inner.saturating_mul(self.n.linear_input))
            + taken(8);
        saved.linears.push((first, self.hidden));
        saved.linears.push((self.hidden, inner));
        if let Some(shared) = &x.shared {
            let (shared_kept, _, shapes) = self.matrices(shared);
            kept += shared_kept;
            saved.linears.extend(shapes);
        }
        saved.feed_forward = self.norm_and_linear() + kept;
        // The dispatcher's backward pass holds the permuted gradient before and after the exchange.
        let dispatch = taken(self.hidden.saturating_mul(2 * e));
        let activation = taken(first.saturating_mul(e));
        let most = if dispatch.token > activation.token { dispatch } else { activation };
        saved.feed_forward_backward = most + self.stream(e);
    }
}

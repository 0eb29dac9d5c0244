//! A layer: attention, then a feed-forward, each added to the residual stream.

use candle_core::{D, Device, Result, Tensor};
use planner::model::{Layer as Shape, NormPlace, Role};
use planner::pattern::Visibility;

use super::attention::{Pass, Scores, Variant};
use super::cache::LayerCache;
use super::feed_forward::FeedForward;
use super::matrix::{Linear, together};
use super::numbers::Numbers;
use super::rope::{Angles, Order};
use super::weights::{Weights, as_size};

/// A norm by the root mean square (arXiv 1910.07467).
#[derive(Debug)]
pub(super) struct Norm {
    weight: Tensor,
    epsilon: f32,
}

impl Norm {
    /// `weight` plus the offset that the checkpoint's family leaves out.
    #[allow(clippy::cast_possible_truncation, reason = "candle's kernel takes single precision")]
    pub(super) fn new(weight: Tensor, numbers: &Numbers) -> Result<Self> {
        let weight = if numbers.norm_offset == 0.0 { weight } else { (weight + numbers.norm_offset)? };
        Ok(Self { weight, epsilon: numbers.epsilon as f32 })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::ops::rms_norm(x, &self.weight, self.epsilon)
    }
}

/// Projections to queries, keys and values.
#[derive(Debug)]
enum Projections {
    Apart {
        query: Linear,
        key: Linear,
        value: Linear,
    },
    /// One matrix: the queries' rows, the keys', the values' (Phi-3).
    Fused(Linear),
}

/// A layer and its cache.
#[derive(Debug)]
pub(super) struct Layer {
    before_attention: Norm,
    after_attention: Option<Norm>,
    before_feed_forward: Norm,
    after_feed_forward: Option<Norm>,
    projections: Projections,
    query_norm: Option<Norm>,
    key_norm: Option<Norm>,
    output: Linear,
    pub(super) feed_forward: FeedForward,
    heads: usize,
    key_heads: usize,
    head_size: usize,
    scores: Scores,
    /// Which of the decoder's kinds of layer this is.
    pub(super) kind: usize,
    pub(super) cache: LayerCache,
}

/// What a layer needs of the pass that it is in.
pub(super) struct Around<'a> {
    pub(super) variant: &'a Variant,
    pub(super) visibility: Visibility,
    pub(super) angles: &'a Angles,
    pub(super) order: Order,
}

impl Layer {
    /// Loads a layer.
    ///
    /// # Errors
    /// Where a tensor is missing or of another shape.
    pub(super) fn load(
        weights: &mut Weights<'_>,
        shape: &Shape,
        index: u64,
        numbers: &Numbers,
        kind: usize,
        cache: LayerCache,
    ) -> Result<Self> {
        let at = Some(index);
        let Some(attention) = shape.attention() else {
            candle_core::bail!("layer {index} has no softmax attention")
        };
        let norm = |role, weights: &mut Weights<'_>| Norm::new(weights.vector(role, at)?, numbers);
        let before_attention = norm(Role::LayerNorm(NormPlace::BeforeAttention), weights)?;
        let before_feed_forward = norm(Role::LayerNorm(NormPlace::BeforeFeedForward), weights)?;
        let optional = |role, weights: &mut Weights<'_>| {
            weights.optional(role, at)?.map(|weight| Norm::new(weight, numbers)).transpose()
        };
        let after_attention = optional(Role::LayerNorm(NormPlace::AfterAttention), weights)?;
        let after_feed_forward = optional(Role::LayerNorm(NormPlace::AfterFeedForward), weights)?;
        let query_norm = optional(Role::QueryNorm, weights)?;
        let key_norm = optional(Role::KeyNorm, weights)?;
        let projections = if weights.has(Role::QueryKeyValue, at) {
            Projections::Fused(weights.linear(Role::QueryKeyValue, Role::QueryBias, at)?)
        } else {
            Projections::Apart {
                query: weights.linear(Role::Query, Role::QueryBias, at)?,
                key: weights.linear(Role::Key, Role::KeyBias, at)?,
                value: weights.linear(Role::Value, Role::ValueBias, at)?,
            }
        };
        let head_size = as_size(attention.head_size);
        #[allow(clippy::cast_precision_loss, reason = "the size of a head")]
        let scale = numbers.query_scale.unwrap_or((head_size as f64).powf(-0.5));
        Ok(Self {
            before_attention,
            after_attention,
            before_feed_forward,
            after_feed_forward,
            projections,
            query_norm,
            key_norm,
            output: weights.linear(Role::AttentionOutput, Role::AttentionOutputBias, at)?,
            feed_forward: FeedForward::load(weights, shape, index, numbers.activation)?,
            heads: as_size(attention.heads),
            key_heads: as_size(attention.kv_heads),
            head_size,
            scores: Scores { scale, cap: numbers.score_cap },
            kind,
            cache,
        })
    }

    /// Allocates the cache of `batch` sequences, where that is done once.
    pub(super) fn allocate(&mut self, batch: usize, device: &Device) -> Result<()> {
        self.cache.allocate(batch, self.key_heads, self.head_size, device)
    }

    /// `x` is sequences × tokens × width.
    pub(super) fn forward(&mut self, x: Tensor, around: &Around<'_>, pass: &mut Pass) -> Result<Tensor> {
        let mixed = {
            let normed = self.before_attention.forward(&x)?;
            self.attend(normed, around, pass)?
        };
        let mixed = normed_by(self.after_attention.as_ref(), mixed)?;
        let x = (x + mixed)?;
        let fed = {
            let normed = self.before_feed_forward.forward(&x)?;
            self.feed_forward.forward(&normed)?
        };
        let fed = normed_by(self.after_feed_forward.as_ref(), fed)?;
        x + fed
    }

    fn attend(&mut self, x: Tensor, around: &Around<'_>, pass: &mut Pass) -> Result<Tensor> {
        let (query, key, value) = self.project(&x)?;
        drop(x);
        let order = around.order;
        let view = {
            let key = self.heads_of(key, self.key_heads, self.key_norm.as_ref(), order)?;
            let key = around.angles.rotate(key, order)?;
            let value = self.heads_of(value, self.key_heads, None, order)?;
            self.cache.append(key, value)?
        };
        let query = self.heads_of(query, self.heads, self.query_norm.as_ref(), order)?;
        let query = around.angles.rotate(query, order)?;
        let out = around.variant.attend(query, view, around.visibility, self.scores, pass)?;
        self.output.forward(&out)
    }

    /// Queries, keys and values, each sequences × tokens × width.
    fn project(&self, x: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
        match &self.projections {
            Projections::Apart { query, key, value } => {
                let [q, k, v] = together([&query.matrix, &key.matrix, &value.matrix], x)?;
                Ok((query.with_bias(q)?, key.with_bias(k)?, value.with_bias(v)?))
            }
            Projections::Fused(all) => {
                let all = all.forward(x)?;
                let (query, key) = (self.heads * self.head_size, self.key_heads * self.head_size);
                let part = |start, len| all.narrow(D::Minus1, start, len)?.contiguous();
                Ok((part(0, query)?, part(query, key)?, part(query + key, key)?))
            }
        }
    }

    /// Heads apart and normalised, in the order asked, contiguous.
    fn heads_of(&self, x: Tensor, heads: usize, norm: Option<&Norm>, order: Order) -> Result<Tensor> {
        let (batch, tokens, _) = x.dims3()?;
        let apart = x.reshape((batch, tokens, heads, self.head_size))?;
        drop(x);
        let x = match norm {
            Some(norm) => norm.forward(&apart)?,
            None => apart.clone(),
        };
        drop(apart);
        match order {
            Order::TokensFirst => Ok(x),
            Order::HeadsFirst => x.transpose(1, 2)?.contiguous(),
        }
    }
}

fn normed_by(norm: Option<&Norm>, x: Tensor) -> Result<Tensor> {
    match norm {
        Some(norm) => norm.forward(&x),
        None => Ok(x),
    }
}

/// Caps by a tanh (Gemma 2).
pub(super) fn capped(x: Tensor, cap: Option<f64>) -> Result<Tensor> {
    let Some(cap) = cap else { return Ok(x) };
    let parts = (x / cap)?;
    let bent = parts.tanh()?;
    drop(parts);
    bent * cap
}

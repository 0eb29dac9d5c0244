//! Attention in blocks of queries and keys with a running softmax (arXiv 2112.05682; arXiv 2205.14135, algorithm 1): what
//! is alive at once does not grow with the square of the sequence. Blocks that a pattern does not see are left out.

use candle_core::{D, DType, Result, Tensor};
use planner::pattern::{self, Segment};

use super::{Pass, QUERIES, Scores, UNSEEN, Visibility, grouped, masked, product_type, ungrouped};
use crate::decoder::cache::View;
use crate::decoder::weights::as_size;

pub(super) fn attend(
    query: &Tensor,
    view: &View,
    visibility: Visibility,
    scores: Scores,
    pass: &mut Pass,
) -> Result<Tensor> {
    let (_, heads, tokens, _) = query.dims4()?;
    if tokens <= QUERIES {
        let out = block(query, view, visibility, scores, pass, pass.start)?;
        return ungrouped(out, heads, tokens, query.dtype());
    }
    let mut blocks = Vec::with_capacity(tokens.div_ceil(QUERIES));
    for first in (0..tokens).step_by(QUERIES) {
        let len = QUERIES.min(tokens - first);
        let part = query.narrow(2, first, len)?;
        let out = block(&part, view, visibility, scores, pass, pass.start + first)?;
        blocks.push(ungrouped(out, heads, len, query.dtype())?);
    }
    Tensor::cat(&blocks, 1)
}

/// A block of queries, the first of them at the place `start`.
fn block(
    query: &Tensor,
    view: &View,
    visibility: Visibility,
    scores: Scores,
    pass: &mut Pass,
    start: usize,
) -> Result<Tensor> {
    let (_, _, tokens, _) = query.dims4()?;
    let computed = product_type(query);
    let queries = (start, start + tokens - 1);
    let mut running: Option<Running> = None;
    let scaled = {
        let key_heads = view.key_heads()?;
        let wide = grouped(query, key_heads)?.to_dtype(computed)?;
        (wide * scores.scale)?
    };
    for segment in segments(view, visibility, pass, queries) {
        let (first, len) = (as_size(segment.first), as_size(segment.len));
        let made = {
            let keys = view.keys(first, len, computed)?;
            scores.of(&scaled, &keys)?
        };
        let made = if segment.whole {
            made
        } else {
            let mask = pass.mask(visibility, view.places(), queries, (first, len), DType::F32)?;
            masked(made, &mask, tokens)?
        };
        let values = view.values(first, len, computed)?;
        running = Some(match running.take() {
            None => Running::first(made, &values)?,
            Some(running) => running.add(made, &values)?,
        });
    }
    match running {
        Some(running) => running.sum.broadcast_div(&running.weight),
        None => candle_core::bail!("queries from {start} on see nothing"),
    }
}

/// The softmax over the keys so far.
struct Running {
    /// The largest score: rows × 1.
    largest: Tensor,
    /// Sum of the weights, relative to that of the largest score.
    weight: Tensor,
    /// Sum of the values by these weights.
    sum: Tensor,
}

/// e to the power of what scores are above the largest, and their values' sum by these weights.
#[allow(clippy::needless_pass_by_value, reason = "scores are freed as soon as their weights are there")]
fn weighted(scores: Tensor, largest: &Tensor, values: &Tensor) -> Result<(Tensor, Tensor)> {
    let below = scores.broadcast_sub(largest)?;
    drop(scores);
    let weights = below.exp()?;
    drop(below);
    let weight = weights.sum_keepdim(D::Minus1)?;
    let sum = weights.to_dtype(values.dtype())?.matmul(values)?;
    Ok((weight, if sum.dtype() == DType::F32 { sum } else { sum.to_dtype(DType::F32)? }))
}

impl Running {
    fn first(scores: Tensor, values: &Tensor) -> Result<Self> {
        let largest = scores.max_keepdim(D::Minus1)?;
        let (weight, sum) = weighted(scores, &largest, values)?;
        Ok(Self { largest, weight, sum })
    }

    fn add(self, scores: Tensor, values: &Tensor) -> Result<Self> {
        let largest = self.largest.maximum(&scores.max_keepdim(D::Minus1)?)?;
        let (weight, sum) = weighted(scores, &largest, values)?;
        let faded = (self.largest - &largest)?.exp()?;
        let weight = ((self.weight * &faded)? + weight)?;
        let before = self.sum.broadcast_mul(&faded)?;
        drop(self.sum);
        let sum = (before + sum)?;
        Ok(Self { largest, weight, sum })
    }
}

/// What a block of queries sees, in stretches that are seen alike.
fn segments(view: &View, visibility: Visibility, pass: &Pass, queries: (usize, usize)) -> Vec<Segment> {
    let seen = |first, len| {
        let keys = (as_size(first), as_size(len));
        pass.seen(visibility, view.places(), queries, keys)
    };
    pattern::segments(0, view.len() as u64, queries.0 == queries.1, seen)
}

const _: () =
    assert!(UNSEEN.is_finite(), "a block of nothing but unseen keys must fade away, not be no number");

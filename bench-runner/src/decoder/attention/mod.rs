//! Attention: what a layer's queries take from the keys and values before them, computed in several ways.

mod blocked;
mod eager;
mod flash;

use candle_core::{DType, Device, Result, Tensor};
use contract::case;
use planner::document::plan::Attention as Asked;
use serde::{Deserialize, Serialize};

use planner::pattern::{Pattern, Seen, Visibility};

use super::cache::{Places, View};
use super::layer::capped;
use super::rope::Order;
use super::weights::as_size;
use crate::engine::Refusal;

/// An attention variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Variant(Asked);

/// First and last place of a stretch.
type Stretch = (usize, usize);

/// Queries of a block, where attention is computed in blocks: what the planner counts with.
const QUERIES: usize = 128;
const _: () = assert!(QUERIES as u64 == planner::pattern::QUERIES, "the planner counts other blocks");

/// What stands in a mask for what is not seen: far below any score, and finite, so that a row of nothing but these is
/// still a row of numbers.
const UNSEEN: f32 = -1e30;

impl Variant {
    /// The variant of a case; eager where it says none.
    ///
    /// # Errors
    /// What the device or this build cannot compute, and numbers of which no pattern can be made.
    pub(super) fn of_case(
        spec: &case::CaseSpec,
        shape: &planner::Model,
        compute: DType,
    ) -> std::result::Result<Self, Refusal> {
        let asked = spec.attention.clone().unwrap_or(Asked::Eager);
        let positive = |name: &str, n: u64| {
            if n == 0 { Err(Refusal(format!("attention: {name} is 0; accepted: 1 or more"))) } else { Ok(()) }
        };
        match &asked {
            Asked::Eager | Asked::MemoryEfficient => {}
            Asked::Flash => flash::check(spec.device, shape, compute)?,
            Asked::SlidingWindow { window } | Asked::Longformer { window, .. } => {
                positive("window", window.0)?;
            }
            Asked::BigBird { block, window_blocks, .. } => {
                positive("block", block.0)?;
                positive("window_blocks", u64::from(*window_blocks))?;
            }
        }
        Ok(Self(asked))
    }

    /// Where its kernels want the heads.
    pub(super) const fn order(&self) -> Order {
        match self.0 {
            Asked::Flash => Order::TokensFirst,
            _ => Order::HeadsFirst,
        }
    }

    /// What a layer with that window of its own sees.
    pub(super) fn visibility(&self, window: Option<u64>) -> Visibility {
        Visibility { pattern: Pattern::of(&self.0), window }
    }

    /// Computes a layer's attention: `query` in this variant's order; the answer is sequences × tokens × width.
    pub(super) fn attend(
        &self,
        query: Tensor,
        view: View,
        visibility: Visibility,
        scores: Scores,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        match &self.0 {
            Asked::Eager => eager::attend(query, view, visibility, scores, pass),
            Asked::Flash => flash::attend(&query, &view, visibility, scores, pass),
            _ => blocked::attend(&query, &view, visibility, scores, pass),
        }
    }

    /// The scores of every pair at once, whatever the pattern: what the others are held against.
    #[cfg(test)]
    pub(super) fn attend_eagerly(
        query: Tensor,
        view: View,
        visibility: Visibility,
        scores: Scores,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        eager::attend(query, view, visibility, scores, pass)
    }
}

/// How scores are made of products.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scores {
    /// What queries are multiplied by.
    pub(super) scale: f64,
    /// Cap of the scores by a tanh.
    pub(super) cap: Option<f64>,
}

impl Scores {
    /// Scores in single precision of queries (sequences × key heads × rows × size), scaled before, and keys.
    fn of(self, query: &Tensor, keys: &Tensor) -> Result<Tensor> {
        let scores = query.matmul(&keys.t()?)?;
        let scores = if scores.dtype() == DType::F32 { scores } else { scores.to_dtype(DType::F32)? };
        capped(scores, self.cap)
    }
}

/// One forward pass: where its tokens stand, and the masks that its layers share.
#[derive(Debug)]
pub(super) struct Pass {
    /// The place of the first token of the pass.
    start: usize,
    /// Places at the beginning of each sequence that hold nothing; one for all where they are the same.
    empty: Vec<usize>,
    device: Device,
    /// Masks made in this pass, by what they are of.
    masks: Vec<(MaskOf, Tensor)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MaskOf {
    visibility: Visibility,
    places: Places,
    queries: Stretch,
    keys: (usize, usize),
    dtype: DType,
}

impl Pass {
    pub(super) fn new(start: usize, empty: Vec<usize>, device: &Device) -> Self {
        Self { start, empty, device: device.clone(), masks: Vec::new() }
    }

    /// Entries of a view that any query of the pass may see: from the first such on.
    fn first_entry(&self, visibility: Visibility, view: &View) -> usize {
        match view.places() {
            Places::From(first) => as_size(visibility.first(self.start as u64)).saturating_sub(first),
            Places::Ring { .. } => 0,
        }
    }

    /// How much the queries at those places see of `len` entries from `entry` on, over all sequences.
    fn seen(
        &self,
        visibility: Visibility,
        places: Places,
        queries: Stretch,
        (entry, len): (usize, usize),
    ) -> Seen {
        let Places::From(_) = places else {
            // A ring holds what its window lets through, but for what a sequence has none of.
            let whole = self.empty.iter().all(|empty| *empty == 0);
            return if whole { Seen::All } else { Seen::Part };
        };
        let keys = (places.position(entry), places.position(entry + len - 1));
        let mut over_all: Option<Seen> = None;
        for &empty in &self.empty {
            let seen = if queries.1 < empty || keys.1 < empty {
                Seen::Nothing
            } else if queries.0 < empty || keys.0 < empty {
                Seen::Part
            } else {
                let shifted = |(a, b): Stretch| ((a - empty) as u64, (b - empty) as u64);
                visibility.relation(shifted(queries), shifted(keys))
            };
            over_all = Some(match over_all {
                None => seen,
                Some(before) if before == seen => seen,
                Some(_) => Seen::Part,
            });
        }
        over_all.unwrap_or(Seen::Nothing)
    }

    /// A mask to add to scores: sequences (or 1) × 1 × 1 × queries × keys.
    fn mask(
        &mut self,
        visibility: Visibility,
        places: Places,
        queries: Stretch,
        (entry, len): (usize, usize),
        dtype: DType,
    ) -> Result<Tensor> {
        let of = MaskOf { visibility, places, queries, keys: (entry, len), dtype };
        if let Some((_, mask)) = self.masks.iter().find(|(known, _)| *known == of) {
            return Ok(mask.clone());
        }
        let rows = queries.1 - queries.0 + 1;
        let mut values = Vec::with_capacity(self.empty.len() * rows * len);
        for &empty in &self.empty {
            for query in queries.0..=queries.1 {
                for at in entry..entry + len {
                    let key = places.position(at);
                    let seen = query >= empty
                        && key >= empty
                        && visibility.sees((query - empty) as u64, (key - empty) as u64);
                    values.push(if seen { 0.0 } else { UNSEEN });
                }
            }
        }
        let mask =
            Tensor::from_vec(values, (self.empty.len(), 1, 1, rows, len), &self.device)?.to_dtype(dtype)?;
        self.masks.push((of, mask.clone()));
        Ok(mask)
    }
}

/// The type that products of queries, keys and values are computed in: on a processor, which multiplies no bf16 and widens
/// fp16 by itself, single precision.
fn product_type(query: &Tensor) -> DType {
    if query.device().is_cpu() { DType::F32 } else { query.dtype() }
}

/// Sequences × heads × tokens × size as sequences × key heads × rows × size: the heads that share keys become rows of one
/// product, so that no key is repeated.
fn grouped(query: &Tensor, key_heads: usize) -> Result<Tensor> {
    let (batch, heads, tokens, size) = query.dims4()?;
    query.reshape((batch, key_heads, heads / key_heads * tokens, size))
}

/// The reverse, with the tokens first: sequences × tokens × width.
fn ungrouped(out: Tensor, heads: usize, tokens: usize, dtype: DType) -> Result<Tensor> {
    let (batch, key_heads, rows, size) = out.dims4()?;
    debug_assert_eq!(key_heads * rows, heads * tokens);
    let narrowed = out.to_dtype(dtype)?;
    drop(out);
    let apart = narrowed.reshape((batch, heads, tokens, size))?;
    apart.transpose(1, 2)?.reshape((batch, tokens, heads * size))
}

/// Adds a mask to grouped scores.
#[allow(clippy::needless_pass_by_value, reason = "they are freed as soon as their sums are there")]
fn masked(scores: Tensor, mask: &Tensor, tokens: usize) -> Result<Tensor> {
    let (batch, key_heads, rows, keys) = scores.dims4()?;
    scores
        .reshape((batch, key_heads, rows / tokens, tokens, keys))?
        .broadcast_add(mask)?
        .reshape((batch, key_heads, rows, keys))
}

#[cfg(test)]
mod tests;

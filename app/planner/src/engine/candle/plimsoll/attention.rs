//! `bench-runner/src/decoder/attention`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::super::tensor::{Context, Element, Refused, Tensor};
use super::cache::View;
use super::{capped, in_place};
use crate::bytes::Bytes;
use crate::document::plan::Attention;
use crate::engine::request::Device;
use crate::engine::tape::{Block, Kind};
use crate::pattern::{QUERIES, Seen, Segment, Visibility, segments};

/// Blocks of queries that are walked one by one; of more, so many are looked at and stand for all.
const BLOCKS: u64 = 128;
/// How many blocks stand for all.
const SAMPLED: u64 = 64;

/// What computes attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kernel {
    Eager,
    Blocked,
    Flash,
}

/// Queries, and what their scores are made by.
pub(super) struct Query {
    pub(super) tensor: Tensor,
    pub(super) key_heads: u64,
    pub(super) capped: bool,
}

/// One forward pass: masks are kept to its end, shared by layers that see alike.
pub(super) struct Pass {
    start: u64,
    tokens: u64,
    cx: Context,
    masks: RefCell<BTreeMap<(Visibility, u64), Block>>,
}

impl Pass {
    pub(super) fn new(cx: &Context, start: u64, tokens: u64) -> Self {
        Self { start, tokens, cx: cx.clone(), masks: RefCell::default() }
    }

    fn last(&self) -> u64 {
        self.start + self.tokens - 1
    }

    /// Masks of so many elements for the layers of a kind, made once, for each format that they are in. `at` tells one
    /// mask of a kind from the next.
    fn mask(&self, visibility: Visibility, at: u64, elements: u64, element: Element) {
        self.masks(visibility, at, element, || elements);
    }

    /// The same of a number of elements that takes time to count.
    fn masks(&self, visibility: Visibility, at: u64, element: Element, elements: impl FnOnce() -> u64) {
        let mut masks = self.masks.borrow_mut();
        let Entry::Vacant(place) = masks.entry((visibility, at)) else { return };
        let elements = elements();
        let wide = self.cx.tape.alloc(Kind::Temporary, Bytes(elements) * 4);
        let block = if element == Element::F32 {
            wide
        } else {
            let narrow = self.cx.tape.alloc(Kind::Temporary, Bytes(elements) * element.bytes());
            drop(wide);
            narrow
        };
        place.insert(block);
    }
}

/// The type that products of queries, keys and values are computed in.
fn product_type(query: &Tensor) -> Element {
    if query.cx().device == Device::Cpu { Element::F32 } else { query.element() }
}

impl Kernel {
    pub(super) const fn of(asked: &Attention) -> Self {
        match asked {
            Attention::Eager => Self::Eager,
            Attention::Flash => Self::Flash,
            _ => Self::Blocked,
        }
    }

    pub(super) const fn tokens_first(self) -> bool {
        matches!(self, Self::Flash)
    }

    pub(super) fn attend(
        self,
        query: Query,
        view: View,
        visibility: Visibility,
        pass: &mut Pass,
    ) -> Result<Tensor, Refused> {
        match self {
            Self::Eager => eager(query, view, visibility, pass),
            Self::Blocked => blocked(&query, &view, visibility, pass),
            Self::Flash => Ok(flash(&query, &view, visibility, pass)),
        }
    }
}

fn grouped(query: &Tensor, key_heads: u64) -> Tensor {
    let [batch, heads, tokens, size] = [query.dims()[0], query.dims()[1], query.dims()[2], query.dims()[3]];
    query.reshape(&[batch, key_heads, heads / key_heads.max(1) * tokens, size])
}

fn ungrouped(out: Tensor, heads: u64, tokens: u64, element: Element) -> Tensor {
    let (batch, size) = (out.dims()[0], out.dims()[3]);
    let narrowed = out.to_dtype(element);
    drop(out);
    let apart = narrowed.reshape(&[batch, heads, tokens, size]);
    apart.transpose(1, 2).reshape(&[batch, tokens, heads * size])
}

/// Scores in single precision.
fn scores(scaled: &Tensor, keys: &Tensor, is_capped: bool) -> Tensor {
    let made = scaled.matmul(&keys.t());
    let made = if made.element() == Element::F32 { made } else { made.to_dtype(Element::F32) };
    capped(made, is_capped)
}

#[allow(clippy::needless_pass_by_value, reason = "freed where the source frees it")]
fn masked(made: Tensor) -> Tensor {
    made.unary()
}

/// How much the whole pass sees of a view's entries from `first` on.
fn seen(view: &View, visibility: Visibility, pass: &Pass, first: u64) -> Seen {
    match view.first {
        None => Seen::All,
        Some(origin) => {
            visibility.relation((pass.start, pass.last()), (origin + first, origin + view.len.max(1) - 1))
        }
    }
}

fn eager(query: Query, view: View, visibility: Visibility, pass: &Pass) -> Result<Tensor, Refused> {
    let Query { tensor: query, key_heads, capped } = query;
    let (heads, tokens) = (query.dims()[1], query.dims()[2]);
    let (computed, element) = (product_type(&query), query.element());
    let first = view.first.map_or(0, |origin| visibility.first(pass.start).saturating_sub(origin));
    let len = view.len - first;
    let weights = {
        let made = {
            let keys = view.keys(len, computed);
            let wide = grouped(&query, key_heads).to_dtype(computed);
            drop(query);
            let scaled = wide.scaled();
            scores(&scaled, &keys, capped)
        };
        let made = if seen(&view, visibility, pass, first) == Seen::All {
            made
        } else {
            pass.mask(visibility, 0, tokens.saturating_mul(len), Element::F32);
            masked(made)
        };
        if in_place(&made) { made } else { made.softmax_last_dim()? }
    };
    let weights = if computed == Element::F32 { weights } else { weights.to_dtype(computed) };
    let out = {
        let values = view.values(len, computed);
        weights.matmul(&values)
    };
    drop((weights, view));
    Ok(ungrouped(out, heads, tokens, element))
}

/// The segments of the queries from `start` on.
fn segments_of(view: &View, visibility: Visibility, start: u64, tokens: u64) -> Vec<Segment> {
    let queries = (start, start + tokens - 1);
    let Some(origin) = view.first else {
        return segments(0, view.len, tokens == 1, |_, _| Seen::All);
    };
    let from = visibility.first(start).saturating_sub(origin);
    let to = view.len.min((queries.1 + 1).saturating_sub(origin));
    segments(from, to, tokens == 1, |first, len| {
        visibility.relation(queries, (origin + first, origin + first + len - 1))
    })
}

fn blocked(query: &Query, view: &View, visibility: Visibility, pass: &Pass) -> Result<Tensor, Refused> {
    let tensor = &query.tensor;
    let (heads, tokens, element) = (tensor.dims()[1], tensor.dims()[2], tensor.element());
    if tokens <= QUERIES {
        let out = block(tensor, query, view, visibility, pass, pass.start)?;
        return Ok(ungrouped(out, heads, tokens, element));
    }
    let count = tokens.div_ceil(QUERIES);
    // Of all blocks but the last, which is walked whole: what is alive grows from block to block.
    let masks_of = |index: u64| -> u64 {
        let list = segments_of(view, visibility, pass.start + index * QUERIES, QUERIES);
        list.iter().filter(|s| !s.whole).map(|s| s.len * QUERIES).fold(0, u64::saturating_add)
    };
    pass.masks(visibility, u64::MAX, Element::F32, || over_blocks(count - 1, masks_of));
    let (batch, size) = (tensor.dims()[0], tensor.dims()[3]);
    let done = (count - 1) * QUERIES;
    // The last whole block, where the last is a part of one: it may be the fullest moment.
    let earlier = Tensor::new(tensor.cx(), &[batch, done - QUERIES, heads * size], element, Kind::Activation);
    let at = done - QUERIES;
    let whole = {
        let out = block(&tensor.narrow(2, QUERIES), query, view, visibility, pass, pass.start + at)?;
        ungrouped(out, heads, QUERIES, element)
    };
    let left = tokens - done;
    let last = {
        let out = block(&tensor.narrow(2, left), query, view, visibility, pass, pass.start + done)?;
        ungrouped(out, heads, left, element)
    };
    Ok(Tensor::cat(&[&earlier, &whole, &last], 1))
}

/// The sum over so many blocks; of more than [`BLOCKS`], [`SAMPLED`] stand for all.
fn over_blocks(count: u64, of: impl Fn(u64) -> u64) -> u64 {
    if count < BLOCKS {
        return (0..count).map(of).fold(0, u64::saturating_add);
    }
    let sampled = (0..SAMPLED).map(|i| of(i * count / SAMPLED)).fold(0, u64::saturating_add);
    u64::try_from(u128::from(sampled) * u128::from(count) / u128::from(SAMPLED)).unwrap_or(u64::MAX)
}

/// A block of queries.
fn block(
    part: &Tensor,
    query: &Query,
    view: &View,
    visibility: Visibility,
    pass: &Pass,
    start: u64,
) -> Result<Tensor, Refused> {
    let tokens = part.dims()[2];
    let computed = product_type(part);
    let scaled = {
        let wide = grouped(part, query.key_heads).to_dtype(computed);
        wide.scaled()
    };
    let mut running: Option<(Tensor, Tensor, Tensor)> = None;
    let list = segments_of(view, visibility, start, tokens);
    // Blocks in the middle are as full as those beside them.
    let (head, tail) = list.split_at(list.len().min(3));
    let tail = &tail[tail.len().saturating_sub(3)..];
    for segment in head.iter().chain(tail) {
        let made = {
            let keys = view.keys(segment.len, computed);
            scores(&scaled, &keys, query.capped)
        };
        let made = if segment.whole {
            made
        } else {
            let at = (start << 20) ^ segment.first;
            pass.mask(visibility, at, tokens * segment.len, Element::F32);
            masked(made)
        };
        let values = view.values(segment.len, computed);
        running = Some(match running.take() {
            None => {
                let largest = made.reduce_last_keepdim();
                let (weight, sum) = weighted(made, &largest, &values);
                (largest, weight, sum)
            }
            Some((before_largest, before_weight, before_sum)) => {
                let largest = before_largest.binary(&made.reduce_last_keepdim());
                let (weight, sum) = weighted(made, &largest, &values);
                let faded = before_largest.binary(&largest).unary();
                let weight = before_weight.binary(&faded).binary(&weight);
                let before = before_sum.binary(&faded);
                drop(before_sum);
                (largest, weight, before + sum)
            }
        });
    }
    match running {
        Some((_, weight, sum)) => Ok(sum.binary(&weight)),
        None => Err(Refused("queries that see nothing".to_owned())),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "freed where the source frees it")]
fn weighted(made: Tensor, largest: &Tensor, values: &Tensor) -> (Tensor, Tensor) {
    let below = made.binary(largest);
    drop(made);
    let weights = below.unary();
    drop(below);
    let weight = weights.reduce_last_keepdim();
    let sum = weights.to_dtype(values.element()).matmul(values);
    (weight, if sum.element() == Element::F32 { sum } else { sum.to_dtype(Element::F32) })
}

fn flash(query: &Query, view: &View, visibility: Visibility, pass: &Pass) -> Tensor {
    let tensor = &query.tensor;
    let [batch, tokens, heads, size] =
        [tensor.dims()[0], tensor.dims()[1], tensor.dims()[2], tensor.dims()[3]];
    let keys = view.keys(view.len, tensor.element());
    let values = view.values(view.len, tensor.element());
    let one = || {
        let query = tensor.narrow(0, 1);
        let windowed = match (visibility.reach(), view.first) {
            (Some(reach), Some(origin)) => reach + origin <= pass.last(),
            _ => false,
        };
        if !windowed || tensor.cx().device == Device::Cuda {
            return kernel(&query, tokens).reshape(&[1, tokens, heads * size]);
        }
        let origin = view.first.unwrap_or(0);
        let count = tokens.div_ceil(QUERIES);
        let len_of = |index: u64| QUERIES.min(tokens - index * QUERIES);
        let mask_of = |index: u64| {
            let queries = (pass.start + index * QUERIES, pass.start + index * QUERIES + len_of(index) - 1);
            let begin = visibility.first(queries.0).saturating_sub(origin);
            let end = (queries.1 + 1 - origin).min(view.len);
            let all = visibility.relation(queries, (origin + begin, origin + end - 1)) == Seen::All;
            if all { 0 } else { len_of(index) * (end - begin) }
        };
        // Of many blocks only the last are walked one by one: what is alive grows from block to block.
        let walked_from = if count > BLOCKS { count - 2 } else { 0 };
        let mut blocks = Vec::new();
        if walked_from > 0 {
            pass.masks(visibility, u64::MAX, tensor.element(), || over_blocks(walked_from, mask_of));
            let earlier = [1, walked_from * QUERIES, heads * size];
            blocks.push(Tensor::new(tensor.cx(), &earlier, tensor.element(), Kind::Activation));
        }
        for index in walked_from..count {
            let (mask, len) = (mask_of(index), len_of(index));
            if mask > 0 {
                pass.mask(visibility, index, mask, tensor.element());
            }
            blocks.push(kernel(&query.narrow(1, len), len).reshape(&[1, len, heads * size]));
        }
        let parts: Vec<&Tensor> = blocks.iter().collect();
        Tensor::cat(&parts, 1)
    };
    if batch == 1 {
        return one();
    }
    // The first makes the masks, the last finds all the others' answers alive.
    let first = one();
    let between = (batch > 2).then(|| {
        let shape = [batch - 2, tokens, heads * size];
        Tensor::new(tensor.cx(), &shape, tensor.element(), Kind::Activation)
    });
    let last = one();
    let parts: Vec<&Tensor> = std::iter::once(&first).chain(&between).chain(std::iter::once(&last)).collect();
    let _held = (keys, values);
    Tensor::cat(&parts, 0)
}

/// Answers in single precision, heads first; narrowed, then turned.
fn kernel(query: &Tensor, tokens: u64) -> Tensor {
    let (heads, size) = (query.dims()[2], query.dims()[3]);
    if query.cx().device == Device::Cuda {
        return Tensor::new(query.cx(), &[1, tokens, heads, size], query.element(), Kind::Activation);
    }
    let out = Tensor::new(query.cx(), &[1, heads, tokens, size], Element::F32, Kind::Activation);
    out.to_dtype(query.element()).transpose(1, 2)
}

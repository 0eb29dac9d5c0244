//! Keys and values of the tokens before.

mod element;

use candle_core::{DType, Device, Result, Tensor};
use planner::document::plan::CacheKind;
use serde::{Deserialize, Serialize};

pub use element::Element;
use element::Encoded;

use super::rope::Order;

/// How a layer's cache is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Growth {
    /// By copying old and new into one: both are alive for a moment.
    Growing,
    /// Once, for every token of the case; written in place.
    Slab,
    /// Once, for as many tokens as the layer's window has; written in place, round and round. A layer that sees
    /// everything has a slab.
    Rotating,
}

impl Growth {
    /// As the contract spells it.
    #[must_use]
    pub const fn kind(self) -> CacheKind {
        match self {
            Self::Growing => CacheKind::Growing,
            Self::Slab => CacheKind::Slab,
            Self::Rotating => CacheKind::Rotating,
        }
    }
}

/// The cache of one layer.
#[derive(Debug)]
pub(super) struct LayerCache {
    growth: Growth,
    element: Element,
    order: Order,
    /// Tokens that there is room for.
    room: usize,
    /// Tokens seen.
    seen: usize,
    held: Option<(Encoded, Encoded)>,
}

/// What a layer can see: its keys and values, and which positions they are of.
#[derive(Debug)]
pub(super) struct View {
    keys: Encoded,
    values: Encoded,
    order: Order,
    places: Places,
    len: usize,
}

/// Positions of the entries of a [`View`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Places {
    /// One after another from this on.
    From(usize),
    /// In a ring of `room` entries that `seen` tokens went through.
    Ring { room: usize, seen: usize },
}

impl Places {
    /// The position of an entry.
    pub(super) const fn position(self, entry: usize) -> usize {
        match self {
            Self::From(first) => first + entry,
            // The newest token of those that are written to this entry.
            Self::Ring { room, seen } => {
                let newest = seen - 1;
                newest - (newest + room - entry % room) % room
            }
        }
    }
}

impl LayerCache {
    /// An empty one with room for `room` tokens.
    pub(super) const fn new(growth: Growth, element: Element, order: Order, room: usize) -> Self {
        Self { growth, element, order, room, seen: 0, held: None }
    }

    /// Empties it, and takes another size from now on.
    pub(super) fn make_room(&mut self, growth: Growth, room: usize) {
        self.reset();
        (self.growth, self.room) = (growth, room);
    }

    /// Empties it. A slab is freed too: the state is the one right after loading.
    pub(super) fn reset(&mut self) {
        self.seen = 0;
        self.held = None;
    }

    /// Allocates what is allocated once, for `batch` sequences of `heads` of `size`, so that the first tokens do not wait
    /// for it.
    ///
    /// # Errors
    /// Where the device has no memory.
    pub(super) fn allocate(
        &mut self,
        batch: usize,
        heads: usize,
        size: usize,
        device: &Device,
    ) -> Result<()> {
        if self.growth == Growth::Growing || self.held.is_some() {
            return Ok(());
        }
        let dims = match self.order {
            Order::HeadsFirst => [batch, heads, self.room, size],
            Order::TokensFirst => [batch, self.room, heads, size],
        };
        let room = || Encoded::room(dims, self.element, device);
        self.held = Some((room()?, room()?));
        Ok(())
    }

    /// Adds keys and values and gives what can be seen.
    ///
    /// # Errors
    /// Where there is no room for them.
    pub(super) fn append(&mut self, keys: Tensor, values: Tensor) -> Result<View> {
        let dim = self.order.tokens();
        let tokens = keys.dim(dim)?;
        let before = self.seen;
        if self.growth != Growth::Rotating && before + tokens > self.room {
            candle_core::bail!(
                "the cache has room for {} tokens, {} are asked for",
                self.room,
                before + tokens
            );
        }
        // Each is freed as soon as it is encoded.
        let keys = Encoded::new(keys, self.element)?;
        let values = Encoded::new(values, self.element)?;
        self.seen += tokens;
        match self.growth {
            Growth::Growing => {
                let (keys, values) = match self.held.take() {
                    None => (keys, values),
                    Some((old_keys, old_values)) => {
                        (Encoded::cat(&[&old_keys, &keys], dim)?, Encoded::cat(&[&old_values, &values], dim)?)
                    }
                };
                self.held = Some((keys.clone(), values.clone()));
                Ok(self.view(keys, values, Places::From(0), self.seen))
            }
            Growth::Slab => {
                let (all_keys, all_values) = self.reserve(&keys, &values)?;
                all_keys.set(&keys, dim, before)?;
                all_values.set(&values, dim, before)?;
                let seen = self.seen;
                Ok(self.view(
                    all_keys.narrow(dim, 0, seen)?,
                    all_values.narrow(dim, 0, seen)?,
                    Places::From(0),
                    seen,
                ))
            }
            Growth::Rotating => self.rotate(keys, values, before, tokens),
        }
    }

    /// [`LayerCache::append`] of a ring.
    fn rotate(&mut self, keys: Encoded, values: Encoded, before: usize, tokens: usize) -> Result<View> {
        let (dim, room) = (self.order.tokens(), self.room);
        // Several tokens see what was there in order and then themselves, for each sees another part of it.
        let seen_by_several = match (tokens, &self.held) {
            (1, _) | (_, None) => None,
            (_, Some((old_keys, old_values))) if before > 0 => {
                let kept = before.min(room);
                let first = (before - kept) % room;
                let unrolled = |old: &Encoded, new: &Encoded| {
                    let older = old.narrow(dim, first, kept - first)?;
                    if first == 0 {
                        return Encoded::cat(&[&older, new], dim);
                    }
                    Encoded::cat(&[&older, &old.narrow(dim, 0, first)?, new], dim)
                };
                Some((unrolled(old_keys, &keys)?, unrolled(old_values, &values)?, before - kept))
            }
            _ => None,
        };
        let (all_keys, all_values) = self.reserve(&keys, &values)?;
        // Only the last of them stay, in at most two pieces: up to the end of the ring, and from its beginning.
        let kept = tokens.min(room);
        let at = (before + tokens - kept) % room;
        let first = kept.min(room - at);
        for (all, new) in [(&all_keys, &keys), (&all_values, &values)] {
            all.set(&new.narrow(dim, tokens - kept, first)?, dim, at)?;
            if first < kept {
                all.set(&new.narrow(dim, tokens - kept + first, kept - first)?, dim, 0)?;
            }
        }
        if let Some((keys, values, start)) = seen_by_several {
            let len = before - start + tokens;
            return Ok(self.view(keys, values, Places::From(start), len));
        }
        if tokens > 1 {
            return Ok(self.view(keys, values, Places::From(before), tokens));
        }
        let (seen, len) = (self.seen, self.seen.min(room));
        let places = if seen > room { Places::Ring { room, seen } } else { Places::From(0) };
        Ok(self.view(all_keys.narrow(dim, 0, len)?, all_values.narrow(dim, 0, len)?, places, len))
    }

    const fn view(&self, keys: Encoded, values: Encoded, places: Places, len: usize) -> View {
        View { keys, values, order: self.order, places, len }
    }

    /// The whole room, allocated by the first token if it was not before.
    fn reserve(&mut self, keys: &Encoded, values: &Encoded) -> Result<(Encoded, Encoded)> {
        if let Some((keys, values)) = &self.held {
            return Ok((keys.clone(), values.clone()));
        }
        let dim = self.order.tokens();
        let held = (keys.zeros(dim, self.room)?, values.zeros(dim, self.room)?);
        Ok(self.held.insert(held).clone())
    }
}

impl View {
    /// Number of entries.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Positions of the entries.
    pub(super) const fn places(&self) -> Places {
        self.places
    }

    /// Heads of keys.
    pub(super) fn key_heads(&self) -> Result<usize> {
        self.keys.dim(match self.order {
            Order::HeadsFirst => 1,
            Order::TokensFirst => 2,
        })
    }

    /// Keys of `len` entries from `start` on, in `dtype`: a view where they are held so, else a copy.
    pub(super) fn keys(&self, start: usize, len: usize, dtype: DType) -> Result<Tensor> {
        self.keys.narrow(self.order.tokens(), start, len)?.decode(dtype)
    }

    /// The same of the values.
    pub(super) fn values(&self, start: usize, len: usize, dtype: DType) -> Result<Tensor> {
        self.values.narrow(self.order.tokens(), start, len)?.decode(dtype)
    }
}

#[cfg(test)]
mod tests;

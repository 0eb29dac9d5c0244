//! Caches of keys and values: `candle-nn/src/kv_cache.rs`, and the pairs that models keep themselves.

use super::tensor::{Refused, Tensor};
use crate::engine::tape::Kind;

/// A layer's cache.
#[derive(Debug)]
pub(super) enum Kv {
    /// Grows by concatenation: the old and the new are alive at once.
    Growing(Option<(Tensor, Tensor)>),
    /// `KvCache`: room for `limit` positions from the first token on, more by concatenation.
    Slab { limit: u64, filled: u64, data: Option<(Tensor, Tensor)> },
    /// `RotatingKvCache`: room for the window.
    Rotating { window: u64, seen: u64, offset: u64, data: Option<(Tensor, Tensor)> },
}

impl Kv {
    pub(super) const fn growing() -> Self {
        Self::Growing(None)
    }

    pub(super) const fn slab(limit: u64) -> Self {
        Self::Slab { limit, filled: 0, data: None }
    }

    pub(super) const fn rotating(window: u64) -> Self {
        Self::Rotating { window, seen: 0, offset: 0, data: None }
    }

    /// Adds keys and values (batch × heads × tokens × size) and gives all.
    pub(super) fn append(&mut self, k: Tensor, v: Tensor) -> Result<(Tensor, Tensor), Refused> {
        match self {
            Self::Growing(data) => {
                let (k, v) = match data.as_ref() {
                    None => (k, v),
                    Some((k_cache, v_cache)) => {
                        let k_all = Tensor::cat(&[k_cache, &k], 2);
                        let v_all = Tensor::cat(&[v_cache, &v], 2);
                        // The source's shadowed pair lives as long as the new one.
                        return Ok(Self::keep(data, k_all, v_all));
                    }
                };
                Ok(Self::keep(data, k, v))
            }
            Self::Slab { limit, filled, data } => {
                let length = k.dims()[2];
                let room = |t: &Tensor| zeros(t, *limit);
                let (k_data, v_data) = data.get_or_insert_with(|| (room(&k), room(&v)));
                for t in [&k, &v] {
                    t.require_contiguous("an addition to a cache")?;
                }
                *filled = filled.saturating_add(length);
                let now = (*filled).min(*limit);
                Ok((k_data.narrow(2, now), v_data.narrow(2, now)))
            }
            Self::Rotating { window, seen, offset, data } => {
                let length = k.dims()[2];
                if data.is_none() {
                    // One after the other, as the source appends keys before values; nothing lies between.
                    *data = Some((zeros(&k, *window), zeros(&v, *window)));
                }
                let Some((k_data, v_data)) = data.as_ref() else {
                    return Err(Refused("a cache without data".to_owned()));
                };
                *seen = seen.saturating_add(length);
                if length >= *window {
                    for t in [&k, &v] {
                        let _copied = t.narrow(2, *window).contiguous();
                    }
                    *offset = 0;
                    return Ok((k, v));
                }
                let room = *window - *offset;
                for t in [&k, &v] {
                    if length <= room {
                        let _copied = t.contiguous();
                    } else {
                        let _first = t.narrow(2, room).contiguous();
                        let _second = t.narrow(2, length - room).contiguous();
                    }
                }
                *offset = if length <= room { (*offset + length) % *window } else { length - room };
                if *seen >= *window {
                    Ok((k_data.clone(), v_data.clone()))
                } else {
                    Ok((k_data.narrow(2, *seen), v_data.narrow(2, *seen)))
                }
            }
        }
    }

    fn keep(data: &mut Option<(Tensor, Tensor)>, k: Tensor, v: Tensor) -> (Tensor, Tensor) {
        k.retag(Kind::Cache);
        v.retag(Kind::Cache);
        *data = Some((k.clone(), v.clone()));
        (k, v)
    }

    /// Empties it.
    pub(super) fn reset(&mut self) {
        match self {
            Self::Growing(data) => *data = None,
            Self::Slab { filled, data, .. } => {
                *filled = 0;
                *data = None;
            }
            Self::Rotating { seen, offset, data, .. } => {
                (*seen, *offset) = (0, 0);
                *data = None;
            }
        }
    }

    /// As if `tokens` positions were cached.
    pub(super) fn seek(&mut self, tokens: u64) {
        match self {
            Self::Growing(data) => seek_pair(data, tokens),
            Self::Slab { filled, .. } => *filled = tokens,
            Self::Rotating { window, seen, offset, .. } => {
                *seen = tokens;
                *offset = tokens % (*window).max(1);
            }
        }
    }
}

/// A pair of `tokens` positions in the order of dimensions that it has. The old tensors go first, for this is no step of
/// the model.
pub(super) fn seek_pair(pair: &mut Option<(Tensor, Tensor)>, tokens: u64) {
    *pair = pair.take().map(|(k, v)| (lengthened(k, tokens), lengthened(v, tokens)));
}

fn zeros(like: &Tensor, tokens: u64) -> Tensor {
    let mut dims = like.dims().to_vec();
    dims[2] = tokens;
    Tensor::new(like.cx(), &dims, like.element(), Kind::Cache)
}

fn lengthened(old: Tensor, tokens: u64) -> Tensor {
    let layout = old.layout_of_length(2, tokens);
    let (cx, element) = (old.cx().clone(), old.element());
    drop(old);
    Tensor::laid_out(&cx, layout, element, Kind::Cache)
}

//! `bench-runner/src/decoder/cache`.

use super::super::tensor::{Context, Element, Tensor};
use super::attention::Kernel;
use crate::document::plan::CacheKind;
use crate::engine::request::{CacheElement, Decoder};
use crate::engine::tape::Kind;

/// A layer's cache.
pub(super) struct Cache {
    growth: CacheKind,
    element: CacheElement,
    /// The dimension of tokens.
    dim: usize,
    room: u64,
    seen: u64,
    held: Option<(Encoded, Encoded)>,
}

/// Numbers as they are held, and their scales.
#[derive(Clone)]
pub(super) struct Encoded {
    data: Tensor,
    scales: Option<Tensor>,
}

/// What a layer can see.
pub(super) struct View {
    keys: Encoded,
    values: Encoded,
    dim: usize,
    pub(super) len: u64,
    /// The position of the first entry; none: a ring, of which everything is seen.
    pub(super) first: Option<u64>,
}

impl CacheElement {
    const fn held(self) -> Element {
        match self {
            Self::F32 => Element::F32,
            Self::Bf16 => Element::Bf16,
            Self::F16 => Element::F16,
            // E4M3 takes a byte as well.
            Self::Fp8 | Self::Int8 => Element::U8,
        }
    }
}

impl Encoded {
    fn new(x: Tensor, element: CacheElement) -> Self {
        if element != CacheElement::Int8 {
            let data = x.to_dtype(element.held());
            drop(x);
            return Self { data: data.contiguous(), scales: None };
        }
        let wide = x.to_dtype(Element::F32);
        drop(x);
        let scales = {
            let largest = {
                let magnitudes = wide.unary();
                magnitudes.reduce_last_keepdim()
            };
            largest.scaled().scaled()
        };
        let levels = wide.binary(&scales);
        drop(wide);
        let shifted = levels.scaled();
        Self { data: shifted.to_dtype(Element::U8), scales: Some(scales) }
    }

    fn each(&self, f: impl Fn(&Tensor) -> Tensor) -> Self {
        Self { data: f(&self.data), scales: self.scales.as_ref().map(f) }
    }

    fn narrow(&self, dim: usize, len: u64) -> Self {
        self.each(|t| t.narrow(dim, len))
    }

    fn zeros(&self, dim: usize, tokens: u64) -> Self {
        self.each(|t| {
            let mut dims = t.dims().to_vec();
            dims[dim] = tokens;
            Tensor::new(t.cx(), &dims, t.element(), Kind::Cache)
        })
    }

    fn cat(parts: [&Self; 2], dim: usize) -> Self {
        let data = Tensor::cat(&parts.map(|p| &p.data), dim).contiguous();
        let scales: Vec<&Tensor> = parts.iter().filter_map(|p| p.scales.as_ref()).collect();
        Self { data, scales: (!scales.is_empty()).then(|| Tensor::cat(&scales, dim).contiguous()) }
    }

    fn retag(&self) {
        self.data.retag(Kind::Cache);
        if let Some(scales) = &self.scales {
            scales.retag(Kind::Cache);
        }
    }

    fn decode(&self, element: Element) -> Tensor {
        let Some(scales) = &self.scales else {
            // A byte of E4M3 is not one of the types that are computed in.
            return self.data.to_dtype(element);
        };
        let levels = self.data.to_dtype(Element::F32).scaled();
        let wide = levels.binary(scales);
        drop(levels);
        wide.to_dtype(element)
    }

    fn lengthened(&self, dim: usize, tokens: u64) -> Self {
        self.zeros(dim, tokens)
    }
}

impl Cache {
    pub(super) fn new(asked: Decoder, kernel: Kernel, tokens: u64, reach: Option<u64>) -> Self {
        let (growth, room) = match (asked.growth, reach) {
            (CacheKind::Rotating, Some(reach)) if reach < tokens => (CacheKind::Rotating, reach),
            (CacheKind::Rotating, _) => (CacheKind::Slab, tokens),
            (growth, _) => (growth, tokens),
        };
        let dim = if kernel.tokens_first() { 1 } else { 2 };
        Self { growth, element: asked.element, dim, room, seen: 0, held: None }
    }

    pub(super) fn reset(&mut self) {
        self.seen = 0;
        self.held = None;
    }

    pub(super) fn seek(&mut self, tokens: u64) {
        self.seen = tokens;
        if self.growth == CacheKind::Growing {
            // The old pair goes first, for this is no step of the decoder; shapes are all that is needed of it.
            self.held = self.held.take().map(|(keys, values)| {
                let one = (keys.narrow(self.dim, 1), values.narrow(self.dim, 1));
                drop((keys, values));
                (one.0.lengthened(self.dim, tokens), one.1.lengthened(self.dim, tokens))
            });
        }
    }

    /// What is allocated once, before the first tokens, for `batch` sequences of `heads` of `size`.
    pub(super) fn allocate(&mut self, cx: &Context, (batch, heads, size): (u64, u64, u64)) {
        if self.growth == CacheKind::Growing || self.held.is_some() {
            return;
        }
        let mut dims = [batch, heads, heads, size];
        dims[self.dim] = self.room;
        let room = || {
            let of = |dims: &[u64], element| Tensor::new(cx, dims, element, Kind::Cache);
            let scales = [dims[0], dims[1], dims[2], 1];
            Encoded {
                data: of(&dims, self.element.held()),
                scales: (self.element == CacheElement::Int8).then(|| of(&scales, Element::F32)),
            }
        };
        self.held = Some((room(), room()));
    }

    pub(super) fn append(&mut self, keys: Tensor, values: Tensor) -> View {
        let dim = self.dim;
        let tokens = keys.dims()[dim];
        let before = self.seen;
        let keys = Encoded::new(keys, self.element);
        let values = Encoded::new(values, self.element);
        self.seen += tokens;
        if self.growth == CacheKind::Growing {
            let (keys, values) = match self.held.take() {
                None => (keys, values),
                Some((old_keys, old_values)) => {
                    (Encoded::cat([&old_keys, &keys], dim), Encoded::cat([&old_values, &values], dim))
                }
            };
            keys.retag();
            values.retag();
            self.held = Some((keys.clone(), values.clone()));
            return View { keys, values, dim, len: self.seen, first: Some(0) };
        }
        let room = self.room;
        let (all_keys, all_values) =
            self.held.get_or_insert_with(|| (keys.zeros(dim, room), values.zeros(dim, room))).clone();
        if self.growth == CacheKind::Rotating {
            let kept = tokens.min(room);
            let at = (before + tokens - kept) % room;
            let first = kept.min(room - at);
            for new in [&keys, &values] {
                // What is set must be contiguous: a part of it is copied.
                for part in [first, kept - first] {
                    if part > 0 {
                        let _copied = new.narrow(dim, part).each(Tensor::contiguous);
                    }
                }
            }
            if tokens > 1 {
                return View { keys, values, dim, len: tokens, first: Some(before) };
            }
        }
        let len = self.seen.min(room);
        let first = (self.growth == CacheKind::Slab || self.seen <= room).then_some(0);
        View { keys: all_keys.narrow(dim, len), values: all_values.narrow(dim, len), dim, len, first }
    }
}

impl View {
    pub(super) fn keys(&self, len: u64, element: Element) -> Tensor {
        self.keys.narrow(self.dim, len).decode(element)
    }

    pub(super) fn values(&self, len: u64, element: Element) -> Tensor {
        self.values.narrow(self.dim, len).decode(element)
    }
}

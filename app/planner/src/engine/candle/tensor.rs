//! Candle's tensors without their numbers: shapes, strides, storage shared or copied as `candle-core` 0.11.1 does.
//!
//! Each method allocates what the operation of that name allocates in `candle-core/src/tensor.rs` and its CPU backend,
//! and takes or borrows its operands as that one does, so that a forward pass written with them frees at the same places.

use std::cell::{Cell, RefCell};
use std::ops::{Add, Mul, Sub};
use std::rc::Rc;

use super::Processor;
use super::gemm::{self, Caches, Kernel, Product, Slabs, Strides};
use super::quantized::Isa;
use crate::bytes::Bytes;
use crate::engine::request::Device;
use crate::engine::tape::{Block, Kind, Tape};

/// An operation that Candle refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused(pub String);

/// Where tensors live and what the kernels keep for themselves.
#[derive(Debug, Clone)]
pub(super) struct Context(Rc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub tape: Tape,
    pub device: Device,
    pub isa: Isa,
    pub threads: u64,
    caches: Caches,
    /// Quantised activations of the calling thread: capacity in elements of 8 bytes; it only grows.
    scratch: RefCell<Option<Block>>,
    caller_slab: RefCell<Option<Block>>,
    worker_slabs: RefCell<Option<Block>>,
    scratch_used: Cell<u64>,
}

impl std::ops::Deref for Context {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Context {
    pub(super) fn new(device: Device, Processor { isa, threads, caches }: Processor) -> Self {
        Self(Rc::new(Inner {
            tape: Tape::new(),
            device,
            isa,
            threads,
            caches,
            scratch: RefCell::default(),
            caller_slab: RefCell::default(),
            worker_slabs: RefCell::default(),
            scratch_used: Cell::new(0),
        }))
    }

    /// `LHS_SCRATCH` of `k_quants.rs`, resized to at least `bytes`: a `Vec<u64>` that doubles or takes what is needed.
    pub(super) fn scratch(&self, bytes: Bytes) {
        let needed = bytes.0.div_ceil(8);
        if needed <= self.scratch_used.get() {
            return;
        }
        self.scratch_used.set(needed);
        let mut scratch = self.scratch.borrow_mut();
        match scratch.as_ref() {
            None => *scratch = Some(self.tape.alloc(Kind::Temporary, Bytes(needed.max(4)) * 8)),
            Some(block) if Bytes(needed) * 8 > block.bytes() => {
                block.resize((block.bytes() * 2).max(Bytes(needed) * 8));
            }
            Some(_) => {}
        }
    }

    /// A product's workspace, for as long as the product takes.
    fn multiply(&self, element: gemm::Element, product: Product) {
        if self.device != Device::Cpu {
            return;
        }
        let kernel = match self.isa {
            Isa::Neon => Kernel::NEON,
            Isa::Generic => Kernel::SCALAR,
            _ => Kernel::FMA,
        };
        let workspace = gemm::workspace(self.caches, kernel, element, self.threads, product);
        let _packed = self.tape.alloc(Kind::Temporary, workspace.packed);
        let (place, count) = match workspace.slabs {
            Slabs::None => return,
            Slabs::Caller => (&self.caller_slab, 1),
            Slabs::Workers => (&self.worker_slabs, self.threads),
        };
        place
            .borrow_mut()
            .get_or_insert_with(|| self.tape.alloc(Kind::Temporary, self.caches.slab() * count));
    }
}

/// Number formats of tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Element {
    U8,
    U32,
    F16,
    Bf16,
    F32,
}

impl Element {
    pub(super) const fn bytes(self) -> u64 {
        match self {
            Self::U8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::F32 => 4,
        }
    }
}

/// A tensor: a view of a storage that it shares.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    cx: Context,
    storage: Rc<Storage>,
    dims: Vec<u64>,
    strides: Vec<u64>,
}

/// Dimensions and strides.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    dims: Vec<u64>,
    strides: Vec<u64>,
}

#[derive(Debug)]
struct Storage {
    element: Element,
    elements: u64,
    block: Block,
}

fn count(dims: &[u64]) -> u64 {
    dims.iter().copied().fold(1, u64::saturating_mul)
}

fn row_major(dims: &[u64]) -> Vec<u64> {
    let mut strides = vec![1u64; dims.len()];
    for i in (1..dims.len()).rev() {
        strides[i - 1] = strides[i].saturating_mul(dims[i]);
    }
    strides
}

impl Tensor {
    /// A fresh contiguous tensor.
    pub(super) fn new(cx: &Context, dims: &[u64], element: Element, kind: Kind) -> Self {
        let elements = count(dims);
        let block = cx.tape.alloc(kind, Bytes(elements) * element.bytes());
        Self {
            cx: cx.clone(),
            storage: Rc::new(Storage { element, elements, block }),
            dims: dims.to_vec(),
            strides: row_major(dims),
        }
    }

    /// A fresh tensor of a layout without gaps.
    pub(super) fn laid_out(cx: &Context, layout: Layout, element: Element, kind: Kind) -> Self {
        Self { strides: layout.strides, ..Self::new(cx, &layout.dims, element, kind) }
    }

    /// This tensor's layout with another length of one dimension; dimensions stay in their order in memory.
    pub(super) fn layout_of_length(&self, dim: usize, length: u64) -> Layout {
        let mut dims = self.dims.clone();
        dims[dim] = length;
        let mut order: Vec<usize> = (0..dims.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(self.strides[i]));
        let ordered: Vec<u64> = order.iter().map(|&i| dims[i]).collect();
        let mut strides = vec![0; dims.len()];
        for (&i, stride) in order.iter().zip(row_major(&ordered)) {
            strides[i] = stride;
        }
        Layout { dims, strides }
    }

    pub(super) fn cx(&self) -> &Context {
        &self.cx
    }

    pub(super) fn dims(&self) -> &[u64] {
        &self.dims
    }

    pub(super) fn element(&self) -> Element {
        self.storage.element
    }

    fn dim_back(&self, back: usize) -> u64 {
        self.dims.iter().rev().nth(back).copied().unwrap_or(1)
    }

    fn stride_back(&self, back: usize) -> u64 {
        self.strides.iter().rev().nth(back).copied().unwrap_or(1)
    }

    fn view(&self, dims: Vec<u64>, strides: Vec<u64>) -> Self {
        Self { cx: self.cx.clone(), storage: Rc::clone(&self.storage), dims, strides }
    }

    fn like(&self, dims: &[u64], kind: Kind) -> Self {
        Self::new(&self.cx, dims, self.element(), kind)
    }

    /// Counts the storage as another kind from now on.
    pub(super) fn retag(&self, kind: Kind) {
        self.storage.block.retag(kind);
    }

    /// `Shape::is_contiguous`: dimensions of one element may have any stride.
    pub(super) fn is_contiguous(&self) -> bool {
        let mut expected = 1u64;
        for (&stride, &dim) in self.strides.iter().zip(&self.dims).rev() {
            if dim > 1 && stride != expected {
                return false;
            }
            expected = expected.saturating_mul(dim);
        }
        true
    }

    pub(super) fn require_contiguous(&self, what: &str) -> Result<(), Refused> {
        if self.is_contiguous() {
            return Ok(());
        }
        Err(Refused(format!(
            "{what} of a tensor {:?} with strides {:?}, which has to be contiguous",
            self.dims, self.strides
        )))
    }

    /// A view where contiguous, else a copy.
    pub(super) fn reshape(&self, dims: &[u64]) -> Self {
        if self.is_contiguous() {
            self.view(dims.to_vec(), row_major(dims))
        } else {
            self.like(dims, Kind::Temporary)
        }
    }

    pub(super) fn contiguous(&self) -> Self {
        if self.is_contiguous() { self.clone() } else { self.like(&self.dims, Kind::Temporary) }
    }

    pub(super) fn transpose(&self, a: usize, b: usize) -> Self {
        let (mut dims, mut strides) = (self.dims.clone(), self.strides.clone());
        dims.swap(a, b);
        strides.swap(a, b);
        self.view(dims, strides)
    }

    /// The last two dimensions swapped.
    pub(super) fn t(&self) -> Self {
        let rank = self.dims.len();
        if rank < 2 { self.clone() } else { self.transpose(rank - 2, rank - 1) }
    }

    pub(super) fn narrow(&self, dim: usize, length: u64) -> Self {
        let mut dims = self.dims.clone();
        dims[dim] = length;
        self.view(dims, self.strides.clone())
    }

    /// Without a dimension of one element, or with one index of it taken (`.i((.., n, ..))`).
    pub(super) fn without(&self, dim: usize) -> Self {
        let (mut dims, mut strides) = (self.dims.clone(), self.strides.clone());
        dims.remove(dim);
        strides.remove(dim);
        self.view(dims, strides)
    }

    /// `broadcast_as`: a view.
    pub(super) fn broadcast_as(&self, dims: &[u64]) -> Self {
        let lead = dims.len() - self.dims.len();
        let strides = dims
            .iter()
            .enumerate()
            .map(|(i, &dim)| match i.checked_sub(lead) {
                Some(j) if self.dims[j] == dim => self.strides[j],
                _ => 0,
            })
            .collect();
        self.view(dims.to_vec(), strides)
    }

    /// A copy in another format; the same tensor where it has that format.
    pub(super) fn to_dtype(&self, element: Element) -> Self {
        if self.element() == element {
            self.clone()
        } else {
            Self::new(&self.cx, &self.dims, element, Kind::Temporary)
        }
    }

    /// Any operation on each element by itself: `silu`, `sqrt`, `affine`, …
    pub(super) fn unary(&self) -> Self {
        self.like(&self.dims, Kind::Activation)
    }

    /// The same by value, as Candle's operators with a number take a tensor: the operand goes when the result is there.
    pub(super) fn scaled(self) -> Self {
        self.unary()
    }

    /// An operation of two tensors, broadcast where one is smaller.
    pub(super) fn binary(&self, rhs: &Self) -> Self {
        let dims = if count(&rhs.dims) > count(&self.dims) { &rhs.dims } else { &self.dims };
        self.like(dims, Kind::Activation)
    }

    /// A sum, maximum or the like over the last dimension, which stays with one element.
    pub(super) fn reduce_last_keepdim(&self) -> Self {
        let mut dims = self.dims.clone();
        if let Some(last) = dims.last_mut() {
            *last = 1;
        }
        self.like(&dims, Kind::Activation)
    }

    /// A sum over a dimension, which goes.
    pub(super) fn sum(&self, dim: usize) -> Self {
        let mut dims = self.dims.clone();
        dims.remove(dim);
        self.like(&dims, Kind::Activation)
    }

    /// Index of the largest element over the last dimension.
    pub(super) fn argmax(&self) -> Self {
        let dims = &self.dims[..self.dims.len().saturating_sub(1)];
        Self::new(&self.cx, dims, Element::U32, Kind::Activation)
    }

    /// `where_cond` with this tensor as the condition.
    pub(super) fn where_cond(&self, yes: &Self, _no: &Self) -> Self {
        Self::new(&self.cx, &self.dims, yes.element(), Kind::Activation)
    }

    /// `candle_nn::Embedding`: rows of this table.
    pub(super) fn embed(&self, ids: &Self) -> Self {
        let mut dims = ids.dims.clone();
        dims.push(self.dim_back(0));
        let flat = ids.reshape(&[count(&ids.dims)]);
        let rows =
            Self::new(&self.cx, &[count(&flat.dims), self.dim_back(0)], self.element(), Kind::Activation);
        rows.reshape(&dims)
    }

    /// `Tensor::cat`: a fresh tensor, contiguous unless the slow path through a transposition was taken.
    pub(super) fn cat(parts: &[&Self], dim: usize) -> Self {
        let first = parts[0];
        if parts.len() == 1 {
            return first.clone();
        }
        let mut dims = first.dims.clone();
        dims[dim] = parts.iter().map(|p| p.dims[dim]).fold(0, u64::saturating_add);
        if dim == 0 || parts.iter().all(|p| p.is_contiguous() || p.outer_stride(dim)) {
            return first.like(&dims, Kind::Temporary);
        }
        dims.swap(0, dim);
        first.like(&dims, Kind::Temporary).transpose(0, dim)
    }

    /// Whether `Layout::outer_stride_for_dim` has one.
    fn outer_stride(&self, dim: usize) -> bool {
        let mut expected = 1u64;
        for i in (dim..self.dims.len()).rev() {
            if self.strides[i] != expected {
                return false;
            }
            expected = expected.saturating_mul(self.dims[i]);
        }
        if dim == 0 {
            return true;
        }
        let mut outer = self.strides[dim - 1];
        for i in (0..dim - 1).rev() {
            outer = outer.saturating_mul(self.dims[i + 1]);
            if self.strides[i] != outer {
                return false;
            }
        }
        true
    }

    /// `matmul`, with the copies and workspaces of the CPU backend.
    pub(super) fn matmul(&self, rhs: &Self) -> Self {
        let (m, k, n) = (self.dim_back(1), self.dim_back(0), rhs.dim_back(0));
        let mut dims = self.dims[..self.dims.len().saturating_sub(2)].to_vec();
        let batches = count(&dims);
        dims.extend([m, n]);
        let lhs_strides = Strides { row: self.stride_back(1), column: self.stride_back(0) };
        let rhs_strides = Strides { row: rhs.stride_back(1), column: rhs.stride_back(0) };
        // A right side that every batch shares: the batches become rows of one product.
        let shared = batches > 1 && rhs.strides[..rhs.strides.len() - 2].iter().all(|&s| s == 0);
        let rows = if shared && self.is_contiguous() { m.saturating_mul(batches) } else { m };
        let product = Product { m: rows, n, k, lhs: lhs_strides, rhs: rhs_strides };
        match (self.element(), self.cx.device) {
            // No kernel for bf16: both storages are widened, whole, then the result is narrowed.
            (Element::Bf16, Device::Cpu) => {
                let widened = |t: &Self| {
                    self.cx.tape.alloc(Kind::Temporary, Bytes(t.storage.elements) * Element::F32.bytes())
                };
                let _lhs = widened(self);
                let _rhs = widened(rhs);
                let wide = Self::new(&self.cx, &dims, Element::F32, Kind::Temporary);
                self.cx.multiply(gemm::Element::F32, product);
                let out = self.like(&dims, Kind::Activation);
                drop(wide);
                out
            }
            (element, _) => {
                let out = self.like(&dims, Kind::Activation);
                let element = if element == Element::F16 { gemm::Element::F16 } else { gemm::Element::F32 };
                self.cx.multiply(element, product);
                out
            }
        }
    }

    /// `candle_nn::Linear` and dense `QMatMul`: a product with a weight of outputs × inputs, its batches as rows.
    pub(super) fn matmul_weight(&self, weight: &Self) -> Self {
        let inputs = self.dim_back(0);
        let mut dims = self.dims.clone();
        if let Some(last) = dims.last_mut() {
            *last = weight.dims[0];
        }
        if self.is_contiguous() {
            let rows = count(&self.dims) / inputs.max(1);
            self.reshape(&[rows, inputs]).matmul(&weight.t()).reshape(&dims)
        } else {
            let mut lead = self.dims[..self.dims.len().saturating_sub(2)].to_vec();
            lead.extend(&weight.dims);
            self.matmul(&weight.broadcast_as(&lead).t())
        }
    }

    /// `candle_nn::ops::softmax_last_dim`.
    pub(super) fn softmax_last_dim(&self) -> Result<Self, Refused> {
        self.require_contiguous("a softmax")?;
        Ok(self.unary())
    }

    /// `candle_nn::rotary_emb::rope` and `rope_i`.
    pub(super) fn rope(&self) -> Result<Self, Refused> {
        self.require_contiguous("a rotary embedding")?;
        Ok(self.unary())
    }

    /// `candle_nn::RmsNorm`: one kernel on contiguous tensors, else step by step in f32.
    pub(super) fn rms_norm(&self, weight: &Self) -> Self {
        if self.is_contiguous() {
            return self.unary();
        }
        let internal = match self.element() {
            Element::F16 | Element::Bf16 => Element::F32,
            other => other,
        };
        let x = self.to_dtype(internal);
        let norm = x.unary().reduce_last_keepdim().scaled();
        let normed = x.binary(&norm.scaled().unary());
        normed.to_dtype(self.element()).binary(weight)
    }
}

macro_rules! operators {
    ($($trait:ident :: $method:ident),+) => {$(
        impl $trait<Tensor> for Tensor {
            type Output = Tensor;
            fn $method(self, rhs: Tensor) -> Tensor {
                self.binary(&rhs)
            }
        }
        impl $trait<&Tensor> for Tensor {
            type Output = Tensor;
            fn $method(self, rhs: &Tensor) -> Tensor {
                self.binary(rhs)
            }
        }
        impl $trait<Tensor> for &Tensor {
            type Output = Tensor;
            fn $method(self, rhs: Tensor) -> Tensor {
                self.binary(&rhs)
            }
        }
        impl $trait<&Tensor> for &Tensor {
            type Output = Tensor;
            fn $method(self, rhs: &Tensor) -> Tensor {
                self.binary(rhs)
            }
        }
    )+};
}

operators!(Add::add, Mul::mul, Sub::sub);

//! Candle's graph over tensors without numbers: which operation made a tensor, and what it keeps alive.
//!
//! A result remembers its operation, and so holds the operation's arguments, where any of these is a variable or remembers
//! one itself (`candle-core` 0.11.1, `op.rs`, `BackpropOp::new1` to `new3`; `tensor.rs`, `track_op`). What is computed with
//! such tensors in a backward pass is recorded as well, until it is detached.

mod backward;

use std::cell::RefCell;
use std::rc::Rc;

use super::tensor::{Context, Element, Refused, Tensor};
use crate::engine::tape::{Block, Kind};

pub(super) use backward::Gradients;

/// Bytes of a tensor's own record: its shape, strides, operation and the counters around them, as the allocator counts them.
/// Tensors of a few kilobytes are not much larger.
const RECORD: u64 = 320;

/// A tensor that may remember how it was made.
#[derive(Debug, Clone)]
pub(super) struct Node(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    tensor: Tensor,
    op: RefCell<Option<Op>>,
    /// What the operation holds beside its arguments.
    _beside: Option<Tensor>,
    is_variable: bool,
    _record: Block,
}

/// How a tensor was made, of which arguments.
#[derive(Debug)]
enum Op {
    Add(Node, Node),
    Sub(Node, Node),
    Mul(Node, Node),
    Div(Node, Node),
    Affine(Node),
    Unary(Node, Unary),
    Reshape(Node),
    Copy(Node),
    Broadcast(Node),
    Transpose(Node, usize, usize),
    Sum(Node),
    ToDtype(Node),
    Matmul(Node, Node),
    /// Rows of a table by number.
    IndexSelect(Node),
    /// One element of each row.
    Gather(Node),
    Custom(Node, Custom),
}

/// An operation on each element by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unary {
    Sqr,
    Sqrt,
    Exp,
    Log,
    Silu,
    /// Only of backward passes.
    Other,
}

/// Operations of the training step itself (`bench-runner/src/decoder/training/operations.rs`).
#[derive(Debug, Clone)]
enum Custom {
    Times,
    Plus,
    Softmax,
    Rotate { rotary_size: u64 },
    Product(Frozen),
}

/// A matrix of outputs × inputs that is not trained.
#[derive(Debug, Clone)]
pub(super) enum Frozen {
    Dense(Tensor),
    /// Blocks that are widened for every product.
    Blocks {
        rows: u64,
        columns: u64,
        /// The blocks.
        _stored: Rc<Block>,
    },
}

impl Frozen {
    fn widened(&self, cx: &Context, element: Element) -> Tensor {
        match self {
            Self::Dense(weight) => weight.clone(),
            Self::Blocks { rows, columns, .. } => {
                Tensor::new(cx, &[*rows, *columns], Element::F32, Kind::Temporary).to_dtype(element)
            }
        }
    }
}

/// A chain of tensors is as deep as a model: their ends are not left to recursion.
impl Drop for Inner {
    fn drop(&mut self) {
        let mut ending: Vec<Op> = self.op.take().into_iter().collect();
        while let Some(op) = ending.pop() {
            for node in op.into_arguments() {
                if let Ok(inner) = Rc::try_unwrap(node.0) {
                    ending.extend(inner.op.take());
                }
            }
        }
    }
}

impl Op {
    fn into_arguments(self) -> Vec<Node> {
        self.arguments().into_iter().flatten().cloned().collect()
    }

    /// Arguments that a gradient may go to, in candle's order.
    fn arguments(&self) -> [Option<&Node>; 2] {
        match self {
            Self::Add(a, b) | Self::Sub(a, b) | Self::Mul(a, b) | Self::Div(a, b) | Self::Matmul(a, b) => {
                [Some(a), Some(b)]
            }
            Self::Affine(a)
            | Self::Unary(a, _)
            | Self::Reshape(a)
            | Self::Copy(a)
            | Self::Broadcast(a)
            | Self::Transpose(a, ..)
            | Self::Sum(a)
            | Self::ToDtype(a)
            | Self::IndexSelect(a)
            | Self::Gather(a)
            | Self::Custom(a, _) => [Some(a), None],
        }
    }
}

impl Node {
    fn new(tensor: Tensor, op: Option<Op>, is_variable: bool) -> Self {
        Self::beside(tensor, op, is_variable, None)
    }

    fn beside(tensor: Tensor, op: Option<Op>, is_variable: bool, beside: Option<Tensor>) -> Self {
        let record = tensor.cx().tape.alloc(Kind::Temporary, crate::bytes::Bytes(RECORD));
        Self(Rc::new(Inner { tensor, op: RefCell::new(op), _beside: beside, is_variable, _record: record }))
    }

    /// A tensor that remembers nothing.
    pub(super) fn constant(tensor: Tensor) -> Self {
        Self::new(tensor, None, false)
    }

    /// `Var::from_tensor`: a copy that gradients are made of.
    pub(super) fn variable(tensor: &Tensor, kind: Kind) -> Self {
        Self::new(Tensor::new(tensor.cx(), tensor.dims(), tensor.element(), kind), None, true)
    }

    pub(super) fn tensor(&self) -> &Tensor {
        &self.0.tensor
    }

    pub(super) fn dims(&self) -> &[u64] {
        self.0.tensor.dims()
    }

    pub(super) fn element(&self) -> Element {
        self.0.tensor.element()
    }

    fn is_tracked(&self) -> bool {
        self.0.is_variable || self.0.op.borrow().is_some()
    }

    fn made_of(&self, tensor: Tensor, op: impl FnOnce(Self) -> Op) -> Self {
        Self::new(tensor, self.is_tracked().then(|| op(self.clone())), false)
    }

    /// The same of an operation that holds another tensor, which has no gradient.
    fn made_beside(&self, tensor: Tensor, beside: Tensor, op: impl FnOnce(Self) -> Op) -> Self {
        if !self.is_tracked() {
            return Self::constant(tensor);
        }
        Self::beside(tensor, Some(op(self.clone())), false, Some(beside))
    }

    fn made_of_both(&self, rhs: &Self, tensor: Tensor, op: impl FnOnce(Self, Self) -> Op) -> Self {
        let op = (self.is_tracked() || rhs.is_tracked()).then(|| op(self.clone(), rhs.clone()));
        Self::new(tensor, op, false)
    }

    /// The same storage without its history.
    pub(super) fn detach(&self) -> Self {
        if self.is_tracked() { Self::constant(self.tensor().clone()) } else { self.clone() }
    }

    pub(super) fn add(&self, rhs: &Self) -> Self {
        self.made_of_both(rhs, self.tensor().binary(rhs.tensor()), Op::Add)
    }

    pub(super) fn sub(&self, rhs: &Self) -> Self {
        self.made_of_both(rhs, self.tensor().binary(rhs.tensor()), Op::Sub)
    }

    pub(super) fn mul(&self, rhs: &Self) -> Self {
        self.made_of_both(rhs, self.tensor().binary(rhs.tensor()), Op::Mul)
    }

    fn div(&self, rhs: &Self) -> Self {
        self.made_of_both(rhs, self.tensor().binary(rhs.tensor()), Op::Div)
    }

    /// Broadcasts where the shape is another.
    fn broadcast_as(&self, dims: &[u64]) -> Self {
        self.made_of(self.tensor().broadcast_as(dims), Op::Broadcast)
    }

    fn broadcast_to(&self, like: &Self) -> Self {
        if self.dims() == like.dims() { self.clone() } else { self.broadcast_as(like.dims()) }
    }

    pub(super) fn broadcast_add(&self, rhs: &Self) -> Self {
        self.add(&rhs.broadcast_to(self))
    }

    pub(super) fn broadcast_mul(&self, rhs: &Self) -> Self {
        self.mul(&rhs.broadcast_to(self))
    }

    pub(super) fn broadcast_div(&self, rhs: &Self) -> Self {
        self.div(&rhs.broadcast_to(self))
    }

    pub(super) fn affine(&self) -> Self {
        self.made_of(self.tensor().unary(), Op::Affine)
    }

    pub(super) fn unary(&self, how: Unary) -> Self {
        self.made_of(self.tensor().unary(), |a| Op::Unary(a, how))
    }

    pub(super) fn reshape(&self, dims: &[u64]) -> Self {
        self.made_of(self.tensor().reshape(dims), Op::Reshape)
    }

    pub(super) fn contiguous(&self) -> Self {
        if self.tensor().is_contiguous() {
            return self.clone();
        }
        self.made_of(self.tensor().contiguous(), Op::Copy)
    }

    pub(super) fn transpose(&self, a: usize, b: usize) -> Self {
        self.made_of(self.tensor().transpose(a, b), |arg| Op::Transpose(arg, a, b))
    }

    /// The last two dimensions swapped.
    pub(super) fn t(&self) -> Self {
        let rank = self.dims().len();
        self.transpose(rank - 2, rank - 1)
    }

    pub(super) fn to_dtype(&self, element: Element) -> Self {
        if self.element() == element {
            return self.clone();
        }
        self.made_of(self.tensor().to_dtype(element), Op::ToDtype)
    }

    pub(super) fn matmul(&self, rhs: &Self) -> Self {
        self.made_of_both(rhs, self.tensor().matmul(rhs.tensor()), Op::Matmul)
    }

    /// `sum_keepdim` over `dims`, which stay with one element.
    fn sum_over(&self, which: impl Fn(usize) -> bool) -> Self {
        let dims: Vec<u64> =
            self.dims().iter().enumerate().map(|(i, &dim)| if which(i) { 1 } else { dim }).collect();
        let tensor = Tensor::new(self.tensor().cx(), &dims, self.element(), Kind::Activation);
        self.made_of(tensor, Op::Sum)
    }

    pub(super) fn sum_last_keepdim(&self) -> Self {
        let last = self.dims().len() - 1;
        self.sum_over(|i| i == last)
    }

    pub(super) fn sum_all(&self) -> Self {
        self.sum_over(|_| true).reshape(&[])
    }

    /// Rows of this table.
    pub(super) fn index_select(&self, ids: &Tensor) -> Self {
        let dims = [ids.dims()[0], self.dims()[1]];
        let rows = Tensor::new(ids.cx(), &dims, self.element(), Kind::Activation);
        self.made_beside(rows, ids.clone(), Op::IndexSelect)
    }

    /// One element of each row.
    pub(super) fn gather(&self, indexes: &Tensor) -> Self {
        let picked = Tensor::new(indexes.cx(), indexes.dims(), self.element(), Kind::Activation);
        self.made_beside(picked, indexes.clone(), Op::Gather)
    }

    fn custom(&self, tensor: Tensor, custom: Custom) -> Self {
        self.made_of(tensor, |arg| Op::Custom(arg, custom))
    }

    pub(super) fn times(&self, constant: &Tensor) -> Self {
        self.made_beside(self.tensor().unary(), constant.clone(), |arg| Op::Custom(arg, Custom::Times))
    }

    pub(super) fn plus(&self, constant: &Tensor) -> Self {
        self.made_beside(self.tensor().unary(), constant.clone(), |arg| Op::Custom(arg, Custom::Plus))
    }

    pub(super) fn softmax(&self, mask: &Tensor) -> Self {
        let x = self.tensor();
        let weights = {
            let masked = x.unary();
            let largest = masked.reduce_last_keepdim();
            let below = masked.unary();
            drop(masked);
            let weights = below.unary();
            drop((below, largest));
            weights
        };
        let sum = weights.reduce_last_keepdim();
        let shares = weights.unary();
        drop((weights, sum));
        self.made_beside(shares, mask.clone(), |arg| Op::Custom(arg, Custom::Softmax))
    }

    pub(super) fn rotate(&self, rotary_size: u64) -> Result<Self, Refused> {
        let copied = self.tensor().unary();
        let turned = rotated(copied, rotary_size)?;
        let answer = turned.unary();
        drop(turned);
        Ok(self.custom(answer, Custom::Rotate { rotary_size }))
    }

    pub(super) fn product(&self, weight: &Frozen) -> Self {
        let answer = {
            let wide = weight.widened(self.tensor().cx(), self.element());
            self.tensor().matmul(&wide.t())
        };
        self.custom(answer, Custom::Product(weight.clone()))
    }
}

/// `bench-runner/src/decoder/rope.rs`, `Angles::rotate`.
#[allow(clippy::needless_pass_by_value, reason = "freed where the source frees it")]
fn rotated(x: Tensor, rotary_size: u64) -> Result<Tensor, Refused> {
    let size = x.dims()[3];
    if rotary_size >= size {
        return x.rope();
    }
    let turned = {
        let part = x.narrow(3, rotary_size).contiguous();
        part.rope()?
    };
    let kept = x.narrow(3, size - rotary_size);
    Ok(Tensor::cat(&[&turned, &kept], 3))
}

#[cfg(test)]
mod tests;

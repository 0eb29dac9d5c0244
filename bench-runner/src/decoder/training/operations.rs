//! Operations that candle's graph lacks: with constants that have no gradient, and with kernels that have no backward.
//!
//! Candle's backward makes a gradient of every argument of an operation, and keeps those of constants to its end
//! (candle-core 0.11.1 `backprop.rs`, `or_insert`): of a mask, of rotary tables, of every frozen weight. Here constants are
//! parts of the operation instead, and have none. The softmax saves its result alone.

use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::op::{Add, BackpropOp, Div, Exp, Mul, ReduceOp, Sub};
use candle_core::quantized::QTensor;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, D, DType, Layout, Result, Shape, Storage, StorageRef, Tensor, bail,
};

use crate::decoder::rope::{Angles, Order};

/// Where a constant is, in the memory that an operation computes in.
trait Place: BackendStorage {
    /// The storage, where it is of this kind.
    fn of(storage: &Storage) -> Option<&Self>;
    /// As a storage of any kind.
    fn wrapped(self) -> Storage;
}

impl Place for CpuStorage {
    fn of(storage: &Storage) -> Option<&Self> {
        if let Storage::Cpu(storage) = storage { Some(storage) } else { None }
    }
    fn wrapped(self) -> Storage {
        Storage::Cpu(self)
    }
}

impl Place for CudaStorage {
    fn of(storage: &Storage) -> Option<&Self> {
        if let Storage::Cuda(storage) = storage { Some(storage) } else { None }
    }
    fn wrapped(self) -> Storage {
        Storage::Cuda(self)
    }
}

fn storage_of<'a, S: Place>(storage: &'a StorageRef<'_>) -> Result<&'a S> {
    match S::of(storage) {
        Some(storage) => Ok(storage),
        None => bail!("a constant of the training step is on another device"),
    }
}

/// An operation of one tensor, on any device.
trait Operation: Send + Sync + 'static {
    const NAME: &'static str;
    fn forward<S: Place>(&self, x: &S, layout: &Layout) -> Result<(S, Shape)>;
    /// The argument's gradient.
    fn backward(&self, result: &Tensor, gradient: &Tensor) -> Result<Tensor>;
}

/// An [`Operation`] as candle takes it.
struct Node<O>(O);

impl<O: Operation> CustomOp1 for Node<O> {
    fn name(&self) -> &'static str {
        O::NAME
    }
    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.0.forward(storage, layout)
    }
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        self.0.forward(storage, layout)
    }
    fn bwd(&self, _: &Tensor, result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        // The graph of this step must not grow by its own backward.
        self.0.backward(&result.detach(), gradient).map(Some)
    }
}

/// `x` times a constant that is broadcast to its shape.
pub(super) fn times(x: &Tensor, constant: &Tensor) -> Result<Tensor> {
    x.apply_op1(Node(Times(constant.broadcast_as(x.shape())?)))
}

struct Times(Tensor);

impl Operation for Times {
    const NAME: &'static str = "times-constant";
    fn forward<S: Place>(&self, x: &S, layout: &Layout) -> Result<(S, Shape)> {
        let (constant, by) = self.0.storage_and_layout();
        Ok((x.binary_impl::<Mul>(storage_of(&constant)?, layout, by)?, layout.shape().clone()))
    }
    fn backward(&self, _: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        gradient.mul(&self.0)
    }
}

/// `x` plus a constant that is broadcast to its shape.
pub(super) fn plus(x: &Tensor, constant: &Tensor) -> Result<Tensor> {
    x.apply_op1(Node(Plus(constant.broadcast_as(x.shape())?)))
}

struct Plus(Tensor);

impl Operation for Plus {
    const NAME: &'static str = "plus-constant";
    fn forward<S: Place>(&self, x: &S, layout: &Layout) -> Result<(S, Shape)> {
        let (constant, by) = self.0.storage_and_layout();
        Ok((x.binary_impl::<Add>(storage_of(&constant)?, layout, by)?, layout.shape().clone()))
    }
    fn backward(&self, _: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        Ok(gradient.clone())
    }
}

/// Softmax over the last dimension of contiguous `x` plus `mask`, which is broadcast to its shape.
pub(super) fn softmax(x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    x.apply_op1(Node(Softmax { mask: mask.broadcast_as(x.shape())? }))
}

struct Softmax {
    mask: Tensor,
}

impl Operation for Softmax {
    const NAME: &'static str = "masked-softmax";
    fn forward<S: Place>(&self, x: &S, layout: &Layout) -> Result<(S, Shape)> {
        let shape = layout.shape();
        let whole = Layout::contiguous(shape);
        let Some(last) = shape.rank().checked_sub(1) else { bail!("a softmax of a number") };
        let mut row = shape.dims().to_vec();
        row[last] = 1;
        let rows = Layout::contiguous(row).broadcast_as(shape)?;
        let weights = {
            let masked = {
                let (mask, by) = self.mask.storage_and_layout();
                x.binary_impl::<Add>(storage_of(&mask)?, layout, by)?
            };
            let largest = masked.reduce_op(ReduceOp::Max, &whole, &[last])?;
            let below = masked.binary_impl::<Sub>(&largest, &whole, &rows)?;
            drop(masked);
            below.unary_impl::<Exp>(&whole)?
        };
        let sum = weights.reduce_op(ReduceOp::Sum, &whole, &[last])?;
        Ok((weights.binary_impl::<Div>(&sum, &whole, &rows)?, shape.clone()))
    }
    fn backward(&self, result: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let weighted = gradient.mul(result)?;
        let sums = weighted.sum_keepdim(D::Minus1)?;
        let shares = result.broadcast_mul(&sums)?;
        weighted.sub(&shares)
    }
}

/// Heads first, rotated: candle's kernel, which has no backward of its own; the gradient is rotated back.
pub(super) fn rotate(x: &Tensor, turn: &Turn) -> Result<Tensor> {
    x.apply_op1(Node(turn.clone()))
}

/// Angles of a rotation and of the way back.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub(super) there: Angles,
    pub(super) back: Angles,
}

impl Operation for Turn {
    const NAME: &'static str = "rotary-embedding";
    fn forward<S: Place>(&self, x: &S, layout: &Layout) -> Result<(S, Shape)> {
        if !layout.is_contiguous() || layout.start_offset() != 0 {
            bail!("rotary-embedding: of a contiguous tensor alone");
        }
        // The kernel takes tensors, and tensors own their storage: a copy goes in, and one comes out.
        let copied = x.try_clone(layout)?.wrapped();
        let x = Tensor::from_storage(copied, layout.shape(), BackpropOp::none(), false);
        let turned = self.there.rotate(x, Order::HeadsFirst)?;
        let (storage, by) = turned.storage_and_layout();
        Ok((storage_of::<S>(&storage)?.try_clone(by)?, layout.shape().clone()))
    }
    fn backward(&self, _: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        self.back.rotate(gradient.contiguous()?, Order::HeadsFirst)
    }
}

/// A matrix of outputs × inputs that is not trained.
#[derive(Debug, Clone)]
pub(super) enum Frozen {
    /// In the type that is computed in.
    Dense(Tensor),
    /// In blocks of a GGUF type, widened for every product.
    Blocks(Arc<QTensor>),
}

impl Frozen {
    /// In the type that is computed in.
    fn widened(&self, dtype: DType) -> Result<Tensor> {
        match self {
            Self::Dense(weight) => Ok(weight.clone()),
            Self::Blocks(blocks) => blocks.dequantize(&blocks.device())?.to_dtype(dtype),
        }
    }
}

/// `x` (rows × inputs, contiguous) times the transposed matrix.
pub(super) fn product(x: &Tensor, weight: &Frozen) -> Result<Tensor> {
    x.apply_op1(Node(weight.clone()))
}

impl Operation for Frozen {
    const NAME: &'static str = "frozen-product";
    fn forward<S: Place>(&self, x: &S, layout: &Layout) -> Result<(S, Shape)> {
        let weight = self.widened(x.dtype())?.t()?;
        let (storage, by) = weight.storage_and_layout();
        let (rows, inputs) = layout.shape().dims2()?;
        let (_, outputs) = weight.dims2()?;
        let answer = x.matmul(storage_of(&storage)?, (1, rows, outputs, inputs), layout, by)?;
        Ok((answer, Shape::from((rows, outputs))))
    }
    fn backward(&self, _: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        gradient.matmul(&self.widened(gradient.dtype())?)
    }
}

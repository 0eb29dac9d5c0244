//! `candle-core` 0.11.1, `backprop.rs`: the order of a backward pass, and what is alive in it.

use std::collections::HashMap;
use std::rc::Rc;

use super::{Custom, Inner, Node, Op, Unary, rotated};
use crate::engine::candle::tensor::{Refused, Tensor};
use crate::engine::tape::Kind;

/// `GradStore`: the sums so far, by tensor. Gradients of variables stay, and so do those of constants.
pub(in crate::engine::candle) struct Gradients(HashMap<*const Inner, Node>);

impl Node {
    pub(super) fn id(&self) -> *const Inner {
        Rc::as_ptr(&self.0)
    }

    fn like(&self) -> Self {
        let tensor = self.tensor();
        Self::constant(Tensor::new(tensor.cx(), tensor.dims(), tensor.element(), Kind::Activation))
    }

    /// `sorted_nodes`: what leads to this from variables, each before its arguments.
    pub(super) fn sorted(&self) -> Vec<Self> {
        enum Visit {
            Enter(Node),
            Leave(Node),
        }
        let mut tracked: HashMap<*const Inner, bool> = HashMap::new();
        let mut nodes = Vec::new();
        let mut stack = vec![Visit::Enter(self.clone())];
        while let Some(visit) = stack.pop() {
            match visit {
                Visit::Enter(node) => {
                    if tracked.contains_key(&node.id()) {
                        continue;
                    }
                    // Entered once; whether it is tracked is known when its arguments are.
                    tracked.insert(node.id(), node.0.is_variable);
                    let op = node.0.op.borrow();
                    let arguments = op.as_ref().filter(|_| !node.0.is_variable).map(Op::arguments);
                    stack.push(Visit::Leave(node.clone()));
                    for argument in arguments.into_iter().flatten().rev().flatten() {
                        stack.push(Visit::Enter(argument.clone()));
                    }
                }
                Visit::Leave(node) => {
                    let op = node.0.op.borrow();
                    let by_arguments = op.as_ref().filter(|_| !node.0.is_variable).is_some_and(|op| {
                        op.arguments().into_iter().flatten().any(|a| tracked.get(&a.id()) == Some(&true))
                    });
                    if by_arguments || node.0.is_variable {
                        tracked.insert(node.id(), true);
                        nodes.push(node.clone());
                    }
                }
            }
        }
        nodes.reverse();
        nodes
    }

    /// `Tensor::backward`.
    ///
    /// # Errors
    /// What Candle refuses.
    pub(in crate::engine::candle) fn backward(&self) -> Result<Gradients, Refused> {
        let sorted = self.sorted();
        let mut all = Gradients(HashMap::new());
        all.0.insert(self.id(), self.like());
        for node in &sorted {
            if node.0.is_variable {
                continue;
            }
            let Some(whole) = all.0.remove(&node.id()) else { continue };
            // What the sum was made of lives as long as this node is at work: the detached tensor is beside it.
            let gradient = whole.detach();
            let op = node.0.op.borrow();
            if let Some(op) = op.as_ref() {
                all.pass(op, node, &gradient)?;
            }
        }
        Ok(all)
    }
}

impl Gradients {
    /// The gradient of a variable.
    pub(in crate::engine::candle) fn remove(&mut self, variable: &Node) -> Option<Node> {
        self.0.remove(&variable.id())
    }

    /// `or_insert`: zeros where there is no sum yet.
    fn sum(&mut self, of: &Node) -> Node {
        self.0.entry(of.id()).or_insert_with(|| of.like()).clone()
    }

    fn set(&mut self, of: &Node, sum: Node) {
        if of.0.is_variable {
            sum.tensor().retag(Kind::Gradients);
        }
        self.0.insert(of.id(), sum);
    }

    /// `*sum = sum.add(part)`.
    fn add(&mut self, to: &Node, part: &Node) {
        let sum = self.sum(to);
        self.set(to, sum.add(part));
    }

    /// The gradients of an operation's arguments. Results of operations on what is tracked are tracked, as Candle's are.
    fn pass(&mut self, op: &Op, node: &Node, gradient: &Node) -> Result<(), Refused> {
        match op {
            Op::Add(lhs, rhs) => {
                self.add(lhs, gradient);
                self.add(rhs, gradient);
            }
            Op::Sub(lhs, rhs) => {
                self.add(lhs, gradient);
                let sum = self.sum(rhs);
                self.set(rhs, sum.sub(gradient));
            }
            Op::Mul(lhs, rhs) => {
                let lhs_gradient = gradient.mul(rhs);
                self.add(lhs, &lhs_gradient);
                let rhs_gradient = gradient.mul(lhs);
                self.add(rhs, &rhs_gradient);
            }
            Op::Div(lhs, rhs) => {
                let lhs_gradient = gradient.div(rhs);
                self.add(lhs, &lhs_gradient);
                let rhs_gradient = gradient.mul(lhs).div(&rhs.unary(Unary::Sqr));
                let sum = self.sum(rhs);
                self.set(rhs, sum.sub(&rhs_gradient));
            }
            Op::Affine(arg) => {
                let part = gradient.affine();
                self.add(arg, &part);
            }
            Op::Unary(arg, how) => self.unary(arg, *how, node, gradient),
            Op::Reshape(arg) => {
                let part = gradient.reshape(arg.dims());
                self.add(arg, &part);
            }
            Op::Copy(arg) => self.add(arg, gradient),
            Op::Transpose(arg, a, b) => {
                let part = gradient.transpose(*a, *b);
                self.add(arg, &part);
            }
            Op::Broadcast(arg) => {
                let lead = node.dims().len() - arg.dims().len();
                let reduced = gradient.sum_over(|i| i < lead || node.dims()[i] != arg.dims()[i - lead]);
                let part = reduced.reshape(arg.dims());
                self.add(arg, &part);
            }
            Op::Sum(arg) => {
                let part = gradient.broadcast_as(arg.dims());
                self.add(arg, &part);
            }
            Op::ToDtype(arg) => {
                let sum = self.sum(arg);
                self.set(arg, sum.add(&gradient.to_dtype(arg.element())));
            }
            Op::Matmul(lhs, rhs) => {
                let lhs_gradient = gradient.matmul(&rhs.t());
                self.add(lhs, &lhs_gradient);
                let rhs_gradient = lhs.t().matmul(gradient);
                self.add(rhs, &rhs_gradient);
            }
            // `index_add` and `scatter_add` make a copy of the sum and add to it.
            Op::IndexSelect(arg) | Op::Gather(arg) => {
                let sum = self.sum(arg);
                self.set(arg, sum.like());
            }
            Op::Custom(arg, custom) => {
                let part = custom.backward(node, gradient)?;
                self.add(arg, &part);
            }
        }
        Ok(())
    }

    fn unary(&mut self, arg: &Node, how: Unary, node: &Node, gradient: &Node) {
        match how {
            Unary::Sqr => {
                let part = arg.mul(gradient).affine();
                self.add(arg, &part);
            }
            Unary::Sqrt => {
                let part = gradient.div(node).affine();
                self.add(arg, &part);
            }
            Unary::Exp | Unary::Log => {
                let sum = self.sum(arg);
                let other = if how == Unary::Exp { node } else { arg };
                self.set(arg, sum.add(&gradient.mul(other)));
            }
            Unary::Silu => {
                let sum = self.sum(arg);
                let sigmoid = arg.unary(Unary::Other).unary(Unary::Exp).affine().unary(Unary::Other);
                let slope = sigmoid.mul(&node.affine()).add(node);
                let part = gradient.mul(&slope);
                self.set(arg, sum.add(&part));
            }
            // No pass of a model has one.
            Unary::Other => {}
        }
    }
}

impl Custom {
    fn backward(&self, node: &Node, gradient: &Node) -> Result<Node, Refused> {
        let cx = node.tensor().cx();
        Ok(match self {
            Self::Plus => gradient.clone(),
            Self::Times => Node::constant(gradient.tensor().unary()),
            Self::Softmax => {
                let weighted = gradient.tensor().unary();
                let sums = weighted.reduce_last_keepdim();
                let shares = node.tensor().unary();
                let part = weighted.binary(&shares);
                drop((weighted, sums, shares));
                Node::constant(part)
            }
            Self::Rotate { rotary_size } => {
                Node::constant(rotated(gradient.tensor().contiguous(), *rotary_size)?)
            }
            Self::Product(weight) => {
                let wide = weight.widened(cx, gradient.element());
                Node::constant(gradient.tensor().matmul(&wide))
            }
        })
    }
}

//! What candle keeps alive, by hand. Sizes are of whole tensors; records are left out by the size of the tensors.

use super::{Node, Unary};
use crate::document::plan::Host;
use crate::engine::candle::Processor;
use crate::engine::candle::tensor::{Context, Element, Tensor};
use crate::engine::request::Device;
use crate::engine::tape::Kind;

/// Bytes of a tensor, far above all records together.
const SIZE: u64 = 4 << 20;

struct Bench(Context);

impl Bench {
    fn new() -> Self {
        let host = Host { threads: Some(1), ..Host::default() };
        Self(Context::new(Device::Cpu, Processor::of(&host).unwrap()))
    }

    fn tensor(&self) -> Tensor {
        Tensor::new(&self.0, &[SIZE / 4], Element::F32, Kind::Weights)
    }

    fn variable(&self) -> Node {
        Node::variable(&self.tensor(), Kind::Weights)
    }

    /// Whole tensors alive.
    fn alive(&self) -> u64 {
        self.0.tape.alive().total().0 / SIZE
    }

    fn peak(&self) -> u64 {
        self.0.tape.peak().total().0 / SIZE
    }
}

#[test]
fn only_what_a_variable_leads_to_is_remembered() {
    let bench = Bench::new();
    let constant = Node::constant(bench.tensor());
    let squared = constant.unary(Unary::Sqr).unary(Unary::Sqr);
    assert_eq!(bench.alive(), 2, "the constant and the last result");
    let variable = bench.variable();
    let remembered = variable.unary(Unary::Sqr).unary(Unary::Sqr);
    assert_eq!(bench.alive(), 5, "the variable and both results");
    let detached = remembered.detach();
    drop(remembered);
    assert_eq!(bench.alive(), 4, "the storage without its history");
    drop((detached, squared));
    assert_eq!(bench.alive(), 2);
}

#[test]
fn a_constant_of_a_product_has_a_gradient_and_one_of_ours_has_none() {
    // The constant's gradient was made with the variable, so it remembers what it was made of: zeros, the product, and the
    // gradient that came.
    for (ours, kept) in [(false, 1 + 4), (true, 1)] {
        let bench = Bench::new();
        let (variable, constant) = (bench.variable(), bench.tensor());
        let product =
            if ours { variable.times(&constant) } else { variable.mul(&Node::constant(constant.clone())) };
        let loss = product.sum_all();
        drop(product);
        let mut gradients = loss.backward().unwrap();
        drop(loss);
        // The variable and the constant are there themselves.
        assert_eq!(bench.alive(), 2 + kept, "ours: {ours}");
        let gradient = gradients.remove(&variable).unwrap();
        drop(gradients);
        assert_eq!(bench.alive(), 3);
        assert_eq!(bench.0.tape.alive().gradients.0, SIZE);
        drop(gradient);
    }
}

#[test]
fn the_peak_of_a_sum_holds_zeros_and_both_parts() {
    let bench = Bench::new();
    let variable = bench.variable();
    let loss = variable.sum_all();
    bench.0.tape.reset_peak();
    let gradients = loss.backward().unwrap();
    // The variable, zeros of its gradient, and the sum of these and the broadcast one of the loss.
    assert_eq!((bench.peak(), bench.alive()), (3, 2));
    drop(gradients);
}

#[test]
fn each_node_comes_before_its_arguments() {
    let bench = Bench::new();
    let variable = bench.variable();
    let left = variable.unary(Unary::Sqr);
    let right = left.add(&variable);
    let loss = right.mul(&left).sum_all();
    let sorted = loss.sorted();
    let place = |node: &Node| sorted.iter().position(|n| n.id() == node.id()).unwrap();
    assert!(place(&loss) < place(&right) && place(&right) < place(&left) && place(&left) < place(&variable));
    assert_eq!(sorted.len(), 6, "the sum is two: over all dimensions, then without them");
}

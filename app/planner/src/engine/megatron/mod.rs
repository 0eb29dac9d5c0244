//! Megatron-LM, core 0.14, on Transformer Engine 2.
//!
//! Nothing here is fitted. What a rank holds follows from the code: 16-bit parameters and fp32 gradients in contiguous
//! buffers (`core/distributed/param_and_grad_buffer.py`), fp32 masters and moments that the distributed optimizer divides
//! over data and context ranks, experts over the ranks that repeat them (`core/optimizer/distrib_optimizer.py`); the
//! tensors that Transformer Engine keeps of each layer ([`layer`]); as many microbatches as the schedule has in flight
//! ([`layout`]); and what the backward pass adds at its fullest moments ([`stage`]). The GPU that carries most is found by
//! asking every stage that can.

mod command;
mod layer;
pub(super) mod layout;
mod policy;
mod stage;
#[cfg(test)]
mod tests;
mod theoretical;

pub(crate) use policy::prepare;

//! torchtitan at commit 9dec370 (December 2024), the code behind its published Llama 3.1 runs.
//!
//! FSDP2 keeps fp32 parameters, gradients and moments in shards and gathers 16-bit copies layer by layer
//! (`torchtitan/parallelisms/parallelize_llama.py`, `apply_fsdp`); what a layer saves depends on checkpointing ([`saved`]);
//! the fullest moments are the loss, whose fp32 copies outweigh much else, the last layer's backward pass, and the step
//! ([`stage`]). One figure is fitted: what the allocator holds beyond tensors ([`policy`]).

mod policy;
mod saved;
mod stage;
#[cfg(test)]
mod tests;

pub(crate) use policy::prepare;

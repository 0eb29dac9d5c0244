//! What training takes beside the model: adapters, gradients, optimizer states, `ZeRO`'s shards, saved activations, the loss.
//!
//! Engines say how they run a layer ([`saved::Style`]) and what they keep ([`run::Trainer`]); the arithmetic is here, once.

pub(in crate::engine) mod accept;
pub(in crate::engine) mod cost;
pub(in crate::engine) mod lora;
pub(in crate::engine) mod loss;
pub(in crate::engine) mod optimizer;
pub(in crate::engine) mod run;
pub(in crate::engine) mod saved;
pub(in crate::engine) mod teacher;
pub(in crate::engine) mod trained;
pub(in crate::engine) mod weights;
pub(in crate::engine) mod zero;

#[cfg(test)]
mod tests;

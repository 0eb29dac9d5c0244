//! Plimsoll's capacity model: what a language model takes of a GPU's memory and time.
//!
//! Pure: no IO, no clock, no globals; the same function answers the browser, the server, the runner's pre-flight check
//! and the command line.

pub mod agent;
pub mod answers;
pub mod bytes;
pub mod catalogue;
mod compress;
pub mod document;
pub mod engine;
pub mod error;
mod estimate;
pub mod ggml;
pub mod gguf;
pub mod link;
pub mod model;
pub mod pattern;
pub mod recipe;
pub mod safetensors;
pub mod solve;
#[cfg(test)]
mod testing;

pub use bytes::{Bytes, Tokens};
pub use document::estimate::Estimate;
pub use document::plan::Plan;
pub use document::row::MeasurementRow;
pub use error::{PlanError, PlanErrorKind};
pub use estimate::{Compiled, estimate};
pub use model::{Model, ModelError};

/// Version of the planner; an estimate that is kept is kept with it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

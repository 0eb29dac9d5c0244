//! Forms as browsers send them, and what becomes of them.

pub mod job;

pub use job::{FieldError, JobForm};

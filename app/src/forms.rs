//! Forms as browsers send them, and what becomes of them.

mod axis;
mod job;

pub use axis::{AxisError, parse_axis};
pub use job::{FieldError, JobForm};

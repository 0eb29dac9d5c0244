//! The interactive parts: rendered on the server like everything else, then made live in the browser.

mod copy;
mod job;

pub use copy::CopyButton;
pub use job::{CaseLine, JobProgress};

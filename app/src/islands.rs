//! The interactive parts: rendered on the server like everything else, then made live in the browser.

mod copy;
mod job;
mod planner;

#[cfg(feature = "ssr")]
pub(crate) use self::planner::options;
pub use self::planner::{PlannerBoard, Start};
pub use copy::CopyButton;
pub use job::{CaseLine, JobLine, JobProgress};

//! What `bench-runner monitor` shows: GPUs and their processes by NVML, the host, and this project's programs on it.

pub mod draw;
pub mod snapshot;

pub use draw::draw;
pub use snapshot::{Monitor, Snapshot};

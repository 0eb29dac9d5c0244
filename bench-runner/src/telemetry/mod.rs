//! What is recorded beside times and peaks: energy, clocks, power, temperature, bytes over time.
//!
//! A case's child makes a [`Source`](look::Source) of its device ([`Host`](host::Host), or a [`Gpu`](gpu::Gpu) by NVML),
//! a [`Recorder`](recorder::Recorder) whose thread looks at it, and wraps its memory probe in a [`Recorded`], so that the
//! phases of the one are those of the other. What comes out is the row's `telemetry`, `energy` and `memory_trace`, and the
//! case's part of a [trace](trace) of the run.

#[cfg(feature = "cuda")]
mod cuda;
mod device;
pub mod gpu;
pub mod host;
pub mod look;
mod marks;
pub mod nvml;
mod probe;
mod proc_file;
pub mod rapl;
pub mod recorder;
pub mod series;
pub mod settings;
pub mod trace;

pub use device::Before;
pub use probe::Recorded;
pub use trace::{CaseRecording, Recording};

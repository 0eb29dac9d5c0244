//! Memory of a phase: allocated, reserved, of the process, of the device.

pub mod allocator;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod resident;

use planner::Bytes;

/// A probe could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The device is not there, or this build cannot reach it.
    #[error("device {device}: {reason}")]
    NoDevice {
        /// Which.
        device: String,
        /// Why.
        reason: String,
    },
    /// A driver call failed.
    #[cfg(feature = "cuda")]
    #[error("{call} failed: {source}")]
    Driver {
        /// The call.
        call: &'static str,
        /// The driver's answer.
        source: candle_core::cuda_backend::cudarc::driver::DriverError,
    },
}

/// Memory since the latest [`Probe::begin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// Most bytes alive at once.
    pub peak_allocated: Bytes,
    /// Bytes alive now.
    pub live: Bytes,
    /// Most bytes that the pool held; CUDA only.
    pub peak_reserved: Option<Bytes>,
    /// Bytes of the process, resident or on the device.
    pub process: Option<Bytes>,
    /// Bytes of the whole device in use; CUDA only.
    pub device: Option<Bytes>,
}

/// Reads a device's memory phase by phase.
pub trait Probe {
    /// Begins a phase: every high mark starts at what is there now.
    ///
    /// # Errors
    /// Where the driver refuses.
    fn begin(&mut self) -> Result<(), ProbeError>;

    /// Reads the phase that was begun.
    ///
    /// # Errors
    /// Where the driver refuses.
    fn read(&mut self) -> Result<Reading, ProbeError>;

    /// How `peak_allocated` is obtained.
    fn allocated_method(&self) -> String;

    /// How `process` is obtained.
    fn process_method(&self) -> String;
}

/// The probe of `device`. Where a limit is given, no more than that is to be had from now on: on a CPU the process ends
/// with `limit.code` when it asks for more beyond the probe's zero, on CUDA the driver's pool refuses.
///
/// # Errors
/// [`ProbeError::NoDevice`] where this build or this machine has no such device.
pub fn probe(device: &candle_core::Device, limit: Option<Limit>) -> Result<Box<dyn Probe>, ProbeError> {
    match device {
        candle_core::Device::Cpu => {
            let probe = cpu::CpuProbe::new();
            if let Some(limit) = limit {
                probe.limit(limit.bytes, limit.code);
            }
            Ok(Box::new(probe))
        }
        #[cfg(feature = "cuda")]
        candle_core::Device::Cuda(cuda) => {
            if let Some(limit) = limit {
                cuda::limit_pool(cuda, limit.bytes)?;
            }
            Ok(Box::new(cuda::CudaProbe::new(cuda)?))
        }
        other => Err(ProbeError::NoDevice {
            device: format!("{:?}", other.location()),
            reason: "no memory probe for it".into(),
        }),
    }
}

/// The most memory that a process may take of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How much.
    pub bytes: Bytes,
    /// Code that the process ends with where a CPU's memory would pass it.
    pub code: i32,
}

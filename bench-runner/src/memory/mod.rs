//! Memory of a phase: allocated, reserved, of the process, of the device.

pub mod allocator;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod resident;

use contract::measurement::Phase;
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
    /// The system has no thread that could look at the device.
    #[error("no thread for sampling the device: {0}")]
    Thread(std::io::Error),
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
    /// `phase` begins: every high mark starts at what is there now.
    ///
    /// # Errors
    /// Where the driver refuses.
    fn begin(&mut self, phase: Phase) -> Result<(), ProbeError>;

    /// Reads the phase that was begun.
    ///
    /// # Errors
    /// Where the driver refuses.
    fn read(&mut self) -> Result<Reading, ProbeError>;

    /// How `peak_allocated` is obtained.
    fn allocated_method(&self) -> String;

    /// How `process` is obtained, where this probe reads it.
    fn process_method(&self) -> Option<String>;
}

/// Lets no more than `limit` be had of a CUDA device from now on: the driver's pool refuses more. To be called before anything
/// is read of the pool or set on it. A CPU's limit counts from its probe's zero: [`probe`] sets it.
///
/// # Errors
/// Where the driver refuses.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables, reason = "there is no CUDA device in this build"))]
pub fn confine(device: &candle_core::Device, limit: Option<Limit>) -> Result<(), ProbeError> {
    #[cfg(feature = "cuda")]
    if let (candle_core::Device::Cuda(cuda), Some(limit)) = (device, limit) {
        cuda::limit_pool(cuda, limit.bytes)?;
    }
    Ok(())
}

/// Ends what [`confine`] and [`probe`] limited: what is allocated from now on is not the case's.
///
/// # Errors
/// Where the driver refuses.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables, reason = "there is no CUDA device in this build"))]
pub fn lift_limit(device: &candle_core::Device) -> Result<(), ProbeError> {
    allocator::lift_limit();
    #[cfg(feature = "cuda")]
    if let candle_core::Device::Cuda(cuda) = device {
        cuda::default_pool(cuda)?;
    }
    Ok(())
}

/// The probe of `device`. Where a limit is given, a process on a CPU ends with `limit.code` from now on when it asks for more
/// beyond the probe's zero.
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
        candle_core::Device::Cuda(cuda) => Ok(Box::new(cuda::CudaProbe::new(cuda)?)),
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

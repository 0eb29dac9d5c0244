//! Which source of looks a case's device has.

use contract::case::{CaseSpec, Device};

use super::host::Host;
use super::look::Source;
use super::recorder::{Rate, Recorder};
use crate::memory::ProbeError;

/// What was on the device before this process opened it.
pub enum Before {
    /// It is the processor, of which nothing need be known before.
    Host,
    /// A GPU.
    #[cfg(feature = "cuda")]
    Gpu(Box<super::cuda::Before>),
}

impl Before {
    /// Looks at the device of a case; before it is opened.
    #[must_use]
    pub fn of(spec: &CaseSpec) -> Self {
        match spec.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(ordinal) => Self::Gpu(Box::new(super::cuda::Before::of(ordinal, spec))),
            #[cfg(feature = "cuda")]
            Device::Cpu => Self::Host,
            #[cfg(not(feature = "cuda"))]
            Device::Cpu | Device::Cuda(_) => Self::Host,
        }
    }

    /// Sets what the case asks of the device, now open, and starts recording.
    ///
    /// # Errors
    /// Where the driver refuses, or the system has no thread.
    pub fn start(self, device: &candle_core::Device, trace: bool) -> Result<Recorder, ProbeError> {
        let source: Box<dyn Source> = match (self, device) {
            #[cfg(feature = "cuda")]
            (Self::Gpu(before), candle_core::Device::Cuda(cuda)) => before.source(cuda, trace)?,
            _ => Box::new(Host::open()),
        };
        let rate = Rate::of(trace, source.watches_memory());
        Recorder::start(source, rate).map_err(ProbeError::Thread)
    }
}

//! Host memory: the counting allocator's count, and the resident bytes of the process.

use planner::Bytes;

use super::resident::{self, Sampler};
use super::{Probe, ProbeError, Reading, allocator};

/// Counts from the bytes alive when it was made, so that the program's own few bytes are not the model's.
pub struct CpuProbe {
    baseline: u64,
    resident: Resident,
}

enum Resident {
    /// The kernel keeps the high mark and lets it be reset.
    HighMark,
    /// It does not: a thread looks.
    Sampled(Sampler),
}

impl CpuProbe {
    /// A probe whose zero is now.
    #[must_use]
    pub fn new() -> Self {
        let resident = if resident::reset_high_mark() && resident::high_mark().is_some() {
            Resident::HighMark
        } else {
            Resident::Sampled(Sampler::start(resident::resident))
        };
        Self { baseline: allocator::live(), resident }
    }

    /// Ends the process with `code` rather than let it have more than `bytes` alive beyond the probe's zero.
    pub fn limit(&self, bytes: Bytes, code: i32) {
        allocator::limit(self.baseline.saturating_add(bytes.0), code);
    }
}

impl Default for CpuProbe {
    fn default() -> Self {
        Self::new()
    }
}

impl Probe for CpuProbe {
    fn begin(&mut self) -> Result<(), ProbeError> {
        match &self.resident {
            // Refused now though it was allowed at the start: the mark of an earlier phase would be too high, not too
            // low, and the reader of `process` sees the same figure twice.
            Resident::HighMark => drop(resident::reset_high_mark()),
            Resident::Sampled(sampler) => sampler.reset(),
        }
        allocator::reset_peak();
        Ok(())
    }

    fn read(&mut self) -> Result<Reading, ProbeError> {
        let (peak, live) = (allocator::peak(), allocator::live());
        let process = match &self.resident {
            Resident::HighMark => resident::high_mark(),
            Resident::Sampled(sampler) => sampler.highest().max(resident::resident()),
        };
        Ok(Reading {
            peak_allocated: Bytes(peak.saturating_sub(self.baseline)),
            live: Bytes(live.saturating_sub(self.baseline)),
            peak_reserved: None,
            process: process.map(Bytes),
            device: None,
        })
    }

    fn allocated_method(&self) -> String {
        format!("counting allocator, less the {} bytes alive before loading", self.baseline)
    }

    fn process_method(&self) -> String {
        match self.resident {
            Resident::HighMark => "VmHWM of /proc/self/status, reset by phase".to_owned(),
            Resident::Sampled(_) => {
                format!("VmRSS of /proc/self/status, every {} ms", Sampler::PERIOD.as_millis())
            }
        }
    }
}

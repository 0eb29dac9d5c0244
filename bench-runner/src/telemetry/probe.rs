//! A memory probe with a recorder beside it: what marks the phases of the one marks those of the other.

use contract::measurement::Phase;
use planner::Bytes;

use super::marks;
use super::recorder::{Record, Recorder};
use crate::memory::{Probe, ProbeError, Reading};

/// A probe, recorded.
pub struct Recorded {
    probe: Box<dyn Probe>,
    recorder: Recorder,
    warm_up: bool,
}

impl Recorded {
    /// `recorder` was started before `probe` took its zero, so that nothing of it is counted.
    #[must_use]
    pub fn new(probe: Box<dyn Probe>, recorder: Recorder) -> Self {
        Self { probe, recorder, warm_up: false }
    }

    /// Whether what comes is a warm-up, which is not metered.
    pub const fn set_warm_up(&mut self, warm_up: bool) {
        self.warm_up = warm_up;
    }

    /// How `process` is obtained.
    #[must_use]
    pub fn process_method(&self) -> String {
        let own = || self.recorder.process_method();
        self.probe.process_method().or_else(own).unwrap_or_else(|| "not available".to_owned())
    }

    /// How `peak_allocated` is obtained.
    #[must_use]
    pub fn allocated_method(&self) -> String {
        self.probe.allocated_method()
    }

    /// Ends recording.
    #[must_use]
    pub fn finish(self) -> Option<Record> {
        self.recorder.finish()
    }
}

impl Probe for Recorded {
    fn begin(&mut self, phase: Phase) -> Result<(), ProbeError> {
        marks::begin(phase.as_str());
        self.probe.begin(phase)?;
        // Last, so that the meter is read right before the work.
        self.recorder.begin(phase, self.warm_up);
        Ok(())
    }

    fn read(&mut self) -> Result<Reading, ProbeError> {
        let highs = self.recorder.end();
        let mut reading = self.probe.read()?;
        marks::end();
        reading.process = reading.process.or(highs.process.map(Bytes));
        reading.device = reading.device.max(highs.device.map(Bytes));
        Ok(reading)
    }

    fn allocated_method(&self) -> String {
        Self::allocated_method(self)
    }

    fn process_method(&self) -> Option<String> {
        Some(Self::process_method(self))
    }
}

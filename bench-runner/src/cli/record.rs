//! Options of `bench-runner run` that say what is recorded beside times and peaks.

use std::path::PathBuf;

use clap::Args;
use contract::axis::Named;
use contract::case::Device;
use contract::cuda::{EventTracking, ReleaseThreshold};

use super::CliError;
use crate::telemetry::Recording;
use crate::telemetry::trace::RunTrace;

/// What is recorded, and the settings of a CUDA device.
#[derive(Debug, Args)]
pub(super) struct RecordArgs {
    /// Unused bytes that the memory pool of a CUDA device keeps: 0, max [default: 0, the driver's]
    #[arg(
        long,
        env = "PLIMSOLL_RELEASE_THRESHOLD",
        value_name = "T[,T…]",
        default_value = "default",
        hide_default_value = true,
        help_heading = "Axes"
    )]
    pub(super) release_threshold: Named<ReleaseThreshold>,
    /// Events of each allocation on a CUDA device: on, off [default: on, cudarc's]
    #[arg(
        long,
        env = "PLIMSOLL_EVENT_TRACKING",
        value_name = "E[,E…]",
        default_value = "default",
        hide_default_value = true,
        help_heading = "Axes"
    )]
    pub(super) event_tracking: Named<EventTracking>,
    /// Write phases, bytes, power and clock over time of the whole run, for ui.perfetto.dev
    #[arg(long, env = "PLIMSOLL_TRACE", value_name = "FILE", help_heading = "Measuring")]
    trace: Option<PathBuf>,
    /// Keep memory over time with each row, at most 512 points
    #[arg(long, env = "PLIMSOLL_MEMORY_TRACE", help_heading = "Measuring")]
    memory_trace: bool,
}

impl RecordArgs {
    /// Settings that the device has not are a slip of the command line.
    fn check(&self, device: Device) -> Result<(), CliError> {
        let asked = [
            ("--release-threshold", self.release_threshold.0.is_empty()),
            ("--event-tracking", self.event_tracking.0.is_empty()),
        ];
        match asked.iter().find(|(_, empty)| !empty) {
            Some((option, _)) if device == Device::Cpu => Err(CliError::Input(format!(
                "{option}: a setting of a CUDA device, and --device is cpu; leave it out, or give --device cuda:0"
            ))),
            _ => Ok(()),
        }
    }

    /// Checks the options and creates the file of the trace, whose title is `run`. A run that is resumed does not write over
    /// the trace of its first part.
    pub(super) fn recording(&self, device: Device, run: &str, resumes: bool) -> Result<Recording, CliError> {
        self.check(device)?;
        let create = |path: &PathBuf| {
            if resumes && path.exists() {
                return Err(CliError::Input(format!(
                    "--trace {}: is there, from the run's first part perhaps; name another file, or move this one away",
                    path.display()
                )));
            }
            RunTrace::create(path, run)
                .map_err(|e| CliError::Input(format!("--trace {}: {e}", path.display())))
        };
        Ok(Recording { trace: self.trace.as_ref().map(create).transpose()?, memory_trace: self.memory_trace })
    }
}

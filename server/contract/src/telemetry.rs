//! What is recorded beside times and peaks: energy, clocks, power, temperature, memory over time.

use std::collections::BTreeMap;

use planner::Bytes;
use serde::{Deserialize, Serialize};

use crate::measurement::Phase;

/// The state of the device while the timed repetitions ran. What could not be read is left out; `methods` says why.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// The GPU that computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_uuid: Option<String>,
    /// Version of its driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Version of CUDA that the driver supports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuda: Option<String>,
    /// Bytes that the pool was told to keep, as the driver says; 2^64 - 1 is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_threshold: Option<Bytes>,
    /// Whether cudarc made events for each allocation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_tracking: Option<bool>,
    /// Clock of the multiprocessors, or of the processor's cores, in MHz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_mhz: Option<Spread>,
    /// Clock of the GPU's memory in MHz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_clock_mhz: Option<Spread>,
    /// Power that the driver enforces, in watts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_limit_w: Option<f64>,
    /// Power drawn, in watts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_w: Option<Spread>,
    /// Highest temperature of the GPU in °C.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_max_c: Option<u32>,
    /// Part of the time in which a kernel ran, in percent, as the driver averages it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilisation_percent: Option<Spread>,
    /// Why clocks were held back, by NVML's names in lower case: `sw-power-cap`, `hw-thermal-slowdown`, …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub throttle_reasons: Vec<String>,
    /// How many looks these figures are of.
    pub looks: u32,
    /// How each figure was obtained, or why it is not there, by the field's name; `energy` and `process` too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub methods: BTreeMap<String, String>,
}

/// Extremes and median of a figure over the looks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// Smallest.
    pub min: f64,
    /// Median (the lower one of an even number of looks).
    pub median: f64,
    /// Largest.
    pub max: f64,
}

/// Energy of one phase; `methods.energy` of [`Telemetry`] says how it was obtained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PhaseEnergy {
    /// The phase.
    pub phase: Phase,
    /// Joules of all `times` together, of the whole device, what others draw included.
    pub joules: f64,
    /// Length of all `times` together in milliseconds, between the readings of the meter.
    pub milliseconds: f64,
    /// How often the phase was metered: once for loading, else the timed repetitions (warm-ups are left out).
    pub times: u32,
}

/// Memory over time, of the whole case: times in microseconds (10^-6 s) since loading began, sizes in bytes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MemoryTrace {
    /// Ascending times of the points, at most 512 of them.
    pub at_us: Vec<u64>,
    /// Most bytes alive at once among the looks since the point before; a peak between two looks is not seen, that of
    /// the phase (`peak_allocated`) is.
    pub allocated: Vec<Bytes>,
    /// The same of the process's resident bytes, or of its bytes on the device; empty where they were not read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub process: Vec<Bytes>,
    /// When phases ran, in order: at most the first 64.
    pub spans: Vec<TraceSpan>,
}

/// One pass of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TraceSpan {
    /// The phase.
    pub phase: Phase,
    /// Whether it was a warm-up, which is not timed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub warm_up: bool,
    /// Begin, in microseconds since loading began.
    pub begin_us: u64,
    /// End, in microseconds since loading began.
    pub end_us: u64,
}

//! One look at a device, and where looks come from.

use std::collections::BTreeMap;

use contract::telemetry::Telemetry;

/// What a device is at one moment; what cannot be read is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// Bytes alive: of the counting allocator since [`Source::zero`] (none before), or of the CUDA pool.
    pub allocated: Option<u64>,
    /// Resident bytes of the process, or its bytes on the device.
    pub process: Option<u64>,
    /// Bytes of the whole device in use.
    pub device: Option<u64>,
    /// The slower figures, where they were wanted.
    pub state: State,
}

/// What changes slowly, or costs more to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    /// Clock of the multiprocessors, or of the processor's cores, in MHz.
    pub clock_mhz: Option<u32>,
    /// Clock of the device's memory in MHz.
    pub memory_clock_mhz: Option<u32>,
    /// Power drawn in milliwatts.
    pub power_mw: Option<u32>,
    /// Temperature in °C.
    pub temperature_c: Option<u32>,
    /// Part of the time in which a kernel ran, in percent.
    pub utilisation_percent: Option<u32>,
    /// Why clocks are held back: bits of `nvmlClocksThrottleReasons`.
    pub throttle: u64,
}

/// Which figures a look should have. Those that nobody reads are not asked of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Bytes.
    pub memory: bool,
    /// [`State`].
    pub state: bool,
}

/// Something to look at: the host, or a GPU. Where it is the host, nothing here may allocate once it is made: the
/// allocator that is watched would count it.
pub trait Source: Send {
    /// From now on [`Look::allocated`] counts from here.
    fn zero(&mut self);

    /// Looks now.
    fn look(&mut self, wanted: Wanted) -> Look;

    /// Energy drawn since some moment, in microjoules, never falling; none where there is no such meter.
    fn energy_uj(&mut self) -> Option<u64>;

    /// What does not change: identity, settings, limits, and how each figure is obtained.
    fn facts(&self) -> Telemetry;

    /// Whether bytes of the process and of the device have no high mark of their own and must be looked for, so that a
    /// row needs memory in its looks even where nobody asked for a trace.
    fn watches_memory(&self) -> bool;
}

/// Methods by the name of their figure.
pub(super) fn methods<const N: usize>(list: [(&str, String); N]) -> BTreeMap<String, String> {
    list.map(|(figure, method)| (figure.to_owned(), method)).into()
}

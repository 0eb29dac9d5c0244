//! What a GPU tells of itself, behind a trait so that tests can play one, and the GPU as a source of looks.

use contract::telemetry::Telemetry;

use super::look::{Look, Source, State, Wanted, methods};

/// A GPU as its driver's management library shows it.
pub trait Gpu: Send {
    /// What does not change while a case runs.
    fn facts(&self) -> GpuFacts;

    /// Bytes in use on the whole device; none where the driver does not say.
    fn used(&self) -> Option<u64>;

    /// Clocks, power, temperature, utilisation.
    fn state(&self) -> State;

    /// Energy in microjoules since the driver was loaded; none where the device has no such counter.
    fn energy_uj(&self) -> Option<u64>;

    /// Programs that compute on it, with what the driver knows of their bytes.
    fn processes(&self) -> Vec<Usage>;
}

/// What does not change of a GPU.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GpuFacts {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// Version of its driver.
    pub driver: String,
    /// Version of CUDA that the driver supports.
    pub cuda: String,
    /// Bytes of memory that programs may use.
    pub memory: u64,
    /// Power that the driver enforces, in watts.
    pub power_limit_w: Option<f64>,
}

/// A program on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Its process id, as the host numbers it.
    pub pid: u32,
    /// Its bytes; none where the driver does not say (WDDM).
    pub bytes: Option<u64>,
}

/// Names of the reasons for which clocks are held back: bits of `nvmlClocksThrottleReasons` (nvml.h). That nothing runs
/// (bit 0) is none.
#[must_use]
pub fn throttle_reasons(bits: u64) -> Vec<String> {
    const NAMES: [(u64, &str); 8] = [
        (1 << 1, "applications-clocks-setting"),
        (1 << 2, "sw-power-cap"),
        (1 << 3, "hw-slowdown"),
        (1 << 4, "sync-boost"),
        (1 << 5, "sw-thermal-slowdown"),
        (1 << 6, "hw-thermal-slowdown"),
        (1 << 7, "hw-power-brake-slowdown"),
        (1 << 8, "display-clock-setting"),
    ];
    NAMES.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| (*name).to_owned()).collect()
}

/// How this process's bytes on a device are told from those of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// NVML lists this process by its own id.
    Own(u32),
    /// NVML numbers processes as the host does and this one is in a container: the only one that appeared when the
    /// device was opened.
    Appeared(u32),
    /// It cannot be told: what the device has in use beyond what it had before.
    Rise(u64),
}

impl Watch {
    /// Decides by what was listed, and in use, before and after this process opened the device.
    #[must_use]
    pub fn choose(own: u32, before: &[Usage], used_before: u64, after: &[Usage]) -> Self {
        let known = |usage: &&Usage| usage.bytes.is_some();
        if let Some(usage) = after.iter().filter(known).find(|usage| usage.pid == own) {
            return Self::Own(usage.pid);
        }
        let mut appeared = after.iter().filter(known).filter(|a| before.iter().all(|b| b.pid != a.pid));
        match (appeared.next(), appeared.next()) {
            (Some(only), None) => Self::Appeared(only.pid),
            _ => Self::Rise(used_before),
        }
    }

    fn bytes(self, gpu: &dyn Gpu) -> Option<u64> {
        match self {
            Self::Own(pid) | Self::Appeared(pid) => {
                gpu.processes().iter().find(|usage| usage.pid == pid).and_then(|usage| usage.bytes)
            }
            Self::Rise(before) => Some(gpu.used()?.saturating_sub(before)),
        }
    }

    fn method(self) -> String {
        match self {
            Self::Own(_) => "NVML, this process, sampled".to_owned(),
            Self::Appeared(pid) => format!(
                "NVML, process {pid} of the host, sampled: the only one that appeared when this one opened the device \
                 (NVML does not list this process by its own id, as in a container)"
            ),
            Self::Rise(_) => {
                "NVML, sampled: bytes of the device in use beyond those before this process opened it, what \
                              others took since included (NVML does not tell which process is this one)"
                    .to_owned()
            }
        }
    }
}

/// Reads the bytes in use of the device's memory pool.
pub type PoolBytes = Box<dyn Fn() -> Option<u64> + Send>;

/// A GPU and this process on it.
pub struct GpuSource<G> {
    gpu: G,
    watch: Watch,
    /// Bytes of the pool in use, where a trace needs them.
    allocated: Option<PoolBytes>,
    settings: Telemetry,
}

impl<G: Gpu> GpuSource<G> {
    /// `settings` holds what was set of the device (release threshold, event tracking); `allocated` reads the pool.
    pub fn new(gpu: G, watch: Watch, settings: Telemetry, allocated: Option<PoolBytes>) -> Self {
        Self { gpu, watch, allocated, settings }
    }
}

impl<G: Gpu> Source for GpuSource<G> {
    /// The pool's bytes are the device's, not this program's.
    fn zero(&mut self) {}

    fn look(&mut self, wanted: Wanted) -> Look {
        let mut look = Look::default();
        if wanted.memory {
            look.allocated = self.allocated.as_ref().and_then(|read| read());
            look.process = self.watch.bytes(&self.gpu);
            look.device = self.gpu.used();
        }
        if wanted.state {
            look.state = self.gpu.state();
        }
        look
    }

    fn energy_uj(&mut self) -> Option<u64> {
        self.gpu.energy_uj()
    }

    fn facts(&self) -> Telemetry {
        let facts = self.gpu.facts();
        let energy = if self.gpu.energy_uj().is_some() {
            "NVML total energy consumption, difference over the phase; renewed by the driver 10 to 50 times a second".to_owned()
        } else {
            "trapezoid of NVML power over the phase: the device has no energy counter".to_owned()
        };
        let nvml = |call: &str| format!("NVML {call}, sampled");
        let mut telemetry = Telemetry {
            gpu_uuid: Some(facts.uuid),
            driver: Some(facts.driver),
            cuda: Some(facts.cuda),
            power_limit_w: facts.power_limit_w,
            ..self.settings.clone()
        };
        telemetry.methods.extend(methods([
            ("clock_mhz", nvml("clock info, SM")),
            ("memory_clock_mhz", nvml("clock info, memory")),
            ("power_limit_w", "NVML enforced power limit".to_owned()),
            ("power_w", nvml("power usage")),
            ("temperature_max_c", nvml("temperature of the GPU")),
            ("utilisation_percent", nvml("utilization rates")),
            ("throttle_reasons", nvml("current throttle reasons")),
            ("process", self.watch.method()),
            ("device", nvml("memory info (v2, what the driver reserves not counted)")),
            ("energy", energy),
        ]));
        telemetry
    }

    fn watches_memory(&self) -> bool {
        true
    }
}

/// A GPU that NVML does not show: only its settings are known.
pub struct Unwatched(Telemetry);

impl Unwatched {
    /// `why` NVML does not show it.
    #[must_use]
    pub fn new(settings: Telemetry, why: &str) -> Self {
        let mut facts = settings;
        let figures = [
            "clock_mhz",
            "memory_clock_mhz",
            "power_w",
            "temperature_max_c",
            "utilisation_percent",
            "process",
            "energy",
        ];
        facts.methods.extend(methods(figures.map(|figure| (figure, format!("not available: {why}")))));
        Self(facts)
    }
}

impl Source for Unwatched {
    fn zero(&mut self) {}

    fn look(&mut self, _: Wanted) -> Look {
        Look::default()
    }

    fn energy_uj(&mut self) -> Option<u64> {
        None
    }

    fn facts(&self) -> Telemetry {
        self.0.clone()
    }

    fn watches_memory(&self) -> bool {
        false
    }
}

#[cfg(test)]
pub(crate) mod tests;

//! One look at GPUs and host, as it is drawn and as a line of JSON.

use contract::ids::UnixMillis;
use serde::Serialize;
use sysinfo::{MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::clock;
use crate::telemetry::gpu::{Gpu, GpuFacts, throttle_reasons};
use crate::telemetry::nvml::NvmlGpu;

/// Names of this project's programs.
const OURS: [&str; 2] = ["bench-runner", "server"];

/// GPUs and host at one moment. Sizes in bytes, power in watts, clocks in MHz; what cannot be read is null.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// When, in milliseconds since 1970.
    pub at: UnixMillis,
    /// Why there are no GPUs, where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// GPUs, in NVML's order.
    pub gpus: Vec<GpuView>,
    /// The host.
    pub host: HostView,
    /// This project's programs on the host, largest first, with their resident bytes.
    pub runners: Vec<ProcessView>,
}

/// A GPU at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GpuView {
    /// Its place in NVML's order.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// Version of its driver.
    pub driver: String,
    /// Bytes that programs may use.
    pub memory_bytes: u64,
    /// Bytes in use.
    pub used_bytes: Option<u64>,
    /// Part of the time in which a kernel ran.
    pub utilisation_percent: Option<u32>,
    /// Power drawn.
    pub power_w: Option<f64>,
    /// Power that the driver enforces.
    pub power_limit_w: Option<f64>,
    /// Temperature in °C.
    pub temperature_c: Option<u32>,
    /// Clock of the multiprocessors.
    pub clock_mhz: Option<u32>,
    /// Clock of the memory.
    pub memory_clock_mhz: Option<u32>,
    /// Why clocks are held back.
    pub throttle_reasons: Vec<String>,
    /// Programs that compute on it, largest first.
    pub processes: Vec<ProcessView>,
}

/// The host at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HostView {
    /// Logical cores.
    pub cores: usize,
    /// Part of their time in which they computed, since the look before; null in the first.
    pub cpu_percent: Option<f32>,
    /// Memory.
    pub memory_bytes: u64,
    /// Memory that is not available to programs.
    pub used_bytes: u64,
}

/// A program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProcessView {
    /// Its id, on a GPU as the host numbers it.
    pub pid: u32,
    /// Its name; null where this machine shows no such process (that of another container).
    pub name: Option<String>,
    /// Its bytes.
    pub bytes: Option<u64>,
}

/// The host cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("this host cannot be looked at: {0}")]
pub struct HostError(#[from] sysinfo::Error);

/// Looks again and again.
pub struct Monitor {
    gpus: Vec<(GpuFacts, Box<dyn Gpu>)>,
    note: Option<String>,
    system: System,
    looks: u64,
}

impl Monitor {
    /// Of this machine's GPUs; where NVML cannot be opened, of the host alone, with a note that says why.
    ///
    /// # Errors
    /// As [`Monitor::of`].
    pub fn open() -> Result<Self, HostError> {
        match NvmlGpu::all() {
            Ok(gpus) if gpus.is_empty() => Self::of(Vec::new(), Some("NVML lists no GPU".to_owned())),
            Ok(gpus) => Self::of(gpus.into_iter().map(|gpu| Box::new(gpu) as _).collect(), None),
            Err(why) => Self::of(Vec::new(), Some(format!("no NVIDIA driver here: {why}"))),
        }
    }

    /// Of these GPUs.
    ///
    /// # Errors
    /// Where this host shows neither its processes nor its memory.
    pub fn of(gpus: Vec<Box<dyn Gpu>>, note: Option<String>) -> Result<Self, HostError> {
        let gpus = gpus.into_iter().map(|gpu| (gpu.facts(), gpu)).collect();
        Ok(Self { gpus, note, system: System::new()?, looks: 0 })
    }

    /// Looks now.
    pub fn look(&mut self) -> Snapshot {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let kind = ProcessRefreshKind::nothing().with_memory().without_tasks();
        self.system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
        self.looks += 1;
        let name_of = |pid: u32| {
            self.system
                .process(Pid::from_u32(pid))
                .map(|process| process.name().to_string_lossy().into_owned())
        };
        let memory = self.system.total_memory();
        Snapshot {
            at: clock::now(),
            note: self.note.clone(),
            gpus: (0..)
                .zip(&self.gpus)
                .map(|(n, (facts, gpu))| view(n, facts, gpu.as_ref(), &name_of))
                .collect(),
            host: HostView {
                cores: self.system.cpus().len(),
                cpu_percent: (self.looks > 1).then(|| self.system.global_cpu_usage()),
                memory_bytes: memory,
                used_bytes: memory.saturating_sub(self.system.available_memory()),
            },
            runners: self.runners(),
        }
    }

    fn runners(&self) -> Vec<ProcessView> {
        let ours = self.system.processes().values().filter_map(|process| {
            let name = process.name().to_string_lossy();
            OURS.contains(&&*name).then(|| ProcessView {
                pid: process.pid().as_u32(),
                name: Some(name.into_owned()),
                bytes: Some(process.memory()),
            })
        });
        largest_first(ours.collect())
    }
}

/// A GPU as it is now; `name_of` names processes.
fn view(index: usize, facts: &GpuFacts, gpu: &dyn Gpu, name_of: &impl Fn(u32) -> Option<String>) -> GpuView {
    let state = gpu.state();
    let processes = gpu.processes().into_iter().map(|usage| ProcessView {
        pid: usage.pid,
        name: name_of(usage.pid),
        bytes: usage.bytes,
    });
    GpuView {
        index,
        name: facts.name.clone(),
        uuid: facts.uuid.clone(),
        driver: facts.driver.clone(),
        memory_bytes: facts.memory,
        used_bytes: gpu.used(),
        utilisation_percent: state.utilisation_percent,
        power_w: state.power_mw.map(|mw| f64::from(mw) / 1e3),
        power_limit_w: facts.power_limit_w,
        temperature_c: state.temperature_c,
        clock_mhz: state.clock_mhz,
        memory_clock_mhz: state.memory_clock_mhz,
        throttle_reasons: throttle_reasons(state.throttle),
        processes: largest_first(processes.collect()),
    }
}

fn largest_first(mut processes: Vec<ProcessView>) -> Vec<ProcessView> {
    processes.sort_by_key(|process| (std::cmp::Reverse(process.bytes), process.pid));
    processes
}

#[cfg(test)]
pub(crate) mod tests;

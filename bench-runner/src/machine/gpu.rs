//! GPUs, as NVML describes them. NVML is opened at run time: a machine without it has no GPUs here.

use contract::machine::GpuDevice;
use nvml_wrapper::enum_wrappers::device::Clock;
use planner::Bytes;

use crate::telemetry::nvml::{cuda_version, library};

/// Every GPU that NVML lists, by PCI bus id (CUDA's order with `CUDA_DEVICE_ORDER=PCI_BUS_ID`, which the runner sets for
/// its cases).
pub(super) fn gpus() -> Vec<GpuDevice> {
    let Ok(nvml) = library() else { return Vec::new() };
    let driver = nvml.sys_driver_version().unwrap_or_else(|_| "unknown".into());
    let cuda = nvml.sys_cuda_driver_version().map_or_else(|_| "unknown".into(), cuda_version);
    let mut gpus: Vec<(String, GpuDevice)> = (0..nvml.device_count().unwrap_or(0))
        .filter_map(|index| {
            let device = nvml.device_by_index(index).ok()?;
            let name = device.name().ok()?;
            let memory = device.memory_info().ok()?;
            let bus = device.pci_info().map(|p| p.bus_id).unwrap_or_default();
            Some((
                bus,
                GpuDevice {
                    uuid: device.uuid().ok()?,
                    catalogue_id: catalogue_id(&name, memory.total),
                    name,
                    memory_bytes: Bytes(memory.total.saturating_sub(memory.reserved)),
                    driver: driver.clone(),
                    cuda: cuda.clone(),
                    power_limit_w: device.enforced_power_limit().ok().map(|mw| f64::from(mw) / 1e3),
                    max_sm_clock_mhz: device.max_clock_info(Clock::SM).ok(),
                },
            ))
        })
        .collect();
    gpus.sort_by(|a, b| a.0.cmp(&b.0));
    gpus.into_iter().map(|(_, gpu)| gpu).collect()
}

/// The planner's id of a GPU by the name that the driver gives it and its memory.
fn catalogue_id(name: &str, memory: u64) -> Option<String> {
    crate::catalogue::gpu_id(name, memory)
}

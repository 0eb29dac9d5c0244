//! GPUs, as NVML describes them. NVML is opened at run time: a machine without it has no GPUs here.

use contract::machine::GpuDevice;
use nvml_wrapper::enum_wrappers::device::Clock;
use nvml_wrapper::{Device, Nvml};
use planner::Bytes;

use super::visible::{Shown, shown};
use crate::telemetry::nvml::{cuda_version, library};

/// Devices of NVML with their UUIDs, by PCI bus id: CUDA's order with `CUDA_DEVICE_ORDER=PCI_BUS_ID`, which the runner sets
/// for its cases.
fn installed(nvml: &Nvml) -> Vec<(String, Device<'_>)> {
    let mut devices: Vec<(String, String, Device<'_>)> = (0..nvml.device_count().unwrap_or(0))
        .filter_map(|index| {
            let device = nvml.device_by_index(index).ok()?;
            let bus = device.pci_info().map(|p| p.bus_id).unwrap_or_default();
            Some((bus, device.uuid().ok()?, device))
        })
        .collect();
    devices.sort_by(|a, b| a.0.cmp(&b.0));
    devices.into_iter().map(|(_, uuid, device)| (uuid, device)).collect()
}

/// Those that a case may compute on, as CUDA numbers them.
fn usable(nvml: &Nvml) -> Vec<(String, Device<'_>)> {
    let installed = installed(nvml);
    let uuids: Vec<String> = installed.iter().map(|(uuid, _)| uuid.clone()).collect();
    let variable = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let mut installed: Vec<Option<_>> = installed.into_iter().map(Some).collect();
    shown(&uuids, variable.as_deref())
        .into_iter()
        .map_while(|one| match one {
            Shown::Whole(place) => installed.get_mut(place)?.take(),
            Shown::Slice(uuid) => nvml.device_by_uuid(uuid.as_str()).ok().map(|device| (uuid, device)),
        })
        .collect()
}

/// UUIDs of every GPU of the machine, whatever of it this process is shown.
pub(super) fn uuids() -> Vec<String> {
    library().map_or_else(|_| Vec::new(), |nvml| installed(nvml).into_iter().map(|(uuid, _)| uuid).collect())
}

/// Every GPU that a case may compute on: `cuda:0` is the first.
pub(super) fn gpus() -> Vec<GpuDevice> {
    let Ok(nvml) = library() else { return Vec::new() };
    let driver = nvml.sys_driver_version().unwrap_or_else(|_| "unknown".into());
    let cuda = nvml.sys_cuda_driver_version().map_or_else(|_| "unknown".into(), cuda_version);
    usable(nvml)
        .into_iter()
        .filter_map(|(uuid, device)| {
            let (name, memory) = (device.name().ok()?, device.memory_info().ok()?);
            Some(GpuDevice {
                uuid,
                catalogue_id: catalogue_id(&name, memory.total),
                name,
                memory_bytes: Bytes(memory.total.saturating_sub(memory.reserved)),
                driver: driver.clone(),
                cuda: cuda.clone(),
                power_limit_w: device.enforced_power_limit().ok().map(|mw| f64::from(mw) / 1e3),
                max_sm_clock_mhz: device.max_clock_info(Clock::SM).ok(),
            })
        })
        .collect()
}

/// Bytes that the GPU has free now that CUDA calls `ordinal`.
pub(super) fn free(ordinal: u32) -> Option<Bytes> {
    let devices = usable(library().ok()?);
    let (_, device) = devices.get(ordinal as usize)?;
    Some(Bytes(device.memory_info().ok()?.free))
}

/// The planner's id of a GPU by the name that the driver gives it and its memory.
fn catalogue_id(name: &str, memory: u64) -> Option<String> {
    crate::catalogue::gpu_id(name, memory)
}

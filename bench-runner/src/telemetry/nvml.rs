//! GPUs by NVML, the driver's management library. It is opened at run time: a machine without it has no GPUs here.

use std::sync::OnceLock;

use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::{Device, Nvml};

use super::gpu::{Gpu, GpuFacts, Usage};
use super::look::State;

/// The library, opened once for the life of the program.
///
/// # Errors
/// Why it cannot be opened: a phrase.
pub fn library() -> Result<&'static Nvml, &'static str> {
    static LIBRARY: OnceLock<Result<Nvml, String>> = OnceLock::new();
    LIBRARY
        .get_or_init(|| Nvml::init().map_err(|e| format!("NVML cannot be opened: {e}")))
        .as_ref()
        .map_err(String::as_str)
}

/// `13020` is CUDA 13.2 (`cuDriverGetVersion`).
#[must_use]
pub fn cuda_version(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// A GPU of this machine.
pub struct NvmlGpu(Device<'static>);

impl NvmlGpu {
    /// Every GPU, in NVML's order.
    ///
    /// # Errors
    /// Why NVML cannot be asked.
    pub fn all() -> Result<Vec<Self>, String> {
        let nvml = library()?;
        let count = nvml.device_count().map_err(|e| format!("NVML cannot count GPUs: {e}"))?;
        Ok((0..count).filter_map(|index| nvml.device_by_index(index).ok()).map(Self).collect())
    }

    /// The GPU with this UUID (`GPU-…`, or `MIG-…` for a slice).
    ///
    /// # Errors
    /// Why there is none.
    pub fn by_uuid(uuid: &str) -> Result<Self, String> {
        library()?.device_by_uuid(uuid).map(Self).map_err(|e| format!("NVML knows no device {uuid}: {e}"))
    }
}

impl Gpu for NvmlGpu {
    fn facts(&self) -> GpuFacts {
        let unknown = || "unknown".to_owned();
        let nvml = self.0.nvml();
        GpuFacts {
            name: self.0.name().unwrap_or_else(|_| unknown()),
            uuid: self.0.uuid().unwrap_or_else(|_| unknown()),
            driver: nvml.sys_driver_version().unwrap_or_else(|_| unknown()),
            cuda: nvml.sys_cuda_driver_version().map_or_else(|_| unknown(), cuda_version),
            memory: self.0.memory_info().map_or(0, |m| m.total.saturating_sub(m.reserved)),
            power_limit_w: self.0.enforced_power_limit().ok().map(|mw| f64::from(mw) / 1e3),
        }
    }

    fn used(&self) -> Option<u64> {
        self.0.memory_info().ok().map(|memory| memory.used)
    }

    fn state(&self) -> State {
        State {
            clock_mhz: self.0.clock_info(Clock::SM).ok(),
            memory_clock_mhz: self.0.clock_info(Clock::Memory).ok(),
            power_mw: self.0.power_usage().ok(),
            temperature_c: self.0.temperature(TemperatureSensor::Gpu).ok(),
            utilisation_percent: self.0.utilization_rates().ok().map(|rates| rates.gpu),
            throttle: self.0.current_throttle_reasons().map_or(0, |reasons| reasons.bits()),
        }
    }

    fn energy_uj(&self) -> Option<u64> {
        self.0.total_energy_consumption().ok().map(|mj| mj.saturating_mul(1000))
    }

    fn processes(&self) -> Vec<Usage> {
        let list = self.0.running_compute_processes().unwrap_or_default();
        list.into_iter()
            .map(|process| Usage {
                pid: process.pid,
                bytes: match process.used_gpu_memory {
                    UsedGpuMemory::Used(bytes) => Some(bytes),
                    UsedGpuMemory::Unavailable => None,
                },
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::gpu::throttle_reasons;
    use super::cuda_version;
    use nvml_wrapper::bitmasks::device::ThrottleReasons;

    #[test]
    fn versions_as_cuda_numbers_them() {
        assert_eq!(cuda_version(12_080), "12.8");
        assert_eq!(cuda_version(13_000), "13.0");
    }

    #[test]
    fn reasons_have_the_bits_of_the_binding() {
        for (bits, name) in [
            (ThrottleReasons::APPLICATIONS_CLOCKS_SETTING, "applications-clocks-setting"),
            (ThrottleReasons::SW_POWER_CAP, "sw-power-cap"),
            (ThrottleReasons::HW_SLOWDOWN, "hw-slowdown"),
            (ThrottleReasons::SYNC_BOOST, "sync-boost"),
            (ThrottleReasons::SW_THERMAL_SLOWDOWN, "sw-thermal-slowdown"),
            (ThrottleReasons::HW_THERMAL_SLOWDOWN, "hw-thermal-slowdown"),
            (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "hw-power-brake-slowdown"),
            (ThrottleReasons::DISPLAY_CLOCK_SETTING, "display-clock-setting"),
        ] {
            assert_eq!(throttle_reasons(bits.bits()), [name]);
        }
        assert!(throttle_reasons((ThrottleReasons::NONE | ThrottleReasons::GPU_IDLE).bits()).is_empty());
        let two = ThrottleReasons::SW_POWER_CAP | ThrottleReasons::HW_SLOWDOWN | ThrottleReasons::GPU_IDLE;
        assert_eq!(throttle_reasons(two.bits()), ["sw-power-cap", "hw-slowdown"]);
    }
}

//! Memory that a device has to give now.

use std::fs;

use contract::case::Device;
use planner::Bytes;

use super::gpu;
use super::memory::{host_memory, meminfo};

/// What a process that starts now could take of `device`: of the host what the kernel calls available, within the limit of
/// this process's group, of a GPU what NVML calls free. None where the system does not say.
#[must_use]
pub fn free(device: Device) -> Option<Bytes> {
    match device {
        Device::Cpu => {
            let available = meminfo(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable")?;
            Some(Bytes(available).min(host_memory()))
        }
        Device::Cuda(ordinal) => gpu::free(ordinal),
    }
}

#[cfg(test)]
mod tests {
    use contract::case::Device;

    use super::{free, host_memory};

    #[test]
    fn the_host_has_some_and_no_more_than_it_has() {
        let free = free(Device::Cpu).unwrap();
        assert!(free.0 > 0 && free <= host_memory(), "{free} of {}", host_memory());
    }
}

//! The machine that measures: processor, memory, GPUs, and an id that stays the same.

mod cpu;
mod free;
mod gpu;
mod memory;
mod visible;

use std::fs;

use contract::ids::MachineId;
use contract::machine::{Cpu, Machine};
use planner::Bytes;
use planner::document::plan::Host;
use uuid::Uuid;

pub use free::free;
pub use memory::host_memory;

/// This machine. `name` is what its operator calls it; left out: the host's name.
#[must_use]
pub fn machine(name: Option<&str>) -> Machine {
    let host = line("/proc/sys/kernel/hostname").unwrap_or_else(|| "unnamed".into());
    let cpu = Cpu { model: cpu::model(), logical_cores: cpu::logical_cores(), isa: cpu::isa().to_owned() };
    let id = identity(&line("/etc/machine-id").unwrap_or_else(|| host.clone()), &cpu.model, &gpu::uuids());
    Machine {
        id,
        name: name.map_or(host, str::to_owned),
        os: operating_system(),
        cpu,
        memory_bytes: host_memory(),
        gpus: gpu::gpus(),
    }
}

/// What of this machine's processor the planner of Candle asks for, where `threads` compute.
#[must_use]
pub fn host(machine: &Machine, threads: u32) -> Host {
    let [l1d_cache_kib, l2_cache_kib, l3_cache_kib] = cpu::caches_kib();
    Host {
        isa: Some(machine.cpu.isa.clone()),
        threads: Some(threads),
        l1d_cache_kib,
        l2_cache_kib,
        l3_cache_kib,
    }
}

/// Memory in use by others on this machine is not this crate's to know; the whole host's is [`Machine::memory_bytes`].
#[must_use]
pub fn memory_mib(machine: &Machine) -> u64 {
    let Bytes(bytes) = machine.memory_bytes;
    bytes >> 20
}

/// The same for the same host, processor and GPUs (UUID version 5).
fn identity(host: &str, cpu: &str, gpus: &[String]) -> MachineId {
    let text = format!("{host}\n{cpu}\n{}", gpus.join("\n"));
    MachineId(Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()))
}

/// `Debian GNU/Linux 12 (bookworm), Linux 6.1.0`.
fn operating_system() -> String {
    let kernel = line("/proc/sys/kernel/osrelease").map(|r| format!("Linux {r}"));
    let pretty = fs::read_to_string("/etc/os-release").ok().and_then(|text| {
        let value = text.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="))?;
        Some(value.trim_matches('"').to_owned())
    });
    match (pretty, kernel) {
        (Some(pretty), Some(kernel)) => format!("{pretty}, {kernel}"),
        (one, other) => one.or(other).unwrap_or_else(|| std::env::consts::OS.to_owned()),
    }
}

/// A file's first line, where it is there and not empty.
fn line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{identity, machine};

    #[test]
    fn a_machine_is_the_same_until_its_parts_change() {
        let gpus = ["GPU-1".to_owned()];
        let id = identity("host", "cpu", &gpus);
        assert_eq!(id, identity("host", "cpu", &gpus));
        for other in
            [identity("host2", "cpu", &gpus), identity("host", "cpu2", &gpus), identity("host", "cpu", &[])]
        {
            assert_ne!(id, other);
        }
    }

    #[test]
    fn this_machine_has_a_processor_and_memory() {
        let here = machine(Some("mine"));
        assert_eq!(here.name, "mine");
        assert!(here.cpu.logical_cores >= 1);
        assert!(here.memory_bytes.gib() > 0.1, "{}", here.memory_bytes);
        assert_eq!(here.id, machine(None).id);
    }
}

use contract::ids::UnixMillis;

use super::{HostView, Monitor, ProcessView, Snapshot, view};
use crate::telemetry::gpu::Gpu;
use crate::telemetry::gpu::tests::{Fake, FakeGpu, usage};
use crate::telemetry::look::State;

/// A GPU at work.
fn gpu(used: u64) -> FakeGpu {
    FakeGpu::new(Fake {
        used: Some(used),
        state: State {
            clock_mhz: Some(1755),
            memory_clock_mhz: Some(2619),
            power_mw: Some(652_300),
            temperature_c: Some(64),
            utilisation_percent: Some(97),
            throttle: 1 << 2,
        },
        energy_uj: None,
        processes: vec![usage(900, 3 << 30), usage(4242, 37 << 30)],
    })
}

/// A machine with `gpus` GPUs, of which the last tells little.
pub(crate) fn snapshot(gpus: usize) -> Snapshot {
    let name_of = |pid| (pid == 4242).then(|| "bench-runner".to_owned());
    let mut list: Vec<_> = (0..gpus)
        .map(|n| {
            let gpu = gpu((41 + 7 * n as u64) << 30);
            view(n, &gpu.facts(), &gpu, &name_of)
        })
        .collect();
    if let Some(last) = list.get_mut(1..).and_then(<[_]>::last_mut) {
        last.used_bytes = None;
        last.power_limit_w = None;
        last.throttle_reasons.clear();
        last.processes.clear();
    }
    Snapshot {
        at: UnixMillis(1_767_225_600_000),
        note: (gpus == 0).then(|| {
            "no NVIDIA driver here: NVML cannot be opened: libnvidia-ml.so.1: no such file".to_owned()
        }),
        gpus: list,
        host: HostView { cores: 16, cpu_percent: Some(25.5), memory_bytes: 128 << 30, used_bytes: 24 << 30 },
        runners: vec![
            ProcessView { pid: 4242, name: Some("bench-runner".to_owned()), bytes: Some(2 << 30) },
            ProcessView { pid: 4200, name: Some("bench-runner".to_owned()), bytes: Some(40 << 20) },
        ],
    }
}

#[test]
fn a_line_of_json_names_every_figure() {
    insta::assert_snapshot!(serde_json::to_string(&snapshot(2)).unwrap());
}

#[test]
fn this_machine_is_looked_at() {
    let name_of_this = std::fs::read_to_string("/proc/self/comm").unwrap();
    let own = std::process::id();
    let card = FakeGpu::new(Fake { processes: vec![usage(own, 5), usage(u32::MAX, 9)], ..Fake::default() });
    let mut monitor = Monitor::of(vec![Box::new(card)], None).unwrap();
    let first = monitor.look();
    assert_eq!(first.host.cpu_percent, None, "there is no look before the first");
    assert!(first.host.used_bytes > 0 && first.host.used_bytes < first.host.memory_bytes, "{:?}", first.host);
    let [foreign, this] = &first.gpus[0].processes[..] else { panic!("{first:?}") };
    assert_eq!((foreign.bytes, &foreign.name), (Some(9), &None));
    assert_eq!((this.pid, this.name.as_deref()), (own, Some(name_of_this.trim())));
    let second = monitor.look();
    assert!(second.host.cpu_percent.is_some_and(|percent| (0.0..=100.0).contains(&percent)));
    assert!(second.host.cores >= 1 && second.at >= first.at);
}

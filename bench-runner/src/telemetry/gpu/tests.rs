use std::sync::{Arc, Mutex};

use contract::telemetry::Telemetry;

use super::{Gpu, GpuFacts, GpuSource, Usage, Watch};
use crate::telemetry::look::{Source, State, Wanted};

/// A GPU that is what its test says.
#[derive(Clone, Default)]
pub(crate) struct FakeGpu(pub(crate) Arc<Mutex<Fake>>);

#[derive(Clone, Default)]
pub(crate) struct Fake {
    pub(crate) used: Option<u64>,
    pub(crate) state: State,
    pub(crate) energy_uj: Option<u64>,
    pub(crate) processes: Vec<Usage>,
}

impl FakeGpu {
    pub(crate) fn new(fake: Fake) -> Self {
        Self(Arc::new(Mutex::new(fake)))
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Fake)) {
        change(&mut self.0.lock().unwrap());
    }
}

impl Gpu for FakeGpu {
    fn facts(&self) -> GpuFacts {
        GpuFacts {
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            uuid: "GPU-1".to_owned(),
            driver: "580.65.06".to_owned(),
            cuda: "13.0".to_owned(),
            memory: 80 << 30,
            power_limit_w: Some(700.0),
        }
    }

    fn used(&self) -> Option<u64> {
        self.0.lock().unwrap().used
    }

    fn state(&self) -> State {
        self.0.lock().unwrap().state
    }

    fn energy_uj(&self) -> Option<u64> {
        self.0.lock().unwrap().energy_uj
    }

    fn processes(&self) -> Vec<Usage> {
        self.0.lock().unwrap().processes.clone()
    }
}

pub(crate) fn usage(pid: u32, bytes: u64) -> Usage {
    Usage { pid, bytes: Some(bytes) }
}

#[test]
fn a_process_is_told_from_others() {
    let unknown = |pid| Usage { pid, bytes: None };
    let table: [(&str, Vec<Usage>, Vec<Usage>, Watch); 6] = [
        ("listed by its own id", vec![usage(1, 5)], vec![usage(1, 5), usage(42, 9)], Watch::Own(42)),
        (
            "the only one that appeared",
            vec![usage(1, 5)],
            vec![usage(1, 5), usage(7000, 9)],
            Watch::Appeared(7000),
        ),
        ("two appeared", vec![], vec![usage(7000, 9), usage(7001, 9)], Watch::Rise(100)),
        ("none appeared", vec![usage(1, 5)], vec![usage(1, 5)], Watch::Rise(100)),
        ("listed without bytes", vec![], vec![unknown(42)], Watch::Rise(100)),
        ("one of two that appeared has bytes", vec![], vec![unknown(7), usage(8, 9)], Watch::Appeared(8)),
    ];
    for (what, before, after, want) in table {
        assert_eq!(Watch::choose(42, &before, 100, &after), want, "{what}");
    }
}

#[test]
fn looks_read_what_the_watch_says() {
    let gpu = FakeGpu::new(Fake {
        used: Some(1000),
        processes: vec![usage(1, 300), usage(42, 500)],
        state: State { clock_mhz: Some(1980), ..State::default() },
        energy_uj: Some(7),
    });
    let memory = Wanted { memory: true, state: false };
    for (watch, want, part) in [
        (Watch::Own(42), Some(500), "this process"),
        (Watch::Appeared(1), Some(300), "process 1 of the host"),
        (Watch::Rise(400), Some(600), "what others took since included"),
        (Watch::Own(9), None, "this process"),
    ] {
        let mut source = GpuSource::new(gpu.clone(), watch, Telemetry::default(), None);
        let look = source.look(memory);
        assert_eq!((look.process, look.device, look.allocated), (want, Some(1000), None));
        assert_eq!(look.state, State::default(), "not wanted");
        assert!(source.facts().methods["process"].contains(part), "{}", source.facts().methods["process"]);
    }
    let pool: super::PoolBytes = Box::new(|| Some(77));
    let mut source = GpuSource::new(gpu.clone(), Watch::Own(42), Telemetry::default(), Some(pool));
    assert_eq!(source.look(memory).allocated, Some(77));
    assert_eq!(source.look(Wanted { memory: false, state: true }).state.clock_mhz, Some(1980));
}

#[test]
fn facts_hold_settings_identity_and_the_meter() {
    let gpu = FakeGpu::default();
    let settings = Telemetry { event_tracking: Some(false), ..Telemetry::default() };
    let source = GpuSource::new(gpu.clone(), Watch::Own(1), settings, None);
    let facts = source.facts();
    assert_eq!((facts.event_tracking, facts.driver.as_deref()), (Some(false), Some("580.65.06")));
    assert!(facts.methods["energy"].starts_with("trapezoid"), "{}", facts.methods["energy"]);
    gpu.set(|fake| fake.energy_uj = Some(1));
    assert!(source.facts().methods["energy"].starts_with("NVML total energy"));
}

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use contract::measurement::Phase;
use contract::telemetry::{Spread, Telemetry};

use super::{Arc, Highs, Rate, Recorder, Recording, Span};
use crate::telemetry::gpu::tests::{Fake, FakeGpu, usage};
use crate::telemetry::gpu::{GpuSource, Watch};
use crate::telemetry::host::Host;
use crate::telemetry::look::{Look, Source, State, Wanted};

fn recording(gpu: &FakeGpu, trace: bool) -> Recording {
    let source = GpuSource::new(gpu.clone(), Watch::Own(42), Telemetry::default(), None);
    Recording::new(Box::new(source), Rate { state_every: 1, ..Rate::of(trace, true) })
}

/// A GPU with these figures: bytes of the process, milliwatts, MHz.
fn set(gpu: &FakeGpu, bytes: u64, power_mw: u32, clock_mhz: u32) {
    gpu.set(|fake| {
        fake.used = Some(bytes + 1000);
        fake.processes = vec![usage(42, bytes)];
        fake.state = State {
            power_mw: Some(power_mw),
            clock_mhz: Some(clock_mhz),
            temperature_c: Some(60),
            throttle: 1 << 2,
            ..State::default()
        };
    });
}

#[test]
fn a_phase_has_the_most_of_its_own_looks() {
    let gpu = FakeGpu::default();
    let mut recording = recording(&gpu, false);
    set(&gpu, 900, 0, 0);
    recording.look(0);
    set(&gpu, 100, 0, 0);
    recording.begin(Phase::Load, false, 10);
    set(&gpu, 700, 0, 0);
    recording.look(20);
    set(&gpu, 300, 0, 0);
    assert_eq!(recording.end(30), Highs { process: Some(700), device: Some(1700) });
    recording.begin(Phase::Prefill, false, 40);
    assert_eq!(recording.end(50), Highs { process: Some(300), device: Some(1300) }, "one look at its end");
    let record = recording.finish(0);
    assert!(record.points.is_empty(), "no trace was asked");
    assert_eq!(record.spans.len(), 2);
}

#[test]
fn energy_is_the_meters_difference_over_timed_phases() {
    let gpu = FakeGpu::new(Fake { energy_uj: Some(5_000_000), ..Fake::default() });
    let mut recording = recording(&gpu, false);
    let mut pass = |phase, warm_up, at_us, joules: u64| {
        recording.begin(phase, warm_up, at_us);
        gpu.set(|fake| fake.energy_uj = fake.energy_uj.map(|uj| uj + joules * 1_000_000));
        let _ = recording.end(at_us + 2000);
        // Between phases: nobody's.
        gpu.set(|fake| fake.energy_uj = fake.energy_uj.map(|uj| uj + 50));
    };
    pass(Phase::Load, false, 0, 3);
    pass(Phase::Prefill, true, 10_000, 100);
    pass(Phase::Prefill, false, 20_000, 4);
    pass(Phase::Decode, false, 30_000, 6);
    pass(Phase::Prefill, false, 40_000, 5);
    let energy = recording.finish(0).energy;
    let seen: Vec<_> = energy.iter().map(|e| (e.phase, e.joules, e.milliseconds, e.times)).collect();
    let want = [(Phase::Load, 3.0, 2.0, 1), (Phase::Prefill, 9.0, 4.0, 2), (Phase::Decode, 6.0, 2.0, 1)];
    assert_eq!(seen, want);
}

#[test]
fn without_a_meter_energy_is_the_trapezoid_of_power() {
    let gpu = FakeGpu::default();
    let mut recording = recording(&gpu, false);
    set(&gpu, 0, 100_000, 0);
    recording.look(0);
    recording.begin(Phase::Decode, false, 1_000_000);
    set(&gpu, 0, 300_000, 0);
    recording.look(2_000_000);
    set(&gpu, 0, 200_000, 0);
    let _ = recording.end(4_000_000);
    let record = recording.finish(0);
    // (100 W + 300 W) / 2 for 1 s, then (300 W + 200 W) / 2 for 2 s.
    assert_eq!((record.energy[0].joules, record.energy[0].times), (700.0, 1));
    assert!(record.telemetry.methods["energy"].starts_with("trapezoid"));
}

#[test]
fn a_device_without_meter_and_power_has_no_energy_and_says_so() {
    let gpu = FakeGpu::default();
    let mut recording = recording(&gpu, false);
    recording.look(0);
    recording.begin(Phase::Decode, false, 1);
    let _ = recording.end(2);
    let record = recording.finish(0);
    assert!(record.energy.is_empty());
    for figure in ["energy", "power_w", "clock_mhz", "temperature_max_c"] {
        let method = &record.telemetry.methods[figure];
        assert!(method.starts_with("not available: "), "{figure}: {method}");
    }
}

#[test]
fn clocks_and_power_are_of_timed_phases_only() {
    let gpu = FakeGpu::default();
    let mut recording = recording(&gpu, false);
    set(&gpu, 0, 900_000, 300);
    recording.look(0);
    recording.begin(Phase::Load, false, 1);
    let _ = recording.end(2);
    recording.begin(Phase::Prefill, true, 3);
    let _ = recording.end(4);
    recording.begin(Phase::Prefill, false, 5);
    for (at, clock, power_mw) in [(6, 1980, 650_400), (7, 1200, 699_600)] {
        set(&gpu, 0, power_mw, clock);
        recording.look(at);
    }
    set(&gpu, 0, 660_000, 1500);
    let _ = recording.end(8);
    let telemetry = recording.finish(0).telemetry;
    let spread = |min, median, max| Some(Spread { min, median, max });
    assert_eq!(telemetry.clock_mhz, spread(1200.0, 1500.0, 1980.0));
    assert_eq!(telemetry.power_w, spread(650.0, 660.0, 700.0));
    assert_eq!((telemetry.temperature_max_c, telemetry.looks), (Some(60), 3));
    assert_eq!(telemetry.throttle_reasons, ["sw-power-cap"]);
    assert_eq!((telemetry.memory_clock_mhz, telemetry.power_limit_w), (None, Some(700.0)));
}

#[test]
fn a_trace_keeps_looks_and_spans() {
    let gpu = FakeGpu::default();
    let mut recording = recording(&gpu, true);
    set(&gpu, 5, 100_000, 1000);
    recording.begin(Phase::Load, false, 10);
    recording.look(20);
    let _ = recording.end(30);
    recording.begin(Phase::Prefill, true, 40);
    let _ = recording.end(50);
    let record = recording.finish(123);
    assert_eq!(record.started_us, 123);
    assert_eq!(
        record.points.iter().map(|p| (p.at_us, p.process)).collect::<Vec<_>>(),
        [(20, Some(5)), (30, Some(5)), (50, Some(5))]
    );
    let span = |phase, warm_up, begin_us, end_us| Span { phase, warm_up, begin_us, end_us };
    assert_eq!(record.spans, [span(Phase::Load, false, 10, 30), span(Phase::Prefill, true, 40, 50)]);
}

/// Counts its looks by kind.
struct Counted {
    memory: Arc<AtomicU64>,
    state: Arc<AtomicU64>,
}

impl Source for Counted {
    fn zero(&mut self) {}

    fn look(&mut self, wanted: Wanted) -> Look {
        self.memory.fetch_add(u64::from(wanted.memory), Ordering::SeqCst);
        self.state.fetch_add(u64::from(wanted.state), Ordering::SeqCst);
        Look::default()
    }

    fn energy_uj(&mut self) -> Option<u64> {
        None
    }

    fn facts(&self) -> Telemetry {
        Telemetry::default()
    }

    fn watches_memory(&self) -> bool {
        true
    }
}

#[test]
fn the_thread_looks_until_it_is_finished_and_reads_slow_figures_seldom() {
    let (memory, state) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let source = Counted { memory: Arc::clone(&memory), state: Arc::clone(&state) };
    let rate = Rate { period: Duration::from_millis(1), ..Rate::of(false, true) };
    let recorder = Recorder::start(Box::new(source), rate).unwrap();
    recorder.wait_for(21);
    let record = recorder.finish().unwrap();
    assert!(record.points.is_empty());
    let (memory_looks, state_looks) = (memory.load(Ordering::SeqCst), state.load(Ordering::SeqCst));
    assert!(memory_looks >= 21, "{memory_looks}");
    assert_eq!(state_looks, memory_looks.div_ceil(10));
    assert_eq!(Arc::strong_count(&memory), 1, "the thread and its source are gone");
}

#[test]
fn a_processors_row_needs_no_looks_at_memory() {
    let quiet = Rate::of(false, Host::open().watches_memory());
    assert!(!quiet.memory && !quiet.trace);
    assert!(quiet.period > Rate::of(false, true).period && Rate::of(false, true).memory);
    assert!(Rate::of(true, false).memory);
}

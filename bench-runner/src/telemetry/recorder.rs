//! Looks at a device while a case runs: a thread looks every few milliseconds, the case marks its phases.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use contract::measurement::Phase;
use contract::telemetry::{PhaseEnergy, Telemetry};

use super::gpu::throttle_reasons;
use super::look::{Look, Source, State, Wanted};
use super::series::{Counts, Point, Series};
use crate::clock;

/// Points that a trace keeps.
const TRACE_POINTS: usize = 1 << 14;

/// Spans that are kept, at most.
const MOST_SPANS: usize = 1 << 12;

/// How often a recorder looks, and at what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Between two looks.
    pub period: Duration,
    /// Every so many looks the slower figures are read, too.
    pub state_every: u32,
    /// Whether looks read bytes, and are kept for a trace.
    pub trace: bool,
    /// Whether looks read bytes.
    pub memory: bool,
}

impl Rate {
    /// What a row needs, or a trace. A processor's bytes have high marks, so without a trace only its clock and its meter
    /// are read, ten times a second; a GPU's bytes have none.
    #[must_use]
    pub const fn of(trace: bool, watches_memory: bool) -> Self {
        let (period, state_every) = match (trace, watches_memory) {
            (true, _) => (5, 4),
            (false, true) => (10, 10),
            (false, false) => (100, 1),
        };
        Self { period: Duration::from_millis(period), state_every, trace, memory: trace || watches_memory }
    }
}

/// One pass of a phase, in microseconds since recording began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The phase.
    pub phase: Phase,
    /// Whether it is not timed.
    pub warm_up: bool,
    /// Begin.
    pub begin_us: u64,
    /// End.
    pub end_us: u64,
}

/// Most bytes that the looks of a phase saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Highs {
    /// Of the process.
    pub process: Option<u64>,
    /// Of the device.
    pub device: Option<u64>,
}

/// All that was recorded of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// When recording began, in microseconds since 1970.
    pub started_us: i64,
    /// The device while the timed phases ran.
    pub telemetry: Telemetry,
    /// Energy by phase.
    pub energy: Vec<PhaseEnergy>,
    /// Looks over time; none where no trace was asked.
    pub points: Vec<Point>,
    /// The phases.
    pub spans: Vec<Span>,
}

/// What is recorded, apart from the thread and the clock.
pub(super) struct Recording {
    source: Box<dyn Source>,
    rate: Rate,
    looks: u32,
    series: Series,
    spans: Vec<Span>,
    energy: Vec<PhaseEnergy>,
    open: Option<Open>,
    highs: Highs,
    clock: Counts,
    memory_clock: Counts,
    /// In watts.
    power: Counts,
    utilisation: Counts,
    temperature_max_c: Option<u32>,
    throttle: u64,
    /// Looks within timed phases.
    counted: u32,
    integral: Integral,
}

/// A phase that has begun.
#[derive(Debug, Clone, Copy)]
struct Open {
    phase: Phase,
    warm_up: bool,
    begin_us: u64,
    energy_uj: Option<u64>,
}

/// Energy as the trapezoid of power over time, for devices without a meter.
#[derive(Debug, Default)]
struct Integral {
    last: Option<(u64, u32)>,
    microjoules: f64,
}

impl Integral {
    fn add(&mut self, at_us: u64, power_mw: Option<u32>) {
        let Some(power_mw) = power_mw else { return };
        if let Some((before_us, before_mw)) = self.last {
            let seconds = at_us.saturating_sub(before_us) as f64 / 1e6;
            // Milliwatts times seconds are millijoules.
            self.microjoules += f64::midpoint(f64::from(before_mw), f64::from(power_mw)) * seconds * 1e3;
        }
        self.last = Some((at_us, power_mw));
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a sum of energies is positive, and 2^64 microjoules are 5 GWh"
    )]
    fn microjoules(&self) -> Option<u64> {
        self.last.map(|_| self.microjoules as u64)
    }
}

impl Recording {
    pub(super) fn new(source: Box<dyn Source>, rate: Rate) -> Self {
        Self {
            source,
            rate,
            looks: 0,
            series: Series::new(if rate.trace { TRACE_POINTS } else { 0 }),
            spans: Vec::with_capacity(MOST_SPANS),
            energy: Vec::with_capacity(16),
            open: None,
            highs: Highs::default(),
            clock: Counts::up_to(10_000),
            memory_clock: Counts::up_to(20_000),
            power: Counts::up_to(4_000),
            utilisation: Counts::up_to(100),
            temperature_max_c: None,
            throttle: 0,
            counted: 0,
            integral: Integral::default(),
        }
    }

    /// The thread's look.
    pub(super) fn look(&mut self, at_us: u64) {
        let state = self.looks.is_multiple_of(self.rate.state_every);
        self.looks = self.looks.wrapping_add(1);
        self.take(at_us, Wanted { memory: self.rate.memory, state });
    }

    fn take(&mut self, at_us: u64, wanted: Wanted) {
        let look = self.source.look(wanted);
        if wanted.state {
            self.integral.add(at_us, look.state.power_mw);
        }
        self.keep(at_us, &look);
        if self.open.is_some_and(|open| !open.warm_up && open.phase != Phase::Load) {
            self.count(wanted, &look.state);
        }
    }

    fn keep(&mut self, at_us: u64, look: &Look) {
        self.highs.process = self.highs.process.max(look.process);
        self.highs.device = self.highs.device.max(look.device);
        self.series.push(Point {
            at_us,
            allocated: look.allocated,
            process: look.process,
            device: look.device,
            power_mw: look.state.power_mw,
            clock_mhz: look.state.clock_mhz,
        });
    }

    fn count(&mut self, wanted: Wanted, state: &State) {
        if !wanted.state {
            return;
        }
        self.counted += 1;
        self.clock.add(state.clock_mhz);
        self.memory_clock.add(state.memory_clock_mhz);
        self.power.add(state.power_mw.map(|mw| (mw + 500) / 1000));
        self.utilisation.add(state.utilisation_percent);
        self.temperature_max_c = self.temperature_max_c.max(state.temperature_c);
        self.throttle |= state.throttle;
    }

    /// The meter now; the integral of power where there is none.
    fn energy_uj(&mut self, at_us: u64) -> Option<u64> {
        if let Some(energy) = self.source.energy_uj() {
            return Some(energy);
        }
        if self.integral.last.is_some() {
            let look = self.source.look(Wanted { memory: false, state: true });
            self.integral.add(at_us, look.state.power_mw);
        }
        self.integral.microjoules()
    }

    pub(super) fn begin(&mut self, phase: Phase, warm_up: bool, at_us: u64) {
        if phase == Phase::Load {
            self.source.zero();
        }
        self.highs = Highs::default();
        let energy_uj = self.energy_uj(at_us);
        self.open = Some(Open { phase, warm_up, begin_us: at_us, energy_uj });
    }

    pub(super) fn end(&mut self, at_us: u64) -> Highs {
        let energy_uj = self.energy_uj(at_us);
        // However short the phase: one look at its end, before what it made is gone.
        self.take(at_us, Wanted { memory: self.rate.memory, state: true });
        let highs = self.highs;
        let Some(open) = self.open.take() else { return highs };
        if self.spans.len() < self.spans.capacity() {
            let Open { phase, warm_up, begin_us, .. } = open;
            self.spans.push(Span { phase, warm_up, begin_us, end_us: at_us });
        }
        if let (Some(before), Some(after), false) = (open.energy_uj, energy_uj, open.warm_up) {
            self.meter(open, after.saturating_sub(before), at_us);
        }
        highs
    }

    fn meter(&mut self, open: Open, microjoules: u64, at_us: u64) {
        let milliseconds = at_us.saturating_sub(open.begin_us) as f64 / 1e3;
        let joules = microjoules as f64 / 1e6;
        match self.energy.iter_mut().find(|e| e.phase == open.phase) {
            Some(sum) => {
                sum.joules += joules;
                sum.milliseconds += milliseconds;
                sum.times += 1;
            }
            None => self.energy.push(PhaseEnergy { phase: open.phase, joules, milliseconds, times: 1 }),
        }
    }

    /// How the source tells bytes of the process, where it does.
    fn process_method(&self) -> Option<String> {
        self.source.facts().methods.remove("process")
    }

    pub(super) fn finish(self, started_us: i64) -> Record {
        let facts = self.source.facts();
        let mut telemetry = Telemetry {
            clock_mhz: self.clock.spread(),
            memory_clock_mhz: self.memory_clock.spread(),
            power_w: self.power.spread(),
            utilisation_percent: self.utilisation.spread(),
            temperature_max_c: self.temperature_max_c,
            throttle_reasons: throttle_reasons(self.throttle),
            looks: self.counted,
            ..facts
        };
        let missing = [
            ("clock_mhz", telemetry.clock_mhz.is_none()),
            ("memory_clock_mhz", telemetry.memory_clock_mhz.is_none()),
            ("power_w", telemetry.power_w.is_none()),
            ("power_limit_w", telemetry.power_limit_w.is_none()),
            ("utilisation_percent", telemetry.utilisation_percent.is_none()),
            ("temperature_max_c", telemetry.temperature_max_c.is_none()),
            ("energy", self.energy.is_empty()),
        ];
        for (figure, _) in missing.iter().filter(|(_, missing)| *missing) {
            if let Some(method) =
                telemetry.methods.get_mut(*figure).filter(|m| !m.starts_with("not available"))
            {
                *method = format!("not available: {method} gave nothing");
            }
        }
        Record {
            started_us,
            telemetry,
            energy: self.energy,
            points: self.series.into_points(),
            spans: self.spans,
        }
    }
}

/// A recording and the thread that looks.
pub struct Recorder {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
    start: Instant,
    started_us: i64,
}

struct Shared {
    /// None once it is finished: the thread ends.
    recording: Mutex<Option<Recording>>,
    looked: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Recording>> {
        // What is recorded is whole after each figure: a thread that panicked leaves it usable.
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks; false once it is finished.
    fn look(&self, start: Instant) -> bool {
        let mut recording = self.lock();
        let Some(recording) = recording.as_mut() else { return false };
        // Read with the lock held, so that times ascend.
        recording.look(microseconds(start));
        self.looked.notify_all();
        true
    }
}

impl Recorder {
    /// Starts looking and comes back when the thread has looked once: from then on, on a CPU, it allocates nothing.
    ///
    /// # Errors
    /// Where the system has no thread for it.
    pub fn start(source: Box<dyn Source>, rate: Rate) -> std::io::Result<Self> {
        let (start, started_us) = (Instant::now(), clock::now_us());
        let shared = Arc::new(Shared {
            recording: Mutex::new(Some(Recording::new(source, rate))),
            looked: Condvar::new(),
        });
        let thread = std::thread::Builder::new().name("recorder".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                while shared.look(start) {
                    std::thread::park_timeout(rate.period);
                }
            }
        })?;
        let recorder = Self { shared, thread, start, started_us };
        recorder.wait_for(1);
        Ok(recorder)
    }

    /// Waits until the thread has looked `looks` times in all.
    pub fn wait_for(&self, looks: u32) {
        let waiting = |recording: &mut Option<Recording>| recording.as_ref().is_some_and(|r| r.looks < looks);
        drop(
            self.shared
                .looked
                .wait_while(self.shared.lock(), waiting)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// A phase begins.
    pub fn begin(&self, phase: Phase, warm_up: bool) {
        if let Some(recording) = self.shared.lock().as_mut() {
            recording.begin(phase, warm_up, microseconds(self.start));
        }
    }

    /// It ends: the most that its looks saw.
    #[must_use]
    pub fn end(&self) -> Highs {
        let mut recording = self.shared.lock();
        recording.as_mut().map(|r| r.end(microseconds(self.start))).unwrap_or_default()
    }

    /// How bytes of the process are told, where the looks do that.
    #[must_use]
    pub fn process_method(&self) -> Option<String> {
        self.shared.lock().as_ref().and_then(Recording::process_method)
    }

    /// Ends the thread and says what was recorded; none where it has been said.
    #[must_use]
    pub fn finish(self) -> Option<Record> {
        let recording = self.shared.lock().take();
        self.thread.thread().unpark();
        // Why it panicked has been printed; what it recorded before is there.
        let _ = self.thread.join();
        recording.map(|recording| recording.finish(self.started_us))
    }
}

fn microseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

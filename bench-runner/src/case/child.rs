//! The child's side: loads the model, computes, measures, reports.

use std::io::{BufRead, Write};
use std::time::Instant;

use candle_core::Device;
use contract::measurement::{Measurement, Methods, Phase, Sample, StepSample};

use super::repetition::{CaseError, HighMarks, Prompt, Repetition, milliseconds};
use super::{EXIT_OUT_OF_MEMORY, EXIT_OVER_LIMIT, Event, FAULT_VARIABLE, Request, train};
use crate::engine::{self, Loaded};
use crate::memory::{self, Limit, Probe, allocator};
use crate::quality::{self, Ask, Outcome};
use crate::telemetry::{Before, Recorded, trace};

/// Why a child could not do its work at all.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// Its input or output is broken.
    #[error("the runner cannot be reached: {0}")]
    Pipe(#[from] std::io::Error),
    /// The request is not one.
    #[error("the request is not understood: {0}")]
    Request(#[from] serde_json::Error),
}

/// Reads a request from standard input, runs the case and writes events to standard output.
///
/// # Errors
/// Where either is broken; a case that fails is an event, not an error.
pub fn run() -> Result<(), ChildError> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let request: Request = serde_json::from_str(&line)?;
    drop(line);
    allocator::exit_when_refused(EXIT_OUT_OF_MEMORY);
    // Where memory runs out the kernel should take the case, not the runner. Raising one's own score is always allowed;
    // a system without the file has no such killer.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    end_with_the_runner();
    let mut output = std::io::stdout().lock();
    let event = match measure(&request, &mut |phase| write_event(&mut output, &Event::Phase { phase })) {
        Ok((measurement, model)) => {
            write_event(&mut output, &Event::Measured { measurement: Box::new(measurement) })?;
            let Some(ask) = &request.quality else { return Ok(()) };
            // After the probe's end: nothing of it is in the peaks.
            write_event(&mut output, &Event::Phase { phase: "quality".to_owned() })?;
            Event::Quality { outcome: quality_of(model, ask) }
        }
        Err(CaseError::Engine(error)) => {
            Event::Failed { out_of_memory: error.is_out_of_memory(), message: error.to_string() }
        }
        Err(error) => Event::Failed { out_of_memory: false, message: error.to_string() },
    };
    write_event(&mut output, &event)?;
    Ok(())
}

/// Computes what is asked with the model that was measured.
fn quality_of((model, device): (Loaded, Device), ask: &Ask) -> Outcome {
    let outcome = match model {
        Loaded::Decoder(mut session) => {
            quality::compute(session.as_mut(), &device, ask).map_err(|e| e.to_string())
        }
        Loaded::Encoder(_) => Err("an encoder predicts no tokens".to_owned()),
        Loaded::Trainer(_) => Err("what was measured is a training step; leave --train out".to_owned()),
    };
    outcome.unwrap_or_else(|reason| Outcome::Failed { reason })
}

/// The runner holds this process's input open while it lives: its end is the runner's.
fn end_with_the_runner() {
    std::thread::spawn(|| {
        let ended = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        std::process::exit(i32::from(ended.is_err()));
    });
}

fn write_event(output: &mut impl Write, event: &Event) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

/// Runs the case: one warm-up, then the repetitions, each from the state right after loading. Gives the model back, and
/// where it is.
fn measure(
    request: &Request,
    report: &mut impl FnMut(String) -> std::io::Result<()>,
) -> Result<(Measurement, (Loaded, Device)), CaseError> {
    let (spec, prepared) = (&request.spec, &request.prepared);
    let before = Before::of(spec);
    let device = prepared.open_device()?;
    let limit = spec.memory_limit.map(|bytes| Limit { bytes, code: EXIT_OVER_LIMIT });
    memory::confine(&device, limit)?;
    let recorder = before.start(&device, request.recording.keeps_looks())?;
    let staged = prepared.stage()?;
    let (batch, prompt_tokens) = (as_size(u64::from(spec.batch)), as_size(spec.prompt_tokens.0));
    let generate = as_size(spec.generate_tokens.0);
    // Everything of this program's own that grows with the case is allocated before the probe's zero.
    let micro_batches = spec.training.as_ref().map(|training| {
        let count = as_size(u64::from(training.gradient_accumulation));
        train::micro_batches(count, (batch, prompt_tokens), request.vocabulary, spec.seed)
    });
    let ids = if micro_batches.is_some() {
        Vec::new()
    } else {
        engine::seeded_prompt(batch, prompt_tokens, request.vocabulary, spec.seed)
    };
    let prompt = Prompt::new(ids, (batch, prompt_tokens));
    let further = generate.saturating_sub(1);
    let timed = if micro_batches.is_some() { 0 } else { spec.repetitions };
    let mut steps = vec![StepSample::default(); as_size(u64::from(spec.repetitions - timed))];
    let mut samples: Vec<Sample> = (0..timed)
        .map(|_| Sample { prefill_ms: 0.0, ttft_ms: 0.0, token_ms: Vec::with_capacity(further) })
        .collect();
    let mut warm_up = Sample { prefill_ms: 0.0, ttft_ms: 0.0, token_ms: Vec::with_capacity(1) };

    // Candle's threads as well: they are the process's, not the model's.
    if device.is_cpu() {
        let _pool = candle_core::utils::barrier_pool();
    }
    let mut probe = Recorded::new(memory::probe(&device, limit)?, recorder);
    report("load".to_owned())?;
    probe.begin(Phase::Load)?;
    let start = Instant::now();
    let mut model = prepared.load(&staged, &device)?;
    device.synchronize()?;
    let load_ms = milliseconds(start);
    let mut high = HighMarks::of_load(probe.read()?);
    inject_fault(&spec.key());

    report("warm-up".to_owned())?;
    let mut repetition = |index: usize| report(format!("repetition {} of {}", index + 1, spec.repetitions));
    match (&mut model, &micro_batches) {
        (Loaded::Trainer(trainer), Some(data)) => {
            let mut step = |sample: &mut StepSample, probe: &mut Recorded| {
                train::step(trainer, &device, data, sample, probe, &mut high)
            };
            probe.set_warm_up(true);
            step(&mut StepSample::default(), &mut probe)?;
            probe.set_warm_up(false);
            for (index, sample) in steps.iter_mut().enumerate() {
                repetition(index)?;
                step(sample, &mut probe)?;
            }
        }
        (model, _) => {
            let mut runner = Repetition { model, device: &device, prompt: &prompt };
            probe.set_warm_up(true);
            runner.run(&mut warm_up, further.min(1), &mut probe, &mut high)?;
            probe.set_warm_up(false);
            for (index, sample) in samples.iter_mut().enumerate() {
                repetition(index)?;
                runner.run(sample, further, &mut probe, &mut high)?;
            }
        }
    }
    // Everything is measured; what tells of it is not the case's.
    memory::lift_limit(&device)?;
    // What was made before the probe's zero stays as long as it counts from there.
    drop(staged);
    let threads = match device {
        Device::Cpu => u32::try_from(candle_core::utils::get_num_threads()).ok(),
        _ => None,
    };
    let mut measurement = Measurement {
        phases: high.phases(),
        load_ms,
        samples,
        steps,
        methods: Methods {
            allocated: probe.allocated_method(),
            process: probe.process_method(),
            time: "monotonic clock of the host, each token when it is in host memory".to_owned(),
            products: model.products(),
        },
        threads,
        ..Measurement::default()
    };
    record(probe, request, &mut measurement);
    Ok((measurement, (model, device)))
}

/// Adds what was recorded beside.
fn record(probe: Recorded, request: &Request, measurement: &mut Measurement) {
    let Some(record) = probe.finish() else { return };
    if let Some(target) = &request.recording.trace
        && let Err(error) = target.write(&record)
    {
        // The runner fails to write the same file, and warns; the measurement is none the worse.
        eprintln!("the trace cannot be written: {error}");
    }
    measurement.memory_trace = request.recording.memory_trace.then(|| trace::memory_trace(&record)).flatten();
    measurement.energy = record.energy;
    measurement.telemetry = Some(record.telemetry);
}

/// Saturates: what is larger than this machine can index is refused by the allocator.
fn as_size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// Does what [`FAULT_VARIABLE`] asks, for the tests of crash handling.
fn inject_fault(key: &str) {
    let Ok(asked) = std::env::var(FAULT_VARIABLE) else { return };
    let (fault, pattern) = asked.split_once('@').unwrap_or((&asked, ""));
    if !key.contains(pattern) {
        return;
    }
    match fault {
        "abort" => std::process::abort(),
        "exit" => std::process::exit(7),
        // More than any address space has: the system refuses, as it does where memory is limited.
        "allocate" => drop(std::hint::black_box(Vec::<u8>::with_capacity(1 << 60))),
        "kill" => {
            let killed =
                std::process::Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
            eprintln!("kill -9 of this process: {killed:?}");
        }
        other => eprintln!("{FAULT_VARIABLE}: unknown fault {other}"),
    }
}

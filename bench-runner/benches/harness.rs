//! Tokens per second inside the harness against a bare loop over the same model: what measuring costs.
//!
//! `cargo bench -p bench-runner --bench harness -- MODEL.gguf [PROCESSES [PAIRS]]` loads the model in one process after
//! another and generates by turns as a case does (counting allocator, probe, recorder, a token at a time in host memory)
//! and as a program would that measures nothing. Processors that are shared run at another speed every second, so what is
//! compared is each generation with its neighbour; the figure is the median of those ratios.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use bench_runner::case::repetition::{HighMarks, Prompt, Repetition};
use bench_runner::engine::{self, Loaded};
use bench_runner::memory;
use bench_runner::memory::allocator::CountingAllocator;
use bench_runner::model::Model;
use bench_runner::telemetry::{Before, Recorded};
use candle_core::{Device, Tensor};
use contract::case::{CaseSpec, Variant};
use contract::measurement::Sample;
use planner::Tokens;

/// Short, so that both of a pair meet the same processor, and what a phase costs once weighs more than in a real case.
const PROMPT: usize = 64;
/// The first comes with the prompt.
const GENERATE: usize = 9;
const THREADS: &str = "2";
/// Names the model to the process that generates.
const MODEL: &str = "PLIMSOLL_HARNESS_MODEL";
/// Most that the harness may cost, in percent.
const LIMIT: f64 = 1.0;

/// Counts while [`COUNTED`] says so.
struct Switched;

static COUNTED: AtomicBool = AtomicBool::new(true);

#[global_allocator]
static ALLOCATOR: Switched = Switched;

// SAFETY: both answer with the system's allocator, so that either takes back what the other gave; the caller's promises are
// passed on.
unsafe impl GlobalAlloc for Switched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: see above.
        unsafe { if counted() { CountingAllocator.alloc(layout) } else { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: see above.
        unsafe {
            if counted() { CountingAllocator.alloc_zeroed(layout) } else { System.alloc_zeroed(layout) }
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: see above.
        unsafe {
            if counted() {
                CountingAllocator.dealloc(pointer, layout);
            } else {
                System.dealloc(pointer, layout);
            }
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: see above.
        unsafe {
            if counted() {
                CountingAllocator.realloc(pointer, layout, size)
            } else {
                System.realloc(pointer, layout, size)
            }
        }
    }
}

fn counted() -> bool {
    COUNTED.load(Ordering::Relaxed)
}

fn main() -> ExitCode {
    let done = match std::env::var(MODEL) {
        Ok(model) => by_turns(Path::new(&model)),
        Err(_) => compare(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Milliseconds of a prefill and of a generated token.
#[derive(Clone, Copy)]
struct Times {
    prefill: f64,
    token: f64,
}

/// Prints a line for each pair: prefill and token bare, prefill and token in the harness, in milliseconds.
fn by_turns(path: &Path) -> anyhow::Result<()> {
    let pairs: usize = std::env::args().nth(1).context("how many pairs")?.parse()?;
    let model = Model::from_path(path)?;
    let spec = spec(&model);
    let prepared = engine::prepare(&spec, &model)?;
    let device = prepared.open_device()?;
    let staged = prepared.stage()?;
    let mut loaded = prepared.load(&staged, &device)?;
    let ids = engine::prompt(1, PROMPT, u32::try_from(model.shape.vocab)?);
    let prompt = Prompt::new(ids.clone(), (1, PROMPT));
    bare(&mut loaded, &ids)?;
    in_the_harness(&mut loaded, &spec, &device, &prompt)?;
    for pair in 0..pairs {
        // Whichever comes second would win or lose by what the first leaves behind.
        let (bare, measured) = if pair % 2 == 0 {
            let bare = bare(&mut loaded, &ids)?;
            (bare, in_the_harness(&mut loaded, &spec, &device, &prompt)?)
        } else {
            let measured = in_the_harness(&mut loaded, &spec, &device, &prompt)?;
            (bare(&mut loaded, &ids)?, measured)
        };
        println!("{} {} {} {}", bare.prefill, bare.token, measured.prefill, measured.token);
    }
    Ok(())
}

/// One clock around the prompt, one around all tokens.
fn bare(loaded: &mut Loaded, ids: &[u32]) -> anyhow::Result<Times> {
    let Loaded::Decoder(session) = loaded else { bail!("it generates nothing") };
    COUNTED.store(false, Ordering::Relaxed);
    session.begin(1)?;
    let start = Instant::now();
    let logits = session.forward(&Tensor::from_slice(ids, (1, PROMPT), &Device::Cpu)?, 0)?;
    let prefill = milliseconds(start);
    let mut token = engine::greedy(&logits)?;
    drop(logits);
    let start = Instant::now();
    for index in 0..GENERATE - 1 {
        token = engine::greedy(&session.forward(&token, PROMPT + index)?)?;
    }
    let token = milliseconds(start) / (GENERATE - 1) as f64;
    COUNTED.store(true, Ordering::Relaxed);
    Ok(Times { prefill, token })
}

/// As a case's process does.
fn in_the_harness(
    loaded: &mut Loaded,
    spec: &CaseSpec,
    device: &Device,
    prompt: &Prompt,
) -> anyhow::Result<Times> {
    let recorder = Before::of(spec).start(device, false)?;
    let mut probe = Recorded::new(memory::probe(device, None)?, recorder);
    let mut sample = Sample { prefill_ms: 0.0, ttft_ms: 0.0, token_ms: Vec::with_capacity(GENERATE) };
    let mut repetition = Repetition { model: loaded, device, prompt };
    repetition.run(&mut sample, GENERATE - 1, &mut probe, &mut HighMarks::default())?;
    ensure!(probe.finish().is_some(), "nothing was recorded");
    let token = sample.token_ms.iter().sum::<f64>() / sample.token_ms.len() as f64;
    Ok(Times { prefill: sample.prefill_ms, token })
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn spec(model: &Model) -> CaseSpec {
    CaseSpec {
        model: model.name.clone(),
        precision: "native".to_owned(),
        variant: Some(Variant::Plimsoll),
        prompt_tokens: Tokens(PROMPT as u64),
        generate_tokens: Tokens(GENERATE as u64),
        batch: 1,
        ..CaseSpec::default()
    }
}

fn compare() -> anyhow::Result<()> {
    // Cargo adds `--bench`.
    let mut given = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let Some(model) = given.next() else {
        bail!("give a model: cargo bench -p bench-runner --bench harness -- MODEL.gguf [PROCESSES [PAIRS]]");
    };
    let processes: usize = given.next().map_or(Ok(5), |text| text.parse())?;
    let pairs = given.next().unwrap_or_else(|| "200".to_owned());
    let mut all = Vec::new();
    for _ in 0..processes {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(&pairs).env(MODEL, &model);
        command.env("RAYON_NUM_THREADS", THREADS).env("CANDLE_NUM_THREADS", THREADS);
        let output = command.output()?;
        ensure!(output.status.success(), "a process: {}", String::from_utf8_lossy(&output.stderr));
        for line in String::from_utf8(output.stdout)?.lines() {
            let figures: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
            let &[prefill, token, measured_prefill, measured_token] = figures.as_slice() else {
                bail!("a line of other than four figures: {line}")
            };
            all.push((Times { prefill, token }, Times { prefill: measured_prefill, token: measured_token }));
        }
    }
    ensure!(all.len() >= 6, "fewer than six pairs say nothing");
    println!("{} pairs in {processes} processes, {THREADS} threads:", all.len());
    let mut worst = f64::NEG_INFINITY;
    for (name, of) in [("prefill", (|t: &Times| t.prefill) as fn(&Times) -> f64), ("token", |t| t.token)] {
        let bare = sorted(all.iter().map(|(bare, _)| of(bare)));
        let measured = sorted(all.iter().map(|(_, measured)| of(measured)));
        let cost = sorted(all.iter().map(|(bare, measured)| (of(measured) / of(bare) - 1.0) * 100.0));
        let (low, high) = interval(&cost);
        println!(
            "{name}: bare {:.3} ms, in the harness {:.3} ms; pair by pair {:+.2} % (95 %: {low:+.2} to {high:+.2} %)",
            middle(&bare),
            middle(&measured),
            middle(&cost),
        );
        worst = worst.max(middle(&cost));
    }
    ensure!(worst <= LIMIT, "the harness costs {worst:.2} %, more than {LIMIT} %");
    Ok(())
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) }
}

/// 95 % interval of the median by the binomial's normal approximation (Conover, Practical Nonparametric Statistics,
/// section 3.2): the places n/2 ± 0.98 √n.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "places of a short list")]
fn interval(sorted: &[f64]) -> (f64, f64) {
    let n = sorted.len() as f64;
    let away = 0.98 * n.sqrt();
    let low = (n / 2.0 - away).floor().max(1.0) as usize - 1;
    let high = ((n / 2.0 + away).ceil() as usize).min(sorted.len() - 1);
    (sorted[low], sorted[high])
}

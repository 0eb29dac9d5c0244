//! Tokens per second inside the harness against a bare loop over the same model: what measuring costs.
//!
//! `cargo bench -p bench-runner --bench harness -- MODEL.gguf [ROUNDS]` runs `bench-runner run` and the loop below by
//! turns, each in a process of its own with the same threads, and compares medians.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use bench_runner::engine::{self, Loaded};
use bench_runner::model::Model;
use candle_core::{Device, Tensor};
use contract::case::{CaseSpec, Variant};
use planner::Tokens;

const PROMPT: usize = 512;
const GENERATE: usize = 65;
const THREADS: &str = "2";
/// Names the model to the process that runs the bare loop.
const BARE: &str = "PLIMSOLL_BARE_LOOP";
/// Most that the harness may cost, in percent.
const LIMIT: f64 = 1.0;

fn main() -> ExitCode {
    let done = match std::env::var(BARE) {
        Ok(model) => bare(Path::new(&model)),
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

/// Generates as a program would that measures nothing: one clock around the prompt, one around all tokens.
fn bare(path: &Path) -> anyhow::Result<()> {
    let model = Model::from_path(path)?;
    let prepared = engine::prepare(&spec(&model), &model)?;
    let device = prepared.open_device()?;
    let staged = prepared.stage()?;
    let Loaded::Decoder(mut session) = prepared.load(&staged, &device)? else {
        bail!("it generates nothing")
    };
    let ids = engine::prompt(1, PROMPT, u32::try_from(model.shape.vocab)?);
    for _ in 0..2 {
        session.begin(1)?;
        let start = Instant::now();
        let mut token =
            engine::greedy(&session.forward(&Tensor::from_slice(&ids, (1, PROMPT), &Device::Cpu)?, 0)?)?;
        let prefill = start.elapsed().as_secs_f64() * 1e3;
        let start = Instant::now();
        for index in 0..GENERATE - 1 {
            token = engine::greedy(&session.forward(&token, PROMPT + index)?)?;
        }
        // The first is the warm-up; the last line counts.
        println!("{prefill} {}", start.elapsed().as_secs_f64() * 1e3 / (GENERATE - 1) as f64);
    }
    Ok(())
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

fn bare_in_a_process(model: &str) -> anyhow::Result<Times> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(BARE, model).env("RAYON_NUM_THREADS", THREADS).env("CANDLE_NUM_THREADS", THREADS);
    let output = command.output()?;
    ensure!(output.status.success(), "the bare loop: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let last = text.lines().last().context("the bare loop said nothing")?;
    let (prefill, token) = last.split_once(' ').context("the bare loop said one number")?;
    Ok(Times { prefill: prefill.parse()?, token: token.parse()? })
}

fn in_the_harness(model: &str) -> anyhow::Result<Times> {
    let (prompt, generate) = (PROMPT.to_string(), GENERATE.to_string());
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-runner"));
    command.args([
        "run",
        "--model",
        model,
        "--variant",
        "plimsoll",
        "--prompt",
        &prompt,
        "--generate",
        &generate,
    ]);
    command.args(["--threads", THREADS, "--repetitions", "1", "--no-db", "--json", "--quiet"]);
    let output = command.output()?;
    ensure!(output.status.success(), "bench-runner: {}", String::from_utf8_lossy(&output.stderr));
    let run: contract::run::RunDetail = serde_json::from_slice(&output.stdout)?;
    let case = run.cases.first().context("no case")?;
    let sample = case.measurement.as_ref().and_then(|m| m.samples.first()).context("not measured")?;
    let token = sample.token_ms.iter().sum::<f64>() / sample.token_ms.len() as f64;
    Ok(Times { prefill: sample.prefill_ms, token })
}

fn compare() -> anyhow::Result<()> {
    // Cargo adds `--bench`.
    let mut given = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let Some(model) = given.next() else {
        bail!("give a model: cargo bench -p bench-runner --bench harness -- MODEL.gguf [ROUNDS]");
    };
    let rounds: usize = given.next().map_or(Ok(15), |text| text.parse())?;
    let mut both = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        both.push((bare_in_a_process(&model)?, in_the_harness(&model)?));
    }
    let mut worst = f64::NEG_INFINITY;
    for (name, of) in [("prefill", (|t: &Times| t.prefill) as fn(&Times) -> f64), ("token", |t| t.token)] {
        let bare = median(both.iter().map(|(bare, _)| of(bare)));
        let measured = median(both.iter().map(|(_, measured)| of(measured)));
        let cost = (measured / bare - 1.0) * 100.0;
        println!("{name}: bare {bare:.3} ms, in the harness {measured:.3} ms: {cost:+.2} %");
        worst = worst.max(cost);
    }
    ensure!(worst <= LIMIT, "the harness costs {worst:.2} %, more than {LIMIT} %");
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

//! How long the planner's page takes from a slider's move to its answer redrawn, in headless Chromium.
//!
//! `make bench-page` opens several plans and moves their sliders. *Drag*: one slider after the other to and fro over its range,
//! one step a frame. *Slow*: any slider by any distance, 50 to 350 ms apart (seeded), so that moves meet what is computed when a
//! plan has stood for 150 ms. Of both it prints the median and the 95th percentile: of a drag from the event until every figure
//! that follows at once has changed and the page is laid out and painted (on the page's own thread), of a slow hand from the
//! instant that the move was due until it is laid out. *Frame* is from the frame of a drag's move to the next that the browser
//! begins, which is later than the display's own where the work does not fit in between. *Rest* is from the last move until the
//! most that fits, advice and the load line are those of the plan that is shown. It fails where a drag's 95th percentile is above
//! 16 milliseconds, or where a move asked the network for anything.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use planner::Plan;
use serde::Deserialize;
use serde_json::{Value, json};
use tests::browser::{Driver, PATIENCE, Profile};
use tests::process::Server;
use thirtyfour::prelude::*;

/// Most milliseconds of a drag's move, at the 95th percentile: a frame at 60 Hz.
const LIMIT_MS: f64 = 16.0;

/// Plans that differ in what is computed.
fn plans() -> [(&'static str, Value); 7] {
    [
        (
            "chat on one GPU",
            json!({
                "schema": 1, "model": { "id": "meta-llama/Llama-3.1-8B" }, "gpu": { "id": "h100-sxm-80gb" },
                "engine": { "name": "vllm" },
                "workload": { "kind": "serve", "prompt_tokens": 2048, "output_tokens": 512, "concurrent_sequences": 16 },
            }),
        ),
        (
            "experts on eight GPUs",
            json!({
                "schema": 1, "model": { "id": "Qwen/Qwen3-235B-A22B" }, "gpu": { "id": "h100-sxm-80gb", "count": 8 },
                "engine": { "name": "vllm" }, "parallelism": { "tensor": 8 },
                "workload": { "kind": "serve", "prompt_tokens": 8192, "output_tokens": 512, "concurrent_sequences": 64 },
            }),
        ),
        (
            "what does not fit",
            json!({
                "schema": 1, "model": { "id": "meta-llama/Llama-3.1-70B" }, "gpu": { "id": "l4-24gb" },
                "engine": { "name": "vllm" },
                "workload": { "kind": "serve", "prompt_tokens": 2048, "output_tokens": 512, "concurrent_sequences": 16 },
            }),
        ),
        (
            "training, sharded",
            json!({
                "schema": 1, "model": { "id": "meta-llama/Llama-3.1-8B" }, "gpu": { "id": "h100-sxm-80gb", "count": 8 },
                "engine": { "name": "deepspeed" }, "parallelism": { "data": 8, "zero_stage": 3 },
                "workload": { "kind": "train", "method": "full", "sequence_tokens": 4096, "micro_batch": 1 },
            }),
        ),
        (
            "an agent of 500 turns",
            json!({
                "schema": 1, "model": { "id": "meta-llama/Llama-3.1-8B" }, "gpu": { "id": "h100-sxm-80gb" },
                "engine": { "name": "vllm" },
                "workload": { "kind": "serve", "prompt_tokens": 2048, "output_tokens": 512, "concurrent_sequences": 4 },
                "agent_memory": {
                    "turns": 500, "tokens_per_turn": 350, "system_tokens": 1000, "policy": { "kind": "full-history" },
                },
            }),
        ),
        (
            "our decoder, 8B on a GPU",
            json!({
                "schema": 1, "model": { "id": "meta-llama/Llama-3.1-8B" }, "gpu": { "id": "rtx-4090-24gb" },
                "engine": { "name": "candle", "variant": "plimsoll" },
                "workload": { "kind": "serve", "prompt_tokens": 2048, "output_tokens": 512, "concurrent_sequences": 4 },
            }),
        ),
        (
            "our decoder on a CPU",
            json!({
                "schema": 1, "model": { "id": "HuggingFaceTB/SmolLM2-135M" }, "gpu": { "id": "cpu" },
                "engine": { "name": "candle", "variant": "plimsoll" },
                "workload": { "kind": "serve", "prompt_tokens": 512, "output_tokens": 64, "concurrent_sequences": 1 },
            }),
        ),
    ]
}

/// Drags every slider, then moves them slowly, once the planner's module is there.
const SCRIPT: &str = r#"
const [moves, done] = arguments;
const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set;
const frame = () => new Promise(requestAnimationFrame);
const hop = () => new Promise(resolve => {
  const channel = new MessageChannel();
  channel.port1.onmessage = resolve;
  channel.port2.postMessage(0);
});
const all = () => document.querySelectorAll('input[type="range"]');
const range = (slider) => [Number(slider.min || 0), Number(slider.max || 100)];
const total = () => document.querySelector('[data-test="total-bytes"]')?.dataset.bytes;
const move = (slider, value) => {
  set.call(slider, String(value));
  slider.dispatchEvent(new Event('input', { bubbles: true }));
};
// The first change loads the planner's module.
const loaded = async () => {
  const slider = all()[0], before = total(), until = performance.now() + 20000;
  move(slider, slider.value === slider.max ? slider.min : slider.max);
  while (total() === before) {
    if (performance.now() > until) throw new Error('the planner did not come');
    await frame();
  }
};
const rested = async () => {
  const moved = performance.now();
  while (document.querySelector('.answer[aria-busy]')) {
    if (performance.now() > moved + 20000) throw new Error('what is computed at rest did not come');
    await frame();
  }
  return performance.now() - moved;
};
// Numbers from 0 to 1 of a linear congruential generator (Numerical Recipes).
let seed = 1;
const random = () => (seed = (1664525 * seed + 1013904223) >>> 0) / 2 ** 32;
(async () => {
  await loaded();
  await rested();
  const sliders = all().length, each = Math.ceil(moves / sliders), totals = new Set();
  const requests = performance.getEntriesByType('resource').length;
  const timed = async (slider, value, start = performance.now()) => {
    move(slider, value);
    await hop();
    document.body.getBoundingClientRect();
    totals.add(total());
    return performance.now() - start;
  };
  const drag = [], frames = [], slow = [];
  for (let which = 0; which < sliders; which++) {
    for (let step = 1; step <= each; step++) {
      const slider = all()[which], [min, max] = range(slider);
      const stride = Math.max(1, Math.ceil((max - min) / each)), places = Math.floor((max - min) / stride);
      const at = await frame(), place = step % (2 * places);
      drag.push(await timed(slider, min + stride * Math.min(place, 2 * places - place)));
      const next = frame();
      frames.push(next.then((then) => then - at));
    }
  }
  for (let step = 0; step < moves / 4; step++) {
    const due = performance.now() + 50 + 300 * random();
    await new Promise((later) => setTimeout(later, due - performance.now()));
    const slider = all()[Math.floor(random() * sliders)], [min, max] = range(slider);
    const others = max - min, to = min + (Number(slider.value) - min + 1 + Math.floor(random() * others)) % (others + 1);
    slow.push(await timed(slider, to, due));
  }
  const rest = await rested();
  done({ sliders, drag, frames: await Promise.all(frames), slow, rest, totals: totals.size,
         requests: performance.getEntriesByType('resource').length - requests });
})().catch(error => done({ error: String(error) }));
"#;

/// What the script found.
#[derive(Deserialize)]
struct Found {
    sliders: usize,
    drag: Vec<f64>,
    frames: Vec<f64>,
    slow: Vec<f64>,
    rest: f64,
    totals: usize,
    requests: usize,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.context("no runtime").and_then(|runtime| runtime.block_on(measure())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> anyhow::Result<()> {
    // Cargo adds `--bench`.
    let moves: usize =
        std::env::args().skip(1).find(|a| !a.starts_with("--")).map_or(Ok(300), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let server = Server::start(folder.path(), &[])?;
    let driver = Driver::start()?;
    let page = driver.open(Profile::default()).await?;
    page.set_script_timeout(Duration::from_mins(5)).await?;
    let mut worst = 0.0f64;
    println!(
        "{moves} moves a plan, then {:3}     drag p50   p95   frame p95    slow p50   p95    rest ms",
        moves / 4
    );
    for (name, plan) in plans() {
        let plan: Plan = serde_json::from_value(plan).with_context(|| format!("the plan \"{name}\""))?;
        let path = format!("/planner?{}", planner::link::to_query(&plan));
        page.goto(format!("{}{path}", server.url)).await?;
        let hydrated = By::Css("[data-hydrated=\"true\"]");
        page.query(hydrated).wait(PATIENCE, Duration::from_millis(50)).first().await?;
        let answer = page.execute_async(SCRIPT, vec![moves.into()]).await?;
        let json = answer.json().clone();
        let mut found: Found =
            serde_json::from_value(json.clone()).with_context(|| format!("{path}: {json}"))?;
        ensure!(found.sliders > 0, "{path} has no slider");
        ensure!(found.totals > 5, "{path}: the answer had {} totals in {moves} moves", found.totals);
        ensure!(found.requests == 0, "{path}: {} requests while sliders moved", found.requests);
        for times in [&mut found.drag, &mut found.frames, &mut found.slow] {
            times.sort_by(f64::total_cmp);
        }
        let at = |sorted: &[f64], percent: usize| sorted[(sorted.len() - 1) * percent / 100];
        let (drag, slow) = (at(&found.drag, 95), at(&found.slow, 95));
        println!(
            "{name:30} {:8.1} {drag:5.1} {:11.1} {:11.1} {slow:5.1} {:10.0}",
            at(&found.drag, 50),
            at(&found.frames, 95),
            at(&found.slow, 50),
            found.rest,
        );
        worst = worst.max(drag);
    }
    page.quit().await?;
    ensure!(
        worst <= LIMIT_MS,
        "a plan's drag takes {worst:.1} ms a move at the 95th percentile, more than {LIMIT_MS} ms"
    );
    Ok(())
}

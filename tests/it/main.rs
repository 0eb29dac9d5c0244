//! End-to-end tests: what crosses crates, with the real binaries.
#![allow(clippy::panic, reason = "helpers of tests fail as tests do")]

mod browser;
mod candle_memory;
mod command_line;
mod first_load;
mod first_start;
mod journeys;
mod loop_by_hand;
mod pages;
mod reference;
mod resume;
mod wasm;

use contract::case::Device;
use contract::sweep::Sweep;
use planner::Tokens;

/// A sweep small enough for a test: random weights in the smallest catalogue shape.
fn small_sweep(batches: &[u32], prompts: &[u64], repetitions: u32) -> Sweep {
    Sweep {
        models: vec!["HuggingFaceTB/SmolLM2-135M".to_owned()],
        precisions: vec!["bf16".to_owned()],
        batches: batches.to_vec(),
        prompts: prompts.iter().copied().map(Tokens).collect(),
        generates: vec![Tokens(4)],
        device: Device::Cpu,
        repetitions,
        ..Sweep::default()
    }
}

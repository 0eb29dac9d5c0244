//! The planner as a WebAssembly module for Node: what `tests/it/wasm.rs` holds against the native planner.
//!
//! `cargo build --release -p planner --example wasm_estimate --target wasm32-unknown-unknown`, then
//! `wasm-bindgen --target nodejs`.

use planner::Plan;
use wasm_bindgen::prelude::wasm_bindgen;

/// The estimate of a plan document as JSON, or its error as JSON.
#[wasm_bindgen]
#[must_use]
pub fn estimate(plan: &str) -> String {
    let answer = Plan::from_json(plan).and_then(|plan| planner::estimate(&plan));
    match answer {
        Ok(estimate) => serde_json::to_string(&estimate).unwrap_or_default(),
        Err(error) => serde_json::to_string(&error).unwrap_or_default(),
    }
}

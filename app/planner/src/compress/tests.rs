//! What pruning leaves, and what it refuses.

use serde_json::{Value, json};

use super::*;
use crate::catalogue;

fn plan(engine: &str, prune: &Value) -> Plan {
    Plan::from_value(json!({
        "schema": 1, "model": { "id": "meta-llama/Llama-3.1-8B" }, "gpu": { "id": "h100-sxm-80gb" },
        "engine": { "name": engine }, "compression": { "prune": prune },
        "workload": { "kind": "serve", "prompt_tokens": 128, "output_tokens": 16 }
    }))
    .unwrap()
}

fn pruned(engine: &str, prune: &Value) -> Result<(Model, bool, Vec<Warning>), PlanError> {
    let mut model = catalogue::model("meta-llama/Llama-3.1-8B").unwrap().model().unwrap();
    let mut warnings = Vec::new();
    let sparse = apply(&plan(engine, prune), &mut model, &mut warnings)?;
    Ok((model, sparse, warnings))
}

/// A layer of Llama 3.1 8B has 4 × 4096 × (4096 + 1024 + ...) …: 218,112,000 parameters, by its published shapes.
#[test]
fn depth_removes_whole_layers() {
    let whole = pruned("candle", &json!({ "kind": "none" })).unwrap().0.parameters().total;
    let layer = 2 * 4096 * 4096 + 2 * 1024 * 4096 + 3 * 14_336 * 4096 + 2 * 4096;
    for layers in [0u64, 1, 8, 31] {
        let (model, sparse, _) = pruned("candle", &json!({ "kind": "depth", "layers": layers })).unwrap();
        assert_eq!(model.parameters().total, whole - layers * layer);
        assert!(!sparse);
    }
}

/// Every matrix has one side of the hidden width, so a quarter less of it is a quarter less of all parameters.
#[test]
fn width_scales_all_parameters() {
    let whole = pruned("candle", &json!({ "kind": "none" })).unwrap().0.parameters().total;
    let (model, ..) = pruned("candle", &json!({ "kind": "width", "hidden": 0.25 })).unwrap();
    assert_eq!(model.hidden, 3072);
    assert_eq!(model.parameters().total, whole / 4 * 3);
}

#[test]
fn unstructured_zeros_save_nothing_and_say_so() {
    let whole = pruned("candle", &json!({ "kind": "none" })).unwrap().0.parameters();
    let (model, sparse, warnings) =
        pruned("candle", &json!({ "kind": "unstructured", "sparsity": 0.5 })).unwrap();
    assert_eq!((model.parameters(), sparse), (whole, false));
    assert_eq!(warnings[0].code, "unstructured-saves-nothing");
}

/// NVIDIA's format: 16-bit values take 9/16, 8-bit values 5/8.
#[test]
fn two_of_four_keeps_half_the_values_and_two_bits_each() {
    for (precision, share) in [
        (None, 9.0 / 16.0),
        (Some(WeightPrecision::Bf16), 9.0 / 16.0),
        (Some(WeightPrecision::Fp8), 5.0 / 8.0),
    ] {
        assert!((two_of_four_share(precision) - share).abs() < 1e-12, "{precision:?}");
    }
    assert!(pruned("vllm", &json!({ "kind": "2:4" })).unwrap().1);
}

#[test]
fn absurd_pruning_is_refused() {
    let cases = [
        ("candle", json!({ "kind": "depth", "layers": 32 }), "compression.prune.layers"),
        ("candle", json!({ "kind": "depth", "layers": u32::MAX }), "compression.prune.layers"),
        ("candle", json!({ "kind": "width", "hidden": 1.0 }), "compression.prune.hidden"),
        ("candle", json!({ "kind": "width", "hidden": -0.1 }), "compression.prune.hidden"),
        ("candle", json!({ "kind": "width", "hidden": 0.999 }), "compression.prune.hidden"),
        ("candle", json!({ "kind": "unstructured", "sparsity": 1.5 }), "compression.prune.sparsity"),
        ("candle", json!({ "kind": "2:4" }), "compression.prune.kind"),
        ("llama.cpp", json!({ "kind": "2:4" }), "compression.prune.kind"),
    ];
    for (engine, prune, field) in cases {
        assert_eq!(pruned(engine, &prune).expect_err(&prune.to_string()).field, field);
    }
}

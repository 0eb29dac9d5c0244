//! torchtitan held against its published runs.

use serde_json::{Value, json};

use crate::document::plan::Plan;
use crate::engine::Breakdown;
use crate::engine::resolved::Resolved;
use crate::error::PlanError;

fn document(model: &str, parallelism: &Value, workload: &Value) -> Value {
    let mut train = json!({ "kind": "train", "method": "full" });
    for (key, value) in workload.as_object().unwrap() {
        train[key] = value.clone();
    }
    json!({
        "schema": 1,
        "model": { "id": model },
        "gpu": { "id": "h100-96gb" },
        "engine": { "name": "torchtitan" },
        "parallelism": parallelism,
        "workload": train
    })
}

fn of(document: Value) -> Result<Breakdown, PlanError> {
    let plan: Plan = serde_json::from_value(document).unwrap();
    let resolved = Resolved::of(&plan)?;
    super::prepare(&resolved)?.breakdown(&resolved.numbers).map(Breakdown::finish)
}

const SMALL: &str = "meta-llama/Llama-3.1-8B";

/// Peak reserved memory in GiB, the fullest of all GPUs: Llama 3.1 8B on H100 96 GB (`pytorch/torchtitan`, commit b5bcd76,
/// `benchmarks/llama3_h100_202412_torchtitan.md`, tables 1 to 3).
#[test]
fn reserves_what_was_published() {
    let short = |compile: bool, float8: bool| {
        json!({
            "sequence_tokens": 8192, "micro_batch": 2, "checkpointing": "selective", "compile": compile,
            "float8_linear": float8
        })
    };
    let long = json!({
        "sequence_tokens": 32768, "micro_batch": 1, "checkpointing": "full", "compile": true, "float8_linear": true
    });
    let cases = [
        (8, short(false, false), 82.4),
        (8, short(true, false), 77.0),
        (8, short(true, true), 76.8),
        (8, long, 83.9),
        (128, short(false, false), 67.0),
        (128, short(true, false), 62.0),
        (128, short(true, true), 61.8),
    ];
    for (gpus, workload, gib) in cases {
        let found = of(document(SMALL, &json!({ "data": gpus, "zero_stage": 3 }), &workload)).unwrap();
        let planned = found.reserved.gib();
        assert!(
            (planned / gib - 1.0).abs() < 0.012,
            "{gpus} {workload}: planned {planned:.2}, published {gib}"
        );
    }
}

/// Selective checkpointing of one block of Llama 3.1 8B by operation: input, query, value, attention output with its fp32
/// log-sums, gate; in eager mode also the down projection's output. Sixteen-bit elements.
#[test]
fn selective_checkpointing_keeps_every_other_product() {
    let workload = |compile: bool| json!({ "sequence_tokens": 8192, "micro_batch": 2, "checkpointing": "selective", "compile": compile });
    let kept = |compile: bool| {
        let whole = of(document(SMALL, &json!({ "data": 8, "zero_stage": 3 }), &workload(compile))).unwrap();
        // What the loss keeps of a token: logits in fp32, the final norm's ten bytes an element.
        whole.parts.activations.0 / (2 * 8192) - (128_256 * 4 + 4096 * 10)
    };
    let block = 2 * (4096 + 4096 + 1024 + 4096 + 14336) + 4 * 32;
    assert_eq!(kept(true), 32 * block);
    assert_eq!(kept(false), 32 * (block + 2 * 4096));
}

#[test]
fn full_sharding_divides_states() {
    let workload = json!({ "sequence_tokens": 8192, "checkpointing": "full" });
    let by = |data: u64| {
        let parts = of(document(SMALL, &json!({ "data": data, "zero_stage": 3 }), &workload)).unwrap().parts;
        (parts.weights.0, parts.gradients.0, parts.optimizer.0)
    };
    let (weights, gradients, optimizer) = by(1);
    assert_eq!(weights, 8_030_261_248 * 4);
    assert_eq!((gradients, optimizer), (weights, 2 * weights));
    assert_eq!(by(64), (weights / 64, gradients / 64, optimizer / 64));
}

#[test]
fn stages_keep_gathered_parameters() {
    let workload = json!({ "sequence_tokens": 8192, "micro_batch": 8, "checkpointing": "full" });
    let staged = json!({ "data": 4, "pipeline": 4, "zero_stage": 3 });
    let found = of(document(SMALL, &staged, &workload)).unwrap().parts;
    // A quarter of the layers in 16 bit, and their gradients whole in fp32.
    assert!(found.temporary.0 > 8_030_261_248 / 4 * 6 * 8 / 10);
}

#[test]
fn context_parallelism_divides_the_sequence() {
    let long =
        json!({ "sequence_tokens": 131_072, "micro_batch": 1, "checkpointing": "full", "compile": true });
    let short =
        json!({ "sequence_tokens": 32768, "micro_batch": 1, "checkpointing": "full", "compile": true });
    let divided = of(document(SMALL, &json!({ "data": 2, "context": 4, "zero_stage": 3 }), &long)).unwrap();
    let whole = of(document(SMALL, &json!({ "data": 8, "zero_stage": 3 }), &short)).unwrap();
    assert_eq!(divided.parts.activations, whole.parts.activations);
    assert_eq!(divided.parts.weights, whole.parts.weights);
}

#[test]
fn refuses_by_field() {
    let cases = [
        (json!({ "data": 2, "zero_stage": 1 }), json!({}), "parallelism.zero_stage"),
        (json!({ "tensor": 16 }), json!({}), "parallelism.tensor"),
        (json!({}), json!({ "gradient_accumulation": 4 }), "workload.gradient_accumulation"),
        (json!({}), json!({ "optimizer": "lion" }), "workload.optimizer"),
        (json!({}), json!({ "fused_cross_entropy": true }), "workload.fused_cross_entropy"),
        (json!({ "tensor": 2 }), json!({ "async_tensor_parallel": true }), "workload.async_tensor_parallel"),
        (
            json!({ "data": 2, "zero_stage": 3, "offload": { "optimizer": "cpu" } }),
            json!({}),
            "parallelism.offload.optimizer",
        ),
    ];
    for (parallelism, mut workload, field) in cases {
        workload["sequence_tokens"] = json!(2048);
        assert_eq!(of(document(SMALL, &parallelism, &workload)).unwrap_err().field, field);
    }
}

#[test]
fn more_never_takes_less_and_absurd_numbers_saturate() {
    let workload = json!({ "sequence_tokens": 8192, "micro_batch": 8, "checkpointing": "full" });
    for parallelism in [
        json!({ "data": 8, "zero_stage": 3 }),
        json!({ "data": 2, "tensor": 4, "sequence": true, "zero_stage": 3 }),
        json!({ "data": 2, "pipeline": 4, "zero_stage": 3 }),
    ] {
        let plan: Plan = serde_json::from_value(document(SMALL, &parallelism, &workload)).unwrap();
        let resolved = Resolved::of(&plan).unwrap();
        let policy = super::prepare(&resolved).unwrap();
        let total = |change: &dyn Fn(&mut crate::engine::Numbers)| {
            let mut numbers = resolved.numbers;
            change(&mut numbers);
            policy.breakdown(&numbers).unwrap().finish().parts.total.0
        };
        let base = total(&|_| {});
        assert!(total(&|n| n.sequence.0 *= 2) > base);
        assert!(total(&|n| n.micro_batch *= 2) > base);
        let absurd =
            total(&|n| (n.sequence.0, n.micro_batch, n.gradient_accumulation) = (1 << 40, 1 << 40, 1 << 40));
        assert!(absurd > base);
    }
}

//! What fits, and that one more does not.

use serde_json::{Value, json};

use super::*;
use crate::estimate;

fn plan(gpu: &Value, prompt: u64, output: u64, batch: u64) -> Plan {
    Plan::from_value(json!({
        "schema": 1, "model": { "id": "meta-llama/Llama-3.1-8B" }, "gpu": gpu,
        "workload": { "kind": "serve", "prompt_tokens": prompt, "output_tokens": output, "concurrent_sequences": batch }
    }))
    .unwrap()
}

fn h100() -> Value {
    json!({ "id": "h100-sxm-80gb" })
}

#[test]
fn one_sequence_more_does_not_fit() {
    let plan = plan(&h100(), 2048, 512, 1);
    let most = largest_batch(&plan).unwrap();
    assert!(most > 4, "{most}");
    assert!(estimate(&with_batch(&plan, most).unwrap()).unwrap().fits);
    assert!(!estimate(&with_batch(&plan, most + 1).unwrap()).unwrap().fits);
}

#[test]
fn one_token_more_does_not_fit() {
    let plan = plan(&h100(), 1, 64, 8);
    let longest = longest_context(&plan).unwrap();
    assert!(longest > Tokens(1000), "{longest}");
    assert!(estimate(&with_context(&plan, longest).unwrap()).unwrap().fits);
    assert!(!estimate(&with_context(&plan, longest + Tokens(1)).unwrap()).unwrap().fits);
}

#[test]
fn nothing_fits_a_small_card() {
    let plan = plan(&json!({ "id": "rtx-4060-8gb" }), 2048, 512, 1);
    assert_eq!(largest_batch(&plan), Ok(0));
    assert_eq!(longest_context(&plan), Ok(Tokens(0)));
    assert_eq!(load_line(&plan, &[1]), Ok(vec![LoadPoint { batch: 1, context: Tokens(0) }]));
}

#[test]
fn the_model_is_the_limit_where_memory_is_not() {
    let mut plan = plan(&json!({ "id": "cpu", "memory_mib": 1u64 << 40 }), 1, 1, 1);
    plan.model.id = Some("HuggingFaceTB/SmolLM2-135M".into());
    plan.precision.weights = Some("fp32".parse().unwrap());
    assert_eq!(longest_context(&plan), Ok(Tokens(8192)));
    assert_eq!(largest_batch(&plan), Ok(MAX_SEQUENCES));
}

#[test]
fn the_load_line_falls() {
    let line = load_line(&plan(&h100(), 1, 128, 1), &[1, 2, 4, 8, 16, 32]).unwrap();
    assert_eq!(line.len(), 6);
    for pair in line.windows(2) {
        assert!(pair[1].context <= pair[0].context, "{line:?}");
    }
    assert!(line[5].context < line[0].context);
}

#[test]
fn questions_without_an_answer_are_errors() {
    let unknown = plan(&json!({ "id": "cpu" }), 1, 1, 1);
    assert_eq!(largest_batch(&unknown).unwrap_err().field, "gpu.memory_mib");
    assert_eq!(longest_context(&unknown).unwrap_err().field, "gpu.memory_mib");
    assert_eq!(load_line(&plan(&h100(), 1, 1, 1), &[0]).unwrap_err().field, "workload.concurrent_sequences");
    let mut embed = plan(&h100(), 1, 1, 1);
    embed.workload = Workload::Embed { sequence_tokens: Tokens(1), batch: 1 };
    for error in [largest_batch(&embed).unwrap_err(), longest_context(&embed).unwrap_err()] {
        assert_eq!(error.field, "workload.kind");
    }
    let long = plan(&h100(), 1, 131_072, 1);
    assert_eq!(longest_context(&long).unwrap_err().field, "workload.output_tokens");
}

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

fn vllm(model: &str, gpu: &str, batch: u64) -> Plan {
    Plan::from_value(json!({
        "schema": 1, "model": { "id": model }, "gpu": { "id": gpu }, "engine": { "name": "vllm" },
        "workload": { "kind": "serve", "prompt_tokens": 1024, "output_tokens": 256, "concurrent_sequences": batch }
    }))
    .unwrap()
}

/// Every layout is of as many GPUs as asked, fits as an estimate of its own says, and the first is the fastest.
#[test]
fn layouts_are_of_all_gpus_and_fit() {
    let plan = vllm("meta-llama/Llama-3.1-70B", "h100-sxm-80gb", 64);
    for gpus in [4, 8, 16] {
        let found = best_layout(&plan, gpus, &SpeedLimits::default()).unwrap();
        assert!(!found.is_empty(), "{gpus}");
        for point in &found {
            let p = &point.parallelism;
            assert_eq!(p.tensor * p.pipeline * p.data * p.context, gpus);
            let mut spread = plan.clone();
            spread.parallelism = p.clone();
            let estimate = estimate(&spread).unwrap();
            assert!(estimate.fits);
            assert_eq!(estimate.per_gpu.total, point.total_bytes);
            let speed = estimate.speed.unwrap().tokens_per_second;
            assert!((speed - point.tokens_per_second.unwrap()).abs() < 1e-9);
        }
        for pair in found.windows(2) {
            assert!(pair[0].tokens_per_second >= pair[1].tokens_per_second);
        }
    }
    // Weights of 141 GB on one card of 80.
    assert_eq!(best_layout(&plan, 1, &SpeedLimits::default()).unwrap(), []);
    assert_eq!(best_layout(&plan, 0, &SpeedLimits::default()).unwrap_err().field, "gpu.count");
}

#[test]
fn limits_of_speed_are_kept() {
    let plan = vllm("meta-llama/Llama-3.1-70B", "h100-sxm-80gb", 64);
    let all = best_layout(&plan, 16, &SpeedLimits::default()).unwrap();
    let times: Vec<f64> = all.iter().filter_map(|p| p.time_per_output_token_ms).collect();
    let limit = times.iter().sum::<f64>() / times.len() as f64;
    let limits = SpeedLimits { time_per_output_token_ms: Some(limit), ..SpeedLimits::default() };
    let fast = best_layout(&plan, 16, &limits).unwrap();
    assert_eq!(fast.len(), times.iter().filter(|t| **t <= limit).count());
    assert!(!fast.is_empty() && fast.len() < all.len());
    let none = SpeedLimits { time_to_first_token_ms: Some(0.0), ..SpeedLimits::default() };
    assert_eq!(best_layout(&plan, 16, &none).unwrap(), []);
}

/// 141 GB of weights: two cards of 80 GB leave too little beside them, and one of 141 GB nothing.
#[test]
fn fewest_and_cheapest() {
    let plan = vllm("meta-llama/Llama-3.1-70B", "h100-sxm-80gb", 8);
    let none = SpeedLimits::default();
    let (few, layout) = fewest_gpus(&plan, &none).unwrap().unwrap();
    assert!((2..=4).contains(&few), "{few}");
    assert!(best_layout(&plan, few - 1, &none).unwrap().is_empty());
    assert_eq!(best_layout(&plan, few, &none).unwrap()[0], layout);
    let prices =
        [("h100-sxm-80gb", 3.0), ("rtx-4090-24gb", 0.4), ("b200-sxm-192gb", 6.0), ("rtx-4060-8gb", 0.1)]
            .map(|(id, price)| (id.to_owned(), price))
            .into();
    let offers = cheapest_gpu(&plan, Some(&prices), &none).unwrap();
    assert!(
        offers.iter().any(|o| o.gpu == "rtx-4090-24gb") && offers.iter().all(|o| o.gpu != "rtx-4060-8gb")
    );
    for pair in offers.windows(2) {
        assert!(pair[0].per_hour <= pair[1].per_hour);
    }
    for offer in &offers {
        assert!((offer.per_hour.unwrap() - prices[&offer.gpu] * f64::from(offer.count)).abs() < 1e-9);
    }
    let unknown = [("h100".to_owned(), 1.0)].into();
    assert_eq!(cheapest_gpu(&plan, Some(&unknown), &none).unwrap_err().field, "prices");
}

#[test]
fn no_point_of_the_pareto_set_is_beaten() {
    let points = pareto(&vllm("meta-llama/Llama-3.1-8B", "h100-sxm-80gb", 8)).unwrap();
    assert!(points.len() >= 2, "{points:?}");
    for (a, b) in points.iter().flat_map(|a| points.iter().map(move |b| (a, b))) {
        let worse = b.needed_bytes > a.needed_bytes
            && b.tokens_per_second < a.tokens_per_second
            && b.quality.as_ref().map(|q| q.class) > a.quality.as_ref().map(|q| q.class)
            && a.quality.is_some();
        assert!(!worse, "{a:?} beats {b:?}");
    }
    for pair in points.windows(2) {
        assert!(pair[0].needed_bytes <= pair[1].needed_bytes);
    }
}

/// Without prices nothing is invented: fewer GPUs first, then less memory.
#[test]
fn without_prices_the_fewest_gpus_and_the_least_memory_rank() {
    let plan = vllm("meta-llama/Llama-3.1-8B", "h100-sxm-80gb", 4);
    let offers = cheapest_gpu(&plan, None, &SpeedLimits::default()).unwrap();
    assert!(offers.len() > 20, "{}", offers.len());
    assert!(offers.iter().all(|o| o.per_hour.is_none() && o.per_million_tokens.is_none()));
    let ranks: Vec<(u32, Bytes)> = offers.iter().map(|o| (o.count, o.memory_bytes)).collect();
    assert!(ranks.is_sorted(), "{ranks:?}");
    let first = &offers[0];
    let mut alone = plan;
    alone.gpu.id.clone_from(&first.gpu);
    assert!(first.count == 1 && estimate(&alone).unwrap().fits, "{first:?}");
}

fn ask(question: &Value) -> Result<Answer, PlanError> {
    let mut document = json!({ "plan": vllm("meta-llama/Llama-3.1-8B", "h100-sxm-80gb", 8) });
    for (key, value) in question.as_object().unwrap() {
        document[key] = value.clone();
    }
    serde_json::from_value::<Question>(document).unwrap().answer()
}

/// Each answer is the function's own, says which question it answers, and can be read.
#[test]
fn a_question_is_answered_by_its_function() {
    let plan = vllm("meta-llama/Llama-3.1-8B", "h100-sxm-80gb", 8);
    let none = SpeedLimits::default();
    let slow = SpeedLimits { time_per_output_token_ms: Some(1e6), ..none };
    let few = fewest_gpus(&plan, &none).unwrap().map(|(count, layout)| Fewest { count, layout });
    let prices = [("h100-sxm-80gb".to_owned(), 2.5)].into();
    let table = [
        (
            json!({ "question": "largest-batch" }),
            Answer::LargestBatch { largest_batch: largest_batch(&plan).unwrap() },
        ),
        (
            json!({ "question": "longest-context" }),
            Answer::LongestContext { longest_context: longest_context(&plan).unwrap() },
        ),
        (
            json!({ "question": "load-line", "batches": [1, 8] }),
            Answer::LoadLine { load_line: load_line(&plan, &[1, 8]).unwrap() },
        ),
        (json!({ "question": "fewest-gpus" }), Answer::FewestGpus { fewest_gpus: few.clone() }),
        (
            json!({ "question": "cheapest-gpu", "prices": { "h100-sxm-80gb": 2.5 } }),
            Answer::CheapestGpu {
                ranked_by: Ranking::Price,
                offers: cheapest_gpu(&plan, Some(&prices), &none).unwrap(),
            },
        ),
        (
            json!({ "question": "layouts", "gpus": 4, "limits": { "time_per_output_token_ms": 1e6 } }),
            Answer::Layouts { gpus: 4, layouts: best_layout(&plan, 4, &slow).unwrap() },
        ),
        (
            json!({ "question": "layouts" }),
            Answer::Layouts { gpus: 1, layouts: best_layout(&plan, 1, &none).unwrap() },
        ),
        (json!({ "question": "pareto" }), Answer::Pareto { precisions: pareto(&plan).unwrap() }),
        (
            json!({ "batches": [2] }),
            Answer::Overview {
                largest_batch: largest_batch(&plan).unwrap(),
                longest_context: longest_context(&plan).unwrap(),
                load_line: load_line(&plan, &[2]).unwrap(),
                fewest_gpus: few,
                precisions: pareto(&plan).unwrap(),
            },
        ),
    ];
    for (question, wanted) in table {
        let answer = ask(&question).unwrap();
        assert_eq!(answer, wanted, "{question}");
        let text = serde_json::to_string(&answer).unwrap();
        let named = question["question"].as_str().unwrap_or("overview");
        assert!(text.starts_with(&format!("{{\"question\":\"{named}\"")), "{text}");
        assert!(serde_json::from_str::<Answer>(&text).is_ok(), "{text}");
    }
}

#[test]
fn a_question_that_contradicts_itself_names_its_field() {
    for (question, field) in [
        (json!({ "question": "largest-batch", "prices": { "t4-16gb": 1.0 } }), "prices"),
        (json!({ "question": "pareto", "gpus": 2 }), "gpus"),
        (json!({ "question": "longest-context", "batches": [1] }), "batches"),
        (json!({ "question": "load-line", "limits": { "time_to_first_token_ms": 1.0 } }), "limits"),
        (json!({ "question": "load-line", "batches": [] }), "batches"),
        (json!({ "batches": [1, 0] }), "batches"),
        (json!({ "question": "load-line", "batches": vec![1; 65] }), "batches"),
        (json!({ "question": "layouts", "gpus": 0 }), "gpus"),
        (json!({ "question": "layouts", "gpus": 1025 }), "gpus"),
        (
            json!({ "question": "fewest-gpus", "limits": { "time_per_output_token_ms": -1.0 } }),
            "limits.time_per_output_token_ms",
        ),
        (json!({ "question": "cheapest-gpu", "prices": {} }), "prices"),
        (json!({ "question": "cheapest-gpu", "prices": { "h100": 1.0 } }), "prices"),
        (json!({ "question": "cheapest-gpu", "prices": { "h100-sxm-80gb": -1.0 } }), "prices.h100-sxm-80gb"),
    ] {
        assert_eq!(ask(&question).unwrap_err().field, field, "{question}");
    }
    let unknown = json!({ "plan": vllm("m", "t4-16gb", 1), "question": "smallest-batch" });
    assert!(serde_json::from_value::<Question>(unknown).is_err());
}

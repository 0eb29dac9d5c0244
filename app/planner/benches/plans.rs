//! How many plans a second one core answers: a plan compiled once and asked again with other numbers, and a search of all
//! layouts of 64 GPUs.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use planner::bytes::Tokens;
use planner::engine::Numbers;
use planner::solve::{SpeedLimits, best_layout};
use planner::{Compiled, Plan};
use serde_json::{Value, json};

fn plan(model: &str, engine: &str, tensor: u32) -> Option<Plan> {
    let document: Value = json!({
        "schema": 1, "model": { "id": model }, "gpu": { "id": "h100-sxm-80gb" }, "engine": { "name": engine },
        "parallelism": { "tensor": tensor },
        "workload": { "kind": "serve", "prompt_tokens": 2048, "output_tokens": 512, "concurrent_sequences": 16 }
    });
    Plan::from_value(document).ok()
}

/// Component bytes of one plan with other numbers, without JSON, strings or advice.
fn breakdowns(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("breakdown");
    group.throughput(Throughput::Elements(1));
    for (name, model, engine, tensor) in [
        ("vllm, 80 dense layers", "meta-llama/Llama-3.1-70B", "vllm", 4),
        ("vllm, 61 layers of experts", "deepseek-ai/DeepSeek-V3", "vllm", 8),
        ("tensorrt-llm, 80 dense layers", "meta-llama/Llama-3.1-70B", "tensorrt-llm", 4),
        ("llama.cpp, 80 dense layers", "meta-llama/Llama-3.1-70B", "llama.cpp", 1),
        ("candle, 32 dense layers", "meta-llama/Llama-3.1-8B", "candle", 1),
    ] {
        let Some(compiled) = plan(model, engine, tensor).and_then(|p| Compiled::new(&p).ok()) else {
            continue;
        };
        let numbers = compiled.numbers();
        let mut turn = 0u64;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                turn = (turn + 1) % 256;
                let changed =
                    Numbers { sequences: 1 + turn, prompt: Tokens(1 + turn * 17), ..black_box(numbers) };
                compiled.breakdown(&changed).map(|answer| answer.parts.total)
            });
        });
    }
    group.finish();
}

/// Every layout of 64 GPUs, each with its memory and its speed.
fn layouts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("layouts of 64 GPUs");
    for (name, model) in
        [("80 dense layers", "meta-llama/Llama-3.1-70B"), ("61 layers of experts", "deepseek-ai/DeepSeek-V3")]
    {
        let Some(mut plan) = plan(model, "vllm", 1) else { continue };
        if let planner::document::plan::Workload::Serve(serve) = &mut plan.workload {
            serve.concurrent_sequences = 256;
        }
        if Compiled::new(&plan).is_err() {
            continue;
        }
        let limits = SpeedLimits { time_to_first_token_ms: Some(1e6), time_per_output_token_ms: Some(100.0) };
        group.bench_function(name, |bencher| bencher.iter(|| best_layout(black_box(&plan), 64, &limits)));
    }
    group.finish();
}

criterion_group!(benches, breakdowns, layouts);
criterion_main!(benches);

//! Megatron held against its own script and against measured runs.

use serde_json::{Value, json};

use super::layout::{self, Ranks};
use super::theoretical::{Run, Theoretical, theoretical};
use crate::document::plan::{Parallelism, PipelineSchedule, Plan};
use crate::engine::Breakdown;
use crate::engine::resolved::Resolved;
use crate::error::PlanError;
use crate::model::{DenseFeedForward, FeedForward, Model};
use crate::testing::{self, deepseek_v2_frame, llama};

fn model(config: &Value) -> Model {
    Model::from_config("test", config).unwrap()
}

fn deepseek_v2(layers: u64) -> Model {
    let mut deepseek = model(&deepseek_v2_frame(layers));
    testing::deepseek_v2(&mut deepseek);
    deepseek
}

/// GPT-3 175B (arXiv 2005.14165, table 2.1) in Megatron's terms.
fn gpt3() -> Model {
    let mut config = llama(96, 12288, 49152, 96, 50257);
    config["num_key_value_heads"] = json!(96);
    config["tie_word_embeddings"] = json!(true);
    let mut gpt = model(&config);
    for layer in &mut gpt.layers {
        layer.feed_forward = FeedForward::Dense(DenseFeedForward {
            intermediate: 49152,
            gated: false,
            fused_gate_up: false,
            bias: true,
        });
    }
    gpt
}

fn ranks(tensor: u64, pipeline: u64, data: u64) -> Ranks {
    Ranks {
        tensor,
        pipeline,
        data,
        context: 1,
        expert: 1,
        expert_tensor: 1,
        expert_data: data,
        sequence: tensor > 1,
    }
}

/// `compute_weight_and_optimizer_memory` and `compute_activation_memory` of core 0.14.0 (commit 23e00ed), run with these
/// arguments: both in bytes, before they are divided by 2^20 and printed.
#[test]
fn prints_what_megatron_prints() {
    let small = model(&llama(32, 4096, 14336, 32, 128_256));
    let large = model(&llama(12, 8192, 28672, 64, 128_256));
    let plain = PipelineSchedule::OneFOneB;
    let interleaved = PipelineSchedule::Interleaved { virtual_stages: 2 };
    #[rustfmt::skip]
    let cases = [
        (&large, ranks(2, 1, 4), true, plain, 4096, 4, 55_662_354_432.0, 7_577_026_560.0),
        (&large, ranks(1, 2, 4), true, plain, 4096, 4, 55_662_354_432.0, 12_952_076_288.0),
        (&small, ranks(4, 2, 8), true, interleaved, 4096, 16, 7_530_585_600.0, 5_379_215_360.0),
        (&small, ranks(1, 4, 1), false, plain, 4096, 2, 40_865_402_880.0, 8_623_554_560.0),
        (&gpt3(), ranks(8, 8, 8), true, plain, 2048, 64, 20_974_697_280.0, 10_292_838_400.0),
        (&deepseek_v2(4), ranks(1, 1, 8), true, plain, 4096, 4, 99_753_753_600.0, 4_097_867_776.0),
    ];
    for (model, ranks, distributed_optimizer, schedule, sequence, microbatches, weights, activations) in cases
    {
        let run = Run { ranks, distributed_optimizer, schedule, sequence, micro_batch: 1, microbatches };
        let wanted = Theoretical { weights_and_optimizer: weights, activations };
        assert_eq!(theoretical(model, &run), wanted, "{} {ranks:?}", model.name);
    }
}

fn plan(config: &Value, gpus: u64, parallelism: &Value, microbatches: u64) -> Plan {
    serde_json::from_value(json!({
        "schema": 1,
        "model": { "name": "test", "config": config },
        "gpu": { "id": "b200-sxm-192gb", "count": gpus },
        "engine": { "name": "megatron", "version": "0.14" },
        "precision": { "weights": "bf16", "activations": "bf16" },
        "attention": { "kind": "flash" },
        "parallelism": parallelism,
        "workload": {
            "kind": "train", "method": "full", "sequence_tokens": 4096, "gradient_accumulation": microbatches,
            "fused_cross_entropy": true
        }
    }))
    .unwrap()
}

fn breakdown(resolved: &Resolved) -> Result<Breakdown, PlanError> {
    super::prepare(resolved)?.breakdown(&resolved.numbers).map(Breakdown::finish)
}

fn of(plan: &Plan) -> Result<Breakdown, PlanError> {
    breakdown(&Resolved::of(plan)?)
}

/// `torch.cuda.max_memory_allocated` of the fullest rank in GiB: Megatron-LM core 0.14 and Transformer Engine 2.11 on
/// eight B200, sequences of 4096 tokens (MooreThreads/SimuMax, commit 4dcaae5, `docs/b200/b200_release_v1.2_summary.md`).
#[test]
fn allocates_what_was_measured() {
    let large = llama(12, 8192, 28672, 64, 128_256);
    let llama_runs = [
        (json!({ "tensor": 2, "data": 4, "sequence": true, "zero_stage": 1 }), 60.68),
        (json!({ "tensor": 4, "data": 2, "sequence": true, "zero_stage": 1 }), 39.07),
        (json!({ "tensor": 8, "sequence": true, "zero_stage": 1 }), 28.29),
        (json!({ "pipeline": 2, "data": 4, "zero_stage": 1 }), 66.55),
    ];
    for (parallelism, gib) in llama_runs {
        let planned = of(&plan(&large, 8, &parallelism, 4)).unwrap().allocated.gib();
        assert!((planned / gib - 1.0).abs() < 0.003, "{parallelism}: planned {planned:.2}, measured {gib}");
    }
    let deepseek_runs = [
        (json!({ "data": 8, "expert": 8, "zero_stage": 1 }), 45.63),
        (json!({ "pipeline": 2, "data": 4, "expert": 4, "zero_stage": 1 }), 44.70),
    ];
    for (parallelism, gib) in deepseek_runs {
        let mut plain = parallelism.clone();
        plain["expert"] = json!(1);
        let mut resolved = Resolved::of(&plan(&deepseek_v2_frame(4), 8, &plain, 4)).unwrap();
        resolved.plan.parallelism = serde_json::from_value(parallelism.clone()).unwrap();
        resolved.model = deepseek_v2(4);
        let planned = breakdown(&resolved).unwrap().allocated.gib();
        assert!((planned / gib - 1.0).abs() < 0.006, "{parallelism}: planned {planned:.2}, measured {gib}");
    }
}

#[test]
fn schedules_keep_what_they_have_in_flight() {
    // (stage, stages, virtual stages, gpipe, microbatches) -> chunks
    let cases = [
        ((0, 4, 1, false, 16), 4),
        ((3, 4, 1, false, 16), 1),
        ((0, 4, 1, false, 2), 2),
        ((0, 4, 1, true, 16), 16),
        ((0, 4, 2, false, 16), 11),
        ((3, 4, 2, false, 16), 5),
    ];
    for ((stage, stages, virtual_stages, gpipe, microbatches), held) in cases {
        let found = layout::in_flight(stage, stages, virtual_stages, gpipe, microbatches);
        assert_eq!(found, held, "stage {stage} of {stages}, {virtual_stages} virtual, gpipe {gpipe}");
        let by_chunk: u64 =
            (0..virtual_stages).map(|c| layout::held_of_chunk(held, c, stages, virtual_stages)).sum();
        assert_eq!(by_chunk, held);
    }
}

#[test]
fn layers_that_do_not_divide_leave_the_ends_short() {
    let sizes = |layers, stages| -> Vec<u64> {
        layout::chunks(layers, stages, PipelineSchedule::OneFOneB)
            .unwrap()
            .iter()
            .map(|chunks| chunks.iter().map(|(from, to)| to - from).sum())
            .collect()
    };
    assert_eq!(sizes(126, 8), [15, 16, 16, 16, 16, 16, 16, 15]);
    assert_eq!(sizes(13, 2), [6, 7]);
    for layers in 3..40 {
        for stages in 1..=layers {
            let sizes = sizes(layers, stages);
            assert_eq!(sizes.iter().sum::<u64>(), layers, "{layers} over {stages}");
            assert!(sizes.iter().all(|s| *s > 0), "{layers} over {stages}: {sizes:?}");
        }
    }
}

#[test]
fn recomputation_trades_activations() {
    let config = llama(12, 8192, 28672, 64, 128_256);
    let mut plan = plan(&config, 8, &json!({ "pipeline": 2, "data": 4, "zero_stage": 1 }), 8);
    let mut last = u64::MAX;
    for (attention, checkpointing) in
        [("eager", "none"), ("eager", "selective"), ("flash", "selective"), ("flash", "full")]
    {
        plan.attention = Some(serde_json::from_value::<_>(json!({ "kind": attention })).unwrap());
        let crate::document::plan::Workload::Train(train) = &mut plan.workload else { return };
        train.checkpointing = serde_json::from_value(json!(checkpointing)).unwrap();
        let found = of(&plan).unwrap().parts.activations.0;
        assert!(found < last, "{attention} {checkpointing}: {found} is not below {last}");
        last = found;
    }
}

#[test]
fn distributed_optimizer_divides_states_by_the_ranks() {
    let config = llama(12, 8192, 28672, 64, 128_256);
    let whole = of(&plan(&config, 8, &json!({ "data": 8 }), 1)).unwrap().parts;
    let divided = of(&plan(&config, 8, &json!({ "data": 8, "zero_stage": 1 }), 1)).unwrap().parts;
    assert_eq!(whole.optimizer.0, divided.optimizer.0 * 8);
    assert_eq!(whole.weights, divided.weights);
    assert_eq!(whole.gradients.0, 2 * whole.weights.0);
}

#[test]
fn offloaded_states_move_to_the_host() {
    let config = llama(12, 8192, 28672, 64, 128_256);
    let on = of(&plan(&config, 8, &json!({ "data": 8, "zero_stage": 1 }), 1)).unwrap();
    let offload = json!({ "data": 8, "zero_stage": 1, "offload": { "optimizer": "cpu" } });
    let off = of(&plan(&config, 8, &offload, 1)).unwrap();
    assert_eq!((off.parts.optimizer.0, off.host.optimizer), (0, on.parts.optimizer));
    assert_eq!(on.allocated.0 - off.allocated.0, on.parts.optimizer.0);
}

#[test]
fn refuses_by_field() {
    let config = llama(12, 8192, 28672, 64, 128_256);
    let cases = [
        (json!({ "tensor": 16 }), json!({}), "parallelism.tensor"),
        (json!({ "expert": 2, "data": 2 }), json!({}), "parallelism.expert"),
        (json!({ "zero_stage": 3 }), json!({}), "parallelism.zero_stage"),
        (json!({}), json!({ "optimizer": "lion" }), "workload.optimizer"),
        (json!({}), json!({ "compile": true }), "workload.compile"),
        (json!({}), json!({ "master_weights": false }), "workload.master_weights"),
        (
            json!({ "pipeline": 4, "pipeline_schedule": { "kind": "interleaved", "virtual_stages": 2 } }),
            json!({}),
            "parallelism.pipeline_schedule.virtual_stages",
        ),
    ];
    for (parallelism, workload, field) in cases {
        let mut document = serde_json::to_value(plan(&config, 1, &parallelism, 1)).unwrap();
        document["gpu"]["count"] = Value::Null;
        for (key, value) in workload.as_object().unwrap() {
            document["workload"][key] = value.clone();
        }
        let plan: Plan = serde_json::from_value(document).unwrap();
        assert_eq!(of(&plan).unwrap_err().field, field);
    }
}

#[test]
fn experts_divide_over_what_data_ranks_leave() {
    let layout = |tensor: u32, data: u32, expert: u32| {
        let p = Parallelism { tensor, data, expert, sequence: true, ..Parallelism::default() };
        Ranks::of(&p, Some(160)).map(|r| (r.expert_tensor, r.expert_data))
    };
    assert_eq!(layout(1, 8, 8).unwrap(), (1, 1));
    assert_eq!(layout(2, 8, 4).unwrap(), (2, 2));
    assert_eq!(layout(8, 1, 8).unwrap(), (1, 1));
    assert_eq!(layout(1, 8, 3).unwrap_err().field, "parallelism.expert");
}

#[test]
fn more_never_takes_less_and_absurd_numbers_saturate() {
    let config = llama(12, 8192, 28672, 64, 128_256);
    for parallelism in [
        json!({ "tensor": 2, "data": 4, "sequence": true, "zero_stage": 1 }),
        json!({ "pipeline": 4, "data": 2, "pipeline_schedule": { "kind": "gpipe" } }),
        json!({ "pipeline": 2, "data": 4, "pipeline_schedule": { "kind": "interleaved", "virtual_stages": 3 } }),
        json!({ "context": 8, "zero_stage": 1 }),
    ] {
        let resolved = Resolved::of(&plan(&config, 8, &parallelism, 8)).unwrap();
        let policy = super::prepare(&resolved).unwrap();
        let total = |change: &dyn Fn(&mut crate::engine::Numbers)| {
            let mut numbers = resolved.numbers;
            change(&mut numbers);
            policy.breakdown(&numbers).unwrap().finish().parts.total.0
        };
        let base = total(&|_| {});
        assert!(total(&|n| n.sequence.0 *= 2) > base);
        assert!(total(&|n| n.micro_batch += 1) > base);
        assert!(total(&|n| n.gradient_accumulation += 8) >= base);
        let absurd =
            total(&|n| (n.sequence.0, n.micro_batch, n.gradient_accumulation) = (1 << 40, 1 << 40, 1 << 40));
        assert!(absurd > base);
    }
}

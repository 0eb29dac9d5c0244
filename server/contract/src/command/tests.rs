use planner::document::plan::{Attention, CacheKind, Optimizer, TrainMethod};
use planner::document::precision::CachePrecision;
use planner::{Bytes, Tokens};

use super::*;
use crate::case::{Device, Variant};
use crate::cuda::{EventTracking, ReleaseThreshold};
use crate::edge::EdgeAxis;
use crate::measurement::Measurement;
use crate::shard::Shard;
use crate::sweep::first_benchmark;
use crate::telemetry::MemoryTrace;
use crate::training::{Training, product};

fn spec() -> CaseSpec {
    CaseSpec {
        model: "HuggingFaceTB/SmolLM2-135M".to_owned(),
        precision: "bf16".to_owned(),
        device: Device::Cuda(1),
        batch: 2,
        prompt_tokens: Tokens(512),
        generate_tokens: Tokens(64),
        repetitions: 5,
        ..CaseSpec::default()
    }
}

#[test]
fn a_command_can_be_pasted() {
    assert_eq!(
        case_command(&spec(), None),
        "bench-runner run --model HuggingFaceTB/SmolLM2-135M --precision bf16 --variant stock --batch 2 --prompt 512 \
         --generate 64 --device cuda:1 --repetitions 5"
    );
    assert_eq!(quoted(""), "''");
}

#[test]
fn a_command_names_the_folder_that_is_to_be_filled_in() {
    let file = CaseSpec { model: "it's mine".to_owned(), ..spec() };
    let start = r"bench-runner run --model 'it'\''s mine' --models-dir '<FOLDER OF THE MODEL>' --precision";
    assert!(case_command(&file, None).starts_with(start), "{}", case_command(&file, None));
}

#[test]
fn a_command_keeps_how_it_was_computed() {
    let big_bird =
        Attention::BigBird { block: Tokens(64), window_blocks: 3, global_blocks: 2, random_blocks: 1 };
    for (attention, word) in [
        (Attention::Eager, "eager"),
        (Attention::MemoryEfficient, "memory-efficient"),
        (Attention::Flash, "flash"),
        (Attention::SlidingWindow { window: Tokens(4096) }, "sliding-window:4096"),
        (Attention::Longformer { window: Tokens(512), global_tokens: Tokens(1) }, "longformer:512:1"),
        (big_bird, "big-bird:64:3:2:1"),
    ] {
        let command = case_command(&CaseSpec { attention: Some(attention), ..spec() }, None);
        assert!(command.contains(&format!(" --attention {word} --batch")), "{command}");
    }
    let ours = CaseSpec {
        variant: Some(Variant::Plimsoll),
        cache: Some(CacheKind::Rotating),
        kv_cache: Some(CachePrecision::Int8),
        release_threshold: Some(ReleaseThreshold::Max),
        event_tracking: Some(EventTracking::Off),
        quality: Some(Tokens(4096)),
        ..spec()
    };
    let command = case_command(&ours, None);
    let ways =
        "--variant plimsoll --cache rotating --kv-cache int8 --release-threshold max --event-tracking off";
    assert!(command.contains(&format!(" {ways} --batch")), "{command}");
    assert!(command.ends_with(" --repetitions 5 --quality 4096"), "{command}");
    let limited = CaseSpec {
        memory_limit: Some(Bytes::from_mib(600)),
        seed: 7,
        edge: Some(EdgeSpec { limit: Some(64), ..EdgeSpec::exact(EdgeAxis::Batch) }),
        ..spec()
    };
    let command = case_command(&limited, None);
    let end = " --memory-limit 629145600B --seed 7 --edge batch --edge-resolution 1 --edge-limit 64";
    assert!(command.ends_with(end), "{command}");
}

#[test]
fn a_sweep_is_one_command_where_its_steps_are_a_product() {
    assert_eq!(
        commands(&first_benchmark()),
        [
            "bench-runner run --model HuggingFaceTB/SmolLM2-135M --precision fp32,bf16 --batch 1,2 --prompt 64,128 \
          --generate 8 --device cpu --repetitions 2"
        ]
    );
    let steps =
        product(&[(TrainMethod::Full, None)], &[Optimizer::Adamw, Optimizer::Sgd], &[], &[1, 2], true);
    let trained = |trainings: Vec<Training>| {
        let shard = Some(Shard { index: 2, of: 3 });
        commands(&Sweep { trainings, generates: vec![Tokens(0)], shard, ..first_benchmark() })
    };
    let one = trained(steps.clone());
    assert_eq!(one.len(), 1);
    assert!(
        one[0].contains(" --train full --optimizer adamw,sgd --checkpointing none --accumulate 1,2 --mixed "),
        "{one:?}"
    );
    assert!(one[0].ends_with(" --shard 2/3"), "{one:?}");
    let three = trained(steps[..3].to_vec());
    assert_eq!(three.len(), 3);
    assert!(three[2].contains(" --optimizer sgd --checkpointing none --accumulate 1 --mixed "), "{three:?}");
}

#[test]
fn a_command_computes_with_as_many_threads_and_keeps_what_was_kept() {
    let measured = Measurement {
        threads: Some(2),
        memory_trace: Some(MemoryTrace::default()),
        ..Measurement::default()
    };
    for (device, end) in [
        (Device::Cpu, " --device cpu --repetitions 5 --threads 2 --memory-trace"),
        (Device::Cuda(0), " --device cuda:0 --repetitions 5 --memory-trace"),
    ] {
        let command = case_command(&CaseSpec { device, ..spec() }, Some(&measured));
        assert!(command.ends_with(end), "{command}");
    }
}

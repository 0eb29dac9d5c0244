//! The commands that the contract spells are read back as the sweeps that they were made of.

use clap::Parser;
use contract::case::CaseSpec;
use contract::command::{case_command, commands};
use contract::cuda::{EventTracking, ReleaseThreshold};
use contract::sweep::first_benchmark;
use planner::document::plan::{Attention, Lora, TrainMethod};

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    run: RunArgs,
}

/// The sweep of a command, as this program understands it.
fn read(command: &str) -> Sweep {
    assert!(!command.contains('\''), "{command} needs a shell to be split");
    let words = command.strip_prefix("bench-runner run ").unwrap().split(' ');
    let line = Line::try_parse_from(std::iter::once("bench-runner").chain(words));
    let line = line.unwrap_or_else(|error| panic!("{command}: {error}"));
    let models = resolve(&line.run.model.0, None).unwrap();
    let sweep = line.run.sweep(&models).unwrap();
    assert_eq!(sweep.check(), Ok(()), "{command}");
    sweep
}

fn lora(rank: u32, targets: &[&str]) -> Lora {
    Lora { rank, targets: targets.iter().map(ToString::to_string).collect(), train_embeddings: false }
}

#[test]
fn a_command_is_its_sweep() {
    let steps = product(
        &[
            (TrainMethod::Full, None),
            (TrainMethod::Lora, Some(lora(8, &contract::training::ALL_TARGETS))),
            (TrainMethod::Qlora, Some(lora(16, &["q_proj", "v_proj"]))),
        ],
        &[Optimizer::Adamw, Optimizer::Sgd],
        &[Checkpointing::None, Checkpointing::Full],
        &[1, 4],
        true,
    );
    let start = first_benchmark();
    let edge = |axis, limit, resolution| Some(EdgeSpec { axis, limit, resolution });
    let table = [
        start.clone(),
        Sweep {
            models: vec!["HuggingFaceTB/SmolLM2-135M".to_owned(), "Qwen/Qwen3-0.6B".to_owned()],
            precisions: vec!["native".to_owned(), "gguf:q4_k".to_owned()],
            variants: vec![Variant::Stock, Variant::Plimsoll],
            attentions: vec![
                Attention::Eager,
                Attention::MemoryEfficient,
                Attention::Flash,
                Attention::SlidingWindow { window: Tokens(512) },
                Attention::Longformer { window: Tokens(64), global_tokens: Tokens(0) },
                Attention::BigBird {
                    block: Tokens(64),
                    window_blocks: 3,
                    global_blocks: 2,
                    random_blocks: 1,
                },
            ],
            ..start.clone()
        },
        Sweep {
            variants: vec![Variant::Plimsoll],
            caches: vec![CacheKind::Growing, CacheKind::Slab, CacheKind::Rotating],
            kv_caches: vec![CachePrecision::Bf16, CachePrecision::Fp8, CachePrecision::Int8],
            release_thresholds: vec![ReleaseThreshold::Zero, ReleaseThreshold::Max],
            event_tracking: vec![EventTracking::On, EventTracking::Off],
            device: Device::Cuda(1),
            ..start.clone()
        },
        Sweep { trainings: steps, generates: vec![Tokens(0)], ..start.clone() },
        Sweep {
            quality: Some(Tokens(4096)),
            shard: Some(Shard { index: 2, of: 8 }),
            seed: 7,
            repetitions: 5,
            ..start.clone()
        },
        Sweep {
            batches: vec![1],
            memory_limit: Some(Bytes::from_mib(600)),
            edge: edge(EdgeAxis::Batch, Some(64), 4),
            ..start.clone()
        },
        Sweep {
            prompts: vec![Tokens(1)],
            memory_limit: Some(Bytes(1_234_567)),
            edge: edge(EdgeAxis::Context, None, 1),
            ..start.clone()
        },
    ];
    for sweep in table {
        let spelled = commands(&sweep);
        assert_eq!(spelled.len(), 1, "{spelled:?}");
        assert_eq!(read(&spelled[0]), sweep, "{spelled:?}");
        for case in sweep.cases() {
            let command = case_command(&case, None);
            let named = CaseSpec { variant: Some(case.decoder()), ..case };
            assert_eq!(read(&command).cases(), [named], "{command}");
        }
    }
}

#[test]
fn steps_that_are_no_product_are_a_command_each() {
    let steps =
        product(&[(TrainMethod::Full, None)], &[Optimizer::Adamw, Optimizer::Sgd], &[], &[1, 2], false);
    let sweep = Sweep { trainings: steps[..3].to_vec(), generates: vec![Tokens(0)], ..first_benchmark() };
    let read: Vec<Sweep> = commands(&sweep).iter().map(|command| read(command)).collect();
    let trained: Vec<_> = read.iter().flat_map(|sweep| sweep.trainings.clone()).collect();
    assert_eq!(trained, sweep.trainings);
    for one in read {
        assert_eq!(Sweep { trainings: sweep.trainings.clone(), ..one }, sweep);
    }
}

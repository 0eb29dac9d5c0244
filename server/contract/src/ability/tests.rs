use super::*;
use crate::ids::MachineId;
use crate::machine::{Cpu, Machine};
use crate::protocol::WeightSource;
use crate::run::RunnerBuild;
use planner::Bytes;

const ENCODER: &str = "sentence-transformers/all-MiniLM-L6-v2";

fn registration(name: &str, models: &[(&str, &[&str], u64)]) -> Registration {
    Registration {
        name: name.to_owned(),
        machine: Machine {
            id: "018f5b0e-0000-7000-8000-000000000001".parse::<MachineId>().unwrap(),
            name: name.to_owned(),
            os: "Linux".to_owned(),
            cpu: Cpu { model: "a CPU".to_owned(), logical_cores: 2, isa: "avx2".to_owned() },
            memory_bytes: Bytes(8 << 30),
            gpus: Vec::new(),
        },
        models: models
            .iter()
            .map(|(name, precisions, max_tokens)| AdvertisedModel {
                name: (*name).to_owned(),
                weights: WeightSource::Synthetic,
                precisions: precisions.iter().map(ToString::to_string).collect(),
                parameters: 1000,
                max_tokens: *max_tokens,
            })
            .collect(),
        devices: vec![Device::Cpu],
        build: RunnerBuild::default(),
    }
}

fn sweep(models: &[&str], precisions: &[&str], prompt: u64) -> Sweep {
    Sweep {
        models: models.iter().map(ToString::to_string).collect(),
        precisions: precisions.iter().map(ToString::to_string).collect(),
        batches: vec![1],
        prompts: vec![Tokens(prompt)],
        generates: vec![Tokens(4)],
        repetitions: 1,
        ..Sweep::default()
    }
}

fn said(lacks: &[Lack]) -> Vec<(&'static str, String)> {
    lacks.iter().map(|lack| (lack.axis(), lack.to_string())).collect()
}

#[test]
fn a_runner_says_everything_that_it_lacks() {
    let desk = registration("desk", &[("tiny", &["fp32", "bf16"], 512), (ENCODER, &["fp32"], 256)]);
    assert_eq!(desk.lacks(&sweep(&["tiny"], &["fp32"], 508)), []);
    assert_eq!(
        said(&desk.lacks(&sweep(&["tiny"], &["fp32", "q4_0"], 509))),
        [
            (
                "precisions",
                "tiny does not run in precision \"q4_0\" on desk; accepted: fp32, bf16".to_owned()
            ),
            (
                "prompts",
                "prompt and generated tokens are 513 together; tiny takes at most 512 on desk".to_owned()
            ),
        ]
    );
    assert_eq!(
        said(&desk.lacks(&sweep(&["tiny", "large"], &["q4_0"], 9999))),
        [("models", "desk has no model \"large\"".to_owned())]
    );
    let on_gpu = Sweep { device: Device::Cuda(0), ..sweep(&["tiny"], &["q4_0"], 1) };
    assert_eq!(said(&desk.lacks(&on_gpu)), [("device", "desk has no device cuda:0".to_owned())]);
    let generates = desk.lacks(&sweep(&[ENCODER], &["fp32"], 16));
    assert_eq!(generates[0].axis(), "generates", "{generates:?}");
}

#[test]
fn the_nearest_of_several_is_asked() {
    let desk = registration("desk", &[("tiny", &["fp32"], 512)]);
    let shelf = registration("shelf", &[("tiny", &["bf16"], 8192), ("large", &["bf16"], 8192)]);
    let both = [&desk, &shelf];
    for (sweep, axis, runner) in [
        (sweep(&["tiny"], &["fp32"], 600), "prompts", "desk"),
        (sweep(&["large"], &["fp32"], 600), "precisions", "shelf"),
        (sweep(&["tiny"], &["fp32", "q4_0"], 16), "precisions", "desk"),
    ] {
        let lacks = lacks_of_the_nearest(both, &sweep);
        assert_eq!((lacks[0].axis(), lacks.len()), (axis, 1), "{lacks:?}");
        assert!(lacks[0].to_string().contains(runner), "{lacks:?}");
    }
    assert_eq!(lacks_of_the_nearest(both, &sweep(&["tiny"], &["bf16"], 4096)), []);
    assert_eq!(lacks_of_the_nearest([], &sweep(&["tiny"], &["bf16"], 4096)), []);
}

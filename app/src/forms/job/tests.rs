use contract::ids::{MachineId, RunnerId, UnixMillis};
use contract::machine::{Cpu, Machine};
use contract::protocol::{Registration, WeightSource};
use contract::run::RunnerBuild;
use planner::Bytes;

use super::*;

const ID: &str = "018f5b0e-0000-7000-8000-000000000001";

fn runner() -> Runner {
    let model = |name: &str, precisions: &[&str], parameters| AdvertisedModel {
        name: name.to_owned(),
        weights: WeightSource::Synthetic,
        precisions: precisions.iter().map(ToString::to_string).collect(),
        parameters,
        max_tokens: 2048,
    };
    Runner {
        id: ID.parse::<RunnerId>().unwrap(),
        registration: Registration {
            name: "desk".to_owned(),
            machine: Machine {
                id: ID.parse::<MachineId>().unwrap(),
                name: "desk".to_owned(),
                os: "Linux 6.1".to_owned(),
                cpu: Cpu { model: "a CPU".to_owned(), logical_cores: 2, isa: "avx2".to_owned() },
                memory_bytes: Bytes(8 << 30),
                gpus: Vec::new(),
            },
            models: vec![
                model("llama-1b", &["bf16", "fp32"], 1_235_814_400),
                model("smol", &["native"], 134_515_008),
            ],
            devices: vec![Device::Cpu],
            build: RunnerBuild {
                version: "0.1.0".to_owned(),
                commit: "unknown".to_owned(),
                candle: "0.11.1".to_owned(),
                features: Vec::new(),
                build: "release".to_owned(),
                ..RunnerBuild::default()
            },
        },
        last_seen_at: UnixMillis(0),
        online: true,
    }
}

const GOOD: &str = "name=&models=smol&precisions=native&batches=1%2C2&prompts=128..512*2&generates=32&repetitions=3&device=cpu&runner_id=";

#[test]
fn a_good_form_is_a_job() {
    let job = JobForm::parse(GOOD).to_job(&[runner()]).unwrap();
    assert_eq!((job.name, job.runner_id), (None, None));
    assert_eq!(job.sweep.batches, [1, 2]);
    assert_eq!(job.sweep.prompts, [Tokens(128), Tokens(256), Tokens(512)]);
    assert_eq!(job.sweep.cases().len(), 6);
    let named = JobForm { runner_id: ID.to_owned(), ..JobForm::parse(GOOD) };
    assert_eq!(named.to_job(&[runner()]).unwrap().runner_id, Some(runner().id));
}

#[test]
fn a_form_survives_its_query() {
    let form = JobForm { name: "été & <b>".to_owned(), batches: "1, x".to_owned(), ..JobForm::parse(GOOD) };
    assert_eq!(JobForm::parse(&form.to_query()), form);
}

#[test]
fn each_wrong_field_is_named() {
    for (change, field, words) in [
        (("models=smol", "models=other"), "models", "no runner that is online has the model \"other\""),
        (("&models=smol", ""), "models", "choose at least one model"),
        (("precisions=native", "precisions=fp8"), "precisions", "smol does not run in fp8; accepted: native"),
        (("precisions=native", "precisions="), "precisions", "give at least one precision"),
        (("batches=1%2C2", "batches=0"), "batches", "0 is out of range"),
        (("batches=1%2C2", "batches=9999999999"), "batches", "9999999999 is out of range"),
        (("prompts=128..512*2", "prompts=many"), "prompts", "\"many\" is neither"),
        (("prompts=128..512*2", "prompts=2040"), "prompts", "2072 together; smol takes at most 2048"),
        (("generates=32", "generates="), "generates", "at least one value"),
        (("repetitions=3", "repetitions=-1"), "repetitions", "from 1 to 1000"),
        (("repetitions=3", "repetitions=1001"), "repetitions", "out of range"),
        (("device=cpu", "device=tpu"), "device", "unknown device \"tpu\""),
        (("device=cpu", "device=cuda:0"), "device", "on cuda:0"),
        (("batches=1%2C2", "batches=1..4000"), "batches", "12000 cases"),
        (("runner_id=", "runner_id=gone"), "runner_id", "not online"),
    ] {
        let errors = JobForm::parse(&GOOD.replace(change.0, change.1)).to_job(&[runner()]).unwrap_err();
        assert!(
            errors.iter().any(|e| e.field == field && e.message.contains(words)),
            "{change:?}: {errors:?} lacks {words:?} at {field}"
        );
    }
}

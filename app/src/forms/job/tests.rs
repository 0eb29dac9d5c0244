use contract::case::Variant;
use contract::cuda::ReleaseThreshold;
use contract::ids::{MachineId, RunnerId, UnixMillis};
use contract::machine::{Cpu, Machine};
use contract::protocol::{AdvertisedModel, Registration, WeightSource};
use contract::run::RunnerBuild;
use planner::Bytes;
use planner::document::plan::{Attention, CacheKind, Optimizer, TrainMethod};
use planner::document::precision::CachePrecision;

use super::*;

const ENCODER: &str = "sentence-transformers/all-MiniLM-L6-v2";
const ID: &str = "018f5b0e-0000-7000-8000-000000000001";

fn runner() -> Runner {
    let model = |name: &str, precisions: &[&str], parameters| AdvertisedModel {
        name: name.to_owned(),
        weights: if name == "smol" { WeightSource::Gguf } else { WeightSource::Synthetic },
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
                model(ENCODER, &["fp32", "native"], 22_713_216),
            ],
            devices: vec![Device::Cpu, Device::Cuda(0)],
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
    let named = JobForm::parse(GOOD).with("runner_id", ID);
    assert_eq!(named.to_job(&[runner()]).unwrap().runner_id, Some(runner().id));
}

/// What is typed beside a model, and what the sweep becomes.
fn sweep(typed: &str) -> Sweep {
    let form = JobForm::parse(&format!("models=smol&precisions=native&{typed}"));
    form.to_job(&[runner()]).unwrap_or_else(|errors| panic!("{typed}: {errors:?}")).sweep
}

#[test]
fn a_number_may_be_grouped_and_is_one_number() {
    for (typed, want) in [("20000", 20_000), ("20_000", 20_000), ("20,000", 20_000), ("1,234,567", 1_234_567)]
    {
        assert_eq!(sweep(&format!("seed={typed}")).seed, want, "{typed}");
    }
    for typed in ["1,2", "1234,567", ",123", "1,,234"] {
        let form = JobForm::parse(&format!("models=smol&precisions=native&seed={typed}"));
        let errors = form.to_job(&[runner()]).unwrap_err();
        assert_eq!(errors[0].field, "seed", "{typed}: {errors:?}");
    }
}

#[test]
fn the_runner_that_is_nearest_says_what_is_wrong() {
    let mut other = runner();
    other.registration.name = "shelf".to_owned();
    other.registration.models[0].precisions = vec!["fp16".to_owned()];
    other.registration.models[0].max_tokens = 8192;
    let runners = [runner(), other];
    let typed = |typed: &str| JobForm::parse(&format!("models=llama-1b&{typed}")).to_job(&runners);
    assert!(typed("precisions=fp16&prompts=4096").is_ok(), "the second can");
    assert!(typed("precisions=bf16").is_ok(), "the first can");
    let errors = typed("precisions=bf16&prompts=4096").unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].field, "prompts");
    assert!(errors[0].message.contains("at most 2048 on desk"), "{errors:?}");
}

#[test]
fn what_is_left_out_is_as_on_the_command_line() {
    let plain = Sweep {
        models: vec!["smol".to_owned()],
        precisions: vec!["native".to_owned()],
        batches: vec![1],
        prompts: vec![Tokens(128)],
        generates: vec![Tokens(32)],
        repetitions: 3,
        ..Sweep::default()
    };
    assert_eq!(sweep(""), plain);
    assert_eq!(sweep("batches=&edge=&seed=&variants=&memory_limit="), plain);
    let train = |typed: &str| sweep(&format!("trainings=qlora:8&{typed}"));
    assert_eq!(train("").generates, [Tokens(0)], "a step generates nothing");
    assert_eq!(sweep("edge=context&memory_limit=1GiB").prompts, [Tokens(1)], "where the search begins");
    let encoder = JobForm::parse(&format!("models={ENCODER}&precisions=fp32"));
    assert_eq!(encoder.to_job(&[runner()]).unwrap().sweep.generates, [Tokens(0)], "an encoder embeds");
}

#[test]
fn every_axis_of_a_sweep_has_a_field() {
    type Read = fn(&Sweep) -> bool;
    let table: [(&str, Read); 15] = [
        ("variants=stock&variants=plimsoll", |s| s.variants == [Variant::Stock, Variant::Plimsoll]),
        ("variants=plimsoll,stock", |s| s.variants == [Variant::Plimsoll, Variant::Stock]),
        ("attentions=eager sliding-window:64", |s| {
            s.attentions == [Attention::Eager, Attention::SlidingWindow { window: Tokens(64) }]
        }),
        ("caches=slab&caches=rotating", |s| s.caches == [CacheKind::Slab, CacheKind::Rotating]),
        ("kv_caches=int8", |s| s.kv_caches == [CachePrecision::Int8]),
        ("memory_limit=600MiB", |s| s.memory_limit == Some(Bytes::from_mib(600))),
        ("edge=batch&edge_limit=64&edge_resolution=4&device=cuda:0", |s| {
            s.edge == Some(EdgeSpec { axis: EdgeAxis::Batch, limit: Some(64), resolution: 4 })
        }),
        ("edge=context&device=cuda:0", |s| s.edge == Some(EdgeSpec::exact(EdgeAxis::Context))),
        (
            "trainings=qlora:8,qlora:16:q_proj&optimizers=sgd&optimizers=adamw&accumulations=1,4&mixed=on",
            |s| {
                let last = s.trainings.last().unwrap();
                s.trainings.len() == 8
                    && s.trainings
                        .iter()
                        .all(|step| step.mixed_precision && step.method == TrainMethod::Qlora)
                    && (last.optimizer, last.gradient_accumulation) == (Optimizer::Adamw, 4)
                    && last.lora.as_ref().is_some_and(|lora| lora.rank == 16 && lora.targets == ["q_proj"])
            },
        ),
        ("trainings=full&checkpointings=full&checkpointings=none", |s| s.trainings.len() == 2),
        ("quality=4_096", |s| s.quality == Some(Tokens(4096))),
        ("seed=7", |s| s.seed == 7),
        ("release_thresholds=max&device=cuda:0", |s| s.release_thresholds == [ReleaseThreshold::Max]),
        ("event_tracking=on&event_tracking=off&device=cuda:0", |s| s.event_tracking.len() == 2),
        ("repetitions=9", |s| s.repetitions == 9),
    ];
    for (typed, holds) in table {
        let sweep = sweep(typed);
        assert!(holds(&sweep), "{typed}: {sweep:?}");
    }
    let fields: std::collections::BTreeSet<&str> = table::all().map(|field| field.name).collect();
    let full = Sweep {
        variants: vec![Variant::Stock],
        attentions: vec![Attention::Eager],
        caches: vec![CacheKind::Slab],
        kv_caches: vec![CachePrecision::Int8],
        release_thresholds: vec![ReleaseThreshold::Max],
        event_tracking: vec![contract::cuda::EventTracking::Off],
        trainings: sweep("trainings=full").trainings,
        quality: Some(Tokens(4)),
        memory_limit: Some(Bytes(1)),
        seed: 1,
        edge: Some(EdgeSpec::exact(EdgeAxis::Batch)),
        ..sweep("")
    };
    for axis in serde_json::to_value(full).unwrap().as_object().unwrap().keys() {
        assert!(axis == "models" || fields.contains(axis.as_str()), "no field for {axis}");
    }
}

#[test]
fn a_form_survives_its_query() {
    let form = JobForm::parse(&format!("{GOOD}&variants=stock&variants=plimsoll&mixed=on"))
        .with("name", "été & <b>")
        .with("attentions", "eager, sliding-window:64");
    assert_eq!(form.text("variants"), "stock,plimsoll");
    assert_eq!(JobForm::parse(&form.to_query()), form);
    assert!(
        JobForm::default().to_query().contains("batches="),
        "by which the page knows a form that was filled"
    );
}

#[test]
fn each_wrong_field_is_named() {
    for (change, field, words) in [
        (("models=smol", "models=other"), "models", "no runner that is online has the model \"other\""),
        (("&models=smol", ""), "models", "choose at least one model"),
        (
            ("precisions=native", "precisions=fp8"),
            "precisions",
            "smol does not run in precision \"fp8\" on desk; accepted: native",
        ),
        (("precisions=native", "precisions="), "precisions", "give at least one precision"),
        (("batches=1%2C2", "batches=0"), "batches", "0 is out of range"),
        (("batches=1%2C2", "batches=9999999999"), "batches", "9999999999 is out of range"),
        (("prompts=128..512*2", "prompts=many"), "prompts", "\"many\" is neither"),
        (("prompts=128..512*2", "prompts=2040"), "prompts", "2072 together; smol takes at most 2048"),
        (("generates=32", "generates=,"), "generates", "at least one value"),
        (("repetitions=3", "repetitions=-1"), "repetitions", "from 1 to 1000"),
        (("repetitions=3", "repetitions=1001"), "repetitions", "out of range"),
        (("device=cpu", "device=tpu"), "device", "unknown device \"tpu\""),
        (("device=cpu", "device=cuda:1"), "device", "on cuda:1"),
        (("batches=1%2C2", "batches=1..4000"), "batches", "12000 cases"),
        (("runner_id=", "runner_id=gone"), "runner_id", "not online"),
        (
            ("name=", "variants=ours"),
            "variants",
            "unknown variant \"ours\"; accepted: default, stock, plimsoll",
        ),
        (("name=", "attentions=paged"), "attentions", "accepted: default, eager"),
        (("name=", "variants=stock&caches=slab"), "caches", "the stock decoder has its own cache"),
        (("name=", "kv_caches=q4_0"), "kv_caches", "accepted: default, fp32, bf16, fp16, fp8, int8"),
        (("name=", "memory_limit=much"), "memory_limit", "accepted: 600MiB or 2GiB"),
        (("name=", "memory_limit=1KiB"), "memory_limit", "1 MiB (2^20 bytes) or more"),
        (("batches=1%2C2", "edge=batch"), "memory_limit", "searching an edge on a cpu needs one"),
        (("name=", "edge=batch&memory_limit=1GiB"), "batches", "1 with an edge in the batch"),
        (("name=", "edge=sideways"), "edge", "accepted: batch, context"),
        (("name=", "edge_limit=64"), "edge_limit", "choose what to search"),
        (("batches=1%2C2", "edge=batch&memory_limit=1GiB&edge_limit=0"), "edge_limit", "1 to 65536"),
        (
            ("batches=1%2C2", "edge=batch&memory_limit=1GiB&edge_resolution=0"),
            "edge_resolution",
            "1 (exact) or more",
        ),
        (("name=", "trainings=distill"), "trainings", "accepted: full, lora:RANK"),
        (("name=", "trainings=full"), "generates", "a training step generates nothing"),
        (("name=", "optimizers=sgd"), "optimizers", "say what to train"),
        (("name=", "mixed=on"), "mixed", "say what to train"),
        (("name=", "trainings=full&accumulations=0"), "accumulations", "1 to 65536"),
        (
            ("generates=32", "trainings=full&attentions=flash"),
            "attentions",
            "only eager attention is trained",
        ),
        (
            ("generates=32", "trainings=full&quality=64"),
            "quality",
            "none where an edge is searched or a step",
        ),
        (("name=", "quality=some"), "quality", "\"some\" is not a whole number"),
        (("name=", "quality=2"), "quality", "4 to 65536"),
        (
            ("models=smol&precisions=native", "models=llama-1b&precisions=bf16&quality=64"),
            "quality",
            "random weights",
        ),
        (("name=", "seed=-1"), "seed", "not a whole number"),
        (("name=", "release_thresholds=max"), "release_thresholds", "a setting of a CUDA device"),
        (
            ("models=smol", &format!("models={ENCODER}")),
            "generates",
            "is an encoder, which generates nothing",
        ),
        (("models=smol", &format!("models=smol&models={ENCODER}")), "generates", "or run it apart"),
    ] {
        let errors = JobForm::parse(&GOOD.replace(change.0, change.1)).to_job(&[runner()]).unwrap_err();
        assert!(
            errors.iter().any(|e| e.field == field && e.message.contains(words)),
            "{change:?}: {errors:?} lacks {words:?} at {field}"
        );
    }
}

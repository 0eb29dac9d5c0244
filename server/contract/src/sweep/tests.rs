use super::{MAX_CASES, Sweep, SweepError, first_benchmark};
use planner::document::plan::{Attention, CacheKind};
use planner::document::precision::CachePrecision;
use planner::{Bytes, Tokens};

use crate::case::{CaseSpec, Device, Variant};
use crate::cuda::{EventTracking, ReleaseThreshold};
use crate::edge::{EdgeAxis, EdgeSpec};

fn sweep() -> Sweep {
    first_benchmark()
}

#[test]
fn the_grid_is_cartesian_and_the_last_axis_varies_fastest() {
    let mut s = sweep();
    s.precisions = vec!["fp32".to_owned(), "bf16".to_owned()];
    s.batches = vec![1, 2];
    s.prompts = vec![Tokens(8)];
    s.generates = vec![Tokens(1), Tokens(2)];
    let keys: Vec<String> =
        s.cases().iter().map(|c| format!("{} b{} g{}", c.precision, c.batch, c.generate_tokens)).collect();
    assert_eq!(
        keys,
        [
            "fp32 b1 g1",
            "fp32 b1 g2",
            "fp32 b2 g1",
            "fp32 b2 g2",
            "bf16 b1 g1",
            "bf16 b1 g2",
            "bf16 b2 g1",
            "bf16 b2 g2"
        ]
    );
    assert_eq!(s.len(), keys.len());
}

#[test]
fn ways_to_compute_multiply_the_grid_and_stand_in_the_key() {
    let mut s = sweep();
    (s.precisions, s.batches) = (vec!["bf16".to_owned()], vec![1]);
    (s.prompts, s.generates) = (vec![Tokens(8)], vec![Tokens(1)]);
    assert_eq!(s.cases()[0].key(), "HuggingFaceTB/SmolLM2-135M bf16 b1 p8 g1 cpu r2");
    s.variants = vec![Variant::Stock, Variant::Plimsoll];
    s.caches = vec![CacheKind::Growing, CacheKind::Slab, CacheKind::Rotating];
    s.kv_caches = vec![CachePrecision::Bf16, CachePrecision::Int8];
    s.attentions = vec![Attention::Eager];
    let cases = s.cases();
    assert_eq!((cases.len(), s.len()), (12, 12));
    assert_eq!(
        cases[11].key(),
        "HuggingFaceTB/SmolLM2-135M bf16 plimsoll {\"kind\":\"eager\"} rotating kv:int8 b1 p8 g1 cpu r2"
    );
}

#[test]
fn settings_of_a_cuda_device_are_dimensions_of_the_case() {
    let mut s = sweep();
    (s.precisions, s.batches) = (vec!["bf16".to_owned()], vec![1]);
    (s.prompts, s.generates) = (vec![Tokens(8)], vec![Tokens(1)]);
    s.device = Device::Cuda(0);
    s.release_thresholds = vec![ReleaseThreshold::Zero, ReleaseThreshold::Max];
    s.event_tracking = vec![EventTracking::On, EventTracking::Off];
    let cases = s.cases();
    assert_eq!((cases.len(), s.len()), (4, 4));
    let key = "HuggingFaceTB/SmolLM2-135M bf16 release:max events:off b1 p8 g1 cuda:0 r2";
    assert_eq!(cases[3].key(), key);
    let json = serde_json::to_value(&cases[1]).unwrap();
    assert_eq!((&json["release_threshold"], &json["event_tracking"]), (&"0".into(), &"off".into()));
    assert_eq!(serde_json::from_value::<CaseSpec>(json).unwrap(), cases[1]);
}

#[test]
fn what_was_stored_before_there_was_a_choice_is_read_and_keeps_its_name() {
    let old = r#"{"models":["m"],"precisions":["bf16"],"batches":[1],"prompts":[8],"generates":[1],"device":"cpu","repetitions":2}"#;
    let read: Sweep = serde_json::from_str(old).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), old);
    let case = &read.cases()[0];
    assert_eq!((case.variant, case.cache, case.kv_cache), (None, None, None));
    let text = serde_json::to_string(case).unwrap();
    assert!(!text.contains("variant") && !text.contains("cache"), "{text}");
    assert_eq!(&serde_json::from_str::<CaseSpec>(&text).unwrap(), case);
}

#[test]
fn a_repeated_value_is_one_case() {
    let mut s = sweep();
    let before = s.cases().len();
    s.batches.push(s.batches[0]);
    assert_eq!(s.cases().len(), before);
}

#[test]
fn each_bad_axis_is_named() {
    type Spoil = fn(&mut Sweep);
    let table: [(&str, Spoil); 11] = [
        ("models", |s| s.models.clear()),
        ("precisions", |s| s.precisions.clear()),
        ("batches", |s| s.batches.clear()),
        ("batches", |s| s.batches = vec![0]),
        ("batches", |s| s.batches = vec![1, 65_537]),
        ("prompts", |s| s.prompts.clear()),
        ("prompts", |s| s.prompts = vec![Tokens(0)]),
        ("generates", |s| s.generates.clear()),
        ("generates", |s| s.generates = vec![Tokens(u64::MAX)]),
        ("repetitions", |s| s.repetitions = 0),
        ("memory_limit", |s| s.memory_limit = Some(Bytes((1 << 20) - 1))),
    ];
    assert_eq!(sweep().check(), Ok(()));
    for (axis, spoil) in table {
        let mut s = sweep();
        spoil(&mut s);
        let message = s.check().unwrap_err().to_string();
        assert!(message.starts_with(axis), "{message:?} does not name {axis}");
    }
}

#[test]
fn a_search_begins_at_one_and_has_an_end() {
    type Spoil = fn(&mut Sweep);
    let edge = |axis| {
        let mut s = sweep();
        (s.edge, s.memory_limit) = (Some(EdgeSpec::exact(axis)), Some(Bytes::from_mib(64)));
        match axis {
            EdgeAxis::Batch => s.batches = vec![1],
            EdgeAxis::Context => s.prompts = vec![Tokens(1)],
        }
        s
    };
    let table: [(EdgeAxis, &str, Spoil); 6] = [
        (EdgeAxis::Batch, "batches", |s| s.batches = vec![1, 2]),
        (EdgeAxis::Context, "prompts", |s| s.prompts = vec![Tokens(2)]),
        (EdgeAxis::Batch, "memory_limit", |s| s.memory_limit = None),
        (EdgeAxis::Batch, "edge.limit", |s| s.edge.as_mut().unwrap().limit = Some(65_537)),
        (EdgeAxis::Context, "edge.limit", |s| s.edge.as_mut().unwrap().limit = Some(0)),
        (EdgeAxis::Context, "edge.resolution", |s| s.edge.as_mut().unwrap().resolution = 0),
    ];
    for (axis, field, spoil) in table {
        let mut s = edge(axis);
        assert_eq!(s.check(), Ok(()), "{axis}");
        spoil(&mut s);
        let message = s.check().unwrap_err().to_string();
        assert!(message.starts_with(field), "{message:?} does not name {field}");
    }
    let mut on_gpu = edge(EdgeAxis::Batch);
    (on_gpu.device, on_gpu.memory_limit) = (Device::Cuda(0), None);
    assert_eq!(on_gpu.check(), Ok(()), "a GPU's memory has an end by itself");
}

#[test]
fn limits_seeds_and_edges_stand_in_the_key_and_in_the_sweep() {
    let mut s = sweep();
    (s.precisions, s.batches) = (vec!["bf16".to_owned()], vec![1]);
    (s.prompts, s.generates) = (vec![Tokens(8)], vec![Tokens(1)]);
    let plain = s.fingerprint();
    (s.memory_limit, s.seed) = (Some(Bytes::from_mib(600)), 7);
    s.edge = Some(EdgeSpec { limit: Some(64), resolution: 4, ..EdgeSpec::exact(EdgeAxis::Batch) });
    assert_ne!(s.fingerprint(), plain);
    let case = &s.cases()[0];
    assert_eq!(
        case.key(),
        "HuggingFaceTB/SmolLM2-135M bf16 limit:629145600 seed:7 edge:batch<=64~4 b1 p8 g1 cpu r2"
    );
    assert_eq!(&serde_json::from_str::<CaseSpec>(&serde_json::to_string(case).unwrap()).unwrap(), case);
    assert_eq!(
        case.at(EdgeAxis::Batch, 9).key().replace(" b9 ", " b1 "),
        case.key().replace(" edge:batch<=64~4", "")
    );
    assert_eq!(case.at(EdgeAxis::Context, 9).prompt_tokens, Tokens(8), "with the token that is generated");
}

#[test]
fn a_grid_beyond_the_limit_is_refused_without_building_it() {
    let mut s = sweep();
    s.batches = (1..=65_536).collect();
    s.prompts = (1..=65_536).map(Tokens).collect();
    s.generates = (1..=65_536).map(Tokens).collect();
    assert_eq!(s.check(), Err(SweepError::TooManyCases { cases: s.len() }));
    assert!(s.len() > MAX_CASES);
}

#[test]
fn the_fingerprint_follows_the_grid() {
    let (a, mut b) = (sweep(), sweep());
    assert_eq!(a.fingerprint(), b.fingerprint());
    b.repetitions += 1;
    assert_ne!(a.fingerprint(), b.fingerprint());
}

#[test]
fn quality_and_shards_stand_in_the_names_only_where_they_are_chosen() {
    let mut s = sweep();
    let (fingerprint, key) = (s.fingerprint(), s.cases()[0].key());
    s.quality = Some(Tokens(4096));
    assert_eq!(s.cases()[0].key(), key.replace(" b1 ", " quality:4096 b1 "));
    assert_ne!(s.fingerprint(), fingerprint);
    s.quality = Some(Tokens(1));
    assert!(matches!(s.check(), Err(SweepError::OutOfRange { axis: "quality", .. })));
    s.quality = None;
    s.shard = Some(crate::shard::Shard { index: 1, of: 2 });
    let mut keys = s.cases().iter().map(CaseSpec::key).collect::<Vec<_>>();
    s.shard = Some(crate::shard::Shard { index: 2, of: 2 });
    keys.extend(s.cases().iter().map(CaseSpec::key));
    assert!(keys.contains(&key), "{keys:?}");
    assert_ne!(s.fingerprint(), fingerprint);
    s.shard = Some(crate::shard::Shard { index: 3, of: 2 });
    assert!(matches!(s.check(), Err(SweepError::OutOfRange { axis: "shard", .. })));
}

#[test]
fn quality_is_measured_by_a_run_of_its_own() {
    let mut s = Sweep { quality: Some(Tokens(512)), memory_limit: Some(Bytes::from_mib(64)), ..sweep() };
    s.check().unwrap();
    (s.edge, s.batches) = (Some(EdgeSpec::exact(EdgeAxis::Batch)), vec![1]);
    assert!(s.check().unwrap_err().to_string().contains("accepted: none where an edge is searched"));
}

#[test]
fn a_runner_may_name_the_decoder_that_was_left_to_it() {
    let s = sweep();
    let asked = s.cases()[0].clone();
    let named = CaseSpec { variant: Some(Variant::Plimsoll), ..asked.clone() };
    assert!(s.asks(&asked) && s.asks(&named));
    assert!(!s.asks(&CaseSpec { batch: 999, ..named.clone() }));
    let stock = Sweep { variants: vec![Variant::Stock], ..s };
    assert!(!stock.asks(&named) && !stock.asks(&asked));
}

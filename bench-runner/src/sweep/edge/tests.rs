use contract::case::{Case, CaseSpec, CaseStatus};
use contract::edge::{Edge, EdgeAxis, EdgeProbe, EdgeSpec};
use contract::ids::{CaseId, RunId, UnixMillis};
use contract::measurement::Measurement;
use planner::Tokens;
use uuid::Uuid;

use super::{Known, range};

fn spec(batch: u32, prompt: u64, generate: u64) -> CaseSpec {
    CaseSpec {
        model: "m".to_owned(),
        precision: "bf16".to_owned(),
        batch,
        prompt_tokens: Tokens(prompt),
        generate_tokens: Tokens(generate),
        repetitions: 3,
        ..CaseSpec::default()
    }
}

fn case(spec: CaseSpec, status: CaseStatus, measurement: Option<Measurement>) -> Case {
    let run = RunId(Uuid::from_u128(1));
    Case {
        id: CaseId::derive(run, &spec.key()),
        run_id: run,
        position: 0,
        engine: String::new(),
        plan: None,
        estimate: None,
        status,
        error: None,
        measurement,
        finished_at: UnixMillis(0),
        spec,
    }
}

#[test]
fn a_range_begins_with_the_least_and_ends_at_the_limit() {
    let limited = |axis, limit| EdgeSpec { limit: Some(limit), ..EdgeSpec::exact(axis) };
    assert_eq!(range(&spec(1, 8, 4), EdgeSpec::exact(EdgeAxis::Batch)), (1, 65_536));
    assert_eq!(range(&spec(1, 8, 4), limited(EdgeAxis::Batch, 12)), (1, 12));
    assert_eq!(range(&spec(1, 1, 4), limited(EdgeAxis::Context, 12)), (5, 12));
    assert_eq!(range(&spec(1, 1, 40), limited(EdgeAxis::Context, 12)), (41, 41), "what is generated is more");
}

#[test]
fn what_failed_fails_where_nothing_is_smaller() {
    let mut known = Known::default();
    known.learn(&case(spec(8, 100, 10), CaseStatus::OutOfMemory, None));
    known.learn(&case(spec(4, 100, 10), CaseStatus::Ok, Some(Measurement::default())));
    known.learn(&case(spec(1, 1, 1), CaseStatus::Crashed, None));
    let table = [
        (spec(1, 100, 10), EdgeAxis::Batch, Some(8)),
        (spec(1, 200, 20), EdgeAxis::Batch, Some(8)),
        (spec(1, 99, 10), EdgeAxis::Batch, None),
        (spec(1, 100, 9), EdgeAxis::Batch, None),
        (spec(8, 1, 10), EdgeAxis::Context, Some(110)),
        (spec(9, 1, 15), EdgeAxis::Context, Some(115)),
        (spec(7, 1, 10), EdgeAxis::Context, None),
        (CaseSpec { precision: "fp32".to_owned(), ..spec(1, 200, 20) }, EdgeAxis::Batch, None),
    ];
    for (spec, axis, want) in table {
        let found = known.fails(&spec, axis).map(|(value, _)| value);
        assert_eq!(found, want, "{} {axis}", spec.key());
    }
}

#[test]
fn an_edge_tells_of_what_it_tried() {
    let probe = |value, status| EdgeProbe { value, status, peak_allocated: None, inferred_from: None };
    let edge = Edge {
        axis: EdgeAxis::Batch,
        largest: 5,
        smallest_failed: Some(6),
        predicted: None,
        probes: vec![
            probe(7, CaseStatus::OutOfMemory),
            probe(5, CaseStatus::Ok),
            probe(6, CaseStatus::OutOfMemory),
            probe(2, CaseStatus::Refused),
        ],
    };
    let searched = CaseSpec { edge: Some(EdgeSpec::exact(EdgeAxis::Batch)), ..spec(1, 100, 10) };
    let measurement = Measurement { edge: Some(edge), ..Measurement::default() };
    let mut known = Known::default();
    known.learn(&case(searched, CaseStatus::Ok, Some(measurement)));
    let (value, key) = known.fails(&spec(1, 100, 20), EdgeAxis::Batch).unwrap();
    assert_eq!((value, key), (6, spec(6, 100, 10).key()));
}

use planner::document::plan::Attention;
use uuid::Uuid;

use super::{Axis, CompareQuery, Comparison, MOST};
use crate::case::{CaseStatus, Device, Variant};
use crate::explore::Facet;
use crate::figure::Figure;
use crate::ids::{MachineId, RunId};
use crate::outcome::Outcome;
use crate::outcome::tests::outcome;

fn run(n: u128) -> RunId {
    RunId(Uuid::from_u128(n))
}

/// A result of a run: `change` makes it what it is.
fn of_run(n: u128, id: u128, token_ms: &[f64], change: impl Fn(&mut Outcome)) -> Outcome {
    let mut one = outcome(id, i64::try_from(id).unwrap(), token_ms);
    (one.run_id, one.run_name) = (run(n), format!("run {n}"));
    change(&mut one);
    one
}

#[test]
fn runs_are_matched_case_by_case_and_what_one_has_alone_stands_apart() {
    let larger = |one: &mut Outcome| one.spec.batch = 8;
    let alone = |one: &mut Outcome| one.spec.batch = 4;
    let failed = |one: &mut Outcome| {
        one.spec.batch = 16;
        (one.status, one.measurement) = (CaseStatus::OutOfMemory, None);
    };
    let outcomes = vec![
        of_run(1, 1, &[10.0, 10.1, 9.9], |_| {}),
        of_run(1, 2, &[20.0, 20.1, 19.9], larger),
        of_run(1, 3, &[20.0], |one| one.spec.batch = 16),
        of_run(2, 4, &[5.0, 5.05, 4.95], |_| {}),
        of_run(2, 5, &[10.0, 10.05, 9.95], larger),
        of_run(2, 6, &[10.0], alone),
        of_run(2, 7, &[], failed),
    ];
    let compared = Comparison::of_runs(&[run(1), run(2)], outcomes);
    assert_eq!(compared.differ_in, []);
    assert_eq!(
        compared.columns.iter().map(|c| (c.name.as_str(), c.cases)).collect::<Vec<_>>(),
        [("run 1", 3), ("run 2", 4)]
    );
    let names: Vec<&str> = compared.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(
        names,
        ["tiny bf16 stock, 2 × (16 + 4)", "tiny bf16 stock, 8 × (16 + 4)", "tiny bf16 stock, 16 × (16 + 4)"]
    );
    let second = compared.rows[0].cells[1].as_ref().unwrap();
    let decode = second.differences[&Figure::Decode];
    assert!((decode.percent - 100.0).abs() < 0.1 && !decode.is_noise(), "{decode:?}");
    assert!((second.differences[&Figure::Ttft].percent + 50.0).abs() < 0.1);
    assert!(second.differences[&Figure::Peak].percent.abs() < f64::EPSILON);
    let failed = compared.rows[2].cells[1].as_ref().unwrap();
    assert_eq!((failed.status, failed.figures.len()), (CaseStatus::OutOfMemory, 0));
    assert_eq!(
        compared.alone.iter().map(|a| (a.column, a.name.as_str())).collect::<Vec<_>>(),
        [(1, "tiny bf16 stock, 4 × (16 + 4)")]
    );
    let overall = compared.overall[1][&Figure::Decode];
    assert_eq!(overall.rows, 2, "the failed one has no figure");
    assert!((overall.difference.percent - 100.0).abs() < 0.1);
    assert!(compared.overall[0].is_empty());
    assert_eq!(compared.figures(), [Figure::Prefill, Figure::Decode, Figure::Ttft, Figure::Peak]);
}

#[test]
fn runs_of_one_precision_each_are_matched_without_it() {
    let outcomes = vec![
        of_run(1, 1, &[10.0, 10.0], |_| {}),
        of_run(2, 2, &[5.0, 5.0], |one| {
            (one.spec.precision, one.spec.device) = ("gguf:q4_0".to_owned(), Device::Cuda(0));
            (one.spec.variant, one.spec.repetitions) = (Some(Variant::Stock), 9);
        }),
    ];
    let compared = Comparison::of_runs(&[run(2), run(1)], outcomes);
    assert_eq!(compared.differ_in, [Axis::Precision, Axis::Machine]);
    assert_eq!((compared.rows.len(), compared.alone.len()), (1, 0));
    assert_eq!(compared.rows[0].name, "tiny stock, 2 × (16 + 4)");
    assert_eq!(compared.columns[0].name, "run 2", "in the order asked");
    let note = compared.columns[0].note.as_deref();
    assert_eq!(note, Some("desk, NVIDIA H200 · commit 0123abc"));
}

#[test]
fn an_axis_tells_columns_apart_and_the_newest_result_counts() {
    let value = |axis: Axis, place: usize| {
        move |one: &mut Outcome| {
            let other = place == 1;
            match axis {
                Axis::Model => one.spec.model = if other { "small" } else { "tiny" }.to_owned(),
                Axis::Precision => one.spec.precision = if other { "fp32" } else { "bf16" }.to_owned(),
                Axis::Attention => one.spec.attention = other.then_some(Attention::Flash),
                Axis::Variant => one.spec.variant = other.then_some(Variant::Plimsoll),
                Axis::Cache => one.spec.cache = other.then_some(planner::document::plan::CacheKind::Slab),
                Axis::KvCache => {
                    one.spec.kv_cache = other.then_some(planner::document::precision::CachePrecision::Int8);
                }
                Axis::Machine => one.machine.id = MachineId(Uuid::from_u128(if other { 2 } else { 9 })),
                Axis::Commit => one.runner.commit = if other { "fedcba9" } else { "0123abc" }.to_owned(),
            }
        }
    };
    for axis in Axis::ALL.iter().copied() {
        let outcomes = vec![
            of_run(1, 1, &[10.0, 10.0], value(axis, 0)),
            of_run(1, 2, &[7.0, 7.0], value(axis, 1)),
            of_run(2, 3, &[20.0, 20.0], value(axis, 0)),
        ];
        let compared = Comparison::by(axis, None, outcomes.clone(), 5);
        let cases: Vec<u64> = compared.columns.iter().map(|c| c.cases).collect();
        assert_eq!((cases, compared.rows.len()), (vec![1, 1], 1), "{}", axis.as_str());
        let [first, second] = &compared.rows[0].cells[..] else { panic!("{compared:?}") };
        assert_eq!(first.as_ref().unwrap().case_id.0, Uuid::from_u128(3), "{}: the newest", axis.as_str());
        let decode = second.as_ref().unwrap().differences[&Figure::Decode].percent;
        assert!((decode - 100.0 * 13.0 / 7.0).abs() < 1e-9, "{}: {decode}", axis.as_str());
        assert_eq!(compared.left_out, 5);

        let other = compared.columns[1].value.clone();
        let turned = Comparison::by(axis, Some(&other), outcomes, 0);
        assert_eq!(turned.columns[0].value, other, "{}", axis.as_str());
    }
}

#[test]
fn an_axis_of_many_values_shows_those_that_most_cases_have() {
    let outcomes = (0..20u128)
        .map(|n| of_run(1, n, &[1.0], |one| one.runner.commit = format!("c{}", (n % 10).min(7))))
        .collect();
    let compared = Comparison::by(Axis::Commit, None, outcomes, 0);
    assert_eq!((compared.columns.len(), compared.columns[0].name.as_str()), (MOST, "c7"));
}

#[test]
fn an_address_says_what_it_was_made_of() {
    let id = |n: u128| run(n).0.to_string();
    let (a, b, c) = (id(1), id(2), id(3));
    let (query, errors) =
        CompareQuery::read([("b", b.as_str()), ("run", &c), ("a", &a), ("run", &c), ("c", "")]);
    assert_eq!((query.runs.as_slice(), errors.len()), (&[run(1), run(2), run(3)][..], 0));
    assert!(query.is_whole());
    let pairs = query.pairs();
    assert_eq!(CompareQuery::read(pairs.iter().map(|(k, v)| (*k, v.as_str()))).0, query);

    let (query, errors) = CompareQuery::read([("by", "commit"), ("base", "abc"), ("model", "tiny")]);
    assert_eq!((query.by, query.base.as_deref(), errors.len()), (Some(Axis::Commit), Some("abc"), 0));
    assert_eq!(query.cases.facets[&Facet::Model], ["tiny"]);
    assert!(query.is_whole());
    let pairs = query.pairs();
    assert_eq!(CompareQuery::read(pairs.iter().map(|(k, v)| (*k, v.as_str()))).0, query);

    let many: Vec<String> = (1..=8).map(id).collect();
    let (query, errors) = CompareQuery::read(many.iter().map(|run| ("run", run.as_str())));
    assert_eq!((query.runs.len(), errors.len()), (MOST, 2));
    for (pairs, part) in [
        (vec![("a", "one")], "no run's id"),
        (vec![("by", "colour")], "accepted: model, precision"),
        (vec![("colour", "red")], "no such filter"),
    ] {
        let (query, errors) = CompareQuery::read(pairs);
        assert!(!query.is_whole() && errors[0].reason.contains(part), "{errors:?}");
    }
    assert!(!CompareQuery::read([("a", a.as_str())]).0.is_whole(), "one run is compared with nothing");
}

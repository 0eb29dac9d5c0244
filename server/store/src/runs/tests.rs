use contract::case::{Case, CaseStatus, Device};
use contract::ids::RunId;
use contract::run::{RunDetail, RunFilter, RunOrigin, RunStatus};
use planner::Bytes;

use crate::testing::{T0, case, machine, measurement, run, sweep, temporary, uuid};
use crate::{Facets, StoreError};

#[tokio::test]
async fn a_run_is_stored_once() {
    let (_folder, store) = temporary().await;
    let machine = machine(1, "desk");
    let first = run(2, &machine, sweep("tiny"));
    let mut second = first.clone();
    second.name = "again".to_owned();
    assert!(store.is_empty().await.unwrap());
    assert!(store.create_run(&first).await.is_err(), "its machine is not stored");
    store.upsert_machine(&machine).await.unwrap();
    store.create_run(&first).await.unwrap();
    store.create_run(&second).await.unwrap();
    assert_eq!(store.run(first.id).await.unwrap().unwrap().run, first);
    assert!(!store.is_empty().await.unwrap());
    assert_eq!(store.run(RunId(uuid(99))).await.unwrap(), None);

    store.set_run_status(first.id, RunStatus::Finished, Some(T0)).await.unwrap();
    let after = store.run(first.id).await.unwrap().unwrap().run;
    assert_eq!((after.status, after.finished_at), (RunStatus::Finished, Some(T0)));
    let error = store.set_run_status(RunId(uuid(99)), RunStatus::Finished, None).await.unwrap_err();
    assert!(matches!(error, StoreError::NoRun(_)), "{error:?}");
}

#[tokio::test]
async fn a_summary_counts_and_picks_the_best() {
    let (_folder, store) = temporary().await;
    let (machine, mut sweep) = (machine(1, "desk"), sweep("tiny"));
    sweep.device = Device::Cuda(0);
    sweep.batches.push(1); // said twice, one case
    store.upsert_machine(&machine).await.unwrap();
    let run = run(2, &machine, sweep.clone());
    store.create_run(&run).await.unwrap();
    for (position, token_ms) in [(0, 2.0), (1, 4.0)] {
        let mut case = case(run.id, &sweep, position);
        case.measurement = Some(measurement(7000 + position as u64, token_ms));
        store.insert_case(&case).await.unwrap();
    }
    let mut crashed = case(run.id, &sweep, 2);
    crashed.status = CaseStatus::Crashed;
    crashed.measurement = None;
    store.insert_case(&crashed).await.unwrap();

    let page = store.runs(&RunFilter::default()).await.unwrap();
    assert_eq!((page.total, page.page, page.per_page), (1, 1, 50));
    let summary = &page.items[0];
    assert_eq!(summary.run, run);
    assert_eq!((summary.machine_name.as_str(), summary.device_name.as_str()), ("desk", "NVIDIA H200"));
    assert_eq!((summary.cases_total, summary.cases_done, summary.cases_ok), (4, 3, 2));
    // Batch 1, three further tokens of 2 ms each: 500 tokens per second.
    assert_eq!(summary.best_decode_tokens_per_second, Some(500.0));
    // Loading takes three times what prefill does, and counts.
    assert_eq!(summary.largest_peak, Some(Bytes(3 * 7001)));
}

#[tokio::test]
async fn runs_are_filtered_and_paged() {
    let (_folder, store) = temporary().await;
    let (desk, rack) = (machine(1, "desk"), machine(2, "rack 100%"));
    for (n, machine, model, precision) in [
        (10, &desk, "smollm2-135m", "native"),
        (11, &desk, "smollm2-135m", "fp32"),
        (12, &rack, "qwen2-0.5b", "native"),
    ] {
        store.upsert_machine(machine).await.unwrap();
        let mut sweep = sweep(model);
        sweep.precisions = vec![precision.to_owned()];
        let run = run(n, machine, sweep.clone());
        store.create_run(&run).await.unwrap();
        store.insert_case(&case(run.id, &sweep, 0)).await.unwrap();
    }
    store.set_run_status(RunId(uuid(12)), RunStatus::Cancelled, Some(T0)).await.unwrap();
    let all = RunFilter::default;
    let table = [
        (all(), vec![12, 11, 10]),
        (RunFilter { model: Some("SmolLM2".into()), ..all() }, vec![11, 10]),
        (RunFilter { model: Some("2".into()), machine: Some("rack".into()), ..all() }, vec![12]),
        (RunFilter { machine: Some("0%".into()), ..all() }, vec![12]),
        (RunFilter { machine: Some("r_ck".into()), ..all() }, vec![]),
        (RunFilter { precision: Some("fp32".into()), ..all() }, vec![11]),
        (RunFilter { status: Some(RunStatus::Running), ..all() }, vec![11, 10]),
        (RunFilter { page: Some(2), per_page: Some(2), ..all() }, vec![10]),
        (RunFilter { page: Some(0), per_page: Some(0), ..all() }, vec![12]),
        (RunFilter { model: Some("'; DROP TABLE runs; --".into()), ..all() }, vec![]),
    ];
    for (filter, want) in table {
        let page = store.runs(&filter).await.unwrap();
        let got: Vec<u128> = page.items.iter().map(|s| s.run.id.0.as_u128()).collect();
        assert_eq!(got, want, "{filter:?}");
    }
    let facets = store.facets().await.unwrap();
    let strings = |s: &[&str]| s.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let want = Facets {
        models: strings(&["qwen2-0.5b", "smollm2-135m"]),
        machines: strings(&["desk", "rack 100%"]),
        precisions: strings(&["fp32", "native"]),
    };
    assert_eq!(facets, want);
}

#[tokio::test]
async fn a_sweep_by_hand_finds_where_it_stopped() {
    let (_folder, store) = temporary().await;
    let (desk, rack, sweep) = (machine(1, "desk"), machine(2, "rack"), sweep("tiny"));
    store.upsert_machine(&desk).await.unwrap();
    store.upsert_machine(&rack).await.unwrap();
    let mut finished = run(10, &desk, sweep.clone());
    finished.status = RunStatus::Finished;
    let open = run(11, &desk, sweep.clone());
    for run in [&finished, &open] {
        store.create_run(run).await.unwrap();
    }
    store.insert_case(&case(open.id, &sweep, 2)).await.unwrap();
    store.insert_case(&case(open.id, &sweep, 0)).await.unwrap();

    let fingerprint = sweep.fingerprint();
    assert_eq!(store.unfinished_run(&fingerprint, desk.id).await.unwrap(), Some(open.clone()));
    assert_eq!(store.unfinished_run(&fingerprint, rack.id).await.unwrap(), None);
    assert_eq!(store.unfinished_run("another", desk.id).await.unwrap(), None);

    // Stopped on request, it is gone on with while cases are to come.
    store.set_run_status(open.id, RunStatus::Cancelled, Some(T0)).await.unwrap();
    let stopped = store.unfinished_run(&fingerprint, desk.id).await.unwrap().unwrap();
    assert_eq!((stopped.id, stopped.status), (open.id, RunStatus::Cancelled));
    let keys: Vec<String> = [0, 2].map(|n| sweep.cases()[n].key()).to_vec();
    assert_eq!(store.done_keys(open.id).await.unwrap(), keys);
    for position in [1, 3] {
        store.insert_case(&case(open.id, &sweep, position)).await.unwrap();
    }
    assert_eq!(store.unfinished_run(&fingerprint, desk.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_run_with_failed_cases_is_found_until_none_is_left() {
    let (_folder, store) = temporary().await;
    let (desk, sweep) = (machine(1, "desk"), sweep("tiny"));
    store.upsert_machine(&desk).await.unwrap();
    let done = run(10, &desk, sweep.clone());
    store.create_run(&done).await.unwrap();
    for position in 0..4 {
        let mut case = case(done.id, &sweep, position);
        if position == 2 {
            (case.status, case.measurement) = (CaseStatus::OutOfMemory, None);
        }
        store.insert_case(&case).await.unwrap();
    }
    store.set_run_status(done.id, RunStatus::Finished, Some(T0)).await.unwrap();
    let fingerprint = sweep.fingerprint();
    let found = async |predicted| {
        store.unfinished_or_failed_run(&fingerprint, desk.id, predicted).await.unwrap().map(|run| run.id)
    };
    assert_eq!(store.unfinished_run(&fingerprint, desk.id).await.unwrap(), None);
    assert_eq!(found(false).await, Some(done.id));
    let mut predicted = case(done.id, &sweep, 2);
    (predicted.status, predicted.measurement) = (CaseStatus::PredictedOutOfMemory, None);
    store.supersede_case(&predicted, T0).await.unwrap();
    assert_eq!((found(false).await, found(true).await), (None, Some(done.id)));
    store.supersede_case(&case(done.id, &sweep, 2), T0).await.unwrap();
    assert_eq!(found(true).await, None);
}

#[tokio::test]
async fn a_run_from_elsewhere_comes_whole_or_not_at_all() {
    let (_folder, store) = temporary().await;
    let (machine, sweep) = (machine(1, "lab"), sweep("tiny"));
    let mut there = run(10, &machine, sweep.clone());
    there.job_id = Some(contract::ids::JobId(uuid(77)));
    let good =
        RunDetail { run: there.clone(), machine: machine.clone(), cases: vec![case(there.id, &sweep, 0)] };
    let mut bad = good.clone();
    bad.cases.push(case(RunId(uuid(11)), &sweep, 1));
    assert!(matches!(store.import_run(&bad, RunOrigin::Example).await, Err(StoreError::WrongCase { .. })));
    assert!(store.is_empty().await.unwrap() && store.machines().await.unwrap().is_empty());

    for _ in 0..2 {
        store.import_run(&good, RunOrigin::Example).await.unwrap();
    }
    assert!(store.has_examples().await.unwrap());
    let here = store.run(there.id).await.unwrap().unwrap();
    assert_eq!((here.run.origin, here.run.job_id), (RunOrigin::Example, None));
    assert_eq!(here.cases, good.cases);
}

#[tokio::test]
async fn what_failed_elsewhere_and_was_run_again_comes_with_its_later_result() {
    let (_folder, store) = temporary().await;
    let (machine, sweep) = (machine(1, "lab"), sweep("tiny"));
    let there = run(10, &machine, sweep.clone());
    let well = case(there.id, &sweep, 0);
    let crashed = Case { status: CaseStatus::Crashed, measurement: None, ..well.clone() };
    let of =
        |case: &Case| RunDetail { run: there.clone(), machine: machine.clone(), cases: vec![case.clone()] };
    for (brought, kept, earlier) in [
        (&crashed, &crashed, 0),
        // Merged once more.
        (&crashed, &crashed, 0),
        (&well, &well, 1),
        // A copy from before.
        (&crashed, &well, 1),
        (&well, &well, 1),
    ] {
        store.import_run(&of(brought), RunOrigin::Local).await.unwrap();
        assert_eq!(store.run(there.id).await.unwrap().unwrap().cases, std::slice::from_ref(kept));
        assert_eq!(store.superseded_cases(there.id).await.unwrap().len(), earlier);
    }
}

use contract::case::{CaseFilter, CaseStatus};
use contract::ids::CaseId;

use crate::testing::{T0, case, machine, run, sweep, temporary};
use crate::{Store, StoreError};

#[tokio::test]
async fn a_case_is_stored_once_and_never_changed() {
    let (_folder, store) = temporary().await;
    let (machine, sweep) = (machine(1, "desk"), sweep("tiny"));
    let run = run(2, &machine, sweep.clone());
    store.upsert_machine(&machine).await.unwrap();
    store.create_run(&run).await.unwrap();
    let first = case(run.id, &sweep, 0);
    let mut second = first.clone();
    second.status = CaseStatus::Failed;
    second.error = Some("measured again".to_owned());

    assert!(store.insert_case(&first).await.unwrap());
    assert!(!store.insert_case(&second).await.unwrap());
    assert_eq!(store.case(first.id).await.unwrap(), Some(first.clone()));
    let changed = sqlx::query("UPDATE cases SET status = 'failed'").execute(&store.pool).await;
    assert!(changed.unwrap_err().to_string().contains("never changed"));
}

#[tokio::test]
async fn an_attempt_that_failed_makes_room_for_the_next_and_is_kept() {
    let (_folder, store) = temporary().await;
    let (machine, sweep) = (machine(1, "desk"), sweep("tiny"));
    let run = run(2, &machine, sweep.clone());
    store.upsert_machine(&machine).await.unwrap();
    store.create_run(&run).await.unwrap();
    let measured = case(run.id, &sweep, 0);
    let ended = |status, at| {
        let mut ended = measured.clone();
        (ended.status, ended.error) = (status, Some(format!("ended as {status}")));
        (ended.measurement, ended.finished_at) = (None, T0.plus_ms(at));
        ended
    };
    let predicted = ended(CaseStatus::PredictedOutOfMemory, 1);
    let attempts = [ended(CaseStatus::Crashed, 2), ended(CaseStatus::OutOfMemory, 3), measured.clone()];

    assert!(store.supersede_case(&predicted, T0).await.unwrap(), "nothing was there");
    for attempt in &attempts {
        assert!(store.supersede_case(attempt, T0).await.unwrap());
        assert_eq!(
            store.run(run.id).await.unwrap().unwrap().cases,
            std::slice::from_ref(attempt),
            "one result a case"
        );
    }
    let before = [predicted, attempts[0].clone(), attempts[1].clone()];
    assert_eq!(store.superseded_cases(run.id).await.unwrap(), before);

    assert!(!store.supersede_case(&ended(CaseStatus::Failed, 9), T0).await.unwrap(), "a measured case stays");
    assert_eq!(store.case(measured.id).await.unwrap(), Some(measured));
    assert_eq!(store.superseded_cases(run.id).await.unwrap(), before);
}

#[tokio::test]
async fn no_case_is_deleted_without_a_trace() {
    let (_folder, store) = temporary().await;
    let (machine, sweep) = (machine(1, "desk"), sweep("tiny"));
    let run = run(2, &machine, sweep.clone());
    store.upsert_machine(&machine).await.unwrap();
    store.create_run(&run).await.unwrap();
    let mut crashed = case(run.id, &sweep, 0);
    (crashed.status, crashed.measurement) = (CaseStatus::Crashed, None);
    store.insert_case(&crashed).await.unwrap();
    store.insert_case(&case(run.id, &sweep, 1)).await.unwrap();
    for position in [0, 1] {
        let id = case(run.id, &sweep, position).id.to_string();
        let deleted = sqlx::query("DELETE FROM cases WHERE id = ?").bind(id).execute(&store.pool).await;
        assert!(deleted.unwrap_err().to_string().contains("its attempt is kept"), "position {position}");
    }
}

#[tokio::test]
async fn a_case_must_fit_where_it_is_put() {
    let (_folder, store) = temporary().await;
    let (machine, sweep) = (machine(1, "desk"), sweep("tiny"));
    let run = run(2, &machine, sweep.clone());
    store.upsert_machine(&machine).await.unwrap();

    let orphan = store.insert_case(&case(run.id, &sweep, 0)).await.unwrap_err();
    assert!(matches!(orphan, StoreError::Database(_)), "no such run: {orphan:?}");

    store.create_run(&run).await.unwrap();
    let mut misnamed = case(run.id, &sweep, 0);
    misnamed.id = CaseId::derive(run.id, "another key");
    let error = store.insert_case(&misnamed).await.unwrap_err();
    assert!(matches!(error, StoreError::WrongCase { .. }), "{error:?}");

    let mut endless = case(run.id, &sweep, 0);
    endless.measurement.as_mut().unwrap().load_ms = f64::NAN;
    let error = store.insert_case(&endless).await.unwrap_err();
    assert!(matches!(error, StoreError::Unstorable { .. }), "{error:?}");
    assert_eq!(store.run(run.id).await.unwrap().unwrap().cases, []);
}

#[tokio::test]
async fn two_programs_write_one_file_at_once() {
    let (folder, server) = temporary().await;
    let by_hand = Store::open(&folder.path().join("plimsoll.db")).await.unwrap();
    let machine = machine(1, "desk");
    server.upsert_machine(&machine).await.unwrap();
    let mut writers = Vec::new();
    for (n, store) in [(2, server.clone()), (3, by_hand.clone())] {
        let (machine, sweep) = (machine.clone(), sweep("tiny"));
        writers.push(tokio::spawn(async move {
            let run = run(n, &machine, sweep.clone());
            store.create_run(&run).await?;
            for position in 0..4 {
                store.insert_case(&case(run.id, &sweep, position)).await?;
                store.upsert_machine(&machine).await?;
            }
            Ok::<_, StoreError>(run.id)
        }));
    }
    for writer in writers {
        let id = writer.await.unwrap().unwrap();
        for store in [&server, &by_hand] {
            assert_eq!(store.done_keys(id).await.unwrap().len(), 4);
        }
    }
}

#[tokio::test]
async fn cases_are_filtered_and_paged() {
    let (_folder, store) = temporary().await;
    let (machine, sweep) = (machine(1, "desk"), sweep("tiny_llama"));
    store.upsert_machine(&machine).await.unwrap();
    let run = run(2, &machine, sweep.clone());
    store.create_run(&run).await.unwrap();
    for position in 0..4 {
        let mut case = case(run.id, &sweep, position);
        if position == 3 {
            case.status = CaseStatus::OutOfMemory;
            case.measurement = None;
        }
        store.insert_case(&case).await.unwrap();
    }
    let table = [
        (CaseFilter::default(), vec![3, 2, 1, 0]),
        (CaseFilter { run: Some(run.id), ..CaseFilter::default() }, vec![3, 2, 1, 0]),
        (CaseFilter { model: Some("y_ll".into()), ..CaseFilter::default() }, vec![3, 2, 1, 0]),
        // A wildcard of SQL is a letter like any other.
        (CaseFilter { model: Some("tiny%".into()), ..CaseFilter::default() }, vec![]),
        (CaseFilter { precision: Some("fp32".into()), ..CaseFilter::default() }, vec![]),
        (CaseFilter { status: Some(CaseStatus::OutOfMemory), ..CaseFilter::default() }, vec![3]),
        (CaseFilter { page: Some(2), per_page: Some(3), ..CaseFilter::default() }, vec![0]),
        (CaseFilter { page: Some(9), ..CaseFilter::default() }, vec![]),
    ];
    for (filter, want) in table {
        let page = store.cases(&filter).await.unwrap();
        assert_eq!(page.items.iter().map(|c| c.position).collect::<Vec<_>>(), want, "{filter:?}");
    }
}

use contract::case::{CaseStatus, Device};
use contract::figure::Figure;
use contract::ids::{CaseId, UnixMillis};

use crate::Store;
use crate::testing::{T0, case, machine, measurement, run, sweep, temporary, uuid};

/// Six runs of one sweep, the even ones on another machine and commit; the third run's first case found no memory.
async fn filled() -> (tempfile::TempDir, Store) {
    let (folder, store) = temporary().await;
    for n in 0..6u128 {
        let machine = machine(1 + n % 2, if n % 2 == 0 { "desk" } else { "rack" });
        let mut run = run(10 + n, &machine, sweep("tiny"));
        run.runner.commit = format!("c{}", n % 2);
        store.upsert_machine(&machine).await.unwrap();
        store.create_run(&run).await.unwrap();
        for position in 0..4 {
            let mut case = case(run.id, &run.sweep, position);
            case.finished_at = T0.plus_ms(i64::try_from(n).unwrap() * 1000);
            let token_ms = if n == 5 { 1.0 } else { 2.0 };
            case.measurement = Some(measurement(1000 + u64::try_from(n).unwrap(), token_ms));
            if n == 2 && position == 0 {
                (case.status, case.measurement) = (CaseStatus::OutOfMemory, None);
                case.error = Some("no memory".to_owned());
            }
            assert!(store.insert_case(&case).await.unwrap());
        }
    }
    (folder, store)
}

fn first_case_of(n: u128) -> CaseId {
    case(contract::ids::RunId(uuid(10 + n)), &sweep("tiny"), 0).id
}

#[tokio::test]
async fn a_history_holds_every_result_of_the_case_and_no_other() {
    let (_folder, store) = filled().await;
    let history = store.history(first_case_of(3), None, 50).await.unwrap().unwrap();
    assert_eq!(history.key, sweep("tiny").cases()[0].key());
    let ids: Vec<CaseId> = history.results.iter().map(|r| r.case_id).collect();
    assert_eq!(ids, [5, 4, 3, 2, 1, 0].map(first_case_of), "the newest first");
    let newest = &history.results[0];
    assert_eq!(
        (newest.machine_name.as_str(), newest.commit.as_str(), newest.runner_version.as_str()),
        ("rack", "c1", "0.1.0")
    );
    assert_eq!((newest.device.as_str(), newest.driver.as_deref()), ("rack's processor", None));
    assert!((newest.changes[&Figure::Decode].percent - 100.0).abs() < 0.5);
    let failed = &history.results[3];
    assert_eq!((failed.status, failed.error.as_deref()), (CaseStatus::OutOfMemory, Some("no memory")));
    assert!(failed.figures.is_empty());
    // The result after a failure is held against the one before it.
    assert!((history.results[2].changes[&Figure::Peak].percent - 100.0 * 2.0 / 1001.0).abs() < 1e-9);
    assert_eq!((history.next, history.attempts), (None, vec![]));
    assert_eq!(store.history(CaseId(uuid(99)), None, 50).await.unwrap(), None);
}

#[tokio::test]
async fn a_history_has_pages() {
    let (_folder, store) = filled().await;
    let whole = store.history(first_case_of(0), None, 50).await.unwrap().unwrap().results;
    let (mut paged, mut before) = (Vec::new(), None);
    loop {
        let page = store.history(first_case_of(0), before, 2).await.unwrap().unwrap();
        assert!(page.results.len() <= 2);
        paged.extend(page.results);
        match page.next {
            Some(next) => before = Some(next.parse().unwrap()),
            None => break,
        }
    }
    // On a page's end only the next one is looked at for what came before.
    for (one, other) in paged.iter().zip(&whole) {
        assert_eq!((one.case_id, &one.figures), (other.case_id, &other.figures));
    }
    assert_eq!(paged.len(), whole.len());
}

#[tokio::test]
async fn attempts_that_were_superseded_are_told_apart_from_results() {
    let (_folder, store) = filled().await;
    let id = first_case_of(2);
    let mut again = store.case(id).await.unwrap().unwrap();
    (again.status, again.error, again.finished_at) = (CaseStatus::Ok, None, UnixMillis(T0.0 + 2500));
    again.measurement = Some(measurement(1002, 2.0));
    assert!(store.supersede_case(&again, T0).await.unwrap());
    let history = store.history(id, None, 50).await.unwrap().unwrap();
    assert_eq!(history.results.len(), 6, "one result a run");
    let of_it: Vec<_> = history.results.iter().filter(|r| r.case_id == id).map(|r| r.status).collect();
    assert_eq!(of_it, [CaseStatus::Ok]);
    let attempts: Vec<_> = history.attempts.iter().map(|a| (a.status, a.error.as_deref())).collect();
    assert_eq!(attempts, [(CaseStatus::OutOfMemory, Some("no memory"))]);
    let other = store.history(first_case_of(3), None, 50).await.unwrap().unwrap();
    assert_eq!(other.attempts, [], "those of the asked case only");
}

#[tokio::test]
async fn results_are_read_by_run_and_by_id() {
    let (_folder, store) = filled().await;
    let run = |n: u128| contract::ids::RunId(uuid(10 + n));
    let outcomes = store.outcomes_of_runs(&[run(2), run(5)], 4).await.unwrap();
    assert_eq!(outcomes.len(), 8);
    assert!(outcomes.iter().all(|o| o.spec.device == Device::Cpu && [run(2), run(5)].contains(&o.run_id)));
    assert_eq!(outcomes.iter().filter(|o| o.status == CaseStatus::OutOfMemory).count(), 1);
    let three = store.outcomes_of_runs(&[run(2), run(5)], 3).await.unwrap();
    let keys: Vec<String> = three.iter().map(|o| o.spec.key()).collect();
    assert_eq!((keys.len(), &keys[..3]), (6, &keys[3..]), "the same cases of each");
    let results = store.results_of_runs(&[run(2), contract::ids::RunId(uuid(99))]).await.unwrap();
    assert_eq!(results.iter().map(|of| (of.run, of.results)).collect::<Vec<_>>(), [(run(2), 4)]);
    let ids = [first_case_of(1), first_case_of(4), CaseId(uuid(99))];
    let found = store.outcomes(&ids).await.unwrap();
    assert_eq!(found.len(), 2, "what is not there is left out");
    assert_eq!(store.outcomes(&[]).await.unwrap(), []);
    assert_eq!(store.outcomes_of_runs(&[], 4).await.unwrap(), []);
}

/// However many cases there are: SQLite finds those of a key by the index.
#[tokio::test]
async fn a_history_is_read_by_the_index() {
    let (_folder, store) = filled().await;
    let plan = format!(
        "EXPLAIN QUERY PLAN {} WHERE c.key = ? AND (c.finished_at, c.id) < (?, ?) \
         ORDER BY c.finished_at DESC, c.id DESC LIMIT 51",
        super::SELECT
    );
    let steps: Vec<(i64, i64, i64, String)> =
        sqlx::query_as(&plan).bind("key").bind(1).bind("id").fetch_all(&store.pool).await.unwrap();
    let steps: Vec<&str> = steps.iter().map(|step| step.3.as_str()).collect();
    assert!(steps.iter().any(|step| step.contains("INDEX cases_by_key (key=?")), "{steps:?}");
    assert!(steps.iter().all(|step| !step.contains("SCAN")), "{steps:?}");
}

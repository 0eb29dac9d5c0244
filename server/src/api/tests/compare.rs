//! Histories and comparisons.

use contract::case::{Case, CaseStatus};
use contract::compare::{Axis, Comparison};
use contract::figure::Figure;
use contract::history::CaseHistory;
use contract::ids::RunId;
use contract::run::{Run, RunDetail, RunOrigin, RunStatus};
use uuid::Uuid;

use crate::testing::{Server, T0, case, registration, sweep};

/// Stores a run of the sweep, each token taking so many milliseconds; `change` changes a case before it is stored.
async fn measured(server: &Server, n: u128, token_ms: [f64; 3], change: impl Fn(&mut Case)) -> RunId {
    let id = RunId(Uuid::from_u128(n));
    let machine = registration().machine;
    let cases = (0..2)
        .map(|position| {
            let mut case = case(id, position);
            if let Some(measurement) = &mut case.measurement {
                let sample = measurement.samples[0].clone();
                measurement.samples = token_ms
                    .iter()
                    .map(|ms| {
                        let mut s = sample.clone();
                        s.token_ms = vec![*ms; 3];
                        s
                    })
                    .collect();
            }
            case.finished_at = contract::ids::UnixMillis(T0 + i64::try_from(n).unwrap());
            change(&mut case);
            case
        })
        .collect();
    let run = Run {
        id,
        name: format!("run {n}"),
        job_id: None,
        machine_id: machine.id,
        sweep: sweep(),
        runner: contract::run::RunnerBuild { commit: format!("c{n}"), ..registration().build },
        status: RunStatus::Finished,
        origin: RunOrigin::Local,
        started_at: contract::ids::UnixMillis(T0),
        finished_at: None,
    };
    server.state.store.import_run(&RunDetail { run, machine, cases }, RunOrigin::Local).await.unwrap();
    id
}

fn crashed(case: &mut Case) {
    if case.position == 1 {
        (case.status, case.measurement) = (CaseStatus::Crashed, None);
        case.error = Some("killed".to_owned());
    }
}

#[tokio::test]
async fn a_case_has_a_history() {
    let server = Server::new().await;
    let first = measured(&server, 1, [2.0, 2.02, 1.98], |_| {}).await;
    let second = measured(&server, 2, [1.0, 1.01, 0.99], crashed).await;
    let path = |run, position| format!("/api/v1/cases/{}/history", case(run, position).id);
    let history: CaseHistory = server.get(&path(first, 0)).await.read();
    assert_eq!(history.key, sweep().cases()[0].key());
    let runs: Vec<RunId> = history.results.iter().map(|r| r.run_id).collect();
    assert_eq!(runs, [second, first]);
    let change = history.results[0].changes[&Figure::Decode];
    assert!((change.percent - 100.0).abs() < 1.0 && !change.is_noise(), "{change:?}");
    let of_the_crash: CaseHistory = server.get(&path(second, 1)).await.read();
    assert_eq!(of_the_crash.results[0].error.as_deref(), Some("killed"));
    let page: CaseHistory = server.get(&format!("{}?limit=1", path(first, 0))).await.read();
    let older = format!("{}?before={}", path(first, 0), page.next.unwrap());
    assert_eq!(server.get(&older).await.read::<CaseHistory>().results[0].run_id, first);

    for (query, status, code, field) in [
        ("?limit=0", 400, "bad-field", "limit"),
        ("?limit=x", 400, "bad-query", "limit"),
        ("?before=x", 400, "bad-field", "before"),
        ("?after=x", 400, "bad-query", "after"),
    ] {
        let answer = server.get(&format!("{}{query}", path(first, 0))).await;
        assert_eq!(answer.problem(), (status, code.into(), Some(field.into())), "{query}");
    }
    let nothing = server.get(&format!("/api/v1/cases/{}/history", Uuid::from_u128(9))).await;
    assert_eq!(nothing.problem().0, 404);
}

#[tokio::test]
async fn runs_and_commits_are_compared() {
    let server = Server::new().await;
    let first = measured(&server, 1, [2.0, 2.02, 1.98], |_| {}).await;
    let second = measured(&server, 2, [1.0, 1.01, 0.99], crashed).await;
    let compared: Comparison = server.get(&format!("/api/v1/compare?a={first}&b={second}")).await.read();
    assert_eq!((compared.rows.len(), compared.alone.len()), (2, 0));
    assert_eq!(compared.rows[1].cells[1].as_ref().unwrap().status, CaseStatus::Crashed);
    assert_eq!(compared.overall[1][&Figure::Decode].rows, 1);
    let by: Comparison = server.get("/api/v1/compare?by=commit&base=c2&batch=1").await.read();
    assert_eq!(by.differ_in, [Axis::Commit]);
    assert_eq!(by.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["c2", "c1"]);
    assert_eq!(by.rows.len(), 1, "the filters hold");
    let decode = by.rows[0].cells[1].as_ref().unwrap().differences[&Figure::Decode];
    assert!((decode.percent + 50.0).abs() < 1.0, "{decode:?}");

    let csv = server.get(&format!("/api/v1/compare.csv?a={first}&b={second}")).await;
    assert!(csv.header("content-type").starts_with("text/csv"), "{csv:?}");
    let lines: Vec<&str> = csv.text.lines().collect();
    assert!(lines[0].starts_with("case,figure,column,value,case_id,status,mean"));
    // Four figures of two measured cases and of one.
    assert_eq!(lines.len(), 1 + 4 * 3, "{}", csv.text);
    assert!(lines.iter().any(|l| l.contains(",peak,run 2,") && l.contains(",1,0,,,")), "{}", csv.text);

    let missing = Uuid::from_u128(9);
    for (query, status, code, field) in [
        (String::new(), 400, "bad-field", Some("a")),
        (format!("?a={first}"), 400, "bad-field", Some("a")),
        (format!("?a={first}&b={second}&by=commit"), 200, "", None),
        ("?by=colour".to_owned(), 400, "bad-field", Some("by")),
        ("?by=commit&colour=red".to_owned(), 400, "bad-field", Some("colour")),
        (format!("?a={first}&b=two"), 400, "bad-field", Some("b")),
        (format!("?a={first}&b={missing}"), 404, "not-found", None),
    ] {
        let answer = server.get(&format!("/api/v1/compare{query}")).await;
        if status == 200 {
            assert_eq!(answer.status, 200, "{query}: runs go before an axis");
        } else {
            let want = (status, code.to_owned(), field.map(str::to_owned));
            assert_eq!(answer.problem(), want, "{query}");
        }
    }
}

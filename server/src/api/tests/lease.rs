//! The life of a job, from its submission to its end, as runner and watcher see it.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use contract::explore::{CaseListing, Facet};
use contract::ids::{CaseId, RunId};
use contract::job::{Job, JobState, NewJob, Progress};
use contract::protocol::{CaseUpload, Claim, Finish, Heartbeat, HeartbeatReply, JobEvent, LEASE_MS, Outcome};
use contract::run::{RunDetail, RunStatus};
use planner::MeasurementRow;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_stream::StreamExt;
use uuid::Uuid;

use crate::testing::{Answer, RUNNER_ID, Server, case, sweep};

fn value(document: &impl Serialize) -> Value {
    serde_json::to_value(document).unwrap()
}

async fn submit(server: &Server) -> Job {
    let new = NewJob { name: Some("nightly".to_owned()), sweep: sweep(), runner_id: None };
    server.post("/api/v1/jobs", &value(&new)).await.read()
}

async fn claim(server: &Server) -> Claim {
    server.runner(Method::POST, &format!("/api/v1/runners/{RUNNER_ID}/claim"), &json!({})).await.read()
}

async fn upload(server: &Server, claim: &Claim, position: usize) -> Answer {
    let case = case(claim.run_id, position);
    let path = format!("/api/v1/jobs/{}/cases/{}", claim.job.id, case.id);
    server.runner(Method::PUT, &path, &value(&CaseUpload { lease: claim.lease, case })).await
}

async fn heartbeat(server: &Server, claim: &Claim) -> Answer {
    let progress =
        Progress { current: Some("tiny".to_owned()), phase: Some("load".to_owned()), ..Progress::default() };
    let body = value(&Heartbeat { lease: claim.lease, progress });
    server.runner(Method::POST, &format!("/api/v1/jobs/{}/heartbeat", claim.job.id), &body).await
}

async fn finish(server: &Server, claim: &Claim, outcome: Outcome) -> Answer {
    let body = value(&Finish { lease: claim.lease, outcome });
    server.runner(Method::POST, &format!("/api/v1/jobs/{}/finish", claim.job.id), &body).await
}

#[tokio::test]
async fn a_job_runs_from_submission_to_rows() {
    let server = Server::new().await;
    server.register().await;
    let idle = server.runner(Method::POST, &format!("/api/v1/runners/{RUNNER_ID}/claim"), &json!({})).await;
    assert_eq!((idle.status, idle.text.as_str()), (StatusCode::NO_CONTENT, ""));

    let job = submit(&server).await;
    assert_eq!((job.name.as_str(), job.state, job.progress.total), ("nightly", JobState::Queued, 2));
    let claim = claim(&server).await;
    assert_eq!((claim.job.id, claim.job.state), (job.id, JobState::Running));
    let reply: HeartbeatReply = heartbeat(&server, &claim).await.read();
    assert!(!reply.cancel);

    let early = finish(&server, &claim, Outcome::Finished).await;
    assert_eq!(early.problem(), (422, "incomplete".into(), Some("outcome".into())));
    for position in 0..2 {
        let first = upload(&server, &claim, position).await;
        assert_eq!((first.status, first.json()["new"].clone()), (StatusCode::CREATED, json!(true)));
        let again = upload(&server, &claim, position).await;
        assert_eq!((again.status, again.json()["new"].clone()), (StatusCode::OK, json!(false)));
    }
    for _ in 0..2 {
        let done: Job = finish(&server, &claim, Outcome::Finished).await.read();
        assert_eq!(
            (done.state, done.progress.done, done.run_id),
            (JobState::Finished, 2, Some(claim.run_id))
        );
    }

    let path = format!("/api/v1/runs/{}", claim.run_id);
    let run: RunDetail = server.get(&path).await.read();
    assert_eq!(
        (run.run.status, run.cases),
        (RunStatus::Finished, vec![case(claim.run_id, 0), case(claim.run_id, 1)])
    );
    let late: Vec<Value> = server.get(&format!("{path}/cases?from=1")).await.read();
    assert_eq!(late, [value(&case(claim.run_id, 1))]);
    let rows = server.get(&format!("{path}/rows")).await;
    let rows: Vec<MeasurementRow> =
        rows.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].measured.total.map(|b| b.0), Some(600_000_000));
    // Batch 1, three further tokens of 2 ms each.
    assert_eq!(rows[0].measured.tokens_per_second, Some(500.0));

    let cancelled = server.post(&format!("/api/v1/jobs/{}/cancel", job.id), &json!({})).await;
    assert_eq!(cancelled.problem(), (409, "job-ended".into(), None));
}

#[tokio::test]
async fn a_lost_lease_is_a_conflict() {
    let server = Server::new().await;
    server.register().await;
    submit(&server).await;
    let first = claim(&server).await;
    server.pass(LEASE_MS + 1);
    let second = claim(&server).await;
    assert_eq!((second.run_id, second.job.attempts), (first.run_id, 2));
    for answer in [
        heartbeat(&server, &first).await,
        upload(&server, &first, 0).await,
        finish(&server, &first, Outcome::Finished).await,
    ] {
        assert_eq!(answer.problem(), (409, "lease-lost".into(), None));
    }
    assert_eq!(heartbeat(&server, &second).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_a_runner_may_not_send() {
    let server = Server::new().await;
    server.register().await;
    submit(&server).await;
    let claim = claim(&server).await;
    let put = |path: String, body: Value| {
        server.runner(Method::PUT, Box::leak(path.into_boxed_str()), Box::leak(Box::new(body)))
    };
    let good = case(claim.run_id, 0);
    let path = format!("/api/v1/jobs/{}/cases/{}", claim.job.id, good.id);

    let other = CaseId(Uuid::from_u128(1));
    let misaddressed = format!("/api/v1/jobs/{}/cases/{other}", claim.job.id);
    let body = value(&CaseUpload { lease: claim.lease, case: good.clone() });
    assert_eq!(
        put(misaddressed, body.clone()).await.problem(),
        (422, "wrong-case".into(), Some("case.id".into()))
    );

    let mut of_another_run = good.clone();
    of_another_run.run_id = RunId(Uuid::from_u128(2));
    let foreign = value(&CaseUpload { lease: claim.lease, case: of_another_run });
    assert_eq!(put(path.clone(), foreign).await.problem().1, "wrong-case");

    let mut unknown = body.clone();
    unknown["case"]["spec"]["color"] = json!("blue");
    assert_eq!(put(path, unknown).await.problem(), (400, "bad-field".into(), Some("case.spec.color".into())));

    let mut twice = value(&crate::testing::registration());
    twice["models"][1] = twice["models"][0].clone();
    let answer = put(format!("/api/v1/runners/{RUNNER_ID}"), twice).await;
    assert_eq!(answer.problem(), (422, "bad-name".into(), Some("models[1].name".into())));
    let stranger = server.runner(Method::POST, &format!("/api/v1/runners/{other}/claim"), &json!({})).await;
    assert_eq!(stranger.problem(), (404, "runner-not-registered".into(), None));
}

/// The jobs of a stream's events, until it ends.
fn events(response: axum::response::Response) -> impl tokio_stream::Stream<Item = Job> {
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body().into_data_stream().map(|chunk| {
        let text = String::from_utf8(chunk.unwrap().to_vec()).unwrap();
        let data = text.trim().strip_prefix("data: ").unwrap_or_else(|| panic!("{text:?}"));
        serde_json::from_str::<JobEvent>(data).unwrap().job
    })
}

#[tokio::test]
async fn a_watcher_sees_the_job_from_now_to_its_end() {
    let server = Server::new().await;
    server.register().await;
    let job = submit(&server).await;
    let path = format!("/api/v1/jobs/{}/events", job.id);
    let watch = || server.response(Request::get(&path).body(Body::empty()).unwrap());
    let mut stream = Box::pin(events(watch().await));
    assert_eq!(stream.next().await.unwrap(), job, "the first event is the present");

    let claim = claim(&server).await;
    assert_eq!(stream.next().await.unwrap().state, JobState::Running);
    heartbeat(&server, &claim).await;
    assert_eq!(stream.next().await.unwrap().progress.phase.as_deref(), Some("load"));
    upload(&server, &claim, 0).await;
    assert_eq!(stream.next().await.unwrap().progress.done, 1);
    server.post(&format!("/api/v1/jobs/{}/cancel", job.id), &json!({})).await;
    assert!(stream.next().await.unwrap().cancel_requested);
    let reply: HeartbeatReply = heartbeat(&server, &claim).await.read();
    assert!(reply.cancel);
    finish(&server, &claim, Outcome::Cancelled).await;
    assert_eq!(stream.next().await.unwrap().state, JobState::Cancelled);
    assert!(stream.next().await.is_none(), "the stream ends with the job");

    let states: Vec<JobState> = events(watch().await).map(|job| job.state).collect().await;
    assert_eq!(states, [JobState::Cancelled], "of a job that has ended there is one event");
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let server = Server::new().await;
    server.register().await;
    let job = submit(&server).await;
    let request = Request::get(format!("/api/v1/jobs/{}/events", job.id)).body(Body::empty()).unwrap();
    let mut stream = Box::pin(events(server.response(request).await));
    assert!(stream.next().await.is_some());
    server.state.hub.stop();
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_restart_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let db = folder.path().join("plimsoll.db");
    let before = Server::at(&db, None).await;
    before.register().await;
    let job = submit(&before).await;
    let held = claim(&before).await;
    upload(&before, &held, 0).await;
    drop(before);

    let after = Server::at(&db, None).await;
    let found: Job = after.get(&format!("/api/v1/jobs/{}", job.id)).await.read();
    assert_eq!((found.state, found.progress.done), (JobState::Running, 1));
    // The runner noticed nothing: its lease is still good.
    assert_eq!(upload(&after, &held, 1).await.status, StatusCode::CREATED);
    let done: Job = finish(&after, &held, Outcome::Finished).await.read();
    assert_eq!(done.state, JobState::Finished);
}

#[tokio::test]
async fn cases_of_all_runs_are_listed_by_the_address() {
    let server = Server::new().await;
    server.register().await;
    submit(&server).await;
    let claim = claim(&server).await;
    for position in 0..2 {
        upload(&server, &claim, position).await;
    }
    let listing: CaseListing = server.get("/api/v1/case-lines?batch=2&order=decode&limit=1").await.read();
    assert_eq!((listing.total, listing.items.len(), listing.next), (1, 1, None));
    // Three tokens of 2 ms each, two sequences at once.
    assert_eq!(listing.items[0].decode_tokens_per_second, Some(1000.0));
    let batches: Vec<(&str, u64)> =
        listing.facets[&Facet::Batch].iter().map(|v| (v.value.as_str(), v.cases)).collect();
    assert_eq!(batches, [("1", 1), ("2", 1)], "a facet's own filter does not change its counts");

    let first: CaseListing = server.get("/api/v1/case-lines?limit=1").await.read();
    let next = first.next.unwrap();
    let second: CaseListing = server.get(&format!("/api/v1/case-lines?limit=1&after={next}")).await.read();
    assert_ne!(first.items[0].id, second.items[0].id);
    assert_eq!(second.next, None);

    let csv = server.get("/api/v1/case-lines.csv?model=tiny").await.text;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("id,run_id,machine_id,model,task,training,precision"), "{}", lines[0]);
    assert!(lines.iter().all(|line| line.split(',').count() == 23), "{csv}");

    let problem = server.get("/api/v1/case-lines?order=size").await.problem();
    assert_eq!(problem, (400, "bad-field".into(), Some("order".into())));
}

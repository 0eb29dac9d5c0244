use contract::ids::{JobId, RunId};
use contract::job::{Job, JobState, MAX_ATTEMPTS, Progress};
use contract::protocol::{Claim, LEASE_MS, Outcome};
use contract::run::RunStatus;
use contract::sweep::Sweep;
use planner::Tokens;
use tempfile::TempDir;

use crate::testing::{T0, case, job, lease, machine, registration, runner, sweep, temporary, uuid};
use crate::{Store, StoreError};

const DESK: u128 = 100;
const RACK: u128 = 200;

/// Two runners on two machines with the model `tiny`, and one job for it.
async fn fleet() -> (TempDir, Store, JobId) {
    let (folder, store) = temporary().await;
    for (n, name) in [(DESK, "desk"), (RACK, "rack")] {
        store.upsert_runner(runner(n), &registration(name, machine(n, name), &["tiny"]), T0).await.unwrap();
    }
    let job = job(1, sweep("tiny"));
    store.create_job(&job).await.unwrap();
    (folder, store, job.id)
}

/// A claim whose new lease and run are both numbered `n`.
async fn claim(store: &Store, by: u128, at: i64, n: u128) -> Option<Claim> {
    store.claim(runner(by), T0.plus_ms(at), lease(n), RunId(uuid(n))).await.unwrap()
}

async fn upload(store: &Store, claim: &Claim, position: usize, at: i64) -> Result<bool, StoreError> {
    let case = case(claim.run_id, &claim.job.sweep, position);
    store.upload_case(claim.job.id, claim.lease, &case, T0.plus_ms(at)).await
}

async fn state(store: &Store, id: JobId) -> Job {
    store.job(id).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_job_runs_from_claim_to_finish() {
    let (_folder, store, id) = fleet().await;
    let claim_ = claim(&store, DESK, 10, 1).await.unwrap();
    assert_eq!((claim_.job.state, claim_.job.held_by.as_deref()), (JobState::Running, Some("desk")));
    assert_eq!(
        (claim_.run_id, claim_.done.len(), claim_.expires_at),
        (RunId(uuid(1)), 0, T0.plus_ms(10 + LEASE_MS))
    );
    assert!(claim(&store, RACK, 11, 2).await.is_none(), "it is granted once");

    let says = Progress {
        done: 4, // counted from the stored cases instead
        total: 9,
        current: Some("tiny native".to_owned()),
        phase: Some("load".to_owned()),
        eta_ms: Some(1234),
    };
    let reply = store.heartbeat(id, claim_.lease, &says, T0.plus_ms(20)).await.unwrap();
    assert_eq!((reply.cancel, reply.expires_at), (false, T0.plus_ms(20 + LEASE_MS)));
    let progress = state(&store, id).await.progress;
    assert_eq!(progress, Progress { done: 0, total: 4, ..says.clone() });

    let early = store.finish(id, claim_.lease, &Outcome::Finished, T0).await.unwrap_err();
    assert!(matches!(early, StoreError::Incomplete { done: 0, total: 4, .. }), "{early:?}");
    for position in 0..4 {
        assert!(upload(&store, &claim_, position, 30).await.unwrap());
        assert!(!upload(&store, &claim_, position, 31).await.unwrap(), "an upload repeated is the same row");
        assert_eq!(state(&store, id).await.progress.done as usize, position + 1);
    }
    for _ in 0..2 {
        let job = store.finish(id, claim_.lease, &Outcome::Finished, T0.plus_ms(40)).await.unwrap();
        assert_eq!(
            (job.state, job.finished_at, job.run_id),
            (JobState::Finished, Some(T0.plus_ms(40)), Some(claim_.run_id))
        );
        assert_eq!(job.progress, Progress { done: 4, total: 4, ..Progress::default() });
    }
    let run = store.run(claim_.run_id).await.unwrap().unwrap();
    assert_eq!((run.run.status, run.run.job_id, run.cases.len()), (RunStatus::Finished, Some(id), 4));
    let late = store.heartbeat(id, claim_.lease, &says, T0.plus_ms(50)).await.unwrap_err();
    assert!(matches!(late, StoreError::LeaseLost { .. }), "{late:?}");
    let error = store.request_cancel(id, T0).await.unwrap_err();
    assert!(matches!(error, StoreError::JobEnded { state: JobState::Finished, .. }), "{error:?}");
}

#[tokio::test]
async fn a_runner_gets_only_what_it_can_execute() {
    let (_folder, store, first) = fleet().await;
    store.request_cancel(first, T0).await.unwrap();
    let mut two_models = sweep("tiny");
    two_models.models.push("large".to_owned());
    let mut on_gpu = sweep("tiny");
    on_gpu.device = contract::case::Device::Cuda(0);
    let mut for_rack = job(4, sweep("tiny"));
    for_rack.runner_id = Some(runner(RACK));
    let other_precision = Sweep { precisions: vec!["bf16".to_owned()], ..sweep("tiny") };
    let too_long = Sweep { prompts: vec![Tokens(4096)], ..sweep("tiny") };
    let jobs = [(2, two_models), (3, on_gpu), (6, other_precision), (7, too_long), (8, sweep("tiny"))];
    store.create_job(&for_rack).await.unwrap();
    for (n, sweep) in jobs {
        store.create_job(&job(n, sweep)).await.unwrap();
    }
    assert_eq!(claim(&store, DESK, 10, 1).await.unwrap().job.name, "job 8");
    assert_eq!(claim(&store, RACK, 10, 2).await.unwrap().job.name, "job 4");
    let error = store.claim(runner(999), T0, lease(3), RunId(uuid(3))).await.unwrap_err();
    assert!(matches!(error, StoreError::NoRunner(_)), "{error:?}");

    let both = registration("desk", machine(DESK, "desk"), &["large", "tiny"]);
    let third = runner(300);
    store.upsert_runner(third, &both, T0).await.unwrap();
    let claim = store.claim(third, T0, lease(4), RunId(uuid(4))).await.unwrap().unwrap();
    assert_eq!(claim.job.name, "job 2");
}

#[tokio::test]
async fn an_expired_lease_frees_the_job_and_the_same_machine_resumes_its_run() {
    let (_folder, store, id) = fleet().await;
    let first = claim(&store, DESK, 0, 1).await.unwrap();
    upload(&store, &first, 0, 5).await.unwrap();
    assert_eq!(store.expire_leases(T0.plus_ms(5 + LEASE_MS)).await.unwrap(), []);
    assert_eq!(store.expire_leases(T0.plus_ms(6 + LEASE_MS)).await.unwrap(), [id]);
    let waiting = state(&store, id).await;
    assert_eq!((waiting.state, waiting.progress.done), (JobState::Queued, 1));

    let second = claim(&store, DESK, 7 + LEASE_MS, 2).await.unwrap();
    assert_eq!((second.run_id, &second.done), (first.run_id, &vec![first.job.sweep.cases()[0].key()]));
    let error = upload(&store, &first, 1, 8 + LEASE_MS).await.unwrap_err();
    assert!(error.to_string().contains("held by desk"), "{error}");
    // A case that arrived is acknowledged to whoever sends it again.
    assert!(!upload(&store, &first, 0, 8 + LEASE_MS).await.unwrap());
    for position in 1..4 {
        upload(&store, &second, position, 9 + LEASE_MS).await.unwrap();
    }
    store.finish(id, second.lease, &Outcome::Finished, T0.plus_ms(10 + LEASE_MS)).await.unwrap();
    assert_eq!(store.run(first.run_id).await.unwrap().unwrap().cases.len(), 4);
}

#[tokio::test]
async fn another_machine_begins_a_run_of_its_own() {
    let (_folder, store, id) = fleet().await;
    let first = claim(&store, DESK, 0, 1).await.unwrap();
    upload(&store, &first, 0, 0).await.unwrap();
    let second = claim(&store, RACK, 1 + LEASE_MS, 2).await.unwrap();
    assert_eq!((second.run_id, second.done.len(), second.job.progress.done), (RunId(uuid(2)), 0, 0));
    let misplaced = case(first.run_id, &first.job.sweep, 1);
    let error = store.upload_case(id, second.lease, &misplaced, T0).await.unwrap_err();
    assert!(matches!(error, StoreError::WrongCase { .. }), "{error:?}");
    for position in 0..4 {
        upload(&store, &second, position, 2 + LEASE_MS).await.unwrap();
    }
    store.finish(id, second.lease, &Outcome::Finished, T0.plus_ms(3 + LEASE_MS)).await.unwrap();
    let status = |run: RunId| {
        let store = store.clone();
        async move { store.run(run).await.unwrap().unwrap().run.status }
    };
    assert_eq!(
        (status(first.run_id).await, status(second.run_id).await),
        (RunStatus::Cancelled, RunStatus::Finished)
    );
}

#[tokio::test]
async fn an_expired_lease_lives_on_while_nobody_else_has_the_job() {
    let (_folder, store, id) = fleet().await;
    let first = claim(&store, DESK, 0, 1).await.unwrap();
    store.expire_leases(T0.plus_ms(1 + LEASE_MS)).await.unwrap();
    assert!(
        upload(&store, &first, 0, 2 + LEASE_MS).await.unwrap(),
        "the server was away, the runner was not"
    );
    let job = state(&store, id).await;
    assert_eq!((job.state, job.progress.done), (JobState::Running, 1));
    assert!(claim(&store, RACK, 3 + LEASE_MS, 2).await.is_none());
}

#[tokio::test]
async fn a_server_that_was_away_gives_every_runner_time_to_come_back() {
    let (_folder, store, id) = fleet().await;
    let first = claim(&store, DESK, 0, 1).await.unwrap();
    assert_eq!(store.renew_leases(T0.plus_ms(10 * LEASE_MS)).await.unwrap(), 1);
    assert_eq!(store.expire_leases(T0.plus_ms(11 * LEASE_MS)).await.unwrap(), []);
    assert!(upload(&store, &first, 0, 11 * LEASE_MS).await.unwrap());
    assert_eq!(store.expire_leases(T0.plus_ms(12 * LEASE_MS + 1)).await.unwrap(), [id]);
    assert_eq!(store.renew_leases(T0.plus_ms(13 * LEASE_MS)).await.unwrap(), 0);
}

#[tokio::test]
async fn a_runner_that_started_anew_gets_its_job_back_at_once() {
    let (_folder, store, id) = fleet().await;
    let first = claim(&store, DESK, 0, 1).await.unwrap();
    upload(&store, &first, 0, 1).await.unwrap();
    let second = claim(&store, DESK, 2, 2).await.unwrap();
    assert_eq!((second.job.id, second.run_id, second.done.len()), (id, first.run_id, 1));
    let error = upload(&store, &first, 1, 3).await.unwrap_err();
    assert!(matches!(error, StoreError::LeaseLost { .. }), "{error:?}");
}

#[tokio::test]
async fn a_job_that_never_gets_anywhere_is_given_up() {
    let (_folder, store, id) = fleet().await;
    let mut n = 0;
    while let Some(claim) = claim(&store, DESK, 0, n).await {
        n += 1;
        if n == 2 {
            upload(&store, &claim, 0, 0).await.unwrap();
        }
    }
    // The case that arrived in the second lease starts the count again.
    assert_eq!(n, u128::from(2 + MAX_ATTEMPTS));
    let job = state(&store, id).await;
    assert_eq!(job.state, JobState::Failed);
    assert!(job.error.unwrap().contains("without a new case"));
    let run = store.run(job.run_id.unwrap()).await.unwrap().unwrap();
    assert_eq!((run.run.status, run.cases.len()), (RunStatus::Cancelled, 1), "what was measured is kept");
}

#[tokio::test]
async fn a_running_job_is_cancelled_when_its_runner_stops_or_dies() {
    for dies in [false, true] {
        let (_folder, store, id) = fleet().await;
        let claim_ = claim(&store, DESK, 0, 1).await.unwrap();
        upload(&store, &claim_, 0, 1).await.unwrap();
        let asked = store.request_cancel(id, T0.plus_ms(2)).await.unwrap();
        assert_eq!((asked.state, asked.cancel_requested), (JobState::Running, true));
        if dies {
            store.expire_leases(T0.plus_ms(2 + LEASE_MS)).await.unwrap();
        } else {
            assert!(
                store.heartbeat(id, claim_.lease, &Progress::default(), T0.plus_ms(3)).await.unwrap().cancel
            );
            store.finish(id, claim_.lease, &Outcome::Cancelled, T0.plus_ms(4)).await.unwrap();
        }
        assert_eq!(state(&store, id).await.state, JobState::Cancelled);
        let run = store.run(claim_.run_id).await.unwrap().unwrap();
        assert_eq!((run.run.status, run.cases.len()), (RunStatus::Cancelled, 1));
        assert!(claim(&store, RACK, LEASE_MS * 3, 2).await.is_none());
    }
}

#[tokio::test]
async fn a_job_given_back_waits_again_and_a_failed_one_says_why() {
    let (_folder, store, id) = fleet().await;
    let first = claim(&store, DESK, 0, 1).await.unwrap();
    for _ in 0..2 {
        let job = store.finish(id, first.lease, &Outcome::Released, T0).await.unwrap();
        assert_eq!((job.state, job.attempts), (JobState::Queued, 0));
    }
    let second = claim(&store, RACK, 1, 2).await.unwrap();
    let failed = Outcome::Failed { message: "no weights".to_owned() };
    let job = store.finish(id, second.lease, &failed, T0).await.unwrap();
    assert_eq!((job.state, job.error.as_deref()), (JobState::Failed, Some("no weights")));
    let lost = store.finish(id, second.lease, &Outcome::Finished, T0).await.unwrap_err();
    assert!(matches!(lost, StoreError::LeaseLost { .. }), "{lost:?}");
}

#[tokio::test]
async fn only_cases_of_the_sweep_are_taken() {
    let (_folder, store, id) = fleet().await;
    let claim_ = claim(&store, DESK, 0, 1).await.unwrap();
    let foreign = case(claim_.run_id, &sweep("another"), 0);
    let error = store.upload_case(id, claim_.lease, &foreign, T0).await.unwrap_err();
    assert!(error.to_string().contains("not in the job's sweep"), "{error}");
    let error = store.upload_case(id, lease(9), &foreign, T0).await.unwrap_err();
    assert!(error.to_string().contains("never granted"), "{error}");
}

#[tokio::test]
async fn of_many_that_ask_at_once_one_gets_the_job() {
    let (folder, store, _) = fleet().await;
    let other = Store::open(&folder.path().join("plimsoll.db")).await.unwrap();
    let claims: Vec<_> = (1..=8)
        .map(|n| {
            let (store, by) = if n % 2 == 0 { (store.clone(), DESK) } else { (other.clone(), RACK) };
            tokio::spawn(async move { claim(&store, by, 0, n).await.map(|c| (by, c.job.attempts)) })
        })
        .collect();
    let mut holders = Vec::new();
    for claim in claims {
        holders.extend(claim.await.unwrap());
    }
    let (holder, _) = holders[0];
    assert!(holders.iter().all(|(by, _)| *by == holder), "one runner, however often it asked: {holders:?}");
}

#[tokio::test]
async fn runners_are_online_while_they_are_heard() {
    let (_folder, store, _) = fleet().await;
    claim(&store, RACK, 1000, 1).await.unwrap();
    let at = |ms| {
        let store = store.clone();
        async move {
            let runners = store.runners(T0.plus_ms(ms)).await.unwrap();
            runners.into_iter().map(|r| (r.registration.name, r.online)).collect::<Vec<_>>()
        }
    };
    assert_eq!(at(1000).await, [("rack".to_owned(), true), ("desk".to_owned(), true)]);
    assert_eq!(at(1 + LEASE_MS).await, [("rack".to_owned(), true), ("desk".to_owned(), false)]);
}

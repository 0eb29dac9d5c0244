use contract::ids::JobId;
use contract::job::JobState;

use crate::StoreError;
use crate::testing::{T0, job, sweep, temporary, uuid};

#[tokio::test]
async fn a_job_starts_queued_whatever_it_says() {
    let (_folder, store) = temporary().await;
    let mut asked = job(1, sweep("tiny"));
    asked.state = JobState::Finished;
    asked.attempts = 3;
    asked.progress.done = 4;
    store.create_job(&asked).await.unwrap();
    assert_eq!(store.job(asked.id).await.unwrap(), Some(job(1, sweep("tiny"))));
    assert!(store.create_job(&asked).await.is_err(), "an id is used once");
}

#[tokio::test]
async fn jobs_are_listed_newest_first() {
    let (_folder, store) = temporary().await;
    for n in 1..=3 {
        store.create_job(&job(n, sweep("tiny"))).await.unwrap();
    }
    let page = store.jobs(Some(1), Some(2)).await.unwrap();
    assert_eq!(page.items.iter().map(|j| j.name.as_str()).collect::<Vec<_>>(), ["job 3", "job 2"]);
    assert_eq!((page.total, page.page, page.per_page), (3, 1, 2));
    let page = store.jobs(Some(2), Some(2)).await.unwrap();
    assert_eq!(page.items.len(), 1);
}

#[tokio::test]
async fn a_queued_job_is_cancelled_at_once_and_again_without_effect() {
    let (_folder, store) = temporary().await;
    let asked = job(1, sweep("tiny"));
    store.create_job(&asked).await.unwrap();
    let cancelled = store.request_cancel(asked.id, T0.plus_ms(5)).await.unwrap();
    assert_eq!((cancelled.state, cancelled.finished_at), (JobState::Cancelled, Some(T0.plus_ms(5))));
    assert_eq!(store.request_cancel(asked.id, T0.plus_ms(9)).await.unwrap(), cancelled);
    let error = store.request_cancel(JobId(uuid(9)), T0).await.unwrap_err();
    assert!(matches!(error, StoreError::NoJob(_)), "{error:?}");
}

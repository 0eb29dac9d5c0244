//! What changes, for those who watch.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use contract::ids::JobId;
use contract::job::Job;
use contract::protocol::JobEvent;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

use crate::problem::Problem;
use crate::state::AppState;

/// Changes that a slow watcher may lag behind; one that lags further looks at the job anew.
const BACKLOG: usize = 256;
/// A comment is sent this often on a quiet stream, so that nothing between closes it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Tells watchers which jobs changed, and everyone when the server stops.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    changed: broadcast::Sender<JobId>,
    stopping: watch::Sender<bool>,
}

impl Hub {
    pub fn new() -> Self {
        Self { changed: broadcast::channel(BACKLOG).0, stopping: watch::channel(false).0 }
    }

    /// The job changed.
    pub fn tell(&self, job: JobId) {
        // An error means that nobody watches.
        let _ = self.changed.send(job);
    }

    /// The server stops: streams end.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Becomes true when the server stops.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }
}

/// Returns once the server stops.
pub(crate) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the server is gone already.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// A job's state now, then each time it changes, until it is final or the server stops.
pub(crate) async fn follow(
    state: AppState,
    id: JobId,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>> + Send + use<>>, Problem> {
    // Subscribed before the first look, so that no change falls between.
    let changed = state.hub.changed.subscribe();
    let job = state.store.job(id).await?.ok_or_else(|| Problem::not_found("job", id))?;
    let (events, stream) = mpsc::channel(4);
    tokio::spawn(send(state, job, changed, events));
    Ok(Sse::new(ReceiverStream::new(stream)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

async fn send(
    state: AppState,
    mut job: Job,
    mut changed: broadcast::Receiver<JobId>,
    events: mpsc::Sender<Result<Event, Infallible>>,
) {
    let id = job.id;
    let mut stopping = state.hub.stopping();
    loop {
        let is_final = job.state.is_final();
        let Ok(event) = Event::default().json_data(JobEvent { job: job.clone() }) else { return };
        if events.send(Ok(event)).await.is_err() || is_final {
            return;
        }
        loop {
            tokio::select! {
                told = changed.recv() => match told {
                    Ok(other) if other != id => continue,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                () = events.closed() => return,
                () = stopped(&mut stopping) => return,
            }
            match state.store.job(id).await {
                Ok(Some(now)) if now != job => {
                    job = now;
                    break;
                }
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, %id, "a watched job could not be read");
                    return;
                }
            }
        }
    }
}

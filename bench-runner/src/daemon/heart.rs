//! Signs of life while a job runs: regularly, and soon after something changed.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use contract::ids::{JobId, LeaseId};
use contract::job::Progress;
use contract::protocol::{HEARTBEAT_MS, Heartbeat};

use super::Client;
use crate::stop::{Reason, Stop};

/// Changes are told at most this often.
const SHORTEST: Duration = Duration::from_millis(250);
/// How often the daemon's own request to stop is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// A thread that sends heartbeats until it is dropped.
pub(super) struct Heart {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    progress: Progress,
    /// Whether the progress was not sent yet.
    fresh: bool,
    over: bool,
}

impl Shared {
    /// A thread that panicked left plain values behind; they are as good as before.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heart {
    /// Beats for a job: raises `job_stop` where the server wants it stopped, the lease is lost, or `daemon_stop` is
    /// raised.
    pub(super) fn start(
        client: Client,
        job: JobId,
        lease: LeaseId,
        job_stop: Stop,
        daemon_stop: Stop,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || beat(&shared, &client, job, lease, &job_stop, &daemon_stop)
        });
        Self { shared, thread: Some(thread) }
    }

    /// How far the job is now.
    pub(super) fn tell(&self, progress: &Progress) {
        let mut state = self.shared.lock();
        state.progress = progress.clone();
        state.fresh = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // Its panic was printed; there is nothing to add here.
            let _ = thread.join();
        }
    }
}

fn beat(shared: &Shared, client: &Client, job: JobId, lease: LeaseId, job_stop: &Stop, daemon_stop: &Stop) {
    let period = Duration::from_millis(HEARTBEAT_MS);
    let mut sent = Instant::now().checked_sub(period).unwrap_or_else(Instant::now);
    loop {
        let progress = {
            let mut state = shared.lock();
            loop {
                if state.over {
                    return;
                }
                if let Some(reason) = daemon_stop.reason() {
                    job_stop.ask(reason);
                }
                let due = if state.fresh { SHORTEST } else { period };
                let left = due.saturating_sub(sent.elapsed());
                if left.is_zero() {
                    break;
                }
                let waited = shared.changed.wait_timeout(state, left.min(LOOK));
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            state.fresh = false;
            state.progress.clone()
        };
        sent = Instant::now();
        match client.heartbeat(job, &Heartbeat { lease, progress }) {
            Ok(reply) if reply.cancel => job_stop.ask(Reason::Cancelled),
            Ok(_) => {}
            Err(error) if error.is_lease_lost() => job_stop.ask(Reason::LeaseLost),
            // The next one may be heard; cases that end meanwhile are kept.
            Err(error) => eprintln!("warning: {error}"),
        }
    }
}

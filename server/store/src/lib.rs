//! Results and the job queue in SQLite. The only crate that knows sqlx; it embeds `migrations/`.
//!
//! Two programs may have one file open at once: the server, and a `bench-runner` that writes its own results.
//! Writes take SQLite's write lock at their start and wait for each other; a program refuses a database newer
//! than itself.
//!
//! Time, ids and randomness are passed in: nothing here reads a clock.

mod cases;
mod error;
mod examples;
mod explore;
mod facets;
mod jobs;
mod leases;
mod machines;
mod open;
mod outcomes;
mod plans;
mod row;
mod runners;
mod runs;
mod value;
mod views;

pub use error::StoreError;
pub use facets::Facets;
pub use outcomes::RunResults;

use std::sync::{Arc, Mutex};

use sqlx::{Sqlite, SqlitePool, Transaction};
use tokio::sync::RwLock;

/// A database of results. Cheap to clone: every clone uses the same connections.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
    /// The lines of all cases, as far as they were asked for.
    columns: Arc<RwLock<explore::Columns>>,
    /// What plots read of cases' documents, as far as they were asked for.
    details: Arc<Mutex<explore::Details>>,
}

/// A transaction that holds the write lock from its start, so that what it reads is still so when it writes.
type Write = Transaction<'static, Sqlite>;

impl Store {
    /// Begins in a task of its own. A future that is given up, as a request's is when its client goes, may be dropped
    /// after SQLite has begun and before sqlx has made the [`Transaction`] that would roll back; the connection would
    /// go back to the pool with the write lock and nobody could write again. The task always comes to the
    /// [`Transaction`], and drops it where nobody waits any more.
    async fn write(&self) -> Result<Write, StoreError> {
        let pool = self.pool.clone();
        let begun = tokio::spawn(async move { pool.begin_with("BEGIN IMMEDIATE").await });
        match begun.await {
            Ok(begun) => Ok(begun?),
            // The runtime is shutting down, or sqlx panicked.
            Err(_) => Err(sqlx::Error::WorkerCrashed.into()),
        }
    }
}

/// Computes on a thread that serves no requests: what takes milliseconds of a core.
async fn beside<T: Send + 'static>(
    compute: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(compute).await.map_err(|_| sqlx::Error::WorkerCrashed)?
}

#[cfg(test)]
mod testing;

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
mod facets;
mod jobs;
mod leases;
mod machines;
mod open;
mod plans;
mod row;
mod runners;
mod runs;
mod value;

pub use error::StoreError;
pub use facets::Facets;

use sqlx::{Sqlite, SqlitePool, Transaction};

/// A database of results. Cheap to clone: every clone uses the same connections.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
}

/// A transaction that holds the write lock from its start, so that what it reads is still so when it writes.
type Write = Transaction<'static, Sqlite>;

impl Store {
    async fn write(&self) -> Result<Write, StoreError> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }
}

#[cfg(test)]
mod testing;

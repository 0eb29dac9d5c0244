//! What can go wrong with a store.

use std::path::PathBuf;

use contract::ids::{CaseId, JobId, LeaseId, RunId, RunnerId};
use contract::job::JobState;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database was written by a newer program.
    #[error(
        "{} is of schema {found}, newer than this program, which knows schema {known}; upgrade Plimsoll to open it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Schema of the file.
        found: i64,
        /// Newest schema that this program knows.
        known: i64,
    },
    /// The file is not a SQLite database.
    #[error("{} is not a SQLite database; name another file, or move it away to start a new one", .0.display())]
    NotADatabase(PathBuf),
    /// The file is a SQLite database of some other program.
    #[error("{} is a database of another program; name another file", .0.display())]
    Foreign(PathBuf),
    /// The file cannot be opened or created.
    #[error("cannot open {}: {source}; check that its folder exists and can be written", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring {} up to date: {source}", path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
    /// No space is left for the database.
    #[error("the disk that holds the database is full; free some space, nothing stored was lost")]
    DiskFull(#[source] sqlx::Error),
    /// Another program held the write lock too long.
    #[error("the database is locked by another program that does not let go; close it and try again")]
    Locked(#[source] sqlx::Error),
    /// The file's pages contradict each other.
    #[error("the database is damaged; restore a copy, or save what is left with `sqlite3 FILE .recover`")]
    Corrupt(#[source] sqlx::Error),
    /// The file or its folder cannot be written.
    #[error("the database cannot be written; check the permissions of the file and its folder")]
    ReadOnly(#[source] sqlx::Error),
    /// Any other failure of the database.
    #[error("the database failed: {0}")]
    Database(#[source] sqlx::Error),
    /// A stored value cannot be read back.
    #[error("column {column} holds a value that this program cannot read: {source}")]
    Unreadable {
        /// Its column.
        column: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A value that the database cannot hold.
    #[error("{what} cannot be stored: {reason}")]
    Unstorable {
        /// What it is.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// There is no such run.
    #[error("there is no run {0}")]
    NoRun(RunId),
    /// There is no such job.
    #[error("there is no job {0}")]
    NoJob(JobId),
    /// The runner has not registered.
    #[error("runner {0} is not registered; register it first")]
    NoRunner(RunnerId),
    /// The job is no longer this lease's.
    #[error("lease {lease} of job {job} is lost: {why}; claim again")]
    LeaseLost {
        /// The job.
        job: JobId,
        /// The lease.
        lease: LeaseId,
        /// How it was lost.
        why: String,
    },
    /// The job has ended, so nothing more can be asked of it.
    #[error("job {job} is {}; only a job that is queued or running can be cancelled", state.as_str())]
    JobEnded {
        /// The job.
        job: JobId,
        /// Its final state.
        state: JobState,
    },
    /// The case does not belong where it was sent.
    #[error("case {case} cannot be stored: {reason}")]
    WrongCase {
        /// The case.
        case: CaseId,
        /// Why.
        reason: String,
    },
    /// A job cannot be finished before its cases are.
    #[error("job {job} has {done} of {total} cases; upload the others first, or report it failed")]
    Incomplete {
        /// The job.
        job: JobId,
        /// Cases stored.
        done: u32,
        /// Cases of its sweep.
        total: u32,
    },
    /// Another plan has the same short id.
    #[error("plan {0} is stored already with other content")]
    PlanTaken(String),
}

/// The primary result codes of SQLite (<https://www.sqlite.org/rescode.html>) that a person can do something
/// about.
impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match primary_code(&error) {
            Some(5 | 6) => Self::Locked(error),
            Some(8) => Self::ReadOnly(error),
            Some(11 | 26) => Self::Corrupt(error),
            Some(13) => Self::DiskFull(error),
            _ => Self::Database(error),
        }
    }
}

/// SQLite's primary result code: the low byte of the extended one that sqlx reports.
pub(crate) fn primary_code(error: &sqlx::Error) -> Option<i64> {
    let code: i64 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

//! Opening a database: settings of its connections, and its schema.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{SqliteConnection, SqlitePool};

use crate::error::primary_code;
use crate::{Store, StoreError};

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// How long a write waits for another program's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Readers at once; writers wait for each other anyway.
const CONNECTIONS: u32 = 8;

impl Store {
    /// Opens the database at `path`, creates it where there is none, and brings its schema up to date.
    ///
    /// # Errors
    /// Where the file cannot be opened, is not a database of Plimsoll, or is newer than this program.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // With a write-ahead log this loses nothing when a program dies; a power cut may undo the latest
            // commits.
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_with(options)
            .await
            .map_err(|source| not_opened(path, source))?;
        migrate(&pool, path).await?;
        Ok(Self { pool, columns: Arc::default(), details: Arc::default() })
    }

    /// A database that lives as long as the store.
    ///
    /// # Errors
    /// Where SQLite fails.
    pub async fn open_in_memory() -> Result<Self, StoreError> {
        // One connection that is never closed: the database is the connection's own.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(SqliteConnectOptions::new().in_memory(true).foreign_keys(true))
            .await?;
        migrate(&pool, Path::new(":memory:")).await?;
        Ok(Self { pool, columns: Arc::default(), details: Arc::default() })
    }

    /// Closes the connections, after which every clone's calls fail. The last to close a file folds its
    /// write-ahead log into it.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn not_opened(path: &Path, source: sqlx::Error) -> StoreError {
    let path = PathBuf::from(path);
    match primary_code(&source) {
        Some(26) => StoreError::NotADatabase(path),
        Some(5 | 6 | 11 | 13) => source.into(),
        _ => StoreError::Open { path, source },
    }
}

/// All migrations in one transaction under the write lock: of two programs that open a new file at once, one
/// waits, and neither sees half a schema.
async fn migrate(pool: &SqlitePool, path: &Path) -> Result<(), StoreError> {
    let mut write = pool.begin_with("BEGIN IMMEDIATE").await.map_err(|source| not_opened(path, source))?;
    check_owner(&mut write, path).await?;
    MIGRATOR
        .run_direct(&mut *write)
        .await
        .map_err(|source| StoreError::Migrate { path: path.to_owned(), source })?;
    write.commit().await?;
    Ok(())
}

/// Refuses a database of another program, and one of a newer Plimsoll.
async fn check_owner(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    // Unchecked queries: the table is sqlx's own and not in the migrations.
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .fetch_all(&mut *connection)
        .await?;
    if tables.is_empty() {
        return Ok(());
    }
    if !tables.iter().any(|t| t == "_sqlx_migrations") {
        return Err(StoreError::Foreign(path.to_owned()));
    }
    let found: Option<i64> =
        sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations").fetch_one(&mut *connection).await?;
    let known = MIGRATOR.iter().map(|m| m.version).max().unwrap_or(0);
    match found {
        Some(found) if found > known => Err(StoreError::Newer { path: path.to_owned(), found, known }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;

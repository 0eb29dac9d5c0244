//! Runners, as they introduced themselves.

use contract::ids::{RunnerId, UnixMillis};
use contract::protocol::{LEASE_MS, Registration, Runner};
use sqlx::SqliteExecutor;

use crate::{Store, StoreError, machines, value};

pub(crate) struct RunnerRow {
    pub id: String,
    pub registration: String,
    pub last_seen_at: i64,
}

impl RunnerRow {
    fn at(self, now: UnixMillis) -> Result<Runner, StoreError> {
        Ok(Runner {
            id: value::id("runners.id", &self.id)?,
            registration: value::json("runners.registration", &self.registration)?,
            last_seen_at: UnixMillis(self.last_seen_at),
            online: now.0.saturating_sub(self.last_seen_at) <= LEASE_MS,
        })
    }
}

impl Store {
    /// Stores what a runner said of itself, and its machine; said again, it replaces what was there.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn upsert_runner(
        &self,
        id: RunnerId,
        registration: &Registration,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let id = id.to_string();
        let machine = registration.machine.id.to_string();
        let document = value::to_json("the registration", registration)?;
        let mut write = self.write().await?;
        machines::upsert(&mut *write, &registration.machine).await?;
        sqlx::query!(
            "INSERT INTO runners (id, machine_id, registration, last_seen_at) VALUES (?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET machine_id = excluded.machine_id, registration = excluded.registration,
                 last_seen_at = excluded.last_seen_at",
            id,
            machine,
            document,
            now.0
        )
        .execute(&mut *write)
        .await?;
        write.commit().await?;
        Ok(())
    }

    /// Every runner, those heard last first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn runners(&self, now: UnixMillis) -> Result<Vec<Runner>, StoreError> {
        sqlx::query_as!(
            RunnerRow,
            "SELECT id, registration, last_seen_at FROM runners ORDER BY last_seen_at DESC, id"
        )
        .fetch_all(&self.pool)
        .await?
        .into_iter()
        .map(|row| row.at(now))
        .collect()
    }

    /// One runner.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn runner(&self, id: RunnerId, now: UnixMillis) -> Result<Option<Runner>, StoreError> {
        find(&self.pool, id, now).await
    }
}

pub(crate) async fn find(
    db: impl SqliteExecutor<'_>,
    id: RunnerId,
    now: UnixMillis,
) -> Result<Option<Runner>, StoreError> {
    let id = id.to_string();
    sqlx::query_as!(RunnerRow, "SELECT id, registration, last_seen_at FROM runners WHERE id = ?", id)
        .fetch_optional(db)
        .await?
        .map(|row| row.at(now))
        .transpose()
}

pub(crate) async fn seen(
    db: impl SqliteExecutor<'_>,
    id: RunnerId,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let id = id.to_string();
    sqlx::query!("UPDATE runners SET last_seen_at = MAX(last_seen_at, ?) WHERE id = ?", now.0, id)
        .execute(db)
        .await?;
    Ok(())
}

//! Jobs as people see them: asked, listed, cancelled. What runners do with them is in `leases`.

use contract::ids::{JobId, UnixMillis};
use contract::job::{Job, JobState, Progress};
use contract::run::Page;
use sqlx::{SqliteConnection, SqliteExecutor};

use crate::row::Paging;
use crate::{Store, StoreError, leases, value};

pub(crate) struct JobRow {
    pub id: String,
    pub name: String,
    pub sweep: String,
    pub runner_id: Option<String>,
    pub state: String,
    pub held_by: Option<String>,
    pub run_id: Option<String>,
    pub done: i64,
    pub total: i64,
    pub current: Option<String>,
    pub phase: Option<String>,
    pub eta_ms: Option<i64>,
    pub cancel_requested: bool,
    pub attempts: i64,
    pub error: Option<String>,
    pub created_at: i64,
    pub finished_at: Option<i64>,
}

impl TryFrom<JobRow> for Job {
    type Error = StoreError;
    fn try_from(row: JobRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: value::id("jobs.id", &row.id)?,
            name: row.name,
            sweep: value::json("jobs.sweep", &row.sweep)?,
            runner_id: value::optional_id("jobs.runner_id", row.runner_id.as_deref())?,
            state: value::name("jobs.state", &row.state)?,
            held_by: row.held_by,
            run_id: value::optional_id("jobs.run_id", row.run_id.as_deref())?,
            progress: Progress {
                done: value::count("jobs.done", row.done)?,
                total: value::count("jobs.total", row.total)?,
                current: row.current,
                phase: row.phase,
                eta_ms: row.eta_ms.map(|ms| value::count("jobs.eta_ms", ms)).transpose()?,
            },
            cancel_requested: row.cancel_requested,
            attempts: value::count("jobs.attempts", row.attempts)?,
            error: row.error,
            created_at: UnixMillis(row.created_at),
            finished_at: value::optional_time(row.finished_at),
        })
    }
}

impl Store {
    /// Queues a job. Only what a submitter chooses is taken from `job`: it starts queued, with nothing done.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn create_job(&self, job: &Job) -> Result<(), StoreError> {
        let id = job.id.to_string();
        let sweep = value::to_json("the sweep", &job.sweep)?;
        let device = job.sweep.device.to_string();
        let runner = job.runner_id.map(|id| id.to_string());
        let total = value::to_integer("the number of cases", job.sweep.cases().len() as u64)?;
        sqlx::query!(
            "INSERT INTO jobs (id, name, sweep, device, runner_id, state, total, created_at)
             VALUES (?, ?, ?, ?, ?, 'queued', ?, ?)",
            id,
            job.name,
            sweep,
            device,
            runner,
            total,
            job.created_at.0
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// One job.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        find(&self.pool, id).await
    }

    /// A page of jobs, newest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn jobs(&self, page: Option<u32>, per_page: Option<u32>) -> Result<Page<Job>, StoreError> {
        let paging = Paging::new(page, per_page);
        let mut read = self.pool.begin().await?;
        let total =
            sqlx::query_scalar!(r#"SELECT COUNT(*) AS "n!: i64" FROM jobs"#).fetch_one(&mut *read).await?;
        let (limit, offset) = (paging.limit(), paging.offset());
        let items = sqlx::query_as!(
            JobRow,
            r#"SELECT id, name, sweep, runner_id, state, held_by, run_id, done, total, current, phase, eta_ms,
                   cancel_requested AS "cancel_requested: bool", attempts, error, created_at, finished_at
               FROM jobs ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?"#,
            limit,
            offset
        )
        .fetch_all(&mut *read)
        .await?
        .into_iter()
        .map(Job::try_from)
        .collect::<Result<_, _>>()?;
        paging.page(items, total)
    }

    /// Asks for a job to stop: a queued one is cancelled at once, a running one when its runner next says
    /// where it is. Asked again, it changes nothing.
    ///
    /// # Errors
    /// Where there is no such job, it has ended otherwise, or the database fails.
    pub async fn request_cancel(&self, id: JobId, now: UnixMillis) -> Result<Job, StoreError> {
        let mut write = self.write().await?;
        let job = find(&mut *write, id).await?.ok_or(StoreError::NoJob(id))?;
        match job.state {
            JobState::Queued => leases::end_job(&mut write, id, JobState::Cancelled, None, now).await?,
            JobState::Running => {
                let key = id.to_string();
                sqlx::query!("UPDATE jobs SET cancel_requested = 1 WHERE id = ?", key)
                    .execute(&mut *write)
                    .await?;
            }
            JobState::Cancelled => {}
            state @ (JobState::Finished | JobState::Failed) => {
                return Err(StoreError::JobEnded { job: id, state });
            }
        }
        let job = get(&mut write, id).await?;
        write.commit().await?;
        Ok(job)
    }
}

pub(crate) async fn find(db: impl SqliteExecutor<'_>, id: JobId) -> Result<Option<Job>, StoreError> {
    let id = id.to_string();
    sqlx::query_as!(
        JobRow,
        r#"SELECT id, name, sweep, runner_id, state, held_by, run_id, done, total, current, phase, eta_ms,
               cancel_requested AS "cancel_requested: bool", attempts, error, created_at, finished_at
           FROM jobs WHERE id = ?"#,
        id
    )
    .fetch_optional(db)
    .await?
    .map(Job::try_from)
    .transpose()
}

/// A job that must be there.
pub(crate) async fn get(write: &mut SqliteConnection, id: JobId) -> Result<Job, StoreError> {
    find(write, id).await?.ok_or(StoreError::NoJob(id))
}

#[cfg(test)]
mod tests;

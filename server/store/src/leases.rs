//! Leases: how a job passes from the queue to a runner and back.
//!
//! ```text
//! queued ──claim──▶ running ──finish──▶ finished | failed | cancelled
//!    ▲                 │
//!    └── expired, released, or its runner started anew
//! ```
//!
//! A lease that expired is taken up again by the next call of its runner, as long as no other runner has
//! claimed the job meanwhile: a server that was down for a minute costs no measurement.

use contract::case::Case;
use contract::ids::{JobId, LeaseId, MachineId, RunId, RunnerId, UnixMillis};
use contract::job::{Job, JobState, MAX_ATTEMPTS, Progress};
use contract::protocol::{Claim, HeartbeatReply, LEASE_MS, Outcome, Runner};
use contract::run::{Run, RunOrigin, RunStatus};
use sqlx::SqliteConnection;

use crate::{Store, StoreError, cases, jobs, runners, runs, value};

/// Why a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Finished,
    Failed,
    Cancelled,
    Released,
    Expired,
    Superseded,
}

impl End {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
        }
    }
}

impl From<&Outcome> for End {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Finished => Self::Finished,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::Failed { .. } => Self::Failed,
            Outcome::Released => Self::Released,
        }
    }
}

impl Store {
    /// Grants the oldest job that the runner can execute (it lacks nothing of it, [`contract::ability`]) and that names no
    /// other runner. A job begun on the same machine goes on in its run; otherwise it begins
    /// `new_run`. A job that this runner held is granted to it again at once, since only a restart makes it
    /// ask.
    ///
    /// # Errors
    /// Where the runner is not registered, or the database fails.
    pub async fn claim(
        &self,
        runner: RunnerId,
        now: UnixMillis,
        new_lease: LeaseId,
        new_run: RunId,
    ) -> Result<Option<Claim>, StoreError> {
        let mut write = self.write().await?;
        let runner = runners::find(&mut *write, runner, now).await?.ok_or(StoreError::NoRunner(runner))?;
        runners::seen(&mut *write, runner.id, now).await?;
        expire(&mut write, now).await?;
        for (job, lease) in held_by(&mut write, runner.id).await? {
            end_lease(&mut write, lease, End::Superseded, now).await?;
            requeue(&mut write, job, "its runner started anew", now).await?;
        }
        let claim = match next_for(&mut write, &runner).await? {
            Some(job) => Some(grant(&mut write, &runner, job, now, new_lease, new_run).await?),
            None => None,
        };
        write.commit().await?;
        Ok(claim)
    }

    /// Takes a sign of life and what the runner is doing. How many cases are done is counted from the stored
    /// ones.
    ///
    /// # Errors
    /// Where the lease is lost, or the database fails.
    pub async fn heartbeat(
        &self,
        job: JobId,
        lease: LeaseId,
        progress: &Progress,
        now: UnixMillis,
    ) -> Result<HeartbeatReply, StoreError> {
        let mut write = self.write().await?;
        hold(&mut write, job, lease, now).await?;
        let key = job.to_string();
        let eta = progress.eta_ms.map(|ms| value::to_integer("the time to the end", ms)).transpose()?;
        sqlx::query!(
            "UPDATE jobs SET current = ?, phase = ?, eta_ms = ? WHERE id = ?",
            progress.current,
            progress.phase,
            eta,
            key
        )
        .execute(&mut *write)
        .await?;
        let cancel = jobs::get(&mut write, job).await?.cancel_requested;
        write.commit().await?;
        Ok(HeartbeatReply { cancel, expires_at: now.plus_ms(LEASE_MS) })
    }

    /// Stores a case of the job; false where it is stored already, whoever holds the job now.
    ///
    /// # Errors
    /// Where the lease is lost, the case is not of this job and run, or the database fails.
    pub async fn upload_case(
        &self,
        job: JobId,
        lease: LeaseId,
        case: &Case,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        let mut write = self.write().await?;
        let granted = find_lease(&mut write, lease).await?.filter(|l| l.job == job);
        let Some(granted) = granted else { return Err(lost(job, lease, "it was never granted")) };
        if case.run_id != granted.run {
            let reason = format!("it is of run {}, the lease of run {}", case.run_id, granted.run);
            return Err(StoreError::WrongCase { case: case.id, reason });
        }
        if cases::exists(&mut *write, case.id).await? {
            return Ok(false);
        }
        hold(&mut write, job, lease, now).await?;
        if !jobs::get(&mut write, job).await?.sweep.asks(&case.spec) {
            let reason = format!("\"{}\" is not in the job's sweep", case.spec.key());
            return Err(StoreError::WrongCase { case: case.id, reason });
        }
        cases::insert(&mut write, case).await?;
        let key = job.to_string();
        let run = granted.run.to_string();
        sqlx::query!(
            "UPDATE jobs SET attempts = 0, done = (SELECT COUNT(*) FROM cases WHERE run_id = ?) WHERE id = ?",
            run,
            key
        )
        .execute(&mut *write)
        .await?;
        write.commit().await?;
        Ok(true)
    }

    /// Takes the end of a job from its runner; the same end reported again changes nothing.
    ///
    /// # Errors
    /// Where the lease is lost, a job reported finished lacks cases, or the database fails.
    pub async fn finish(
        &self,
        job: JobId,
        lease: LeaseId,
        outcome: &Outcome,
        now: UnixMillis,
    ) -> Result<Job, StoreError> {
        let end = End::from(outcome);
        let mut write = self.write().await?;
        let granted = find_lease(&mut write, lease).await?.filter(|l| l.job == job);
        let Some(granted) = granted else { return Err(lost(job, lease, "it was never granted")) };
        if granted.ended_by.as_deref() == Some(end.as_str()) {
            return jobs::get(&mut write, job).await;
        }
        hold(&mut write, job, lease, now).await?;
        let before = jobs::get(&mut write, job).await?;
        let Progress { done, total, .. } = before.progress;
        if end == End::Finished && done < total {
            return Err(StoreError::Incomplete { job, done, total });
        }
        end_lease(&mut write, lease, end, now).await?;
        match outcome {
            Outcome::Finished => end_job(&mut write, job, JobState::Finished, None, now).await?,
            Outcome::Cancelled => end_job(&mut write, job, JobState::Cancelled, None, now).await?,
            Outcome::Failed { message } => {
                end_job(&mut write, job, JobState::Failed, Some(message), now).await?;
            }
            Outcome::Released => {
                // Given back in good order, so it does not count as an attempt.
                let key = job.to_string();
                sqlx::query!("UPDATE jobs SET attempts = MAX(attempts - 1, 0) WHERE id = ?", key)
                    .execute(&mut *write)
                    .await?;
                requeue(&mut write, job, "its runner gave it back", now).await?;
            }
        }
        let job = jobs::get(&mut write, job).await?;
        write.commit().await?;
        Ok(job)
    }

    /// Gives every lease in force its full time again: what a server does when it starts, since no runner
    /// could reach it while it was away. Returns how many there are.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn renew_leases(&self, now: UnixMillis) -> Result<u64, StoreError> {
        let expires_at = now.plus_ms(LEASE_MS).0;
        let renewed = sqlx::query!(
            "UPDATE leases SET expires_at = MAX(expires_at, ?) WHERE ended_at IS NULL",
            expires_at
        )
        .execute(&self.pool)
        .await?;
        Ok(renewed.rows_affected())
    }

    /// Ends every lease whose time is over and returns the jobs that this changed.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn expire_leases(&self, now: UnixMillis) -> Result<Vec<JobId>, StoreError> {
        // A look first, so that an idle server does not take the write lock every few seconds.
        if overdue(&mut *self.pool.acquire().await?, now).await?.is_empty() {
            return Ok(Vec::new());
        }
        let mut write = self.write().await?;
        let jobs = expire(&mut write, now).await?;
        write.commit().await?;
        Ok(jobs)
    }
}

struct LeaseRow {
    job_id: String,
    run_id: String,
    ended_by: Option<String>,
}

struct Lease {
    job: JobId,
    run: RunId,
    ended_by: Option<String>,
}

async fn find_lease(write: &mut SqliteConnection, id: LeaseId) -> Result<Option<Lease>, StoreError> {
    let id = id.to_string();
    let row = sqlx::query_as!(LeaseRow, "SELECT job_id, run_id, ended_by FROM leases WHERE id = ?", id)
        .fetch_optional(write)
        .await?;
    row.map(|row| {
        Ok(Lease {
            job: value::id("leases.job_id", &row.job_id)?,
            run: value::id("leases.run_id", &row.run_id)?,
            ended_by: row.ended_by,
        })
    })
    .transpose()
}

fn lost(job: JobId, lease: LeaseId, why: impl Into<String>) -> StoreError {
    StoreError::LeaseLost { job, lease, why: why.into() }
}

/// Checks that `lease` holds `job`, takes an expired one up again where nobody else has the job, and extends
/// it.
async fn hold(
    write: &mut SqliteConnection,
    job: JobId,
    lease: LeaseId,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let (job_key, lease_key) = (job.to_string(), lease.to_string());
    let expires_at = now.plus_ms(LEASE_MS).0;
    let row = sqlx::query!(
        "SELECT j.state, j.lease_id, j.held_by, l.runner_id, l.ended_by FROM leases l JOIN jobs j ON j.id = l.job_id
         WHERE l.id = ? AND l.job_id = ?",
        lease_key,
        job_key
    )
    .fetch_optional(&mut *write)
    .await?
    .ok_or_else(|| lost(job, lease, "it was never granted"))?;

    if row.lease_id.as_deref() != Some(lease_key.as_str()) {
        let why = match (row.state.as_str(), row.ended_by.as_deref()) {
            ("queued", Some("expired")) => None,
            ("queued", _) => Some("the job is queued again".to_owned()),
            ("running", _) => {
                Some(format!("the job is held by {}", row.held_by.as_deref().unwrap_or("another")))
            }
            (state, _) => Some(format!("the job is {state}")),
        };
        if let Some(why) = why {
            return Err(lost(job, lease, why));
        }
        sqlx::query!("UPDATE leases SET ended_at = NULL, ended_by = NULL WHERE id = ?", lease_key)
            .execute(&mut *write)
            .await?;
        sqlx::query!("UPDATE jobs SET state = 'running', lease_id = ? WHERE id = ?", lease_key, job_key)
            .execute(&mut *write)
            .await?;
    }
    sqlx::query!("UPDATE leases SET expires_at = ? WHERE id = ?", expires_at, lease_key)
        .execute(&mut *write)
        .await?;
    runners::seen(write, value::id("leases.runner_id", &row.runner_id)?, now).await
}

/// The oldest queued job that the runner can execute.
async fn next_for(write: &mut SqliteConnection, runner: &Runner) -> Result<Option<JobId>, StoreError> {
    let id = runner.id.to_string();
    let queued = sqlx::query!(
        "SELECT j.id, j.sweep FROM jobs j, runners r
         WHERE r.id = ? AND j.state = 'queued' AND (j.runner_id IS NULL OR j.runner_id = r.id)
           AND EXISTS (SELECT 1 FROM json_each(r.registration, '$.devices') d WHERE d.value = j.device)
         ORDER BY j.created_at, j.id",
        id
    )
    .fetch_all(write)
    .await?;
    for job in queued {
        if runner.registration.lacks(&value::json("jobs.sweep", &job.sweep)?).is_empty() {
            return value::optional_id("jobs.id", Some(&job.id));
        }
    }
    Ok(None)
}

async fn grant(
    write: &mut SqliteConnection,
    runner: &Runner,
    job: JobId,
    now: UnixMillis,
    lease: LeaseId,
    new_run: RunId,
) -> Result<Claim, StoreError> {
    let queued = jobs::get(write, job).await?;
    let machine = runner.registration.machine.id;
    let run = if let Some(run) = unfinished_run_of(write, job, machine).await? {
        run
    } else {
        let run = Run {
            id: new_run,
            name: queued.name,
            job_id: Some(job),
            machine_id: machine,
            sweep: queued.sweep,
            runner: runner.registration.build.clone(),
            status: RunStatus::Running,
            origin: RunOrigin::Job,
            started_at: now,
            finished_at: None,
        };
        runs::insert(&mut *write, &run).await?;
        new_run
    };
    let expires_at = now.plus_ms(LEASE_MS);
    let (job_key, lease_key, run_key) = (job.to_string(), lease.to_string(), run.to_string());
    let runner_key = runner.id.to_string();
    sqlx::query!(
        "INSERT INTO leases (id, job_id, runner_id, run_id, granted_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
        lease_key,
        job_key,
        runner_key,
        run_key,
        now.0,
        expires_at.0
    )
    .execute(&mut *write)
    .await?;
    sqlx::query!(
        "UPDATE jobs SET state = 'running', lease_id = ?, run_id = ?, held_by = ?, attempts = attempts + 1,
             done = (SELECT COUNT(*) FROM cases WHERE run_id = ?) WHERE id = ?",
        lease_key,
        run_key,
        runner.registration.name,
        run_key,
        job_key
    )
    .execute(&mut *write)
    .await?;
    Ok(Claim {
        job: jobs::get(write, job).await?,
        lease,
        run_id: run,
        done: cases::keys_of_run(&mut *write, run).await?,
        expires_at,
    })
}

async fn unfinished_run_of(
    write: &mut SqliteConnection,
    job: JobId,
    machine: MachineId,
) -> Result<Option<RunId>, StoreError> {
    let (job, machine) = (job.to_string(), machine.to_string());
    let id = sqlx::query_scalar!(
        "SELECT id FROM runs WHERE job_id = ? AND machine_id = ? AND status = 'running'
         ORDER BY started_at DESC, id DESC LIMIT 1",
        job,
        machine
    )
    .fetch_optional(write)
    .await?;
    value::optional_id("runs.id", id.as_deref())
}

/// Jobs that the runner holds.
async fn held_by(
    write: &mut SqliteConnection,
    runner: RunnerId,
) -> Result<Vec<(JobId, LeaseId)>, StoreError> {
    let runner = runner.to_string();
    sqlx::query!(
        "SELECT j.id AS job_id, l.id AS lease_id FROM jobs j JOIN leases l ON l.id = j.lease_id
         WHERE l.runner_id = ? ORDER BY j.created_at",
        runner
    )
    .fetch_all(write)
    .await?
    .iter()
    .map(|row| Ok((value::id("jobs.id", &row.job_id)?, value::id("leases.id", &row.lease_id)?)))
    .collect()
}

/// Leases in force whose time is over.
async fn overdue(db: &mut SqliteConnection, now: UnixMillis) -> Result<Vec<(JobId, LeaseId)>, StoreError> {
    sqlx::query!(
        "SELECT job_id, id AS lease_id FROM leases WHERE ended_at IS NULL AND expires_at < ? ORDER BY expires_at",
        now.0
    )
    .fetch_all(db)
    .await?
    .iter()
    .map(|row| Ok((value::id("leases.job_id", &row.job_id)?, value::id("leases.id", &row.lease_id)?)))
    .collect()
}

async fn expire(write: &mut SqliteConnection, now: UnixMillis) -> Result<Vec<JobId>, StoreError> {
    let overdue = overdue(write, now).await?;
    for &(job, lease) in &overdue {
        tracing::warn!(%job, %lease, "the lease expired");
        end_lease(write, lease, End::Expired, now).await?;
        requeue(write, job, "its runner was not heard of any more", now).await?;
    }
    Ok(overdue.into_iter().map(|(job, _)| job).collect())
}

async fn end_lease(
    write: &mut SqliteConnection,
    lease: LeaseId,
    end: End,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let lease = lease.to_string();
    let end = end.as_str();
    sqlx::query!("UPDATE leases SET ended_at = ?, ended_by = ? WHERE id = ?", now.0, end, lease)
        .execute(write)
        .await?;
    Ok(())
}

/// After its lease ended early: the job waits for a runner again, unless its cancellation was asked or it was
/// leased too often without a new case.
async fn requeue(
    write: &mut SqliteConnection,
    id: JobId,
    why: &str,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let job = jobs::get(write, id).await?;
    if job.cancel_requested {
        return end_job(write, id, JobState::Cancelled, None, now).await;
    }
    if job.attempts >= MAX_ATTEMPTS {
        let error = format!("given up after {MAX_ATTEMPTS} leases without a new case; the last time {why}");
        return end_job(write, id, JobState::Failed, Some(&error), now).await;
    }
    let key = id.to_string();
    sqlx::query!(
        "UPDATE jobs SET state = 'queued', lease_id = NULL, current = NULL, phase = NULL, eta_ms = NULL WHERE id = ?",
        key
    )
    .execute(write)
    .await?;
    Ok(())
}

/// Ends a job and its runs. A finished job's last run is finished; every other is cancelled, and keeps its
/// cases.
pub(crate) async fn end_job(
    write: &mut SqliteConnection,
    id: JobId,
    state: JobState,
    error: Option<&str>,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let key = id.to_string();
    let name = state.as_str();
    sqlx::query!(
        "UPDATE jobs SET state = ?, error = ?, finished_at = ?, lease_id = NULL, current = NULL, phase = NULL,
             eta_ms = NULL WHERE id = ?",
        name,
        error,
        now.0,
        key
    )
    .execute(&mut *write)
    .await?;
    let finished = state == JobState::Finished;
    sqlx::query!(
        "UPDATE runs SET finished_at = ?,
             status = CASE WHEN ? AND id = (SELECT run_id FROM jobs WHERE jobs.id = ?) THEN 'finished'
                           ELSE 'cancelled' END
         WHERE job_id = ? AND status = 'running'",
        now.0,
        finished,
        key,
        key
    )
    .execute(write)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests;

//! Cases: written once, whole, and never changed.

use std::collections::HashMap;

use contract::case::Case;
use contract::history::Attempt;
use contract::ids::{CaseId, RunId, UnixMillis};
use contract::machine::Machine;
use contract::run::Run;
use contract::statistics::CaseSpeed;
use sqlx::{SqliteConnection, SqliteExecutor};

use crate::{Store, StoreError, beside, explore, machines, runs, value};

#[derive(sqlx::FromRow)]
struct CaseRow {
    id: String,
    run_id: String,
    position: i64,
    spec: String,
    engine: String,
    plan: Option<String>,
    estimate: Option<String>,
    status: String,
    error: Option<String>,
    measurement: Option<String>,
    finished_at: i64,
}

impl TryFrom<CaseRow> for Case {
    type Error = StoreError;
    fn try_from(row: CaseRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: value::id("cases.id", &row.id)?,
            run_id: value::id("cases.run_id", &row.run_id)?,
            position: value::count("cases.position", row.position)?,
            spec: value::json("cases.spec", &row.spec)?,
            engine: row.engine,
            plan: row.plan.map(|text| value::json("cases.plan", &text)).transpose()?,
            estimate: row.estimate.map(|text| value::json("cases.estimate", &text)).transpose()?,
            status: value::name("cases.status", &row.status)?,
            error: row.error,
            measurement: row.measurement.map(|text| value::json("cases.measurement", &text)).transpose()?,
            finished_at: UnixMillis(row.finished_at),
        })
    }
}

impl Store {
    /// Stores a case whole; false where it is stored already, which leaves it as it is. Its run must be
    /// stored.
    ///
    /// # Errors
    /// Where its id is not the one derived from its run and key, or the database fails.
    pub async fn insert_case(&self, case: &Case) -> Result<bool, StoreError> {
        let mut write = self.write().await?;
        let new = insert(&mut write, case).await?;
        write.commit().await?;
        Ok(new)
    }

    /// Stores a further attempt at a case that had failed, or that had only been predicted: the one stored before is
    /// kept among the superseded ones, and this one is the case's result from now on. Both or neither. False where the
    /// case is stored and ended well, or was refused, which leaves it as it is; one that is not stored is stored.
    ///
    /// # Errors
    /// Where its id is not the one derived from its run and key, or the database fails.
    pub async fn supersede_case(&self, case: &Case, now: UnixMillis) -> Result<bool, StoreError> {
        let mut write = self.write().await?;
        let inserted = supersede(&mut write, case, now).await?;
        write.commit().await?;
        Ok(inserted)
    }

    /// Attempts of a run's cases that were run again, by case and in their order.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn superseded_cases(&self, run: RunId) -> Result<Vec<Case>, StoreError> {
        let run = run.to_string();
        sqlx::query_scalar!(
            "SELECT document FROM superseded_cases WHERE run_id = ? ORDER BY id, attempt",
            run
        )
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(|text| value::json("superseded_cases.document", text))
        .collect()
    }

    /// Attempts at a case that a later one took the place of, the first first.
    pub(crate) async fn attempts(&self, case: CaseId) -> Result<Vec<Attempt>, StoreError> {
        let case = case.to_string();
        let attempts =
            sqlx::query_scalar!("SELECT document FROM superseded_cases WHERE id = ? ORDER BY attempt", case);
        let documents = attempts.fetch_all(&self.pool).await?;
        let attempt = |text: &String| Ok(value::json::<Case>("superseded_cases.document", text)?.into());
        documents.iter().map(attempt).collect()
    }

    /// What a case has in common with others of the same; none where there is no such case.
    pub(crate) async fn key(&self, case: CaseId) -> Result<Option<String>, StoreError> {
        let case = case.to_string();
        Ok(sqlx::query_scalar!("SELECT key FROM cases WHERE id = ?", case).fetch_optional(&self.pool).await?)
    }

    /// One case.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn case(&self, id: CaseId) -> Result<Option<Case>, StoreError> {
        find(&self.pool, id).await
    }

    /// One case with its run and machine.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn case_with_run(&self, id: CaseId) -> Result<Option<(Case, Run, Machine)>, StoreError> {
        let mut read = self.pool.begin().await?;
        let Some(case) = find(&mut *read, id).await? else { return Ok(None) };
        let run = runs::find(&mut *read, case.run_id).await?;
        let machine = match &run {
            Some(run) => machines::find(&mut *read, run.machine_id).await?,
            None => None,
        };
        // Foreign keys hold both in place.
        Ok(run.zip(machine).map(|(run, machine)| (case, run, machine)))
    }
}

async fn find(db: impl SqliteExecutor<'_>, id: CaseId) -> Result<Option<Case>, StoreError> {
    let id = id.to_string();
    sqlx::query_as!(
        CaseRow,
        "SELECT id, run_id, position, spec, engine, plan, estimate, status, error, measurement, finished_at
             FROM cases WHERE id = ?",
        id
    )
    .fetch_optional(db)
    .await?
    .map(Case::try_from)
    .transpose()
}

pub(crate) async fn of_run(db: impl SqliteExecutor<'_>, run: RunId) -> Result<Vec<Case>, StoreError> {
    of_run_from(db, run, 0, u32::MAX).await
}

/// Cases of a run from a position on, at most `limit`.
pub(crate) async fn of_run_from(
    db: impl SqliteExecutor<'_>,
    run: RunId,
    from: u32,
    limit: u32,
) -> Result<Vec<Case>, StoreError> {
    let run = run.to_string();
    let rows = sqlx::query_as!(
        CaseRow,
        "SELECT id, run_id, position, spec, engine, plan, estimate, status, error, measurement, finished_at
         FROM cases WHERE run_id = ? AND position >= ? ORDER BY position, key LIMIT ?",
        run,
        from,
        limit
    );
    read(rows.fetch_all(db).await?).await
}

/// The cases with these ids, in their order; one that is not there is left out.
pub(crate) async fn with_ids(db: impl SqliteExecutor<'_>, ids: &[CaseId]) -> Result<Vec<Case>, StoreError> {
    let listed = value::to_json("the cases", &ids.to_vec())?;
    let rows = sqlx::query_as!(
        CaseRow,
        "SELECT id, run_id, position, spec, engine, plan, estimate, status, error, measurement, finished_at
         FROM cases WHERE id IN (SELECT value FROM json_each(?))",
        listed
    );
    let cases = read(rows.fetch_all(db).await?).await?;
    let mut cases: HashMap<CaseId, Case> = cases.into_iter().map(|case| (case.id, case)).collect();
    Ok(ids.iter().filter_map(|id| cases.remove(id)).collect())
}

/// Reads the documents of cases.
async fn read(rows: Vec<CaseRow>) -> Result<Vec<Case>, StoreError> {
    beside(move || rows.into_iter().map(Case::try_from).collect()).await
}

pub(crate) async fn keys_of_run(db: impl SqliteExecutor<'_>, run: RunId) -> Result<Vec<String>, StoreError> {
    let run = run.to_string();
    Ok(sqlx::query_scalar!("SELECT key FROM cases WHERE run_id = ? ORDER BY position, key", run)
        .fetch_all(db)
        .await?)
}

/// As [`Store::supersede_case`], in a transaction of the caller's.
pub(crate) async fn supersede(
    db: &mut SqliteConnection,
    case: &Case,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    if let Some(before) = find(&mut *db, case.id).await? {
        if before.status.is_final() {
            return Ok(false);
        }
        let (id, run) = (before.id.to_string(), before.run_id.to_string());
        let document = value::to_json("the case", &before)?;
        sqlx::query!(
            "INSERT INTO superseded_cases (id, attempt, run_id, document, superseded_at)
             SELECT ?1, COUNT(*) + 1, ?2, ?3, ?4 FROM superseded_cases WHERE id = ?1",
            id,
            run,
            document,
            now.0
        )
        .execute(&mut *db)
        .await?;
        sqlx::query!("DELETE FROM cases WHERE id = ?", id).execute(&mut *db).await?;
    }
    insert(db, case).await
}

pub(crate) async fn exists(db: impl SqliteExecutor<'_>, id: CaseId) -> Result<bool, StoreError> {
    let id = id.to_string();
    let found =
        sqlx::query_scalar!(r#"SELECT EXISTS (SELECT 1 FROM cases WHERE id = ?) AS "found!: bool""#, id);
    Ok(found.fetch_one(db).await?)
}

pub(crate) async fn insert(db: &mut SqliteConnection, case: &Case) -> Result<bool, StoreError> {
    let new = insert_row(&mut *db, case).await?;
    if new {
        explore::insert(db, case).await?;
    }
    Ok(new)
}

/// The case without the line that lists read.
pub(crate) async fn insert_row(db: impl SqliteExecutor<'_>, case: &Case) -> Result<bool, StoreError> {
    let key = case.spec.key();
    if case.id != CaseId::derive(case.run_id, &key) {
        let reason = format!("its id is not the one derived from run {} and key \"{key}\"", case.run_id);
        return Err(StoreError::WrongCase { case: case.id, reason });
    }
    let id = case.id.to_string();
    let run = case.run_id.to_string();
    let spec = value::to_json("the case", &case.spec)?;
    let plan = case.plan.as_ref().map(|p| value::to_json("the plan", p)).transpose()?;
    let estimate = case.estimate.as_ref().map(|e| value::to_json("the estimate", e)).transpose()?;
    let status = case.status.as_str();
    let measurement = case.measurement.as_ref().map(|m| value::to_json("the measurement", m)).transpose()?;
    let peak = case
        .measurement
        .as_ref()
        .and_then(contract::measurement::Measurement::peak_allocated)
        .map(|bytes| value::to_integer("the peak", bytes.0))
        .transpose()?;
    let decode = case
        .measurement
        .as_ref()
        .and_then(|m| CaseSpeed::of(&case.spec, m).decode_tokens_per_second)
        .map(|rate| rate.p50);
    let inserted = sqlx::query!(
        "INSERT INTO cases (id, run_id, position, key, model, precision, spec, engine, plan, estimate, status, error,
                            measurement, peak_bytes, decode_tokens_per_second, finished_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        id,
        run,
        case.position,
        key,
        case.spec.model,
        case.spec.precision,
        spec,
        case.engine,
        plan,
        estimate,
        status,
        case.error,
        measurement,
        peak,
        decode,
        case.finished_at.0
    )
    .execute(db)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

#[cfg(test)]
mod tests;

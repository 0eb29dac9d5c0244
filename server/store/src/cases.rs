//! Cases: written once, whole, and never changed.

use contract::case::{Case, CaseFilter};
use contract::ids::{CaseId, RunId, UnixMillis};
use contract::machine::Machine;
use contract::run::{Page, Run};
use contract::statistics::CaseSpeed;
use sqlx::{QueryBuilder, SqliteConnection, SqliteExecutor};

use crate::row::Paging;
use crate::{Store, StoreError, explore, machines, runs, value};

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

    /// A page of cases of all runs, newest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn cases(&self, filter: &CaseFilter) -> Result<Page<Case>, StoreError> {
        let paging = Paging::new(filter.page, filter.per_page);
        let mut read = self.pool.begin().await?;

        let mut count = QueryBuilder::new("SELECT COUNT(*) FROM cases");
        push_filter(&mut count, filter);
        let total: i64 = count.build_query_scalar().fetch_one(&mut *read).await?;

        let mut page = QueryBuilder::new(
            "SELECT id, run_id, position, spec, engine, plan, estimate, status, error, measurement, finished_at \
             FROM cases",
        );
        push_filter(&mut page, filter);
        page.push(" ORDER BY finished_at DESC, id DESC LIMIT ").push_bind(paging.limit());
        page.push(" OFFSET ").push_bind(paging.offset());
        let rows: Vec<CaseRow> = page.build_query_as().fetch_all(&mut *read).await?;
        paging.page(rows.into_iter().map(Case::try_from).collect::<Result<_, _>>()?, total)
    }
}

fn push_filter<'a>(query: &mut QueryBuilder<'a, sqlx::Sqlite>, filter: &'a CaseFilter) {
    query.push(" WHERE 1 = 1");
    if let Some(run) = filter.run {
        query.push(" AND run_id = ").push_bind(run.to_string());
    }
    if let Some(model) = &filter.model {
        query.push(" AND model LIKE ").push_bind(value::containing(model)).push(" ESCAPE '\\'");
    }
    if let Some(precision) = &filter.precision {
        query.push(" AND precision = ").push_bind(precision);
    }
    if let Some(status) = filter.status {
        query.push(" AND status = ").push_bind(status.as_str());
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
    let run = run.to_string();
    sqlx::query_as!(
        CaseRow,
        "SELECT id, run_id, position, spec, engine, plan, estimate, status, error, measurement, finished_at
         FROM cases WHERE run_id = ? ORDER BY position, key",
        run
    )
    .fetch_all(db)
    .await?
    .into_iter()
    .map(Case::try_from)
    .collect()
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

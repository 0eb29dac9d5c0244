//! Runs and the list of them.

use contract::case::Case;
use contract::ids::{MachineId, RunId, UnixMillis};
use contract::run::{Page, Run, RunDetail, RunFilter, RunStatus, RunSummary};
use planner::Bytes;
use sqlx::{QueryBuilder, Sqlite, SqliteExecutor};

use crate::explore::device_name;
use crate::row::{Paging, RunRow};
use crate::{Store, StoreError, cases, machines, value};

impl Store {
    /// Stores a run; one already stored under this id is left as it is. Its machine must be stored.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn create_run(&self, run: &Run) -> Result<(), StoreError> {
        insert(&self.pool, run).await
    }

    /// Says how far a run is.
    ///
    /// # Errors
    /// Where there is no such run, or the database fails.
    pub async fn set_run_status(
        &self,
        id: RunId,
        status: RunStatus,
        finished_at: Option<UnixMillis>,
    ) -> Result<(), StoreError> {
        set_status(&self.pool, id, status, finished_at).await
    }

    /// A run whole: itself, its machine, its cases by position.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn run(&self, id: RunId) -> Result<Option<RunDetail>, StoreError> {
        // One transaction, so that the cases are those of the run's state.
        let mut read = self.pool.begin().await?;
        let Some(run) = find(&mut *read, id).await? else { return Ok(None) };
        let cases = cases::of_run(&mut *read, id).await?;
        let machine = machines::find(&mut *read, run.machine_id).await?;
        // A foreign key holds the machine in place.
        Ok(machine.map(|machine| RunDetail { run, machine, cases }))
    }

    /// A run's cases from a position on; none where there is no such run.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn cases_of_run(&self, id: RunId, from: u32) -> Result<Option<Vec<Case>>, StoreError> {
        if !self.has_run(id).await? {
            return Ok(None);
        }
        cases::of_run_from(&self.pool, id, from, u32::MAX).await.map(Some)
    }

    /// Whether there is such a run.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn has_run(&self, id: RunId) -> Result<bool, StoreError> {
        Ok(find(&self.pool, id).await?.is_some())
    }

    /// A page of runs, newest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn runs(&self, filter: &RunFilter) -> Result<Page<RunSummary>, StoreError> {
        let paging = Paging::new(filter.page, filter.per_page);
        let mut read = self.pool.begin().await?;

        let mut count =
            QueryBuilder::new("SELECT COUNT(*) FROM runs r JOIN machines m ON m.id = r.machine_id");
        push_filter(&mut count, filter);
        let total: i64 = count.build_query_scalar().fetch_one(&mut *read).await?;

        let mut page = QueryBuilder::new(
            "SELECT r.id, r.name, r.job_id, r.machine_id, r.sweep, r.runner, r.status, r.origin, r.started_at, \
             r.finished_at, r.cases_total, m.name AS machine_name, m.cpu, m.gpus, \
             COALESCE(f.done, 0) AS cases_done, COALESCE(f.ok, 0) AS cases_ok, f.best_decode, f.largest_peak \
             FROM runs r JOIN machines m ON m.id = r.machine_id LEFT JOIN run_figures f ON f.run_id = r.id",
        );
        push_filter(&mut page, filter);
        page.push(" ORDER BY r.started_at DESC, r.id DESC LIMIT ").push_bind(paging.limit());
        page.push(" OFFSET ").push_bind(paging.offset());
        let rows: Vec<SummaryRow> = page.build_query_as().fetch_all(&mut *read).await?;

        let items = rows.into_iter().map(RunSummary::try_from).collect::<Result<_, _>>()?;
        paging.page(items, total)
    }

    /// The latest run by hand of the sweep with this fingerprint on this machine that has not finished: its program died
    /// (it is still marked running), or it was stopped with cases to come.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn unfinished_run(
        &self,
        fingerprint: &str,
        machine: MachineId,
    ) -> Result<Option<Run>, StoreError> {
        let machine = machine.to_string();
        sqlx::query_as!(
            RunRow,
            "SELECT id, name, job_id, machine_id, sweep, runner, status, origin, started_at, finished_at FROM runs
             WHERE fingerprint = ? AND machine_id = ? AND origin = 'local' AND job_id IS NULL
               AND (status = 'running'
                    OR status = 'cancelled'
                       AND (SELECT COUNT(*) FROM cases WHERE cases.run_id = runs.id) < cases_total)
             ORDER BY started_at DESC, id DESC LIMIT 1",
            fingerprint,
            machine
        )
        .fetch_optional(&self.pool)
        .await?
        .map(Run::try_from)
        .transpose()
    }

    /// The latest run by hand of that sweep on this machine that has not finished, as [`Store::unfinished_run`], or that
    /// has a case which failed, or where `predicted` one that was only predicted to.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn unfinished_or_failed_run(
        &self,
        fingerprint: &str,
        machine: MachineId,
        predicted: bool,
    ) -> Result<Option<Run>, StoreError> {
        let machine = machine.to_string();
        sqlx::query_as!(
            RunRow,
            "SELECT id, name, job_id, machine_id, sweep, runner, status, origin, started_at, finished_at FROM runs
             WHERE fingerprint = ? AND machine_id = ? AND origin = 'local' AND job_id IS NULL
               AND (status = 'running'
                    OR (SELECT COUNT(*) FROM cases
                        WHERE cases.run_id = runs.id
                          AND (cases.status IN ('ok', 'refused')
                               OR cases.status = 'predicted-out-of-memory' AND NOT ?)) < cases_total)
             ORDER BY started_at DESC, id DESC LIMIT 1",
            fingerprint,
            machine,
            predicted
        )
        .fetch_optional(&self.pool)
        .await?
        .map(Run::try_from)
        .transpose()
    }

    /// Keys of the run's cases that are stored, by position.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn done_keys(&self, id: RunId) -> Result<Vec<String>, StoreError> {
        cases::keys_of_run(&self.pool, id).await
    }

    /// Whether there is no run.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn is_empty(&self) -> Result<bool, StoreError> {
        let any = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT 1 FROM runs) AS "any!: bool""#);
        Ok(!any.fetch_one(&self.pool).await?)
    }
}

fn push_filter<'a>(query: &mut QueryBuilder<'a, Sqlite>, filter: &'a RunFilter) {
    query.push(" WHERE 1 = 1");
    if let Some(model) = &filter.model {
        query.push(" AND EXISTS (SELECT 1 FROM json_each(r.sweep, '$.models') WHERE value LIKE ");
        query.push_bind(value::containing(model)).push(" ESCAPE '\\')");
    }
    if let Some(machine) = &filter.machine {
        query.push(" AND m.name LIKE ").push_bind(value::containing(machine)).push(" ESCAPE '\\'");
    }
    if let Some(precision) = &filter.precision {
        query.push(" AND EXISTS (SELECT 1 FROM json_each(r.sweep, '$.precisions') WHERE value = ");
        query.push_bind(precision).push(")");
    }
    if let Some(status) = filter.status {
        query.push(" AND r.status = ").push_bind(status.as_str());
    }
}

#[derive(sqlx::FromRow)]
struct SummaryRow {
    #[sqlx(flatten)]
    run: RunRow,
    cases_total: i64,
    machine_name: String,
    cpu: String,
    gpus: String,
    cases_done: i64,
    cases_ok: i64,
    best_decode: Option<f64>,
    largest_peak: Option<i64>,
}

impl TryFrom<SummaryRow> for RunSummary {
    type Error = StoreError;
    fn try_from(row: SummaryRow) -> Result<Self, StoreError> {
        let run = Run::try_from(row.run)?;
        let device_name = device_name(run.sweep.device, &row.cpu, &row.gpus)?;
        Ok(Self {
            run,
            machine_name: row.machine_name,
            device_name,
            cases_total: value::count("runs.cases_total", row.cases_total)?,
            cases_done: value::count("cases_done", row.cases_done)?,
            cases_ok: value::count("cases_ok", row.cases_ok)?,
            best_decode_tokens_per_second: row.best_decode,
            largest_peak: row
                .largest_peak
                .map(|n| value::count("cases.peak_bytes", n))
                .transpose()?
                .map(Bytes),
        })
    }
}

pub(crate) async fn find(db: impl SqliteExecutor<'_>, id: RunId) -> Result<Option<Run>, StoreError> {
    let id = id.to_string();
    sqlx::query_as!(
        RunRow,
        "SELECT id, name, job_id, machine_id, sweep, runner, status, origin, started_at, finished_at FROM runs
         WHERE id = ?",
        id
    )
    .fetch_optional(db)
    .await?
    .map(Run::try_from)
    .transpose()
}

pub(crate) async fn insert(db: impl SqliteExecutor<'_>, run: &Run) -> Result<(), StoreError> {
    let id = run.id.to_string();
    let job = run.job_id.map(|id| id.to_string());
    let machine = run.machine_id.to_string();
    let sweep = value::to_json("the sweep", &run.sweep)?;
    let fingerprint = run.sweep.fingerprint();
    let runner = value::to_json("the runner's build", &run.runner)?;
    let status = run.status.as_str();
    let origin = run.origin.as_str();
    let total = value::to_integer("the number of cases", run.sweep.cases().len() as u64)?;
    let finished_at = run.finished_at.map(|t| t.0);
    sqlx::query!(
        "INSERT INTO runs (id, name, job_id, machine_id, sweep, fingerprint, runner, status, origin, cases_total,
                           started_at, finished_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        id,
        run.name,
        job,
        machine,
        sweep,
        fingerprint,
        runner,
        status,
        origin,
        total,
        run.started_at.0,
        finished_at
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) async fn set_status(
    db: impl SqliteExecutor<'_>,
    id: RunId,
    status: RunStatus,
    finished_at: Option<UnixMillis>,
) -> Result<(), StoreError> {
    let key = id.to_string();
    let status = status.as_str();
    let finished_at = finished_at.map(|t| t.0);
    let changed =
        sqlx::query!("UPDATE runs SET status = ?, finished_at = ? WHERE id = ?", status, finished_at, key)
            .execute(db)
            .await?;
    if changed.rows_affected() == 0 { Err(StoreError::NoRun(id)) } else { Ok(()) }
}

#[cfg(test)]
mod tests;

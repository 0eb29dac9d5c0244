//! Results with where they come from, for histories and comparisons.

use std::collections::HashMap;

use contract::history::{Before, CaseHistory};
use contract::ids::{CaseId, RunId, UnixMillis};
use contract::machine::Machine;
use contract::measurement::Measurement;
use contract::outcome::Outcome;
use contract::run::RunnerBuild;
use sqlx::{QueryBuilder, Sqlite};

use crate::machines::MachineRow;
use crate::{Store, StoreError, beside, value};

/// What every query of this module reads. The plan and the estimate are not among it: they are the larger half of a case.
const SELECT: &str =
    "SELECT c.id, c.run_id, c.spec, c.engine, c.status, c.error, c.measurement, c.finished_at FROM cases c";

#[derive(sqlx::FromRow)]
struct OutcomeRow {
    id: String,
    run_id: String,
    spec: String,
    engine: String,
    status: String,
    error: Option<String>,
    measurement: Option<String>,
    finished_at: i64,
}

/// A run, and where it took place.
#[derive(sqlx::FromRow)]
struct OriginRow {
    run_id: String,
    run_name: String,
    runner: String,
    #[sqlx(flatten)]
    machine: MachineRow,
}

struct Origin {
    run_id: RunId,
    run_name: String,
    runner: RunnerBuild,
    machine: Machine,
}

impl TryFrom<OriginRow> for Origin {
    type Error = StoreError;
    fn try_from(row: OriginRow) -> Result<Self, StoreError> {
        Ok(Self {
            run_id: value::id("cases.run_id", &row.run_id)?,
            run_name: row.run_name,
            runner: value::json("runs.runner", &row.runner)?,
            machine: row.machine.try_into()?,
        })
    }
}

impl OutcomeRow {
    fn outcome(self, origin: &Origin) -> Result<Outcome, StoreError> {
        let measurement: Option<Measurement> =
            self.measurement.map(|text| value::json("cases.measurement", &text)).transpose()?;
        Ok(Outcome {
            id: value::id("cases.id", &self.id)?,
            spec: value::json("cases.spec", &self.spec)?,
            engine: self.engine,
            status: value::name("cases.status", &self.status)?,
            error: self.error,
            measurement: measurement.map(|m| Measurement { memory_trace: None, ..m }),
            finished_at: UnixMillis(self.finished_at),
            run_id: origin.run_id,
            run_name: origin.run_name.clone(),
            runner: origin.runner.clone(),
            machine: origin.machine.clone(),
        })
    }
}

/// How much of a run there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunResults {
    /// The run.
    pub run: RunId,
    /// Its results.
    pub results: u64,
    /// Number of the newest; another once any has changed.
    pub newest: i64,
}

impl Store {
    /// Results with the key of a case, the newest first, from `before` on; none where there is no such case. With the attempts
    /// at the case itself that a later one took the place of.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn history(
        &self,
        id: CaseId,
        before: Option<Before>,
        limit: usize,
    ) -> Result<Option<CaseHistory>, StoreError> {
        let Some(key) = self.key(id).await? else { return Ok(None) };
        let mut query = QueryBuilder::new(SELECT);
        query.push(" WHERE c.key = ").push_bind(key.clone());
        if let Some(Before { finished_at, id }) = before {
            query.push(" AND (c.finished_at, c.id) < (").push_bind(finished_at.0);
            query.push(", ").push_bind(id.to_string()).push(")");
        }
        // One more tells whether there are older ones.
        let most = value::to_integer("the number of results", limit as u64 + 1)?;
        query.push(" ORDER BY c.finished_at DESC, c.id DESC LIMIT ").push_bind(most);
        let outcomes = self.read_outcomes(query).await?;
        let attempts = self.attempts(id).await?;
        beside(move || Ok(Some(CaseHistory::of(key, outcomes, limit, attempts)))).await
    }

    /// Results of some runs, of each at most `limit`: of a run that has more, those that another of the runs has too, else the
    /// first by position.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn outcomes_of_runs(&self, runs: &[RunId], limit: usize) -> Result<Vec<Outcome>, StoreError> {
        let most = value::to_integer("the number of results", limit as u64)?;
        let mut shared: Option<String> = None;
        if self.results_of_runs(runs).await?.iter().any(|of| of.results > limit as u64) {
            // The index of a run's cases has their keys.
            let mut query = QueryBuilder::new("SELECT a.key FROM cases a WHERE a.run_id = ");
            query.push_bind(runs.first().map(ToString::to_string));
            push_any(
                &mut query,
                " AND EXISTS (SELECT 1 FROM cases b WHERE b.key = a.key AND b.run_id IN (",
                &runs[1..],
            );
            query.push(") ORDER BY a.position LIMIT ").push_bind(most);
            let keys: Vec<String> = query.build_query_scalar().fetch_all(&self.pool).await?;
            shared = (!keys.is_empty()).then(|| value::to_json("the keys", &keys)).transpose()?;
        }
        let mut outcomes = Vec::new();
        for run in runs {
            let mut query = QueryBuilder::new(SELECT);
            query.push(" WHERE c.run_id = ").push_bind(run.to_string());
            if let Some(keys) = &shared {
                query.push(" AND c.key IN (SELECT value FROM json_each(").push_bind(keys).push("))");
            }
            query.push(" ORDER BY c.position, c.key LIMIT ").push_bind(most);
            outcomes.extend(self.read_outcomes(query).await?);
        }
        Ok(outcomes)
    }

    /// How many results each of some runs has, and the number of its newest; a run that is not there is left out.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn results_of_runs(&self, runs: &[RunId]) -> Result<Vec<RunResults>, StoreError> {
        let mut query = QueryBuilder::new(
            "SELECT r.id, COALESCE(f.done, 0) AS results, COALESCE(f.newest, 0) AS newest \
             FROM runs r LEFT JOIN run_figures f ON f.run_id = r.id",
        );
        push_any(&mut query, " WHERE r.id IN (", runs);
        let rows: Vec<(String, i64, i64)> = query.build_query_as().fetch_all(&self.pool).await?;
        let of = |(id, results, newest): (String, i64, i64)| {
            Ok(RunResults {
                run: value::id("runs.id", &id)?,
                results: value::count("run_figures.done", results)?,
                newest,
            })
        };
        rows.into_iter().map(of).collect()
    }

    /// Number of the newest result of all.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn newest_result(&self) -> Result<i64, StoreError> {
        let newest = sqlx::query_scalar!(r#"SELECT MAX(n) AS "n: i64" FROM case_lines"#);
        Ok(newest.fetch_one(&self.pool).await?.unwrap_or(0))
    }

    /// Results by their ids; one that is not there is left out.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn outcomes(&self, ids: &[CaseId]) -> Result<Vec<Outcome>, StoreError> {
        let mut query = QueryBuilder::new(SELECT);
        push_any(&mut query, " WHERE c.id IN (", ids);
        self.read_outcomes(query).await
    }

    async fn read_outcomes(&self, mut query: QueryBuilder<'_, Sqlite>) -> Result<Vec<Outcome>, StoreError> {
        let rows: Vec<OutcomeRow> = query.build_query_as().fetch_all(&self.pool).await?;
        // A run and its machine are read once for all their cases.
        let mut runs: Vec<&str> = rows.iter().map(|row| row.run_id.as_str()).collect();
        runs.sort_unstable();
        runs.dedup();
        let mut query = QueryBuilder::new(
            "SELECT r.id AS run_id, r.name AS run_name, r.runner, m.id, m.name, m.os, m.cpu, m.memory_bytes, m.gpus \
             FROM runs r JOIN machines m ON m.id = r.machine_id",
        );
        push_any(&mut query, " WHERE r.id IN (", &runs);
        let origins: Vec<OriginRow> = query.build_query_as().fetch_all(&self.pool).await?;
        beside(move || {
            let origins: HashMap<String, Origin> = origins
                .into_iter()
                .map(|row| Ok((row.run_id.clone(), row.try_into()?)))
                .collect::<Result<_, StoreError>>()?;
            // A foreign key holds each run in place.
            let known = rows.into_iter().filter_map(|row| Some((origins.get(&row.run_id)?, row)));
            known.map(|(origin, row)| row.outcome(origin)).collect()
        })
        .await
    }
}

fn push_any(query: &mut QueryBuilder<'_, Sqlite>, start: &str, ids: &[impl ToString]) {
    query.push(start);
    let mut list = query.separated(", ");
    for id in ids {
        list.push_bind(id.to_string());
    }
    query.push(")");
}

#[cfg(test)]
mod tests;

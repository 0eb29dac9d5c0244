//! Results with where they come from, for histories and comparisons.

use contract::history::{Before, CaseHistory};
use contract::ids::{CaseId, RunId, UnixMillis};
use contract::outcome::Outcome;
use sqlx::{QueryBuilder, Sqlite};

use crate::machines::MachineRow;
use crate::{Store, StoreError, value};

/// What every query of this module reads. The plan and the estimate are not among it: they are the larger half of a case.
const SELECT: &str = "SELECT c.id AS case_id, c.spec, c.engine, c.status, c.error, \
                      json_remove(c.measurement, '$.memory_trace') AS measurement, c.finished_at, \
                      c.run_id, r.name AS run_name, r.runner, m.id, m.name, m.os, m.cpu, m.memory_bytes, m.gpus \
                      FROM cases c JOIN runs r ON r.id = c.run_id JOIN machines m ON m.id = r.machine_id";

#[derive(sqlx::FromRow)]
struct OutcomeRow {
    case_id: String,
    spec: String,
    engine: String,
    status: String,
    error: Option<String>,
    measurement: Option<String>,
    finished_at: i64,
    run_id: String,
    run_name: String,
    runner: String,
    #[sqlx(flatten)]
    machine: MachineRow,
}

impl TryFrom<OutcomeRow> for Outcome {
    type Error = StoreError;
    fn try_from(row: OutcomeRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: value::id("cases.id", &row.case_id)?,
            spec: value::json("cases.spec", &row.spec)?,
            engine: row.engine,
            status: value::name("cases.status", &row.status)?,
            error: row.error,
            measurement: row.measurement.map(|text| value::json("cases.measurement", &text)).transpose()?,
            finished_at: UnixMillis(row.finished_at),
            run_id: value::id("cases.run_id", &row.run_id)?,
            run_name: row.run_name,
            runner: value::json("runs.runner", &row.runner)?,
            machine: row.machine.try_into()?,
        })
    }
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
        let Some(case) = self.case(id).await? else { return Ok(None) };
        let key = case.spec.key();
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
        let mut attempts = self.superseded_cases(case.run_id).await?;
        attempts.retain(|attempt| attempt.id == id);
        let attempts = attempts.into_iter().map(Into::into).collect();
        Ok(Some(CaseHistory::of(key, outcomes, limit, attempts)))
    }

    /// Every result of some runs, in the order of the runs and their cases.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn outcomes_of_runs(&self, runs: &[RunId]) -> Result<Vec<Outcome>, StoreError> {
        let mut query = QueryBuilder::new(SELECT);
        push_any(&mut query, " WHERE c.run_id IN (", runs);
        query.push(" ORDER BY c.run_id, c.position, c.key");
        self.read_outcomes(query).await
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
        rows.into_iter().map(Outcome::try_from).collect()
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

//! What plots need of cases beyond their lines, out of the cases' documents.

use std::collections::HashMap;
use std::sync::PoisonError;

use contract::explore::CaseLine;
use contract::ids::{CaseId, UnixMillis};
use contract::points::CaseDetail;
use planner::Bytes;
use planner::document::estimate::{Components, ErrorBand};
use serde::Deserialize;

use crate::{Store, StoreError, beside, value};

/// Details kept at most: as many as a few dozen plots show, some 20 MB.
const KEPT: usize = 50_000;

/// A result: a case, and when it ended. It never changes; an attempt that takes its place ends at another time.
type Key = (CaseId, UnixMillis);

/// Details of results that plots have shown.
#[derive(Debug, Default)]
pub(crate) struct Details(HashMap<Key, CaseDetail>);

/// Parts of a case's documents, as JSON.
#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    finished_at: i64,
    estimate: Option<String>,
    quality: Option<String>,
    edge: Option<String>,
}

/// A measurement is long: it is looked into only where the case asked for what may be found there.
const PARTS: &str = "SELECT id, finished_at, estimate,
            CASE WHEN spec ->> '$.quality' IS NOT NULL THEN measurement ->> '$.quality' END AS quality,
            CASE WHEN spec ->> '$.edge' IS NOT NULL THEN measurement ->> '$.edge' END AS edge
     FROM cases WHERE id IN (SELECT value FROM json_each(?))";

/// What of an estimate is plotted.
#[derive(Deserialize)]
struct Estimated {
    per_gpu: Components,
    kv: Pool,
    error_band: ErrorBand,
}

#[derive(Deserialize)]
struct Pool {
    pool_bytes: Bytes,
}

impl Store {
    /// The details of `lines`, in their order.
    pub(super) async fn details(&self, lines: &[CaseLine]) -> Result<Vec<CaseDetail>, StoreError> {
        let key = |line: &CaseLine| (line.id, line.finished_at);
        let mut found: HashMap<Key, CaseDetail> = {
            let kept = self.details.lock().unwrap_or_else(PoisonError::into_inner);
            lines.iter().filter_map(|line| Some((key(line), kept.0.get(&key(line))?.clone()))).collect()
        };
        let missing = lines.iter().filter(|line| !found.contains_key(&key(line))).map(|line| line.id);
        let missing: Vec<CaseId> = missing.collect();
        if !missing.is_empty() {
            let ids = value::to_json("the cases", &missing)?;
            let rows: Vec<Row> = sqlx::query_as(PARTS).bind(ids).fetch_all(&self.pool).await?;
            let read = beside(move || rows.iter().map(detail).collect::<Result<Vec<_>, _>>()).await?;
            let mut kept = self.details.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.0.len() + read.len() > KEPT {
                kept.0.clear();
            }
            kept.0.extend(read.iter().cloned());
            found.extend(read);
        }
        Ok(lines.iter().map(|line| found.remove(&key(line)).unwrap_or_default()).collect())
    }
}

fn detail(row: &Row) -> Result<(Key, CaseDetail), StoreError> {
    let estimate: Option<Estimated> =
        row.estimate.as_deref().map(|text| value::json("cases.estimate", text)).transpose()?;
    let quality = row.quality.as_deref().map(|text| value::json("cases.measurement.quality", text));
    let edge = row.edge.as_deref().map(|text| value::json("cases.measurement.edge", text));
    let mut detail =
        CaseDetail { quality: quality.transpose()?, edge: edge.transpose()?, ..CaseDetail::default() };
    if let Some(Estimated { per_gpu, kv, error_band }) = estimate {
        detail.parts = Some(per_gpu);
        detail.pool = kv.pool_bytes;
        detail.band = Some((error_band.low, error_band.high));
    }
    Ok(((value::id("cases.id", &row.id)?, UnixMillis(row.finished_at)), detail))
}

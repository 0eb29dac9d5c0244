//! What plots need of cases beyond their lines, out of the cases' documents.

use std::collections::HashMap;

use contract::explore::CaseLine;
use contract::ids::CaseId;
use contract::points::CaseDetail;
use planner::Bytes;
use planner::document::estimate::ErrorBand;

use crate::{Store, StoreError, value};

/// Parts of a case's documents, as JSON.
#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    parts: Option<String>,
    pool: Option<i64>,
    band: Option<String>,
    quality: Option<String>,
    edge: Option<String>,
    training: bool,
}

/// A measurement is long: it is looked into only where the case asked for what may be found there.
const PARTS: &str = "SELECT id, estimate ->> '$.per_gpu' AS parts, estimate ->> '$.kv.pool_bytes' AS pool,
            estimate ->> '$.error_band' AS band,
            CASE WHEN spec ->> '$.quality' IS NOT NULL THEN measurement ->> '$.quality' END AS quality,
            CASE WHEN spec ->> '$.edge' IS NOT NULL THEN measurement ->> '$.edge' END AS edge,
            spec ->> '$.training' IS NOT NULL AS training
     FROM cases WHERE id IN (SELECT value FROM json_each(?))";

impl Store {
    /// The details of `lines`, by case.
    pub(super) async fn details(
        &self,
        lines: &[CaseLine],
    ) -> Result<HashMap<CaseId, CaseDetail>, StoreError> {
        let ids: Vec<CaseId> = lines.iter().map(|line| line.id).collect();
        let ids = value::to_json("the cases", &ids)?;
        let rows: Vec<Row> = sqlx::query_as(PARTS).bind(ids).fetch_all(&self.pool).await?;
        rows.into_iter().map(|row| Ok((value::id("cases.id", &row.id)?, detail(&row)?))).collect()
    }
}

fn detail(row: &Row) -> Result<CaseDetail, StoreError> {
    let band: Option<ErrorBand> =
        row.band.as_deref().map(|text| value::json("cases.estimate.error_band", text)).transpose()?;
    Ok(CaseDetail {
        parts: row.parts.as_deref().map(|text| value::json("cases.estimate.per_gpu", text)).transpose()?,
        pool: Bytes(value::count("cases.estimate.kv.pool_bytes", row.pool.unwrap_or(0))?),
        band: band.map(|band| (band.low, band.high)),
        quality: row
            .quality
            .as_deref()
            .map(|text| value::json("cases.measurement.quality", text))
            .transpose()?,
        edge: row.edge.as_deref().map(|text| value::json("cases.measurement.edge", text)).transpose()?,
        training: row.training,
    })
}

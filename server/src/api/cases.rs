//! Cases of all runs.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use contract::case::{Case, CaseFilter};
use contract::error::ApiError;
use contract::explore::{CaseListing, CaseQuery, MAX_PER_PAGE};
use contract::history::CaseHistory;
use contract::ids::CaseId;
use contract::run::Page;
use serde::Deserialize;

use super::compare::{file, separated};
use crate::extract::{Filter, Id};
use crate::problem::Problem;
use crate::state::AppState;

/// List cases of all runs, newest first.
#[utoipa::path(get, path = "/api/v1/cases", operation_id = "list_cases", tag = "cases",
    params(
        ("run" = Option<contract::ids::RunId>, Query, description = "The run they belong to"),
        ("model" = Option<String>, Query, description = "A model's name, or a part of it"),
        ("precision" = Option<String>, Query, description = "A precision"),
        ("status" = Option<contract::case::CaseStatus>, Query, description = "How they ended"),
        ("page" = Option<u32>, Query, description = "Page from 1"),
        ("per_page" = Option<u32>, Query, description = "Rows of a page, at most 200; 50 where left out")),
    responses((status = 200, body = Page<Case>, description = "A page of them"),
              (status = 400, body = ApiError, description = "A filter that is none")))]
pub(super) async fn list(
    State(state): State<AppState>,
    Filter(filter): Filter<CaseFilter>,
) -> Result<Json<Page<Case>>, Problem> {
    Ok(Json(state.store.cases(&filter).await?))
}

/// Get a case.
#[utoipa::path(get, path = "/api/v1/cases/{id}", operation_id = "get_case",
    tag = "cases", params(("id" = CaseId, Path, description = "The case")),
    responses((status = 200, body = Case, description = "The case"),
              (status = 404, body = ApiError, description = "There is none")))]
pub(super) async fn one(State(state): State<AppState>, Id(id): Id<CaseId>) -> Result<Json<Case>, Problem> {
    state.store.case(id).await?.map(Json).ok_or_else(|| Problem::not_found("case", id))
}

/// Which results of a history.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HistoryPage {
    /// Those before this place.
    before: Option<String>,
    /// Most results.
    limit: Option<usize>,
}

/// List the results with the same key as a case, on every machine, commit and driver, the newest first, with how far each is
/// from the one before.
#[utoipa::path(get, path = "/api/v1/cases/{id}/history", operation_id = "get_case_history", tag = "cases",
    params(
        ("id" = CaseId, Path, description = "The case"),
        ("before" = Option<String>, Query, description = "`next` of the page before this one"),
        ("limit" = Option<usize>, Query, description = "Most results, 1 to 200; 50 where left out")),
    responses((status = 200, body = CaseHistory, description = "A page of them"),
              (status = 400, body = ApiError, description = "A parameter that means nothing"),
              (status = 404, body = ApiError, description = "There is no such case")))]
pub(super) async fn history(
    State(state): State<AppState>,
    Id(id): Id<CaseId>,
    Filter(page): Filter<HistoryPage>,
) -> Result<Json<CaseHistory>, Problem> {
    let bad = |field: &str, said: String| Problem::new(StatusCode::BAD_REQUEST, "bad-field", said).at(field);
    let before = page.before.map(|place| place.parse()).transpose();
    let before = before.map_err(|e: contract::history::NoPlace| bad("before", e.to_string()))?;
    let limit = page.limit.unwrap_or(contract::history::PER_PAGE);
    if !(1..=contract::history::MAX_PER_PAGE).contains(&limit) {
        let said = format!("{limit} is out of range; accepted: 1 to {}", contract::history::MAX_PER_PAGE);
        return Err(bad("limit", said));
    }
    let history = state.store.history(id, before, limit).await?;
    history.map(Json).ok_or_else(|| Problem::not_found("case", id))
}

/// List cases of all runs on one line each, filtered, ordered, with the counts of every filter.
///
/// A facet may be given as often as it has values to admit: `model`, `task` (`inference`, `training`,
/// `embedding`), `method` (`full`, `lora`, `qlora`; `none`), `precision`, `attention`, `variant`, `cache`, `kv_cache`,
/// `engine`, `device`, `machine` (an id), `status`, `batch`, `prompt`, `generate`; what a case leaves to the engine is
/// `default`.
#[utoipa::path(get, path = "/api/v1/case-lines", operation_id = "list_case_lines", tag = "cases",
    params(
        ("model" = Option<Vec<String>>, Query, description = "Models; the other facets likewise"),
        ("run" = Option<contract::ids::RunId>, Query, description = "The run they belong to"),
        ("q" = Option<String>, Query, description = "A part of the model's name"),
        ("since" = Option<i64>, Query, description = "Not before, in milliseconds since 1970-01-01T00:00:00Z"),
        ("until" = Option<i64>, Query, description = "Before, likewise"),
        ("order" = Option<contract::explore::Order>, Query, description = "What they are ordered by; `finished` where left out"),
        ("direction" = Option<String>, Query, description = "`descending` (where left out) or `ascending`"),
        ("after" = Option<String>, Query, description = "`next` of the page before this one"),
        ("before" = Option<String>, Query, description = "`previous` of the page after this one"),
        ("limit" = Option<u32>, Query, description = "Rows of a page, 1 to 1000; 100 where left out")),
    responses((status = 200, body = CaseListing, description = "A page of them"),
              (status = 400, body = ApiError, description = "A parameter that means nothing")))]
pub(super) async fn lines(
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Json<CaseListing>, Problem> {
    Ok(Json(state.store.explore(&read(query.as_deref())?).await?))
}

/// The same lines as comma-separated values (RFC 4180), up to 1000 where no limit is given.
#[utoipa::path(get, path = "/api/v1/case-lines.csv", operation_id = "export_case_lines", tag = "cases",
    params(("model" = Option<Vec<String>>, Query, description = "As of /api/v1/case-lines, with every other parameter")),
    responses((status = 200, content_type = "text/csv", description = "A line each, after a line of names"),
              (status = 400, body = ApiError, description = "A parameter that means nothing")))]
pub(super) async fn lines_csv(
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, Problem> {
    let mut asked = read(query.as_deref())?;
    if asked.limit == CaseQuery::default().limit {
        asked.limit = MAX_PER_PAGE;
    }
    let listing = state.store.explore(&asked).await?;
    let mut records = vec![NAMES.map(str::to_owned).to_vec()];
    for line in &listing.items {
        let text = |figure: Option<f64>| figure.map(|f| f.to_string()).unwrap_or_default();
        let bytes = |bytes: Option<planner::Bytes>| bytes.map(|b| b.0.to_string()).unwrap_or_default();
        records.push(vec![
            line.id.to_string(),
            line.run_id.to_string(),
            line.machine_id.to_string(),
            line.model.clone(),
            line.task.as_str().to_owned(),
            line.training.clone().unwrap_or_default(),
            line.precision.clone(),
            line.variant.clone(),
            line.attention.clone(),
            line.cache.clone(),
            line.kv_cache.clone(),
            line.engine.clone(),
            line.device.clone(),
            line.status.to_string(),
            line.batch.to_string(),
            line.prompt_tokens.to_string(),
            line.generate_tokens.to_string(),
            text(line.decode_tokens_per_second),
            text(line.prefill_tokens_per_second),
            text(line.ttft_ms),
            bytes(line.peak_allocated),
            bytes(line.estimated),
            line.finished_at.0.to_string(),
        ]);
    }
    Ok(file(separated(&records)?, "plimsoll-cases.csv"))
}

/// The columns of the comma-separated lines, by the names of the contract.
const NAMES: [&str; 23] = [
    "id",
    "run_id",
    "machine_id",
    "model",
    "task",
    "training",
    "precision",
    "variant",
    "attention",
    "cache",
    "kv_cache",
    "engine",
    "device",
    "status",
    "batch",
    "prompt_tokens",
    "generate_tokens",
    "decode_tokens_per_second",
    "prefill_tokens_per_second",
    "ttft_ms",
    "peak_allocated",
    "estimated",
    "finished_at",
];

fn read(query: Option<&str>) -> Result<CaseQuery, Problem> {
    let pairs: Vec<_> = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect();
    let (query, errors) = CaseQuery::read(pairs.iter().map(|(name, value)| (&**name, &**value)));
    match errors.into_iter().next() {
        None => Ok(query),
        Some(error) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, "bad-field", error.reason.clone()).at(error.name))
        }
    }
}

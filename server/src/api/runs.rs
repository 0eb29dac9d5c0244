//! Runs.

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use contract::case::Case;
use contract::error::ApiError;
use contract::export;
use contract::ids::RunId;
use contract::run::{Page, RunDetail, RunFilter, RunSummary};
use serde::Deserialize;

use crate::extract::{Filter, Id};
use crate::problem::Problem;
use crate::state::AppState;

/// List runs, newest first.
#[utoipa::path(get, path = "/api/v1/runs", operation_id = "list_runs", tag = "runs",
    params(
        ("model" = Option<String>, Query, description = "A model's name, or a part of it"),
        ("machine" = Option<String>, Query, description = "A machine's name, or a part of it"),
        ("precision" = Option<String>, Query, description = "A precision that one of the cases has"),
        ("status" = Option<contract::run::RunStatus>, Query, description = "How far it is"),
        ("page" = Option<u32>, Query, description = "Page from 1"),
        ("per_page" = Option<u32>, Query, description = "Rows of a page, at most 200; 50 where left out")),
    responses((status = 200, body = Page<RunSummary>, description = "A page of them"),
              (status = 400, body = ApiError, description = "A filter that is none")))]
pub(super) async fn list(
    State(state): State<AppState>,
    Filter(filter): Filter<RunFilter>,
) -> Result<Json<Page<RunSummary>>, Problem> {
    Ok(Json(state.store.runs(&filter).await?))
}

/// Get a run whole: itself, its machine, its cases.
#[utoipa::path(get, path = "/api/v1/runs/{id}", operation_id = "get_run",
    tag = "runs", params(("id" = RunId, Path, description = "The run")),
    responses((status = 200, body = RunDetail, description = "The run"),
              (status = 404, body = ApiError, description = "There is none")))]
pub(super) async fn one(
    State(state): State<AppState>,
    Id(id): Id<RunId>,
) -> Result<Json<RunDetail>, Problem> {
    find(&state, id).await.map(Json)
}

/// Which of a run's cases.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct From {
    /// The first position that is asked for.
    from: u32,
}

/// List a run's cases that ended, by position.
#[utoipa::path(get, path = "/api/v1/runs/{id}/cases", operation_id = "list_run_cases", tag = "runs",
    params(("id" = RunId, Path, description = "The run"),
           ("from" = Option<u32>, Query, description = "The first position that is asked for; 0 where left out")),
    responses((status = 200, body = Vec<Case>, description = "Its cases"),
              (status = 404, body = ApiError, description = "There is no such run")))]
pub(super) async fn cases(
    State(state): State<AppState>,
    Id(id): Id<RunId>,
    Filter(From { from }): Filter<From>,
) -> Result<Json<Vec<Case>>, Problem> {
    let mut cases = find(&state, id).await?.cases;
    cases.retain(|case| case.position >= from);
    Ok(Json(cases))
}

/// Export a run as measurement rows, one JSON document a line, for `bench-runner validate`.
#[utoipa::path(get, path = "/api/v1/runs/{id}/rows", operation_id = "export_run_rows",
    tag = "runs", params(("id" = RunId, Path, description = "The run")),
    responses((status = 200, body = planner::MeasurementRow, content_type = "application/jsonl", description = "Its rows"),
              (status = 404, body = ApiError, description = "There is no such run")))]
pub(super) async fn rows(
    State(state): State<AppState>,
    Id(id): Id<RunId>,
) -> Result<impl IntoResponse, Problem> {
    let mut lines = String::new();
    for row in export::rows(&find(&state, id).await?) {
        if let Ok(line) = serde_json::to_string(&row) {
            lines.push_str(&line);
            lines.push('\n');
        }
    }
    Ok(([(CONTENT_TYPE, "application/jsonl")], lines))
}

async fn find(state: &AppState, id: RunId) -> Result<RunDetail, Problem> {
    state.store.run(id).await?.ok_or_else(|| Problem::not_found("run", id))
}

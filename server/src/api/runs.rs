//! Runs.

use app::islands::CaseLine;
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

use super::json;
use crate::beside::beside;
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
) -> Result<impl IntoResponse, Problem> {
    let run = find(&state, id).await?;
    beside(move || json(&run)).await
}

/// Which of a run's cases.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct From {
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
) -> Result<impl IntoResponse, Problem> {
    let cases = ended(&state, id, from).await?;
    beside(move || json(&cases)).await
}

/// The same in the few figures that a job's page shows, for that page's script.
pub(crate) async fn lines(
    State(state): State<AppState>,
    Id(id): Id<RunId>,
    Filter(From { from }): Filter<From>,
) -> Result<Json<Vec<CaseLine>>, Problem> {
    let cases = ended(&state, id, from).await?;
    Ok(Json(cases.iter().map(CaseLine::of).collect()))
}

async fn ended(state: &AppState, id: RunId, from: u32) -> Result<Vec<Case>, Problem> {
    state.store.cases_of_run(id, from).await?.ok_or_else(|| Problem::not_found("run", id))
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
    let run = find(&state, id).await?;
    let write = move || {
        let mut lines = String::new();
        for row in export::rows(&run) {
            if let Ok(line) = serde_json::to_string(&row) {
                lines.push_str(&line);
                lines.push('\n');
            }
        }
        Ok::<_, Problem>(lines)
    };
    Ok(([(CONTENT_TYPE, "application/jsonl")], beside(write).await?))
}

async fn find(state: &AppState, id: RunId) -> Result<RunDetail, Problem> {
    state.store.run(id).await?.ok_or_else(|| Problem::not_found("run", id))
}

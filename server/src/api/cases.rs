//! Cases of all runs.

use axum::Json;
use axum::extract::State;
use contract::case::{Case, CaseFilter};
use contract::error::ApiError;
use contract::ids::CaseId;
use contract::run::Page;

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

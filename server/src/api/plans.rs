//! Plans: what-ifs, their answers, and links that keep both.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use contract::error::ApiError;
use contract::link::StoredPlan;
use planner::solve::{Answer, Question};
use planner::{Estimate, Plan};

use crate::access::Writer;
use crate::beside::beside;
use crate::extract::Body;
use crate::links;
use crate::problem::Problem;
use crate::state::AppState;

/// Estimate what a plan takes.
#[utoipa::path(post, path = "/api/v1/plans/estimate", operation_id = "estimate_plan",
    tag = "plans", request_body = Plan,
    responses((status = 200, body = Estimate, description = "What it takes"),
              (status = 400, body = ApiError, description = "Not the JSON of a plan"),
              (status = 422, body = ApiError, description = "It contradicts itself or cannot be planned; field says where")))]
pub(super) async fn estimate(Body(plan): Body<Plan>) -> Result<Json<Estimate>, Problem> {
    // The advice of a plan that does not fit takes many estimates.
    Ok(Json(beside(move || planner::estimate(&plan)).await?))
}

/// Ask a plan for the largest batch, the longest context, the load line, the fewest GPUs, the cheapest GPU, layouts, or what
/// precisions trade.
#[utoipa::path(post, path = "/api/v1/plans/solve", operation_id = "solve_plan",
    tag = "plans", request_body = Question,
    responses((status = 200, body = Answer, description = "The answer; question says to which"),
              (status = 400, body = ApiError, description = "Not the JSON of a question"),
              (status = 422, body = ApiError, description = "The plan cannot be solved, or the question contradicts itself; field says where")))]
pub(super) async fn solve(Body(question): Body<Question>) -> Result<Json<Answer>, Problem> {
    Ok(Json(beside(move || question.answer()).await?))
}

/// Store a plan with its answer under a short link that never changes.
#[utoipa::path(post, path = "/api/v1/plans", operation_id = "store_plan",
    tag = "plans", request_body = Plan, security((), ("admin" = [])),
    responses((status = 201, body = StoredPlan, description = "Stored; Location has its page"),
              (status = 200, body = StoredPlan, description = "Stored before, with the same answer"),
              (status = 400, body = ApiError, description = "Not the JSON of a plan"),
              (status = 401, body = ApiError, description = "The admin token is asked"),
              (status = 422, body = ApiError, description = "It has no answer; field says where")))]
pub(super) async fn create(
    State(state): State<AppState>,
    _: Writer,
    Body(plan): Body<Plan>,
) -> Result<impl IntoResponse, Problem> {
    let (stored, new) = links::store(&state, plan).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, [(LOCATION, format!("/p/{}", stored.id))], Json(stored)))
}

/// Get a stored plan with the answer it had.
#[utoipa::path(get, path = "/api/v1/plans/{id}", operation_id = "get_plan", tag = "plans",
    params(("id" = String, Path, description = "Ten characters of Crockford's base 32")),
    responses((status = 200, body = StoredPlan, description = "Plan and answer, as they were stored"),
              (status = 404, body = ApiError, description = "There is none")))]
pub(super) async fn one(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<StoredPlan>, Problem> {
    state.store.plan(&id).await?.map(Json).ok_or_else(|| Problem::not_found("plan", id))
}

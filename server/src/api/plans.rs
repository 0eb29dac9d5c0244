//! Plans: what-ifs, their answers, and links that keep both.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use contract::error::ApiError;
use contract::link::StoredPlan;
use planner::solve::{self, LayoutPoint, LoadPoint, ParetoPoint, SpeedLimits};
use planner::{Estimate, Plan, Tokens};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::Writer;
use crate::extract::Body;
use crate::links;
use crate::problem::Problem;
use crate::state::AppState;

/// Batches of a load line where none are given.
const BATCHES: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
/// Most batches of a load line.
const MAX_BATCHES: usize = 64;

/// Estimate what a plan takes.
#[utoipa::path(post, path = "/api/v1/plans/estimate", operation_id = "estimate_plan",
    tag = "plans", request_body = Plan,
    responses((status = 200, body = Estimate, description = "What it takes"),
              (status = 400, body = ApiError, description = "Not the JSON of a plan"),
              (status = 422, body = ApiError, description = "It contradicts itself or cannot be planned; field says where")))]
pub(super) async fn estimate(Body(plan): Body<Plan>) -> Result<Json<Estimate>, Problem> {
    Ok(Json(planner::estimate(&plan)?))
}

/// A plan, and which points of its load line are asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// The plan.
    plan: Plan,
    /// Batches of the load line; left out: 1, 2, 4 … 256.
    #[serde(default)]
    batches: Option<Vec<u64>>,
    /// How slow the fewest GPUs may be; left out: as slow as they are.
    #[serde(default)]
    limits: SpeedLimits,
}

/// The most that fits where the plan runs.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Limits {
    /// The most sequences at once, all else as in the plan; 0: not even one.
    largest_batch: u64,
    /// The most tokens of a sequence, prompt and output together, with the plan's batch; 0: not even one of
    /// prompt.
    longest_context: Tokens,
    /// For each batch the longest context.
    load_line: Vec<LoadPoint>,
    /// The fewest of the plan's GPUs that hold it; null where 64 do not.
    fewest_gpus: Option<Fewest>,
    /// Precisions of the weights that no other beats in all of memory, speed and quality, smallest first.
    precisions: Vec<ParetoPoint>,
}

/// GPUs that hold a plan.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Fewest {
    /// How many.
    count: u32,
    /// The fastest layout on them.
    layout: LayoutPoint,
}

/// Solve a plan that serves for the largest batch, the longest context, the load line, the fewest GPUs, and what precisions
/// trade.
#[utoipa::path(post, path = "/api/v1/plans/solve", operation_id = "solve_plan",
    tag = "plans", request_body = Question,
    responses((status = 200, body = Limits, description = "The most that fits"),
              (status = 400, body = ApiError, description = "Not the JSON of a question"),
              (status = 422, body = ApiError, description = "The plan cannot be solved; field says where")))]
pub(super) async fn solve(Body(question): Body<Question>) -> Result<Json<Limits>, Problem> {
    let Question { plan, batches, limits } = question;
    let batches = batches.unwrap_or_else(|| BATCHES.to_vec());
    if batches.len() > MAX_BATCHES || batches.contains(&0) {
        let message = format!("batches: give at most {MAX_BATCHES}, each at least 1");
        return Err(Problem::unprocessable("bad-batches", message).at("batches"));
    }
    Ok(Json(Limits {
        largest_batch: solve::largest_batch(&plan)?,
        longest_context: solve::longest_context(&plan)?,
        load_line: solve::load_line(&plan, &batches)?,
        fewest_gpus: solve::fewest_gpus(&plan, &limits)?.map(|(count, layout)| Fewest { count, layout }),
        precisions: solve::pareto(&plan)?,
    }))
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

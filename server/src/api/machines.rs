//! Machines.

use axum::Json;
use axum::extract::State;
use contract::machine::Machine;

use crate::problem::Problem;
use crate::state::AppState;

/// List the machines, by name.
#[utoipa::path(get, path = "/api/v1/machines", operation_id = "list_machines", tag = "machines",
    responses((status = 200, body = Vec<Machine>, description = "Every machine that a run or a runner was on")))]
pub(super) async fn list(State(state): State<AppState>) -> Result<Json<Vec<Machine>>, Problem> {
    Ok(Json(state.store.machines().await?))
}

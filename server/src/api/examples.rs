//! The example results.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use contract::error::ApiError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Writer;
use crate::problem::Problem;
use crate::state::AppState;

/// What was imported.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Imported {
    /// Example runs that are there now.
    runs: usize,
}

/// Import the example results shipped with the server; those there already are left as they are.
#[utoipa::path(post, path = "/api/v1/examples", operation_id = "import_examples",
    tag = "runs", security((), ("admin" = [])),
    responses((status = 200, body = Imported, description = "They are there"),
              (status = 401, body = ApiError, description = "The admin token is asked"),
              (status = 404, body = ApiError, description = "This server ships none")))]
pub(super) async fn import(State(state): State<AppState>, _: Writer) -> Result<Json<Imported>, Problem> {
    if !crate::examples::available() {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "no-examples",
            "this server ships no example results",
        ));
    }
    Ok(Json(Imported { runs: crate::examples::import(&state).await? }))
}

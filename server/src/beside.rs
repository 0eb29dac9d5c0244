//! The planner, asked beside the threads that answer requests.

use axum::http::StatusCode;
use planner::PlanError;

use crate::problem::Problem;

/// Asks the planner on a thread of its own: what takes milliseconds should not keep other requests waiting.
pub(crate) async fn beside<A: Send + 'static>(
    ask: impl FnOnce() -> Result<A, PlanError> + Send + 'static,
) -> Result<A, Problem> {
    match tokio::task::spawn_blocking(ask).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the planner's answer failed; the server's log says why",
        )),
    }
}

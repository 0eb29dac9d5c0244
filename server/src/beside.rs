//! Work beside the threads that answer requests.

use axum::http::StatusCode;

use crate::problem::Problem;

/// Computes on a thread of its own: what takes milliseconds should not keep other requests waiting.
pub(crate) async fn beside<A, E>(
    compute: impl FnOnce() -> Result<A, E> + Send + 'static,
) -> Result<A, Problem>
where
    A: Send + 'static,
    E: Into<Problem> + Send + 'static,
{
    match tokio::task::spawn_blocking(compute).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(error) => {
            tracing::error!(error = %error, "work beside the requests failed");
            Err(Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the answer failed; the server's log says why",
            ))
        }
    }
}

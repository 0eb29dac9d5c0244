//! Work beside the threads that answer requests.

use std::sync::LazyLock;

use axum::http::StatusCode;
use tokio::sync::Semaphore;

use crate::problem::Problem;

/// As much at a time as there are cores: more would only hold more memory.
static PLACES: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));

/// Computes on a thread of its own: what takes milliseconds should not keep other requests waiting. Waits where all cores
/// compute such already.
pub(crate) async fn beside<A, E>(
    compute: impl FnOnce() -> Result<A, E> + Send + 'static,
) -> Result<A, Problem>
where
    A: Send + 'static,
    E: Into<Problem> + Send + 'static,
{
    // It is never closed.
    let place = PLACES.acquire().await.ok();
    let work = move || {
        // Given back when the work ends, not when the one who asked goes away.
        let _place = place;
        compute()
    };
    match tokio::task::spawn_blocking(work).await {
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

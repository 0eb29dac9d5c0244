//! A plan as files: the picture that other sites show of its link, Markdown, JSON, and the frame for another site's page. Of
//! any plan by the query of its link, and of a stored plan by its id, with the answer that it was stored with.

use app::{embed, export, link, preview};
use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use contract::link::StoredPlan;
use planner::{Estimate, Plan, PlanErrorKind};

use crate::beside::beside;
use crate::problem::Problem;
use crate::raster;
use crate::state::AppState;

/// Of an hour: another version of the planner may answer otherwise.
const ANY_PLAN: &str = "public, max-age=3600";
/// Of a week: the answer never changes, its drawing may with a new version.
const STORED_PLAN: &str = "public, max-age=604800";
/// A frame has no script and sends nothing; any page may hold it.
const FRAME_POLICY: &str = "default-src 'none'; style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                            frame-ancestors *";

/// The addresses of a plan's files.
pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/planner/preview.png", get(|query| async { picture(asked(query).await).await }))
        .route("/planner/plan.md", get(|query| async { markdown(asked(query).await) }))
        .route("/planner/plan.json", get(|query| async { document(asked(query).await) }))
        .route("/embed", get(|query| async { frame(asked(query).await) }))
        .route("/p/{id}/preview.png", get(|state, id| async { picture(stored(state, id).await).await }))
        .route("/p/{id}/plan.md", get(|state, id| async { markdown(stored(state, id).await) }))
        .route("/p/{id}/embed", get(|state, id| async { frame(stored(state, id).await) }))
}

/// A plan with its answer, and what holds for its files.
struct Answered {
    plan: Plan,
    estimate: Estimate,
    /// Version of the planner that answered.
    version: String,
    /// Where the plan opens whole.
    page: String,
    /// How long the files may be kept.
    cache: &'static str,
}

/// The plan of a link's query, answered on a thread of its own: advice of a plan that does not fit takes many estimates.
async fn asked(RawQuery(query): RawQuery) -> Result<Answered, Problem> {
    let query = query.unwrap_or_default();
    beside(move || {
        let plan = link::read(&query).map_err(|error| match error.kind {
            // A link that cannot be read, as its page answers it.
            PlanErrorKind::Invalid => {
                Problem::new(StatusCode::BAD_REQUEST, "bad-plan", error.to_string()).at(error.field)
            }
            _ => error.into(),
        })?;
        let estimate = planner::estimate(&plan)?;
        let page = link::planner_href(&plan);
        let version = planner::VERSION.to_owned();
        Ok::<_, Problem>(Answered { plan, estimate, version, page, cache: ANY_PLAN })
    })
    .await
}

async fn stored(State(state): State<AppState>, Path(id): Path<String>) -> Result<Answered, Problem> {
    let stored = state.store.plan(&id).await?.ok_or_else(|| Problem::not_found("plan", id))?;
    let StoredPlan { id, plan, estimate, planner_version, .. } = stored;
    Ok(Answered { plan, estimate, version: planner_version, page: format!("/p/{id}"), cache: STORED_PLAN })
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error, "a plan's file could not be made");
    let message = "the file could not be made; the server's log says why";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
}

fn file(kind: &'static str, cache: &'static str, body: impl IntoResponse) -> Response {
    let headers = [(CONTENT_TYPE, kind), (CACHE_CONTROL, cache)];
    (headers, body).into_response()
}

async fn picture(answer: Result<Answered, Problem>) -> Result<Response, Problem> {
    let Answered { plan, estimate, cache, .. } = answer?;
    let png = beside(move || {
        raster::png(&preview::svg(&plan, &estimate), preview::WIDTH).map_err(|error| failed(&error))
    })
    .await?;
    Ok(file("image/png", cache, png))
}

fn markdown(answer: Result<Answered, Problem>) -> Result<Response, Problem> {
    let Answered { plan, estimate, version, cache, .. } = answer?;
    Ok(file("text/markdown; charset=utf-8", cache, export::markdown(&plan, &estimate, &version)))
}

fn document(answer: Result<Answered, Problem>) -> Result<Response, Problem> {
    let Answered { plan, estimate, cache, .. } = answer?;
    Ok(file("application/json", cache, export::document(&plan, &estimate).to_string()))
}

/// Marks an answer that other sites' pages may show in a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Framed;

fn frame(answer: Result<Answered, Problem>) -> Response {
    let (status, cache, html) = match answer {
        Ok(Answered { plan, estimate, page, cache, .. }) => {
            (StatusCode::OK, cache, embed::document(&plan, &estimate, &page))
        }
        Err(problem) => (problem.status, "no-store", embed::refusal(&problem.body.error.message)),
    };
    let mut response = (status, file("text/html; charset=utf-8", cache, html)).into_response();
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(FRAME_POLICY));
    response.extensions_mut().insert(Framed);
    response
}

#[cfg(test)]
mod tests;

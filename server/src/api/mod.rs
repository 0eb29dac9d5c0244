//! The REST interface, `/api/v1`. Every error is the one envelope of `contract::error`.

mod cases;
mod catalogue;
mod compare;
mod examples;
mod jobs;
mod machines;
mod plans;
mod plots;
mod protocol;
pub(crate) mod runs;

use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use crate::problem::Problem;
use crate::state::AppState;

/// Largest body of an ordinary request, in bytes.
const BODY_LIMIT: usize = 1 << 20;
/// Largest case, in bytes: every token's latency is in it.
const CASE_LIMIT: usize = 64 << 20;

/// Everything under `/api/v1`.
pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/runs", get(runs::list))
        .route("/runs/{id}", get(runs::one))
        .route("/runs/{id}/cases", get(runs::cases))
        .route("/runs/{id}/rows", get(runs::rows))
        .route("/cases", get(cases::list))
        .route("/cases/{id}", get(cases::one))
        .route("/cases/{id}/history", get(cases::history))
        .route("/case-lines", get(cases::lines))
        .route("/case-lines.csv", get(cases::lines_csv))
        .route("/plots/{file}", get(plots::draw))
        .route("/compare", get(compare::one))
        .route("/compare.csv", get(compare::csv))
        .route("/machines", get(machines::list))
        .route("/jobs", get(jobs::list).post(jobs::submit))
        .route("/jobs/{id}", get(jobs::one))
        .route("/jobs/{id}/cancel", post(jobs::cancel))
        .route("/jobs/{id}/events", get(jobs::events))
        .route("/jobs/{id}/heartbeat", post(protocol::heartbeat))
        .route("/jobs/{id}/cases/{case_id}", put(protocol::upload).layer(DefaultBodyLimit::max(CASE_LIMIT)))
        .route("/jobs/{id}/finish", post(protocol::finish))
        .route("/runners", get(protocol::runners))
        .route("/runners/{id}", put(protocol::register))
        .route("/runners/{id}/claim", post(protocol::claim))
        .route("/plans", post(plans::create))
        .route("/plans/estimate", post(plans::estimate))
        .route("/plans/solve", post(plans::solve))
        .route("/plans/{id}", get(plans::one))
        .route("/models", get(catalogue::models))
        .route("/gpus", get(catalogue::gpus))
        .route("/presets", get(catalogue::presets))
        .route("/examples", post(examples::import))
        .route("/health", get(health))
        .route("/openapi.json", get(document))
        .fallback(unknown)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
}

/// A long answer as JSON, to be made beside the requests.
fn json(answer: &impl serde::Serialize) -> Result<Response, Problem> {
    let text = serde_json::to_vec(answer).map_err(|error| {
        let said = format!("the answer cannot be written: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", said)
    })?;
    Ok(([(CONTENT_TYPE, "application/json")], text).into_response())
}

/// An address that is not there.
pub(crate) async fn unknown(uri: Uri) -> Problem {
    let message = format!("there is nothing at {}; /api/v1/openapi.json describes what there is", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "not-found", message)
}

async fn method_not_allowed() -> Problem {
    let message = "this address does not take this method; the Allow header names those it takes";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", message)
}

/// Whether the server and its database answer.
#[utoipa::path(get, path = "/api/v1/health", operation_id = "get_health", tag = "server",
    responses((status = 200, description = "They do", body = Health)))]
async fn health(
    axum::extract::State(state): axum::extract::State<AppState>,
) -> Result<Json<Health>, Problem> {
    state.store.is_empty().await?;
    Ok(Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION"), api_version: contract::API_VERSION }))
}

/// That the server answers, and which it is.
#[derive(serde::Serialize, utoipa::ToSchema)]
struct Health {
    /// `ok`.
    status: &'static str,
    /// Version of Plimsoll.
    version: &'static str,
    /// Version of this interface.
    api_version: u32,
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", operation_id = "get_openapi", tag = "server",
    responses((status = 200, description = "The OpenAPI description", content_type = "application/json")))]
async fn document() -> Response {
    Json(openapi()).into_response()
}

/// The OpenAPI description of the REST interface, made from the handlers.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = Description::openapi();
    let components = document.components.get_or_insert_default();
    for (name, about) in [
        (
            "admin",
            "The admin token; asked only where the server was started with one. A browser's login cookie does too.",
        ),
        ("runner", "The runner token."),
    ] {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(about)).build();
        components.add_security_scheme(name, SecurityScheme::Http(scheme));
    }
    document
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Plimsoll",
        description = "Measured memory and speed of language models, and plans held against them. Sizes are bytes, \
                       times milliseconds since 1970-01-01T00:00:00Z, unless a name says otherwise. Every error is \
                       an ApiError."
    ),
    paths(
        runs::list,
        runs::one,
        runs::cases,
        runs::rows,
        cases::list,
        cases::one,
        cases::lines,
        cases::lines_csv,
        plots::draw,
        cases::history,
        compare::one,
        compare::csv,
        machines::list,
        jobs::list,
        jobs::submit,
        jobs::one,
        jobs::cancel,
        jobs::events,
        protocol::runners,
        protocol::register,
        protocol::claim,
        protocol::heartbeat,
        protocol::upload,
        protocol::finish,
        plans::create,
        plans::estimate,
        plans::solve,
        plans::one,
        catalogue::models,
        catalogue::gpus,
        catalogue::presets,
        examples::import,
        health,
        document
    ),
    components(schemas(contract::error::ApiError))
)]
struct Description;

#[cfg(test)]
mod tests;

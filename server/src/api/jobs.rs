//! Jobs as those who ask for them see them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use contract::error::ApiError;
use contract::ids::JobId;
use contract::job::{Job, NewJob};
use contract::protocol::JobEvent;
use contract::run::Page;
use serde::Deserialize;

use crate::access::Writer;
use crate::extract::{Body, Filter, Id};
use crate::problem::Problem;
use crate::state::AppState;
use crate::{events, jobs};

/// Which page of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Paging {
    page: Option<u32>,
    per_page: Option<u32>,
}

/// List jobs, newest first.
#[utoipa::path(get, path = "/api/v1/jobs", operation_id = "list_jobs", tag = "jobs",
    params(("page" = Option<u32>, Query, description = "Page from 1"),
           ("per_page" = Option<u32>, Query, description = "Rows of a page, at most 200; 50 where left out")),
    responses((status = 200, body = Page<Job>, description = "A page of them")))]
pub(super) async fn list(
    State(state): State<AppState>,
    Filter(paging): Filter<Paging>,
) -> Result<Json<Page<Job>>, Problem> {
    Ok(Json(state.store.jobs(paging.page, paging.per_page).await?))
}

/// Submit a job. Its models are names that runners advertise.
#[utoipa::path(post, path = "/api/v1/jobs", operation_id = "submit_job",
    tag = "jobs", request_body = NewJob, security((), ("admin" = [])),
    responses((status = 201, body = Job, description = "Queued; Location has its address"),
              (status = 400, body = ApiError, description = "Not the JSON of a job"),
              (status = 401, body = ApiError, description = "The admin token is asked"),
              (status = 409, body = ApiError, description = "The runners that could execute it are not online"),
              (status = 422, body = ApiError, description = "No runner can execute it; field says what of it")))]
pub(super) async fn submit(
    State(state): State<AppState>,
    _: Writer,
    Body(new): Body<NewJob>,
) -> Result<impl IntoResponse, Problem> {
    let job = jobs::submit(&state, new).await?;
    Ok((StatusCode::CREATED, [(LOCATION, format!("/api/v1/jobs/{}", job.id))], Json(job)))
}

/// Get a job.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", operation_id = "get_job",
    tag = "jobs", params(("id" = JobId, Path, description = "The job")),
    responses((status = 200, body = Job, description = "The job"),
              (status = 404, body = ApiError, description = "There is none")))]
pub(super) async fn one(State(state): State<AppState>, Id(id): Id<JobId>) -> Result<Json<Job>, Problem> {
    state.store.job(id).await?.map(Json).ok_or_else(|| Problem::not_found("job", id))
}

/// Cancel a job: a queued one at once, a running one when its runner next says where it is.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/cancel", operation_id = "cancel_job",
    tag = "jobs", security((), ("admin" = [])),
    params(("id" = JobId, Path, description = "The job")),
    responses((status = 200, body = Job, description = "The job as it stands now"),
              (status = 401, body = ApiError, description = "The admin token is asked"),
              (status = 404, body = ApiError, description = "There is none"),
              (status = 409, body = ApiError, description = "It has ended otherwise")))]
pub(super) async fn cancel(
    State(state): State<AppState>,
    _: Writer,
    Id(id): Id<JobId>,
) -> Result<Json<Job>, Problem> {
    let job = state.store.request_cancel(id, state.now()).await?;
    state.hub.tell(id);
    Ok(Json(job))
}

/// Follow a job: server-sent events, the first at once, the last when it has ended.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/events", operation_id = "follow_job",
    tag = "jobs", params(("id" = JobId, Path, description = "The job")),
    responses((status = 200, body = JobEvent, content_type = "text/event-stream", description = "JSON in `data`"),
              (status = 404, body = ApiError, description = "There is none")))]
pub(super) async fn events(
    State(state): State<AppState>,
    Id(id): Id<JobId>,
) -> Result<impl IntoResponse, Problem> {
    events::follow(state, id).await
}

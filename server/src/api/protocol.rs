//! What runners say: `contract::protocol`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use contract::error::ApiError;
use contract::ids::{CaseId, JobId, LeaseId, RunId, RunnerId};
use contract::job::Job;
use contract::protocol::{CaseUpload, Claim, Finish, Heartbeat, HeartbeatReply, Registration, Runner};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::FromRunner;
use crate::extract::{Body, Id};
use crate::problem::Problem;
use crate::state::AppState;

/// List the runners, those heard last first.
#[utoipa::path(get, path = "/api/v1/runners", operation_id = "list_runners", tag = "runners",
    responses((status = 200, body = Vec<Runner>, description = "Every runner that ever registered")))]
pub(super) async fn runners(State(state): State<AppState>) -> Result<Json<Vec<Runner>>, Problem> {
    Ok(Json(state.store.runners(state.now()).await?))
}

/// Register a runner, or say anew what it is.
#[utoipa::path(put, path = "/api/v1/runners/{id}", operation_id = "register_runner",
    tag = "runners", request_body = Registration,
    security(("runner" = [])), params(("id" = RunnerId, Path, description = "The runner's own id, kept over restarts")),
    responses((status = 200, body = Runner, description = "As the server knows it now"),
              (status = 401, body = ApiError, description = "The runner token is asked"),
              (status = 422, body = ApiError, description = "It has no name, or two models of one name")))]
pub(super) async fn register(
    State(state): State<AppState>,
    _: FromRunner,
    Id(id): Id<RunnerId>,
    Body(registration): Body<Registration>,
) -> Result<Json<Runner>, Problem> {
    check(&registration)?;
    let now = state.now();
    state.store.upsert_runner(id, &registration, now).await?;
    state.compared.clear();
    tracing::info!(runner = %id, name = registration.name, models = registration.models.len(), "runner registered");
    Ok(Json(Runner { id, registration, last_seen_at: now, online: true }))
}

fn check(registration: &Registration) -> Result<(), Problem> {
    if registration.name.trim().is_empty() {
        return Err(Problem::unprocessable("bad-name", "name: empty; give the runner a name").at("name"));
    }
    for (n, model) in registration.models.iter().enumerate() {
        let twice = registration.models[..n].iter().any(|m| m.name == model.name);
        if model.name.trim().is_empty() || twice {
            let message =
                format!("models[{n}].name: \"{}\" is empty or there twice; names are unique", model.name);
            return Err(Problem::unprocessable("bad-name", message).at(format!("models[{n}].name")));
        }
    }
    Ok(())
}

/// Claim the oldest job that the runner can execute.
#[utoipa::path(post, path = "/api/v1/runners/{id}/claim", operation_id = "claim_job",
    tag = "runners", security(("runner" = [])),
    params(("id" = RunnerId, Path, description = "The runner")),
    responses((status = 200, body = Claim, description = "A lease"),
              (status = 204, description = "There is no job for it"),
              (status = 401, body = ApiError, description = "The runner token is asked"),
              (status = 404, body = ApiError, description = "It has not registered")))]
pub(super) async fn claim(
    State(state): State<AppState>,
    _: FromRunner,
    Id(id): Id<RunnerId>,
) -> Result<Response, Problem> {
    let (lease, run) = (LeaseId(Uuid::now_v7()), RunId(Uuid::now_v7()));
    match state.store.claim(id, state.now(), lease, run).await? {
        None => Ok(StatusCode::NO_CONTENT.into_response()),
        Some(claim) => {
            tracing::info!(job = %claim.job.id, runner = %id, done = claim.done.len(), "job leased");
            state.hub.tell(claim.job.id);
            Ok(Json(claim).into_response())
        }
    }
}

/// Give a sign of life and say how far the job is.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/heartbeat", operation_id = "send_heartbeat",
    tag = "runners", request_body = Heartbeat,
    security(("runner" = [])), params(("id" = JobId, Path, description = "The job")),
    responses((status = 200, body = HeartbeatReply, description = "Whether to stop, and how long the lease is good"),
              (status = 401, body = ApiError, description = "The runner token is asked"),
              (status = 409, body = ApiError, description = "The lease is lost")))]
pub(super) async fn heartbeat(
    State(state): State<AppState>,
    _: FromRunner,
    Id(id): Id<JobId>,
    Body(heartbeat): Body<Heartbeat>,
) -> Result<Json<HeartbeatReply>, Problem> {
    let reply = state.store.heartbeat(id, heartbeat.lease, &heartbeat.progress, state.now()).await?;
    state.hub.tell(id);
    Ok(Json(reply))
}

/// What became of an upload.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Uploaded {
    /// The case.
    id: CaseId,
    /// Whether it is stored by this upload; false: it was stored before, and is left as it is.
    new: bool,
}

/// Upload a case that ended; sent again, it changes nothing.
#[utoipa::path(put, path = "/api/v1/jobs/{id}/cases/{case_id}", operation_id = "upload_case",
    tag = "runners", request_body = CaseUpload,
    security(("runner" = [])),
    params(("id" = JobId, Path, description = "The job"), ("case_id" = CaseId, Path, description = "The case")),
    responses((status = 201, body = Uploaded, description = "Stored"),
              (status = 200, body = Uploaded, description = "Stored before"),
              (status = 401, body = ApiError, description = "The runner token is asked"),
              (status = 409, body = ApiError, description = "The lease is lost"),
              (status = 422, body = ApiError, description = "It is not a case of this job")))]
pub(super) async fn upload(
    State(state): State<AppState>,
    _: FromRunner,
    Path((job, case)): Path<(String, String)>,
    Body(upload): Body<CaseUpload>,
) -> Result<impl IntoResponse, Problem> {
    let job: JobId = job.parse().map_err(|_| Problem::not_found("job", &job))?;
    let id = upload.case.id;
    if case != id.to_string() {
        let message = format!("the address is of case {case}, the body of case {id}");
        return Err(Problem::unprocessable("wrong-case", message).at("case.id"));
    }
    let new = state.store.upload_case(job, upload.lease, &upload.case, state.now()).await?;
    if new {
        state.hub.tell(job);
    }
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(Uploaded { id, new })))
}

/// Report the end of a job; reported again, it changes nothing.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/finish", operation_id = "finish_job",
    tag = "runners", request_body = Finish,
    security(("runner" = [])), params(("id" = JobId, Path, description = "The job")),
    responses((status = 200, body = Job, description = "The job as it stands now"),
              (status = 401, body = ApiError, description = "The runner token is asked"),
              (status = 409, body = ApiError, description = "The lease is lost"),
              (status = 422, body = ApiError, description = "It lacks cases")))]
pub(super) async fn finish(
    State(state): State<AppState>,
    _: FromRunner,
    Id(id): Id<JobId>,
    Body(finish): Body<Finish>,
) -> Result<Json<Job>, Problem> {
    let job = state.store.finish(id, finish.lease, &finish.outcome, state.now()).await?;
    tracing::info!(job = %id, state = job.state.as_str(), "job given back");
    state.hub.tell(id);
    Ok(Json(job))
}

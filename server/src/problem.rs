//! Errors as the REST interface answers them: one envelope, the right status, nothing of the inside.

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use contract::ability::Lack;
use contract::error::ApiError;
use contract::sweep::SweepError;
use planner::{PlanError, PlanErrorKind};
use store::StoreError;

/// An error on its way to whoever asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {}", body.error.message)]
pub(crate) struct Problem {
    pub status: StatusCode,
    pub body: ApiError,
    /// Seconds after which it may be tried again.
    pub retry_after: Option<u64>,
}

impl Problem {
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, body: ApiError::new(code, message), retry_after: None }
    }

    /// The same, naming the field that was wrong.
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.body = self.body.at(field);
        self
    }

    pub fn not_found(what: &str, id: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("there is no {what} {id}"))
    }

    /// A request that is well formed and asks for what cannot be.
    pub fn unprocessable(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"plimsoll\""));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
            }
            _ => {}
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let said = error.to_string();
        match error {
            StoreError::NoRun(_) | StoreError::NoJob(_) => {
                Self::new(StatusCode::NOT_FOUND, "not-found", said)
            }
            StoreError::NoRunner(_) => Self::new(StatusCode::NOT_FOUND, "runner-not-registered", said),
            StoreError::LeaseLost { .. } => Self::new(StatusCode::CONFLICT, "lease-lost", said),
            StoreError::JobEnded { .. } => Self::new(StatusCode::CONFLICT, "job-ended", said),
            StoreError::PlanTaken(_) => Self::new(StatusCode::CONFLICT, "plan-taken", said),
            StoreError::WrongCase { .. } => Self::unprocessable("wrong-case", said).at("case"),
            StoreError::Incomplete { .. } => Self::unprocessable("incomplete", said).at("outcome"),
            StoreError::Unstorable { .. } => Self::unprocessable("unstorable", said),
            StoreError::Locked(_) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the database is locked");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "busy",
                    "the database is busy; try again in a moment",
                )
            }
            StoreError::DiskFull(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the disk is full");
                let message =
                    "the server's disk is full; nothing stored was lost, free some space and try again";
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", message)
            }
            _ => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store failed");
                let message = "the server could not use its database; its log says why";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
            }
        }
    }
}

impl From<SweepError> for Problem {
    fn from(error: SweepError) -> Self {
        let field = match error.axis() {
            "sweep" => "sweep".to_owned(),
            axis => format!("sweep.{axis}"),
        };
        Self::unprocessable("bad-sweep", error.to_string()).at(field)
    }
}

impl From<Lack> for Problem {
    fn from(lack: Lack) -> Self {
        let code = match lack {
            Lack::Kind(error) => return error.into(),
            Lack::Model { .. } => "unknown-model",
            Lack::Device { .. } => "no-able-runner",
            Lack::Precision { .. } => "unknown-precision",
            Lack::Length { .. } => "too-long",
        };
        Self::unprocessable(code, lack.to_string()).at(format!("sweep.{}", lack.axis()))
    }
}

impl From<PlanError> for Problem {
    fn from(error: PlanError) -> Self {
        let code = match error.kind {
            PlanErrorKind::Invalid => "bad-plan",
            PlanErrorKind::NotPlannedYet => "not-planned-yet",
            PlanErrorKind::Unsupported => "unsupported-plan",
        };
        Self::unprocessable(code, error.to_string()).at(error.field)
    }
}

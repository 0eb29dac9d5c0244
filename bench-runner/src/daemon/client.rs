//! The server's REST interface, as a runner uses it (`contract::protocol`).

use std::time::Duration;

use contract::case::Case;
use contract::error::ApiError;
use contract::ids::{JobId, LeaseId, RunnerId};
use contract::protocol::{CaseUpload, Claim, Finish, Heartbeat, HeartbeatReply, Registration};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::StatusCode;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server cannot be reached.
    #[error("{url}: {source}")]
    Unreachable {
        /// What was called.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// It answered with an error.
    #[error("{url}: {status}: {message}")]
    Refused {
        /// What was called.
        url: String,
        /// Its status.
        status: u16,
        /// Its words.
        message: String,
    },
}

impl ClientError {
    /// Whether another attempt would be answered alike: the request itself is wrong. A server that is down, busy or
    /// failing is worth another.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Unreachable { .. } => false,
            Self::Refused { status, .. } => (400..500).contains(status) && !matches!(status, 408 | 425 | 429),
        }
    }

    /// Whether the job is someone else's now.
    #[must_use]
    pub fn is_lease_lost(&self) -> bool {
        matches!(self, Self::Refused { status: 404 | 409, .. })
    }

    /// Whether the server does not know this runner (any more).
    #[must_use]
    pub fn is_unknown_runner(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}

/// Calls one server with one token.
#[derive(Clone)]
pub struct Client {
    server: String,
    token: String,
    agent: ureq::Agent,
}

impl Client {
    /// A client of `server` (`http://host:port`).
    #[must_use]
    pub fn new(server: &str, token: &str) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_global(Some(Duration::from_secs(30)))
            .user_agent(concat!("plimsoll-bench-runner/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Self { server: server.trim_end_matches('/').to_owned(), token: token.to_owned(), agent }
    }

    /// The server's address.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Introduces a runner.
    ///
    /// # Errors
    /// Where the server cannot be reached or refuses.
    pub fn register(&self, runner: RunnerId, registration: &Registration) -> Result<(), ClientError> {
        self.call("PUT", &format!("runners/{runner}"), Some(registration)).map(drop)
    }

    /// Asks for a job.
    ///
    /// # Errors
    /// Where the server cannot be reached or refuses.
    pub fn claim(&self, runner: RunnerId) -> Result<Option<Claim>, ClientError> {
        let path = format!("runners/{runner}/claim");
        let answer = self.call::<()>("POST", &path, None)?;
        if answer.status == StatusCode::NO_CONTENT { Ok(None) } else { self.read(&path, &answer).map(Some) }
    }

    /// Gives a sign of life.
    ///
    /// # Errors
    /// Where the server cannot be reached or the lease is lost.
    pub fn heartbeat(&self, job: JobId, heartbeat: &Heartbeat) -> Result<HeartbeatReply, ClientError> {
        let path = format!("jobs/{job}/heartbeat");
        let answer = self.call("POST", &path, Some(heartbeat))?;
        self.read(&path, &answer)
    }

    /// Uploads a case.
    ///
    /// # Errors
    /// Where the server cannot be reached, refuses the case, or the lease is lost.
    pub fn upload(&self, job: JobId, lease: LeaseId, case: &Case) -> Result<(), ClientError> {
        let body = CaseUpload { lease, case: case.clone() };
        self.call("PUT", &format!("jobs/{job}/cases/{}", case.id), Some(&body)).map(drop)
    }

    /// Reports the end of a job.
    ///
    /// # Errors
    /// Where the server cannot be reached, or the lease is lost.
    pub fn finish(&self, job: JobId, finish: &Finish) -> Result<(), ClientError> {
        self.call("POST", &format!("jobs/{job}/finish"), Some(finish)).map(drop)
    }

    fn call<B: Serialize>(&self, method: &str, path: &str, body: Option<&B>) -> Result<Answer, ClientError> {
        let url = format!("{}/api/v{}/{path}", self.server, contract::API_VERSION);
        let unreachable =
            |source: ureq::Error| ClientError::Unreachable { url: url.clone(), source: Box::new(source) };
        let request = if method == "PUT" { self.agent.put(&url) } else { self.agent.post(&url) };
        let request = request.header("authorization", format!("Bearer {}", self.token));
        let response = match body {
            Some(body) => request.send_json(body),
            None => request.send_empty(),
        };
        let mut response = response.map_err(unreachable)?;
        let status = response.status();
        let text = response.body_mut().read_to_string().map_err(unreachable)?;
        if status.is_success() {
            return Ok(Answer { status, text });
        }
        let message = serde_json::from_str::<ApiError>(&text).map(|e| e.error.message);
        let fallback = || format!("{} (no message)", status.canonical_reason().unwrap_or("error"));
        Err(ClientError::Refused {
            url,
            status: status.as_u16(),
            message: message.unwrap_or_else(|_| fallback()),
        })
    }

    fn read<T: DeserializeOwned>(&self, path: &str, answer: &Answer) -> Result<T, ClientError> {
        serde_json::from_str(&answer.text).map_err(|e| ClientError::Refused {
            url: format!("{}/{path}", self.server),
            // As from a proxy that answers with something else: worth another attempt.
            status: 502,
            message: format!("its answer is not understood: {e}"),
        })
    }
}

/// A status of success and its body.
struct Answer {
    status: StatusCode,
    text: String,
}

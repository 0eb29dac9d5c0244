//! Who may write.

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};

pub use crate::secret::Secret;

use crate::problem::Problem;
use crate::state::AppState;

/// The cookie that a login sets.
pub(crate) const COOKIE_NAME: &str = "plimsoll_session";

/// What the server asks of whom.
#[derive(Debug, Clone)]
pub struct Access {
    /// What runners must show.
    pub runner: Secret,
    /// What every other write must show; none: the server is on loopback and asks nothing.
    pub admin: Option<Secret>,
}

impl Access {
    /// Whether a request with these headers may write: always where no token is asked, else with the token as
    /// bearer or the cookie of a login.
    #[must_use]
    pub fn may_write(&self, headers: &HeaderMap) -> bool {
        let Some(admin) = &self.admin else { return true };
        bearer(headers).is_some_and(|given| admin.matches(given))
            || cookie(headers, COOKIE_NAME).is_some_and(|given| Secret::new(admin.session()).matches(given))
    }

    /// Whether the request comes from a runner.
    #[must_use]
    pub fn is_runner(&self, headers: &HeaderMap) -> bool {
        bearer(headers).is_some_and(|given| self.runner.matches(given))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

/// A program that may write. Without the right it is answered 401.
pub(crate) struct Writer;

impl FromRequestParts<AppState> for Writer {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        if state.access.may_write(&parts.headers) {
            Ok(Self)
        } else {
            Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "token-required",
                "this server asks for its admin token to write; send it as `Authorization: Bearer TOKEN`",
            ))
        }
    }
}

/// A runner. Without the runner token it is answered 401.
pub(crate) struct FromRunner;

impl FromRequestParts<AppState> for FromRunner {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        if state.access.is_runner(&parts.headers) {
            Ok(Self)
        } else {
            Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "runner-token-required",
                "runners must show the runner token as `Authorization: Bearer TOKEN`; the server's --runner-token sets \
                 it, or the file beside its database holds it",
            ))
        }
    }
}

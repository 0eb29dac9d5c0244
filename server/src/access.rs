//! Who may write.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, StatusCode};
use sha2::{Digest, Sha256};

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
    /// Whether a browser with these headers may write: always where no token is asked, else with the cookie of a login.
    #[must_use]
    pub fn may_write(&self, headers: &HeaderMap) -> bool {
        self.session()
            .is_none_or(|session| cookie(headers, COOKIE_NAME).is_some_and(|given| session.matches(given)))
    }

    /// What a browser that has logged in keeps in place of the admin token; none where no token is asked. The runners' token is
    /// in it, which a browser does not know: so nobody can try cookies in place of tokens, of which the tries are counted.
    #[must_use]
    pub fn session(&self) -> Option<Secret> {
        let admin = self.admin.as_ref()?;
        let text =
            format!("plimsoll session, version 2:{}:{}", Secret::expose(&self.runner), Secret::expose(admin));
        Some(Secret::new(format!("{:x}", Sha256::digest(text))))
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

/// The address that a request came from; none where there is no socket.
pub(crate) fn peer(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip())
}

/// Lets a request through that shows the token which `is_right` knows, refuses every other. Wrong tokens are tries, of which
/// each address has as many as it has logins; without one not even the right token is looked at, for that would tell it.
fn check(
    parts: &Parts,
    state: &AppState,
    is_right: impl Fn(&str) -> bool,
    refusal: Problem,
) -> Result<(), Problem> {
    let Some(given) = bearer(&parts.headers) else { return Err(refusal) };
    let peer = peer(&parts.extensions);
    match state.logins.bearer(peer, given, is_right(given), state.now()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refusal),
        Err(seconds) => {
            tracing::warn!(?peer, seconds, "too many wrong tokens");
            let said = format!("too many wrong tokens came from this address; try again in {seconds} s");
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-attempts", said);
            Err(Problem { retry_after: Some(seconds), ..problem })
        }
    }
}

/// A program that may write. Without the right it is answered 401.
pub(crate) struct Writer;

impl FromRequestParts<AppState> for Writer {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let refusal = Problem::new(
            StatusCode::UNAUTHORIZED,
            "token-required",
            "this server asks for its admin token to write; send it as `Authorization: Bearer TOKEN`",
        );
        let Some(admin) = &state.access.admin else { return Ok(Self) };
        if state.access.may_write(&parts.headers) {
            return Ok(Self);
        }
        check(parts, state, |given| admin.matches(given), refusal).map(|()| Self)
    }
}

/// A runner. Without the runner token it is answered 401.
pub(crate) struct FromRunner;

impl FromRequestParts<AppState> for FromRunner {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let refusal = Problem::new(
            StatusCode::UNAUTHORIZED,
            "runner-token-required",
            "runners must show the runner token as `Authorization: Bearer TOKEN`; the server's --runner-token sets \
             it, or the file beside its database holds it",
        );
        check(parts, state, |given| state.access.runner.matches(given), refusal).map(|()| Self)
    }
}

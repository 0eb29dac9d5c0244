//! What stands before every handler: which names the server answers to, whose forms it takes, and the log.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::header::{
    HOST, HeaderName, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;
use uuid::Uuid;

use crate::plan_files::Framed;
use crate::problem::Problem;
use crate::state::AppState;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the request an id, logs it with its answer, and adds the headers that every answer has.
pub(crate) async fn observe(request: Request, next: Next) -> Response {
    let id = Uuid::now_v7();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = tracing::info_span!("request", %id, %method, path);
    let began = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let (status, ms) = (response.status().as_u16(), began.elapsed().as_secs_f64() * 1e3);
    // Runners ask every second; a page view is worth a line.
    if path.ends_with("/claim") || path.ends_with("/heartbeat") || path.ends_with("/health") {
        tracing::debug!(parent: &span, status, ms, "answered");
    } else {
        tracing::info!(parent: &span, status, ms, "answered");
    }
    let framed = response.extensions().get::<Framed>().is_some();
    let headers = response.headers_mut();
    if let Ok(id) = id.to_string().parse() {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !framed {
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// Refuses names that another site made point here, and writes that another site's page sends.
pub(crate) async fn protect(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let host = host(request.headers(), request.uri());
    // A server that asks for no token trusts whoever reaches it, so only names of this machine may reach it:
    // else a page of any site could, by a name that it points at 127.0.0.1 (DNS rebinding).
    if state.access.admin.is_none()
        && let Some(host) = &host
        && !is_loopback(host)
    {
        let message = format!(
            "this server has no admin token, so it answers to localhost only, not to \"{host}\"; to use another name, \
             start it with --admin-token"
        );
        return refuse(request.uri(), "foreign-host", message);
    }
    let writes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if writes && is_cross_site(request.headers(), host.as_deref()) {
        let message = "this request was sent by a page of another site; open the server's own page and send it from there";
        return refuse(request.uri(), "cross-site", message.to_owned());
    }
    next.run(request).await
}

fn refuse(uri: &Uri, code: &str, message: String) -> Response {
    if is_api(uri.path()) {
        Problem::new(StatusCode::FORBIDDEN, code, message).into_response()
    } else {
        (StatusCode::FORBIDDEN, format!("{message}\n")).into_response()
    }
}

/// Whether errors at this path are JSON.
pub(crate) fn is_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

/// Host and port that the client asked for.
fn host(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    match headers.get(HOST) {
        // A name that is no text is none of ours.
        Some(host) => Some(host.to_str().unwrap_or("?").to_owned()),
        None => uri.authority().map(ToString::to_string),
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback(),
        Ok(IpAddr::V6(address)) => address == Ipv6Addr::LOCALHOST,
        Err(_) => false,
    }
}

/// By what browsers say of a request: `Sec-Fetch-Site`, or `Origin` where they are older. A program sends
/// neither.
fn is_cross_site(headers: &HeaderMap, host: Option<&str>) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let sender = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    sender.is_none() || sender != host
}

//! The pages: every address that is nothing else is the app's, its 404 included.

use std::sync::Arc;

use app::backend::SharedBackend;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use leptos::context::{provide_context, use_context};
use leptos::nonce::use_nonce;
use leptos_axum::ResponseOptions;

use crate::backend::PageBackend;
use crate::state::AppState;

/// Renders the page of the request's address.
pub(crate) async fn render(State(state): State<AppState>, request: Request<Body>) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, "this address answers GET only\n").into_response();
    }
    let options = state.leptos.clone();
    let context = move || {
        let may_write = use_context::<Parts>().is_some_and(|parts| state.access.may_write(&parts.headers));
        let backend: SharedBackend = Arc::new(PageBackend { state: state.clone(), may_write });
        provide_context(backend);
        if let Some(response) = use_context::<ResponseOptions>() {
            response.insert_header(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            if let Ok(policy) = policy(use_nonce().as_deref()).parse() {
                response.insert_header(CONTENT_SECURITY_POLICY, policy);
            }
        }
    };
    leptos_axum::render_app_async_with_context(context, move || app::shell(options.clone()))(request).await
}

/// Only our own files, WASM, and the inline scripts that Leptos writes, known by the request's nonce. Styles
/// may be inline: the widths of the memory bar are.
fn policy(nonce: Option<&str>) -> String {
    let scripts = nonce.map(|nonce| format!(" 'nonce-{nonce}'")).unwrap_or_default();
    format!(
        "default-src 'self'; script-src 'self'{scripts} 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; \
         img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
}

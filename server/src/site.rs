//! The files of the site, embedded: scripts, WASM, style, icon.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "$PLIMSOLL_SITE_DIR"]
struct Files;

/// The embedded file at a path, or none.
pub(crate) fn file(uri: &Uri, headers: &HeaderMap) -> Option<Response> {
    let path = uri.path().strip_prefix('/')?;
    let file = Files::get(path)?;
    let tag =
        file.metadata.sha256_hash().iter().take(12).fold(0u128, |tag, byte| tag << 8 | u128::from(*byte));
    // Weak, since compression on the way changes the bytes.
    let tag = format!("W/\"{tag:024x}\"");
    // The names do not change with the content, so a browser asks each time, and is mostly answered 304.
    let cache = (CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let known = headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains(&tag));
    let tag = (ETAG, tag.parse().ok()?);
    if known {
        return Some((StatusCode::NOT_MODIFIED, [cache, tag]).into_response());
    }
    let kind = (CONTENT_TYPE, HeaderValue::from_static(content_type(path)));
    Some(([cache, tag, kind], Body::from(file.data.into_owned())).into_response())
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("webp") => "image/webp",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("json") => "application/json",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

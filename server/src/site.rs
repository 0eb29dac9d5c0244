//! The files of the site, embedded: scripts, WASM, style, icon, each as it is and as `app/compress.mjs` compressed it.

use axum::body::Body;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "$PLIMSOLL_SITE_DIR"]
struct Files;

/// The embedded file at a path, or none.
pub(crate) fn file(uri: &Uri, headers: &HeaderMap) -> Option<Response> {
    let path = uri.path().strip_prefix('/')?;
    // Compressed files are no addresses of their own.
    let file = Files::get(path).filter(|_| CODINGS.iter().all(|(_, end)| !path.ends_with(end)))?;
    let tag =
        file.metadata.sha256_hash().iter().take(12).fold(0u128, |tag, byte| tag << 8 | u128::from(*byte));
    // Weak, since it stands for every coding of the file.
    let tag = format!("W/\"{tag:024x}\"");
    // The names do not change with the content, so a browser asks each time, and is mostly answered 304.
    let cache = (CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let known = headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains(&tag));
    let tag = (ETAG, tag.parse().ok()?);
    let vary = (VARY, HeaderValue::from_static("accept-encoding"));
    if known {
        return Some((StatusCode::NOT_MODIFIED, [cache, tag, vary]).into_response());
    }
    let kind = (CONTENT_TYPE, HeaderValue::from_static(content_type(path)));
    let coded = CODINGS
        .iter()
        .filter(|(coding, _)| accepts(headers, coding))
        .find_map(|(coding, end)| Some((*coding, Files::get(&format!("{path}{end}"))?)));
    let Some((coding, coded)) = coded else {
        return Some(([cache, tag, vary, kind], Body::from(file.data.into_owned())).into_response());
    };
    let coding = (CONTENT_ENCODING, HeaderValue::from_static(coding));
    Some(([cache, tag, vary, kind, coding], Body::from(coded.data.into_owned())).into_response())
}

/// How files are compressed, the smaller first: the coding, and how the file's name ends.
const CODINGS: [(&str, &str); 2] = [("br", ".br"), ("gzip", ".gz")];

/// Whether a client takes a coding: it names it, and not with a weight of nought (RFC 9110, section 12.5.3).
fn accepts(headers: &HeaderMap, coding: &str) -> bool {
    let given = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    given.flat_map(|value| value.split(',')).any(|part| {
        let (name, weight) = part.split_once(';').unwrap_or((part, ""));
        let weight = weight.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case(coding) && weight != Some(0.0)
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coding_is_taken_where_it_is_named() {
        for (given, br, gzip) in [
            ("gzip, deflate, br, zstd", true, true),
            ("gzip;q=1.0, br;q=0", false, true),
            ("BR ; q=0.5", true, false),
            ("gzip;q=0.000", false, false),
            ("identity", false, false),
            ("", false, false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(given))]);
            assert_eq!((accepts(&headers, "br"), accepts(&headers, "gzip")), (br, gzip), "{given}");
        }
        assert!(!accepts(&HeaderMap::new(), "br"));
    }
}

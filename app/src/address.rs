//! Addresses of pages.

/// The pairs of an address's query, with or without its question mark.
#[cfg(feature = "ssr")]
pub(crate) fn pairs(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.trim_start_matches('?').as_bytes()).into_owned().collect()
}

/// A path of this site, or its front page: never an address elsewhere, as `//host` and `\\host` would be.
#[cfg(feature = "ssr")]
#[must_use]
pub fn local_path(path: &str) -> &str {
    let is_local = path.starts_with('/')
        && !path.starts_with("//")
        && !path.contains(|c: char| c == '\\' || c.is_control());
    if is_local { path } else { "/" }
}

/// An address with these pairs, then `more`.
pub(crate) fn with(path: &str, pairs: &[(&'static str, String)], more: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        query.append_pair(name, value);
    }
    for (name, value) in more {
        query.append_pair(name, value);
    }
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

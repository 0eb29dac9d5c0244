//! Where the site is, as whoever asked for the page reached it, and what other sites show of a plan's link.

use http::request::Parts;
use http::uri::Authority;
use leptos::prelude::*;
use leptos_meta::Meta;
use planner::{Estimate, Plan};

use crate::{preview, words};

/// Title, sentence and picture that other sites show beside a plan's link (Open Graph).
#[component]
pub(super) fn LinkPreview(
    /// What was asked.
    plan: Plan,
    /// What was answered.
    estimate: Estimate,
    /// Path of the page.
    path: String,
    /// Path of the picture.
    picture: String,
) -> impl IntoView {
    let (title, origin) = (words::title(&plan), origin());
    let said = format!("{}. {}.", words::verdict(&estimate), words::settings(&plan));
    view! {
        <Meta name="description" content=said.clone() />
        <Meta property="og:type" content="website" />
        <Meta property="og:site_name" content="Plimsoll" />
        <Meta property="og:title" content=title.clone() />
        <Meta property="og:description" content=said />
        <Meta property="og:url" content=format!("{origin}{path}") />
        <Meta property="og:image" content=format!("{origin}{picture}") />
        <Meta property="og:image:width" content=preview::WIDTH.to_string() />
        <Meta property="og:image:height" content=preview::HEIGHT.to_string() />
        <Meta property="og:image:alt" content=format!("The memory of {title} by component") />
        <Meta name="twitter:card" content="summary_large_image" />
    }
    .into_any()
}

/// Scheme, host and port without a path: `https://bench.example`. Empty where the request does not say.
pub(super) fn origin() -> String {
    use_context::<Parts>().map(|parts| of(&parts)).unwrap_or_default()
}

fn of(parts: &Parts) -> String {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    // What is no host and port is not written into a page.
    let Some(host) = header("host").and_then(|host| host.parse::<Authority>().ok()) else {
        return String::new();
    };
    // Said by what stands before a server that itself speaks HTTP only.
    let scheme = if header("x-forwarded-proto") == Some("https") { "https" } else { "http" };
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_as_the_visitor_has_it() {
        for (headers, said) in [
            (vec![("host", "localhost:3000")], "http://localhost:3000"),
            (vec![("host", "bench.example"), ("x-forwarded-proto", "https")], "https://bench.example"),
            (vec![("host", "bench.example"), ("x-forwarded-proto", "gopher")], "http://bench.example"),
            (vec![("host", "\"><script>")], ""),
            (vec![], ""),
        ] {
            let mut request = http::Request::builder();
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(of(&parts), said);
        }
    }
}

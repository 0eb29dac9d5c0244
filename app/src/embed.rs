//! A plan's bar and facts as a document of their own, to stand in a frame of another site's page. No script, no header.

use leptos::prelude::*;
use planner::{Estimate, Plan};

use crate::components::{Fact, Summary};
use crate::{export, words};

/// The document; `href` is where it opens whole.
#[must_use]
pub fn document(plan: &Plan, estimate: &Estimate, href: &str) -> String {
    let facts = export::facts_of(plan, estimate)
        .into_iter()
        .map(|(name, value, unit)| view! { <Fact name value unit /> })
        .collect_view();
    let title = words::title(plan);
    let body = view! {
        <header class="head">
            <div>
                <h1>{title.clone()}</h1>
                <p class="muted num">{words::settings(plan)}</p>
            </div>
            <a class="button small" href=href.to_owned() target="_blank" rel="noopener">
                "Open in Plimsoll"
            </a>
        </header>
        <Summary estimate=estimate.clone() />
        <dl class="facts">{facts}</dl>
        <p class="muted basis" id="basis">
            <span class="hatch swatch" aria-hidden="true"></span>
            {format!(" {}", estimate.error_band.basis)}
        </p>
    }
    .into_any();
    page(&title, body)
}

/// The same frame with a sentence instead of an answer.
#[must_use]
pub fn refusal(message: &str) -> String {
    page(
        "No answer",
        view! {
            <h1>"No answer"</h1>
            <p>{message.to_owned()}</p>
        }
        .into_any(),
    )
}

fn page(title: &str, body: AnyView) -> String {
    let html = view! {
        <html lang="en">
            <head>
                <meta charset="utf-8" />
                <meta name="viewport" content="width=device-width, initial-scale=1" />
                <meta name="color-scheme" content="light dark" />
                <title>{format!("{title} · Plimsoll")}</title>
                <link rel="stylesheet" href="/plimsoll.css" />
            </head>
            <body>
                <main class="embedded">{body}</main>
            </body>
        </html>
    };
    format!("<!DOCTYPE html>{}", html.to_html())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link;

    #[test]
    fn a_frame_has_the_answer_and_no_script() {
        let plan = link::first_plan().unwrap();
        let html = document(&plan, &planner::estimate(&plan).unwrap(), "/planner?x=1&y=2");
        for part in ["<!DOCTYPE html>", "class=\"hull\"", "First token", "href=\"/planner?x=1&amp;y=2\""] {
            assert!(html.contains(part), "no {part}: {html}");
        }
        assert!(!html.contains("<script") && !html.contains("<nav"), "{html}");
        assert!(refusal("no <such> plan").contains("no &lt;such> plan") || refusal("<").contains("&lt;"));
    }
}

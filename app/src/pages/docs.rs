//! The documentation: Markdown of `app/docs`, rendered.

use http::StatusCode;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;
use pulldown_cmark::{Options, Parser, html};

use super::not_found::NotFoundPage;
use super::set_status;

/// A page: the name in its address, its title, its text.
struct Doc {
    name: &'static str,
    title: &'static str,
    text: &'static str,
}

const DOCS: [Doc; 6] = [
    Doc {
        name: "getting-started",
        title: "Getting started",
        text: include_str!("../../docs/getting-started.md"),
    },
    Doc { name: "measuring", title: "Measuring", text: include_str!("../../docs/measuring.md") },
    Doc { name: "planning", title: "Planning", text: include_str!("../../docs/planning.md") },
    Doc { name: "accuracy", title: "Accuracy", text: include_str!("../../docs/accuracy.md") },
    Doc { name: "api", title: "The API", text: include_str!("../../docs/api.md") },
    Doc { name: "operating", title: "Operating", text: include_str!("../../docs/operating.md") },
];

/// The first page.
#[component]
pub fn DocsIndexPage() -> impl IntoView {
    view! { <Page doc=&DOCS[0] /> }
}

/// A page by its name.
#[component]
pub fn DocsPage() -> impl IntoView {
    let name = use_params_map().get_untracked().get("page").unwrap_or_default();
    if let Some(doc) = DOCS.iter().find(|doc| doc.name == name) {
        view! { <Page doc /> }.into_any()
    } else {
        set_status(StatusCode::NOT_FOUND);
        view! { <NotFoundPage /> }.into_any()
    }
}

#[component]
fn Page(doc: &'static Doc) -> impl IntoView {
    let index = DOCS
        .iter()
        .map(|other| {
            let current = (other.name == doc.name).then_some("page");
            view! {
                <li>
                    <a href=format!("/docs/{}", other.name) aria-current=current>
                        {other.title}
                    </a>
                </li>
            }
        })
        .collect_view();
    view! {
        <Title text=doc.title />
        <main id="main" class="page with-index">
            <nav aria-label="Documentation">
                <ul>{index}</ul>
            </nav>
            <article class="prose" inner_html=rendered(doc.text)></article>
        </main>
    }
}

fn rendered(markdown: &str) -> String {
    let mut page = String::new();
    html::push_html(&mut page, Parser::new_ext(markdown, Options::ENABLE_TABLES));
    // What may be wider than the screen is scrolled by keys, too.
    page.replace("<pre>", "<pre tabindex=\"0\">")
        .replace(
            "<table>",
            "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Table\"><table>",
        )
        .replace("</table>", "</table></div>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_its_title_and_no_dead_link() {
        for doc in &DOCS {
            let page = rendered(doc.text);
            assert!(page.starts_with("<h1>"), "{} has no heading", doc.name);
            for link in page.split("href=\"/docs/").skip(1).filter_map(|rest| rest.split(['"', '#']).next()) {
                assert!(DOCS.iter().any(|other| other.name == link), "{}: /docs/{link} is no page", doc.name);
            }
        }
    }
}

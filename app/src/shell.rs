//! The document around every page, its header, and the routes.

use leptos::prelude::*;
use leptos_meta::{Meta, MetaTags, Title, provide_meta_context};
use leptos_router::components::{FlatRoutes, Route, Router};
use leptos_router::hooks::use_location;
use leptos_router::{SsrMode, path};

use crate::pages;

/// The whole document; the server calls it for every page. Its type is erased here, so that the pages are compiled in this
/// crate and not once more in the server.
pub fn shell(options: LeptosOptions) -> AnyView {
    view! {
        <!DOCTYPE html>
        <html lang="en">
            <head>
                <meta charset="utf-8" />
                <meta name="viewport" content="width=device-width, initial-scale=1" />
                <meta name="color-scheme" content="light dark" />
                <link rel="icon" type="image/svg+xml" href="/favicon.svg" />
                <link rel="stylesheet" href="/plimsoll.css" />
                <HydrationScripts options islands=true />
                <MetaTags />
            </head>
            <body>
                <App />
            </body>
        </html>
    }
    .into_any()
}

/// The pages and their routes.
#[component]
pub fn App() -> AnyView {
    provide_meta_context();
    view! {
        <Title formatter=|text: String| format!("{text} · Plimsoll") />
        <Meta
            name="description"
            content="What fits on a GPU, how fast it runs, and how sure that is: measured with Candle, planned from \
                     the same figures."
        />
        <Router>
            <a class="skip" href="#main">"Skip to content"</a>
            <SiteHeader />
            <FlatRoutes fallback=pages::not_found::NotFoundPage>
                <Route path=path!("/") view=pages::home::HomePage ssr=SsrMode::Async />
                <Route path=path!("/runs") view=pages::runs::RunsPage ssr=SsrMode::Async />
                <Route path=path!("/runs/:id") view=pages::run::RunPage ssr=SsrMode::Async />
                <Route path=path!("/cases") view=pages::cases::CasesPage ssr=SsrMode::Async />
                <Route path=path!("/plots") view=pages::plots::PlotsPage ssr=SsrMode::Async />
                <Route path=path!("/cases/:id") view=pages::case::CasePage ssr=SsrMode::Async />
                <Route path=path!("/compare") view=pages::compare::ComparePage ssr=SsrMode::Async />
                <Route path=path!("/jobs") view=pages::jobs::JobsPage ssr=SsrMode::Async />
                <Route path=path!("/jobs/:id") view=pages::job::JobPage ssr=SsrMode::Async />
                <Route path=path!("/planner") view=pages::planner::PlannerPage ssr=SsrMode::Async />
                <Route path=path!("/planner/export") view=pages::export::ExportPage ssr=SsrMode::Async />
                <Route path=path!("/planner/diff") view=pages::diff::DiffPage ssr=SsrMode::Async />
                <Route path=path!("/answers") view=pages::answers::AnswersPage ssr=SsrMode::Async />
                <Route path=path!("/answers/:question") view=pages::answers::AnswerPage ssr=SsrMode::Async />
                <Route path=path!("/p/:id") view=pages::stored_plan::StoredPlanPage ssr=SsrMode::Async />
                <Route path=path!("/p/:a/diff/:b") view=pages::diff::DiffPage ssr=SsrMode::Async />
                <Route path=path!("/docs") view=pages::docs::DocsIndexPage ssr=SsrMode::Async />
                <Route path=path!("/docs/:page") view=pages::docs::DocsPage ssr=SsrMode::Async />
                <Route path=path!("/login") view=pages::login::LoginPage ssr=SsrMode::Async />
            </FlatRoutes>
        </Router>
    }
    .into_any()
}

/// Brand and navigation.
#[component]
fn SiteHeader() -> impl IntoView {
    let path = use_location().pathname.get_untracked();
    let link = |href: &'static str, label: &'static str| {
        let current = (path == href || path.starts_with(&format!("{href}/"))).then_some("page");
        view! {
            <a href=href aria-current=current>
                {label}
            </a>
        }
    };
    view! {
        <header class="site">
            <a class="brand" href="/">
                <svg width="26" height="26" viewBox="0 0 26 26" aria-hidden="true">
                    <circle cx="13" cy="13" r="8" fill="none" stroke="currentColor" stroke-width="2.4" />
                    <path d="M1 13h24" stroke="var(--line)" stroke-width="2.8" />
                </svg>
                "Plimsoll"
            </a>
            <nav aria-label="Site">
                {link("/runs", "Runs")} {link("/cases", "Cases")} {link("/plots", "Plots")} {link("/planner", "Planner")} {link("/answers", "Answers")} {link("/jobs", "Jobs")} {link("/docs", "Docs")}
            </nav>
        </header>
    }
}

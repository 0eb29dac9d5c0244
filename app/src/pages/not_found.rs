//! The page of an unknown address.

use http::StatusCode;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_location;

use super::set_status;

/// 404.
#[component]
pub fn NotFoundPage() -> impl IntoView {
    set_status(StatusCode::NOT_FOUND);
    let path = use_location().pathname.get_untracked();
    view! {
        <Title text="Not found" />
        <main id="main" class="page narrow">
            <h1>"No page here"</h1>
            <p>"There is nothing at " <code>{path}</code> "."</p>
            <p>
                <a href="/">"Start"</a>
                " · "
                <a href="/runs">"Runs"</a>
                " · "
                <a href="/planner">"Planner"</a>
                " · "
                <a href="/docs">"Docs"</a>
            </p>
        </main>
    }
}

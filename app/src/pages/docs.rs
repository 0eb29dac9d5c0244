//! Docs.

use leptos::prelude::*;
use leptos_meta::Title;

/// The page.
#[component]
pub fn DocsPage() -> impl IntoView {
    view! {
        <Title text="Docs" />
        <main id="main" class="page">
            <h1>"Docs"</h1>
        </main>
    }
}

/// The list of pages.
#[component]
pub fn DocsIndexPage() -> impl IntoView {
    view! { <DocsPage /> }
}

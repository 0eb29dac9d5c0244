//! Runs.

use leptos::prelude::*;
use leptos_meta::Title;

/// The page.
#[component]
pub fn RunsPage() -> impl IntoView {
    view! {
        <Title text="Runs" />
        <main id="main" class="page">
            <h1>"Runs"</h1>
        </main>
    }
}

//! Jobs.

use leptos::prelude::*;
use leptos_meta::Title;

/// The page.
#[component]
pub fn JobsPage() -> impl IntoView {
    view! {
        <Title text="Jobs" />
        <main id="main" class="page">
            <h1>"Jobs"</h1>
        </main>
    }
}

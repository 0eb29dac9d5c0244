//! Run.

use leptos::prelude::*;
use leptos_meta::Title;

/// The page.
#[component]
pub fn RunPage() -> impl IntoView {
    view! {
        <Title text="Run" />
        <main id="main" class="page">
            <h1>"Run"</h1>
        </main>
    }
}

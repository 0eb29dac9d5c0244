//! Job.

use leptos::prelude::*;
use leptos_meta::Title;

/// The page.
#[component]
pub fn JobPage() -> impl IntoView {
    view! {
        <Title text="Job" />
        <main id="main" class="page">
            <h1>"Job"</h1>
        </main>
    }
}

//! Planner.

use leptos::prelude::*;
use leptos_meta::Title;

/// The page.
#[component]
pub fn PlannerPage() -> impl IntoView {
    view! {
        <Title text="Planner" />
        <main id="main" class="page">
            <h1>"Planner"</h1>
        </main>
    }
}

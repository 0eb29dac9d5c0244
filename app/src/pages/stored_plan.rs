//! A stored plan.

use leptos::prelude::*;
use leptos_meta::Title;

/// The page.
#[component]
pub fn StoredPlanPage() -> impl IntoView {
    view! {
        <Title text="A stored plan" />
        <main id="main" class="page">
            <h1>"A stored plan"</h1>
        </main>
    }
}

//! Plimsoll.

use leptos::prelude::*;
use leptos_meta::Title;

/// The page.
#[component]
pub fn HomePage() -> impl IntoView {
    view! {
        <Title text="Plimsoll" />
        <main id="main" class="page">
            <h1>"Plimsoll"</h1>
        </main>
    }
}

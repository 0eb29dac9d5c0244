//! Log in.

use leptos::prelude::*;
use leptos_meta::Title;

/// The page.
#[component]
pub fn LoginPage() -> impl IntoView {
    view! {
        <Title text="Log in" />
        <main id="main" class="page">
            <h1>"Log in"</h1>
        </main>
    }
}

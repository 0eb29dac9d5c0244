//! A button that copies.

use leptos::prelude::*;

/// Copies `text` to the clipboard. Without JavaScript it is not shown: the text stands beside it.
#[island]
pub fn CopyButton(
    /// What is copied.
    text: String,
    /// The button's words.
    label: String,
) -> impl IntoView {
    let copied = RwSignal::new(false);
    let words = label.clone();
    let copy = move |_| {
        #[cfg(feature = "hydrate")]
        copy_text(text.clone(), copied);
        #[cfg(not(feature = "hydrate"))]
        let _ = (&text, &copied);
    };
    view! {
        <button type="button" class="button small needs-script" on:click=copy>
            {move || if copied.get() { "Copied".to_owned() } else { words.clone() }}
        </button>
    }
}

/// Copies and says so for a while in `copied`.
#[cfg(feature = "hydrate")]
pub(super) fn copy_text(text: String, copied: RwSignal<bool>) {
    leptos::task::spawn_local(async move {
        let written =
            wasm_bindgen_futures::JsFuture::from(window().navigator().clipboard().write_text(&text)).await;
        if written.is_ok() {
            copied.set(true);
            set_timeout(move || copied.set(false), std::time::Duration::from_secs(2));
        }
    });
}

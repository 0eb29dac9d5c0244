//! A button that copies.

use leptos::prelude::*;
#[cfg(feature = "hydrate")]
use wasm_bindgen::{JsCast, JsValue};
#[cfg(feature = "hydrate")]
use web_sys::js_sys::{Function, Reflect};

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

/// Copies and says so for a while in `copied`. Browsers give pages a clipboard over HTTPS and on this machine only; elsewhere
/// the text is copied as a selection, and where that is refused too, shown selected for the reader to copy.
#[cfg(feature = "hydrate")]
pub(super) fn copy_text(text: String, copied: RwSignal<bool>) {
    let done = move || {
        copied.set(true);
        set_timeout(move || copied.set(false), std::time::Duration::from_secs(2));
    };
    let clipboard = window().navigator().clipboard();
    if AsRef::<JsValue>::as_ref(&clipboard).is_undefined() {
        // At once, while the browser still counts it to the click.
        return if copy_selected(&text) == Some(true) { done() } else { show(&text) };
    }
    leptos::task::spawn_local(async move {
        match wasm_bindgen_futures::JsFuture::from(clipboard.write_text(&text)).await {
            Ok(_) => done(),
            Err(_) => show(&text),
        }
    });
}

/// Copies through a text area that stands in the page for a moment; none where the page cannot be changed.
#[cfg(feature = "hydrate")]
fn copy_selected(text: &str) -> Option<bool> {
    let document = document();
    let area = document.create_element("textarea").ok()?;
    area.set_text_content(Some(text));
    document.body()?.append_child(&area).ok()?;
    let copied =
        call(&area, "select", None).and_then(|_| call(&document, "execCommand", Some("copy")))?.as_bool();
    area.remove();
    copied
}

/// Calls a method that web-sys has behind types which nothing else here needs.
#[cfg(feature = "hydrate")]
fn call(object: &JsValue, method: &str, argument: Option<&str>) -> Option<JsValue> {
    let function: Function = Reflect::get(object, &method.into()).ok()?.dyn_into().ok()?;
    match argument {
        None => function.call0(object),
        Some(argument) => function.call1(object, &argument.into()),
    }
    .ok()
}

/// Shows the text in a dialog, selected.
#[cfg(feature = "hydrate")]
fn show(text: &str) {
    // What the reader answers means nothing, and a browser may show no dialog.
    drop(window().prompt_with_message_and_default("Press Ctrl-C to copy:", text));
}

//! The WASM entry point of the pages: makes the islands of `app` live.
#![cfg(feature = "pages")]

// Linked for its islands: each exports the function that hydrates it.
use app as _;
use wasm_bindgen::prelude::wasm_bindgen;

/// Called by the page's script once the module is loaded; the script then hydrates each island it finds.
#[wasm_bindgen]
pub fn hydrate() {
    console_error_panic_hook::set_once();
    leptos::mount::hydrate_islands();
}

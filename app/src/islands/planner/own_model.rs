//! A model that the catalogue lacks.

use leptos::prelude::*;

use super::controls::Board;
use super::engine;
use crate::{import, link};

/// A model by its `config.json`, pasted, or by files that are chosen or dropped here.
#[component]
pub(super) fn OwnModel(board: Board) -> impl IntoView {
    let wrong = RwSignal::new(None::<String>);
    let told = move || {
        board
            .plan
            .with(|plan| plan.model.id.is_none().then(|| link::model_name(&plan.model)))
            .unwrap_or_else(|| "paste or drop a file".to_owned())
    };
    let chosen = move |event: leptos::ev::Event| {
        #[cfg(feature = "hydrate")]
        {
            let input = event_target::<web_sys::HtmlInputElement>(&event);
            if let Some(files) = input.files() {
                take(&files, board, wrong);
            }
            // The same files may be chosen again, after an error.
            input.set_value("");
        }
        #[cfg(not(feature = "hydrate"))]
        let _ = event;
    };
    let dropped = move |event: leptos::ev::DragEvent| {
        event.prevent_default();
        #[cfg(feature = "hydrate")]
        {
            if let Some(files) = event.data_transfer().and_then(|transfer| transfer.files()) {
                take(&files, board, wrong);
            }
        }
    };
    let pasted = move |event| {
        let text = event_target_value(&event);
        if text.trim().is_empty() {
            wrong.set(None);
            return;
        }
        board.engine.then(move || match board.plan.with_untracked(|plan| engine::configured(plan, &text)) {
            Ok(plan) => {
                wrong.set(None);
                board.plan.set(plan);
            }
            Err(error) => wrong.set(Some(import::told(&error))),
        });
    };
    view! {
        <details
            class="fold"
            data-test="own-model"
            on:dragover=|event: leptos::ev::DragEvent| event.prevent_default()
            on:drop=dropped
        >
            <summary>
                <span>"Another model"</span>
                <small>{told}</small>
            </summary>
            <label class="field">
                <span>"A Hugging Face config.json"</span>
                <textarea
                    name="config"
                    rows="5"
                    spellcheck="false"
                    placeholder="{\"model_type\": \"llama\", \"hidden_size\": 4096, …}"
                    aria-invalid=move || wrong.with(Option::is_some).then_some("true")
                    on:input=pasted
                ></textarea>
                <span class="hint">"It is read here, in the page. Of a kind that is not known the error lists those that are."</span>
            </label>
            <label class="field needs-script">
                <span>"Or files: config.json, a GGUF, safetensors with their config.json"</span>
                <input type="file" multiple accept=".json,.gguf,.safetensors" on:change=chosen />
                <span class="hint">"Only their headers are read, here in the page. They may be dropped here too."</span>
            </label>
            <p class="field" role="status">
                {move || wrong.get().map(|message| view! { <span class="error">{message}</span> })}
            </p>
        </details>
    }
    .into_any()
}

/// Plans for the model of files that the reader has, or says what is wrong with them.
#[cfg(feature = "hydrate")]
fn take(list: &web_sys::FileList, board: Board, wrong: RwSignal<Option<String>>) {
    // The list is the event's, and empty when that is over.
    let files = web_sys::js_sys::Array::from(list);
    if files.length() == 0 {
        return;
    }
    board.engine.load();
    leptos::task::spawn_local(async move {
        match engine::files(&board.plan.get_untracked(), &files).await {
            Ok(plan) => {
                wrong.set(None);
                board.plan.set(plan);
            }
            Err(said) => wrong.set(Some(said)),
        }
    });
}

//! A model that the catalogue lacks.

use leptos::prelude::*;

use super::controls::Board;
use crate::fields::document;
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
            if let Some(files) = event_target::<web_sys::HtmlInputElement>(&event).files() {
                files::take(&files, board, wrong);
            }
        }
        #[cfg(not(feature = "hydrate"))]
        let _ = event;
    };
    let dropped = move |event: leptos::ev::DragEvent| {
        event.prevent_default();
        #[cfg(feature = "hydrate")]
        {
            if let Some(files) = event.data_transfer().and_then(|transfer| transfer.files()) {
                files::take(&files, board, wrong);
            }
        }
    };
    let pasted = move |event| {
        let text = event_target_value(&event);
        if text.trim().is_empty() {
            wrong.set(None);
            return;
        }
        match link::pasted(&text) {
            Ok(model) => {
                wrong.set(None);
                let suited = board.plan.with_untracked(|plan| document::with_model(plan, model));
                board.plan.set(suited);
            }
            Err(error) => wrong.set(Some(import::told(&error))),
        }
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

/// Files of the reader's own, of which the browser reads the beginning.
#[cfg(feature = "hydrate")]
mod files {
    use ::planner::document::plan::ModelRef;
    use ::planner::gguf::HeaderError;
    use leptos::prelude::*;
    use wasm_bindgen_futures::JsFuture;
    use web_sys::js_sys::Uint8Array;
    use web_sys::{File, FileList};

    use super::{Board, document, import};

    /// Plans for the model of the files, or says what is wrong with them.
    pub(super) fn take(list: &FileList, board: Board, wrong: RwSignal<Option<String>>) {
        // The list is the event's, and empty when that is over.
        let files: Vec<File> = (0..list.length()).filter_map(|at| list.get(at)).collect();
        if files.is_empty() {
            return;
        }
        leptos::task::spawn_local(async move {
            match model(files).await {
                Ok(model) => {
                    wrong.set(None);
                    board.plan.set(board.plan.with_untracked(|plan| document::with_model(plan, model)));
                }
                Err(said) => wrong.set(Some(said)),
            }
        });
    }

    async fn model(files: Vec<File>) -> Result<ModelRef, String> {
        let mut heads = Vec::new();
        for file in files {
            let head = head(&file).await.map_err(|said| format!("{}: {said}.", file.name()))?;
            heads.push((file.name(), head));
        }
        import::model(heads)
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the size of a file is a whole number that a float holds"
    )]
    async fn head(file: &File) -> Result<import::Head, String> {
        let len = file.size() as u64;
        let mut take = import::FIRST.min(len);
        loop {
            let slice = file.slice_with_f64_and_f64(0.0, take as f64);
            let buffer = match slice {
                Ok(slice) => JsFuture::from(slice.array_buffer()).await,
                Err(error) => Err(error),
            };
            let bytes = Uint8Array::new(&buffer.map_err(|_| "the browser could not read it")?).to_vec();
            match import::read(&bytes, len) {
                Err(HeaderError::NeedMore { bytes }) if take < len && bytes <= import::MOST => {
                    take = bytes.max(2 * take).min(len);
                }
                head => return head.map_err(|error| error.to_string()),
            }
        }
    }
}

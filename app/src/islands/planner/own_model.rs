//! A model that the catalogue lacks.

use leptos::prelude::*;

use super::controls::Board;
use crate::fields::document;
use crate::link;

/// A model by its `config.json`.
#[component]
pub(super) fn OwnModel(board: Board) -> impl IntoView {
    let wrong = RwSignal::new(None::<String>);
    let told = move || {
        board
            .plan
            .with(|plan| plan.model.id.is_none().then(|| link::model_name(&plan.model)))
            .unwrap_or_else(|| "none".to_owned())
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
            Err(error) => wrong.set(Some(format!("{} – {}.", error.problem, error.remedy))),
        }
    };
    view! {
        <details class="fold">
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
                {move || wrong.get().map(|message| view! { <span class="error">{message}</span> })}
            </label>
        </details>
    }
    .into_any()
}

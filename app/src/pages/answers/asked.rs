//! What the address asks, and the form that asks it.

use http::StatusCode;
use leptos::prelude::*;
use planner::answers::Reader;
use planner::catalogue::{self, CPU};
use planner::{PlanError, Tokens};

use super::Question;
use super::parts::counted;
use crate::pages::sentence;
use crate::{fields, format, islands, link};

/// The reader of an address, with what of it could not be taken.
pub(super) struct Asked {
    pub(super) reader: Reader,
    /// What was wrong, by field; the reader has what stands in for it.
    wrong: Vec<PlanError>,
    /// Whether some value could not even be read.
    unread: bool,
    /// As they were given.
    typed: [Option<String>; 2],
}

impl Asked {
    /// Reads an address; what is left out of it, and what is wrong, is the question's example.
    pub(super) fn read(question: &Question, search: &str) -> Self {
        let given = |name: &str| link::value(search, name).map(|value| value.trim().to_owned());
        let mut reader = question.reader();
        let mut wrong = Vec::new();
        if let Some(model) = given("model") {
            // An alias is known by its model's own name from here on.
            reader.model = catalogue::model(&model).map_or(model, |entry| entry.id.clone());
        }
        if let Some(gpu) = given("gpu") {
            reader.gpu = gpu;
        }
        let typed = ["context", "batch"].map(given);
        let read = |name: &'static str, text: &Option<String>| {
            let text = text.as_ref()?;
            Some(text.parse::<u64>().map_err(|_| {
                let shown: String = text.chars().take(60).collect();
                PlanError::invalid(name, format!("\"{shown}\" is not a whole number"), "give one in digits")
            }))
        };
        match read("context", &typed[0]) {
            Some(Ok(tokens)) => reader.context = Tokens(tokens),
            other => {
                wrong.extend(other.and_then(Result::err));
                reader.context = reader.context.min(longest(&reader));
            }
        }
        match read("batch", &typed[1]) {
            Some(Ok(batch)) => reader.batch = batch,
            other => wrong.extend(other.and_then(Result::err)),
        }
        let unread = !wrong.is_empty();
        // Each round puts right what it names, and the example is right in all.
        for _ in 0..4 {
            let Err(error) = reader.model() else { break };
            let example = question.reader();
            match error.field.as_str() {
                "model" => reader.model = example.model,
                "gpu" => reader.gpu = example.gpu,
                "context" => reader.context = example.context.min(longest(&reader)),
                _ => reader.batch = example.batch,
            }
            wrong.push(error);
        }
        Self { reader, wrong, unread, typed }
    }

    /// The status of the answer, where something is wrong.
    pub(super) fn status(&self) -> Option<StatusCode> {
        match (self.unread, self.wrong.is_empty()) {
            (true, _) => Some(StatusCode::BAD_REQUEST),
            (false, false) => Some(StatusCode::UNPROCESSABLE_ENTITY),
            (false, true) => None,
        }
    }

    /// What was wrong, and what is answered instead.
    pub(super) fn notices(&self) -> AnyView {
        let notices: Vec<AnyView> = self
            .wrong
            .iter()
            .map(|error| {
                let instead = match error.field.as_str() {
                    "model" => self.reader.model.clone(),
                    "gpu" => link::gpu_name(&self.reader.gpu),
                    "context" => counted(self.reader.context.0, "token", "tokens"),
                    _ => format::count(self.reader.batch),
                };
                view! {
                    <p class="notice bad" role="alert" data-test="wrong">
                        {sentence(&format!("{}: {}", error.field, error.problem))}
                        " "
                        {sentence(&error.remedy)}
                        {format!(" Answered for {instead} instead.")}
                    </p>
                }
                .into_any()
            })
            .collect();
        notices.into_any()
    }

    /// The form: a plain GET.
    pub(super) fn form(&self, question: &Question) -> AnyView {
        let reader = &self.reader;
        let models = islands::options(&fields::models("serve"), &reader.model);
        let gpus: Vec<_> = fields::gpus("").into_iter().filter(|gpu| gpu.value != CPU).collect();
        let gpus = islands::options(&gpus, &reader.gpu);
        let invalid = |name: &str| self.wrong.iter().any(|error| error.field == name).then_some("true");
        let number = |place: usize, name: &'static str, label: &'static str, value: u64| {
            let wrong = invalid(name);
            let shown = match &self.typed[place] {
                Some(typed) if wrong.is_some() => typed.clone(),
                _ => value.to_string(),
            };
            view! {
                <label class="field">
                    <span>{label}</span>
                    <input type="text" inputmode="numeric" name=name value=shown aria-invalid=wrong />
                </label>
            }
            .into_any()
        };
        view! {
            <form
                method="get"
                action=format!("/answers/{}", question.slug)
                class="filters card"
                data-test="ask"
            >
                <label class="field wide">
                    <span>"Model"</span>
                    <select name="model" aria-invalid=invalid("model")>
                        {models}
                    </select>
                </label>
                <label class="field wide">
                    <span>"Graphics card"</span>
                    <select name="gpu" aria-invalid=invalid("gpu")>
                        {gpus}
                    </select>
                </label>
                {number(0, "context", question.context.0, reader.context.0)}
                {number(1, "batch", question.batch.0, reader.batch)}
                <button class="button primary">"Answer"</button>
            </form>
        }
        .into_any()
    }
}

/// The longest sequence that the reader's model takes; any where it is unknown.
fn longest(reader: &Reader) -> Tokens {
    let model = catalogue::model(&reader.model).and_then(|entry| entry.model().ok());
    model.map_or(Tokens(u64::MAX), |model| model.max_tokens)
}

//! The planner as a WASM module of its own, which `app/public/planner.js` loads when a reader turns to the controls of a plan:
//! documents in, documents out ([`app::engine`]).

use app::engine::{self, Question};
use app::import;
use planner::document::plan::{ModelRef, Plan};
use planner::gguf::HeaderError;
use serde_json::Value;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::JsFuture;
use web_sys::File;
use web_sys::js_sys::Uint8Array;

fn main() {
    console_error_panic_hook::set_once();
}

/// What a [`Question`] is answered, as JSON; null where the question cannot be read.
#[wasm_bindgen]
#[must_use]
pub fn ask(question: &str) -> String {
    read::<Question>(question).map_or(Value::Null, engine::reply).to_string()
}

/// The plan for the model of files that a reader has, as a `Result<Plan, String>` in JSON; null where the plan cannot be read.
#[wasm_bindgen]
pub async fn files(plan: String, files: Vec<File>) -> String {
    let Some(plan) = read::<Plan>(&plan) else { return Value::Null.to_string() };
    let planned = model(files).await.map(|model| engine::with_model(&plan, model));
    serde_json::to_value(planned).unwrap_or_default().to_string()
}

/// A document through a `Value`, so that there is one reader of every type.
fn read<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(serde_json::from_str(text).ok()?).ok()
}

async fn model(files: Vec<File>) -> Result<ModelRef, String> {
    let mut heads = Vec::new();
    for file in files {
        let head = head(&file).await.map_err(|said| format!("{}: {said}.", file.name()))?;
        heads.push((file.name(), head));
    }
    import::model(heads)
}

/// What the beginning of a file says.
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

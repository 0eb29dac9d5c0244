//! The catalogue: models and GPUs as data files that travel in the crate.

mod gpu;
mod nearest;

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

pub use gpu::{CPU, Gpu, Tflops, VisibleMemory, gpu, gpus};
pub use nearest::nearest;

use crate::model::{Model, ModelError};

/// One file a model.
const FILES: &[&str] = &[
    include_str!("../../data/models/smollm2-135m.json"),
    include_str!("../../data/models/smollm2-360m.json"),
    include_str!("../../data/models/llama-3.2-1b.json"),
    include_str!("../../data/models/llama-3.1-8b.json"),
    include_str!("../../data/models/llama-3.1-70b.json"),
    include_str!("../../data/models/llama-3.1-405b.json"),
    include_str!("../../data/models/llama-2-7b-hf.json"),
    include_str!("../../data/models/llama-2-13b-hf.json"),
    include_str!("../../data/models/mistral-7b-v0.3.json"),
    include_str!("../../data/models/qwen2.5-0.5b.json"),
    include_str!("../../data/models/qwen2.5-7b.json"),
    include_str!("../../data/models/qwen2.5-72b.json"),
    include_str!("../../data/models/qwen3-0.6b.json"),
    include_str!("../../data/models/qwen3-8b.json"),
    include_str!("../../data/models/qwen3-32b.json"),
    include_str!("../../data/models/gemma-2-2b.json"),
    include_str!("../../data/models/gemma-2-2b-it.json"),
    include_str!("../../data/models/gemma-2-9b-it.json"),
    include_str!("../../data/models/gemma-2-27b-it.json"),
    include_str!("../../data/models/gemma-3-270m.json"),
    include_str!("../../data/models/gemma-3-1b-pt.json"),
    include_str!("../../data/models/phi-3-mini-4k-instruct.json"),
    include_str!("../../data/models/phi-4.json"),
    include_str!("../../data/models/all-minilm-l6-v2.json"),
];

/// A model of the catalogue.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// Its id on the Hugging Face Hub.
    pub id: String,
    /// Ids of the same shape and precision: fine-tunes, and shorter names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Parameters as published.
    pub parameters: u64,
    /// Where shape and count come from.
    pub source: String,
    /// What else should be known.
    #[serde(default)]
    pub note: Option<String>,
    /// The fields of its `config.json` that decide size and speed.
    pub config: Value,
}

impl ModelEntry {
    /// Its shape.
    ///
    /// # Errors
    /// Those of [`Model::from_config`]; none for the files of this crate, as its tests show.
    pub fn model(&self) -> Result<Model, ModelError> {
        Model::from_config(&self.id, &self.config)
    }
}

static MODELS: LazyLock<Vec<ModelEntry>> =
    LazyLock::new(|| FILES.iter().filter_map(|text| serde_json::from_str(text).ok()).collect());

/// Every model, families together, small ones first.
#[must_use]
pub fn models() -> &'static [ModelEntry] {
    &MODELS
}

/// The model of an id or an alias.
#[must_use]
pub fn model(id: &str) -> Option<&'static ModelEntry> {
    MODELS.iter().find(|m| m.id == id).or_else(|| MODELS.iter().find(|m| m.aliases.iter().any(|a| a == id)))
}

#[cfg(test)]
mod tests;

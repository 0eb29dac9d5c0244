//! The catalogue: models and GPUs as data files that travel in the crate.

mod gpu;
mod mig;
mod nearest;

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

pub use gpu::{CPU, Gpu, Interconnect, InterconnectKind, Tflops, VisibleMemory, gpu, gpus};
pub use mig::slices;
pub use nearest::nearest;

use crate::model::{Model, ModelError};

/// One file a model.
const FILES: &[&str] = &[
    include_str!("../../data/models/yi-6b.json"),
    include_str!("../../data/models/yi-1.5-9b.json"),
    include_str!("../../data/models/yi-34b.json"),
    include_str!("../../data/models/smollm2-135m.json"),
    include_str!("../../data/models/smollm2-360m.json"),
    include_str!("../../data/models/smollm-1.7b.json"),
    include_str!("../../data/models/smollm2-1.7b.json"),
    include_str!("../../data/models/tinyllama-1.1b-chat-v1.0.json"),
    include_str!("../../data/models/codellama-7b-hf.json"),
    include_str!("../../data/models/codellama-13b-hf.json"),
    include_str!("../../data/models/codellama-34b-hf.json"),
    include_str!("../../data/models/deepseek-coder-6.7b-instruct.json"),
    include_str!("../../data/models/deepseek-llm-7b-base.json"),
    include_str!("../../data/models/deepseek-r1-distill-llama-8b.json"),
    include_str!("../../data/models/deepseek-r1-distill-llama-70b.json"),
    include_str!("../../data/models/vicuna-7b-v1.5.json"),
    include_str!("../../data/models/llama-3.2-1b.json"),
    include_str!("../../data/models/llama-3.2-3b.json"),
    include_str!("../../data/models/llama-2-7b-hf.json"),
    include_str!("../../data/models/llama-3.1-8b.json"),
    include_str!("../../data/models/meta-llama-3-8b.json"),
    include_str!("../../data/models/llama-2-13b-hf.json"),
    include_str!("../../data/models/llama-2-70b-hf.json"),
    include_str!("../../data/models/llama-3.1-70b.json"),
    include_str!("../../data/models/meta-llama-3-70b.json"),
    include_str!("../../data/models/llama-3.1-405b.json"),
    include_str!("../../data/models/llama-3.1-nemotron-nano-8b-v1.json"),
    include_str!("../../data/models/llama-3.1-nemotron-70b-instruct-hf.json"),
    include_str!("../../data/models/falcon3-7b-instruct.json"),
    include_str!("../../data/models/llama-4-scout-17b-16e-instruct.json"),
    include_str!("../../data/models/llama-4-maverick-17b-128e-instruct.json"),
    include_str!("../../data/models/mistral-7b-instruct-v0.2.json"),
    include_str!("../../data/models/mistral-7b-v0.1.json"),
    include_str!("../../data/models/mistral-7b-v0.3.json"),
    include_str!("../../data/models/mistral-nemo-base-2407.json"),
    include_str!("../../data/models/mistral-small-24b-instruct-2501.json"),
    include_str!("../../data/models/mistral-large-instruct-2407.json"),
    include_str!("../../data/models/mistral-small-3.1-24b-instruct-2503.json"),
    include_str!("../../data/models/mixtral-8x7b-instruct-v0.1.json"),
    include_str!("../../data/models/mixtral-8x22b-v0.1.json"),
    include_str!("../../data/models/mixtral-8x22b-instruct-v0.1.json"),
    include_str!("../../data/models/mamba-codestral-7b-v0.1.json"),
    include_str!("../../data/models/qwen-1_8b.json"),
    include_str!("../../data/models/qwen-7b.json"),
    include_str!("../../data/models/qwen-14b.json"),
    include_str!("../../data/models/qwen-72b.json"),
    include_str!("../../data/models/qwen2.5-0.5b.json"),
    include_str!("../../data/models/qwen2.5-1.5b.json"),
    include_str!("../../data/models/qwen2.5-3b.json"),
    include_str!("../../data/models/qwen2-7b.json"),
    include_str!("../../data/models/qwen2.5-7b.json"),
    include_str!("../../data/models/qwen1.5-7b.json"),
    include_str!("../../data/models/qwen2.5-14b.json"),
    include_str!("../../data/models/qwen2.5-32b.json"),
    include_str!("../../data/models/qwq-32b.json"),
    include_str!("../../data/models/qwen2-72b.json"),
    include_str!("../../data/models/qwen2.5-72b.json"),
    include_str!("../../data/models/deepseek-r1-distill-qwen-1.5b.json"),
    include_str!("../../data/models/deepseek-r1-distill-qwen-7b.json"),
    include_str!("../../data/models/deepseek-r1-distill-qwen-14b.json"),
    include_str!("../../data/models/deepseek-r1-distill-qwen-32b.json"),
    include_str!("../../data/models/kimi-dev-72b.json"),
    include_str!("../../data/models/qwen1.5-moe-a2.7b.json"),
    include_str!("../../data/models/qwen2.5-vl-3b-instruct.json"),
    include_str!("../../data/models/qwen2.5-vl-7b-instruct.json"),
    include_str!("../../data/models/qwen2.5-vl-72b-instruct.json"),
    include_str!("../../data/models/qwen3-embedding-0.6b.json"),
    include_str!("../../data/models/qwen3-reranker-0.6b.json"),
    include_str!("../../data/models/qwen3-0.6b.json"),
    include_str!("../../data/models/qwen3-1.7b.json"),
    include_str!("../../data/models/qwen3-embedding-4b.json"),
    include_str!("../../data/models/qwen3-reranker-4b.json"),
    include_str!("../../data/models/qwen3-4b-instruct-2507.json"),
    include_str!("../../data/models/qwen3-4b.json"),
    include_str!("../../data/models/qwen3-embedding-8b.json"),
    include_str!("../../data/models/qwen3-8b.json"),
    include_str!("../../data/models/qwen3-14b.json"),
    include_str!("../../data/models/qwen3-32b.json"),
    include_str!("../../data/models/qwen3-30b-a3b-instruct-2507.json"),
    include_str!("../../data/models/qwen3-30b-a3b.json"),
    include_str!("../../data/models/qwen3-235b-a22b-instruct-2507.json"),
    include_str!("../../data/models/qwen3-235b-a22b.json"),
    include_str!("../../data/models/qwen3-coder-480b-a35b-instruct.json"),
    include_str!("../../data/models/qwen3-next-80b-a3b-instruct.json"),
    include_str!("../../data/models/qwen3-vl-2b-instruct.json"),
    include_str!("../../data/models/qwen3-vl-4b-instruct.json"),
    include_str!("../../data/models/qwen3-vl-8b-instruct.json"),
    include_str!("../../data/models/qwen3-vl-32b-instruct.json"),
    include_str!("../../data/models/qwen3-vl-30b-a3b-instruct.json"),
    include_str!("../../data/models/qwen3-vl-235b-a22b-instruct.json"),
    include_str!("../../data/models/qwen3.5-27b.json"),
    include_str!("../../data/models/qwen3.6-27b.json"),
    include_str!("../../data/models/qwen3.5-9b.json"),
    include_str!("../../data/models/qwen3.5-35b-a3b.json"),
    include_str!("../../data/models/qwen3.6-35b-a3b.json"),
    include_str!("../../data/models/qwen3.5-122b-a10b.json"),
    include_str!("../../data/models/qwen3.5-397b-a17b.json"),
    include_str!("../../data/models/gemma-2b.json"),
    include_str!("../../data/models/gemma-7b.json"),
    include_str!("../../data/models/gemma-2-2b-it.json"),
    include_str!("../../data/models/gemma-2-2b.json"),
    include_str!("../../data/models/gemma-2-9b-it.json"),
    include_str!("../../data/models/gemma-2-27b-it.json"),
    include_str!("../../data/models/gemma-3-270m.json"),
    include_str!("../../data/models/gemma-3-1b-pt.json"),
    include_str!("../../data/models/gemma-3-4b-it.json"),
    include_str!("../../data/models/gemma-3-12b-it.json"),
    include_str!("../../data/models/gemma-3-27b-it.json"),
    include_str!("../../data/models/phi-1_5.json"),
    include_str!("../../data/models/phi-2.json"),
    include_str!("../../data/models/phi-3-mini-128k-instruct.json"),
    include_str!("../../data/models/phi-3-mini-4k-instruct.json"),
    include_str!("../../data/models/phi-4-mini-instruct.json"),
    include_str!("../../data/models/phi-3-medium-128k-instruct.json"),
    include_str!("../../data/models/phi-3-medium-4k-instruct.json"),
    include_str!("../../data/models/phi-4.json"),
    include_str!("../../data/models/phi-3.5-moe-instruct.json"),
    include_str!("../../data/models/deepseek-v2-lite.json"),
    include_str!("../../data/models/deepseek-v2.json"),
    include_str!("../../data/models/deepseek-v3.json"),
    include_str!("../../data/models/moonlight-16b-a3b.json"),
    include_str!("../../data/models/kimi-k2-instruct.json"),
    include_str!("../../data/models/kimi-vl-a3b-instruct.json"),
    include_str!("../../data/models/minimax-m2.5.json"),
    include_str!("../../data/models/minimax-m2.7.json"),
    include_str!("../../data/models/glm-4-9b-chat-hf.json"),
    include_str!("../../data/models/glm-4-9b-0414.json"),
    include_str!("../../data/models/glm-4-32b-0414.json"),
    include_str!("../../data/models/glm-4.5-air.json"),
    include_str!("../../data/models/glm-4.5.json"),
    include_str!("../../data/models/gpt-oss-20b.json"),
    include_str!("../../data/models/gpt-oss-120b.json"),
    include_str!("../../data/models/granite-3.1-2b-instruct.json"),
    include_str!("../../data/models/granite-3.3-2b-instruct.json"),
    include_str!("../../data/models/granite-3.0-8b-instruct.json"),
    include_str!("../../data/models/granite-3.1-8b-instruct.json"),
    include_str!("../../data/models/granite-3.3-8b-instruct.json"),
    include_str!("../../data/models/granite-3.1-1b-a400m-instruct.json"),
    include_str!("../../data/models/granite-3.1-3b-a800m-instruct.json"),
    include_str!("../../data/models/granite-vision-3.3-2b.json"),
    include_str!("../../data/models/smollm3-3b.json"),
    include_str!("../../data/models/bge-small-en-v1.5.json"),
    include_str!("../../data/models/bge-base-en-v1.5.json"),
    include_str!("../../data/models/bge-large-en-v1.5.json"),
    include_str!("../../data/models/ms-marco-minilm-l-6-v2.json"),
    include_str!("../../data/models/bert-base-uncased.json"),
    include_str!("../../data/models/bert-large-uncased.json"),
    include_str!("../../data/models/e5-base-v2.json"),
    include_str!("../../data/models/e5-large-v2.json"),
    include_str!("../../data/models/all-minilm-l6-v2.json"),
    include_str!("../../data/models/all-minilm-l12-v2.json"),
    include_str!("../../data/models/gte-base.json"),
    include_str!("../../data/models/gte-large.json"),
    include_str!("../../data/models/bloom-7b1.json"),
    include_str!("../../data/models/c4ai-command-r-v01.json"),
    include_str!("../../data/models/c4ai-command-r-plus.json"),
    include_str!("../../data/models/c4ai-command-r7b-12-2024.json"),
    include_str!("../../data/models/distilbert-base-uncased.json"),
    include_str!("../../data/models/falcon-7b.json"),
    include_str!("../../data/models/falcon-40b.json"),
    include_str!("../../data/models/falcon-mamba-7b.json"),
    include_str!("../../data/models/gpt2.json"),
    include_str!("../../data/models/gpt2-xl.json"),
    include_str!("../../data/models/pythia-160m.json"),
    include_str!("../../data/models/pythia-1.4b.json"),
    include_str!("../../data/models/pythia-6.9b.json"),
    include_str!("../../data/models/pythia-12b.json"),
    include_str!("../../data/models/gpt-neox-20b.json"),
    include_str!("../../data/models/stablelm-base-alpha-3b.json"),
    include_str!("../../data/models/stablelm-base-alpha-7b.json"),
    include_str!("../../data/models/internlm2_5-7b-chat.json"),
    include_str!("../../data/models/internlm2_5-20b-chat.json"),
    include_str!("../../data/models/jamba-v0.1.json"),
    include_str!("../../data/models/mamba-2.8b-hf.json"),
    include_str!("../../data/models/gte-modernbert-base.json"),
    include_str!("../../data/models/modernbert-base.json"),
    include_str!("../../data/models/modernbert-large.json"),
    include_str!("../../data/models/all-mpnet-base-v2.json"),
    include_str!("../../data/models/mpt-7b.json"),
    include_str!("../../data/models/nvidia-nemotron-3-nano-30b-a3b-bf16.json"),
    include_str!("../../data/models/nemotron-h-56b-base-8k.json"),
    include_str!("../../data/models/nomic-embed-text-v1.5.json"),
    include_str!("../../data/models/olmo-2-1124-7b.json"),
    include_str!("../../data/models/olmo-2-1124-13b.json"),
    include_str!("../../data/models/olmo-2-0325-32b.json"),
    include_str!("../../data/models/olmoe-1b-7b-0924.json"),
    include_str!("../../data/models/opt-125m.json"),
    include_str!("../../data/models/opt-6.7b.json"),
    include_str!("../../data/models/stablelm-2-1_6b.json"),
    include_str!("../../data/models/stablelm-3b-4e1t.json"),
    include_str!("../../data/models/starcoder2-7b.json"),
    include_str!("../../data/models/starcoder2-15b.json"),
    include_str!("../../data/models/bge-reranker-base.json"),
    include_str!("../../data/models/bge-reranker-large.json"),
    include_str!("../../data/models/bge-m3.json"),
    include_str!("../../data/models/bge-reranker-v2-m3.json"),
    include_str!("../../data/models/xlm-roberta-base.json"),
    include_str!("../../data/models/multilingual-e5-base.json"),
    include_str!("../../data/models/multilingual-e5-large.json"),
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
    /// Parameters as published, each once, without those of the next field.
    pub parameters: u64,
    /// Parameters of the layers that predict further tokens, which the published checkpoint holds beside those above and
    /// engines load only to speculate; embedding and head, which some files repeat, are not counted again.
    #[serde(default)]
    pub next_token_parameters: u64,
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

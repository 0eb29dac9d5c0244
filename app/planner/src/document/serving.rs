//! What people set beside a served model: images in the prompt, adapters, speculation.

use serde::{Deserialize, Serialize};

use super::plan::ModelRef;
use super::precision::WeightPrecision;

/// Images in each prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Images {
    /// Images of one prompt.
    pub per_prompt: u64,
    /// Width in pixels; left out: as the height, or where that is left out too 1024 × 1024 in a tower of free size and the
    /// tower's own size in any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u64>,
    /// Height in pixels; left out: as the width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
}

/// Low-rank adapters (arXiv 2106.09685) that are served beside one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LoraAdapters {
    /// Adapters on the GPU at once: vLLM `--max-loras`, `SGLang` `--max-loras-per-batch`, llama.cpp `--lora` so often.
    pub count: u64,
    /// The largest rank: vLLM `--max-lora-rank`.
    pub rank: u32,
    /// Module suffixes of the checkpoint that the adapters change; left out: every linear module of a layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<String>>,
}

/// Speculative decoding (arXiv 2211.17192): tokens are proposed cheaply and checked together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Speculation {
    /// A smaller model of the same vocabulary proposes.
    DraftModel {
        /// The draft.
        model: Box<ModelRef>,
        /// How its weights are stored; left out: as its checkpoint is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
        precision: Option<WeightPrecision>,
        /// Tokens proposed at once.
        tokens: u32,
        /// Share of proposed tokens that are accepted; left out: the speed is that without speculation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        acceptance: Option<f64>,
    },
    /// The model's own layers for further tokens propose (multi-token prediction, arXiv 2412.19437, section 2.2).
    Mtp {
        /// Tokens proposed at once.
        tokens: u32,
        /// As for a draft model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        acceptance: Option<f64>,
    },
    /// What followed the same words in the prompt is proposed.
    Ngram {
        /// Tokens proposed at once.
        tokens: u32,
        /// As for a draft model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        acceptance: Option<f64>,
    },
}

impl Speculation {
    /// Tokens proposed at once.
    #[must_use]
    pub const fn tokens(&self) -> u32 {
        match self {
            Self::DraftModel { tokens, .. } | Self::Mtp { tokens, .. } | Self::Ngram { tokens, .. } => {
                *tokens
            }
        }
    }

    /// Share of proposed tokens that are accepted.
    #[must_use]
    pub const fn acceptance(&self) -> Option<f64> {
        match self {
            Self::DraftModel { acceptance, .. }
            | Self::Mtp { acceptance, .. }
            | Self::Ngram { acceptance, .. } => *acceptance,
        }
    }
}

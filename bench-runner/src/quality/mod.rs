//! Quality beside speed: how well a case predicts a text, and how far its predictions are from those of the same model
//! unquantised.
//!
//! The text's tokens are read in windows that do not overlap, and those of each window's second half are predicted, as
//! llama.cpp's `perplexity` does (tools/perplexity/perplexity.cpp). The [`reference`](References) is computed once for each
//! model of a run, in a process of its own, and its log-probabilities kept in a file without a name, as
//! `--kl-divergence-base` there keeps them; every case's process reads them.

mod reference;
mod score;
mod tokens;

use std::path::PathBuf;

use contract::measurement::Quality;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use reference::{Asked, References, Runner};
pub use score::{QualityError, compute};
pub use tokens::{Vocabulary, Windows};

use crate::engine::Refusal;
use crate::model::{Model, ModelSource};

/// The text, in the public domain; what it is stands beside it in `text.md`.
pub const TEXT: &str = include_str!("text.txt");

/// Tokens that are read where `--quality` names no number.
pub const DEFAULT_TOKENS: &str = "4096";

/// Most tokens of a window, llama.cpp's default (`-c 512`).
pub const WINDOW: usize = 512;

/// What a case's process is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The text in the model's tokens.
    pub text: Windows,
    /// Where the reference's log-probabilities are: for each predicted token a row of natural logarithms, one for each
    /// token of the vocabulary, in single precision.
    pub file: PathBuf,
    /// What to do with them.
    pub purpose: Purpose,
}

/// What log-probabilities are computed for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Purpose {
    /// To be the reference.
    Reference,
    /// To be compared with it.
    Comparison {
        /// What it is.
        reference: String,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// The reference is in its file.
    Written,
    /// A case was compared with it.
    Compared {
        /// How it does.
        quality: Quality,
    },
    /// Nothing.
    Failed {
        /// Why: a sentence.
        reason: String,
    },
}

/// The text's name, and the first digits of its SHA-256.
#[must_use]
pub fn text_name() -> String {
    let digest = Sha256::digest(TEXT);
    let [a, b, c, d] = [digest[0], digest[1], digest[2], digest[3]];
    format!("Persuasion, chapters 8 to 10 (sha256 {a:02x}{b:02x}{c:02x}{d:02x})")
}

/// Whether a model's quality can be asked for at all.
///
/// # Errors
/// For random weights, and for what predicts no tokens.
pub fn check(model: &Model) -> Result<(), Refusal> {
    let refuse = |why: &str| Err(Refusal(format!("quality of {}: {why}", model.name)));
    if matches!(model.source, ModelSource::Synthetic { .. }) {
        return refuse(
            "random weights have no quality; give a GGUF file, or a folder of safetensors with its tokenizer.json",
        );
    }
    if model.shape.architecture.is_encoder() {
        return refuse("an encoder predicts no tokens; leave --quality out");
    }
    Ok(())
}

#[cfg(test)]
mod tests;

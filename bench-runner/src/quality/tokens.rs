//! The text in a model's own tokens.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use candle_core::quantized::gguf_file::{Content, Value};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokenizers::Tokenizer;

use super::WINDOW;
use crate::engine::Refusal;
use crate::model::{Model, ModelSource};

/// Tokens in whole windows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Windows {
    /// Window after window.
    pub ids: Vec<u32>,
    /// Tokens of a window.
    pub window: usize,
    /// What stands in the place of each window's first token, for models that are used to it.
    pub begin: Option<u32>,
}

impl Windows {
    /// The first `most` tokens of `text` in windows, of [`WINDOW`] tokens or as many as the model takes or are asked.
    ///
    /// # Errors
    /// Where the model has no tokenizer that is understood, or one of another vocabulary.
    pub fn of(text: &str, model: &Model, most: u64) -> Result<Self, Refusal> {
        let refuse = |why: String| Refusal(format!("quality of {}: {why}", model.name));
        let words = Vocabulary::of(model).map_err(|e| refuse(e.0))?;
        let mut ids = words.ids(text).map_err(|e| refuse(e.0))?;
        ids.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        let window = usize::try_from(model.context_tokens)
            .map_or(WINDOW, |context| WINDOW.min(context))
            .min(ids.len());
        ids.truncate(ids.len() / window.max(1) * window);
        if let Some(beyond) = ids.iter().find(|id| u64::from(**id) >= model.shape.vocab) {
            return Err(refuse(format!(
                "its tokenizer gives token {beyond}, and its vocabulary has {}; the tokenizer is another model's",
                model.shape.vocab
            )));
        }
        Ok(Self { ids, window, begin: words.begin })
    }

    /// Place in a window from which on the next token is predicted (perplexity.cpp: `const int first = n_ctx/2`).
    #[must_use]
    pub const fn first(&self) -> usize {
        self.window / 2
    }

    /// Tokens of a window that are predicted: its last place predicts one that is not in it.
    #[must_use]
    pub const fn predicted(&self) -> usize {
        (self.window - self.first()).saturating_sub(1)
    }
}

/// A model's tokenizer.
#[derive(Debug)]
pub struct Vocabulary {
    tokenizer: Tokenizer,
    begin: Option<u32>,
}

impl Vocabulary {
    /// The tokenizer of a GGUF file's metadata, or the `tokenizer.json` beside safetensors.
    ///
    /// # Errors
    /// Where there is none, or it is of a kind that is not understood.
    pub fn of(model: &Model) -> Result<Self, Refusal> {
        match &model.source {
            ModelSource::Gguf { path } => Self::of_gguf(path),
            ModelSource::Safetensors { dir } => Self::of_file(&dir.join("tokenizer.json")),
            ModelSource::Synthetic { .. } => Err(Refusal("a shape has no tokenizer".into())),
        }
    }

    /// Of a `tokenizer.json`.
    ///
    /// # Errors
    /// Where it is not there, or none.
    pub fn of_file(path: &Path) -> Result<Self, Refusal> {
        let wrong = |why: &dyn std::fmt::Display| Refusal(format!("{}: {why}", path.display()));
        let document = std::fs::read(path).map_err(|e| {
            wrong(&format!(
                "{e}; put the checkpoint's tokenizer.json beside its weights, or leave --quality out"
            ))
        })?;
        let tokenizer = Tokenizer::from_bytes(document).map_err(|e| wrong(&e))?;
        // What its template puts before a text that is one token without it.
        let encode = |special| tokenizer.encode_fast("a", special).map(|e| e.get_ids().to_vec());
        let (plain, special) = (encode(false).map_err(|e| wrong(&e))?, encode(true).map_err(|e| wrong(&e))?);
        let begin = special.first().filter(|first| Some(*first) != plain.first()).copied();
        Ok(Self { tokenizer, begin })
    }

    fn of_gguf(path: &Path) -> Result<Self, Refusal> {
        let wrong = |why: &dyn std::fmt::Display| Refusal(format!("{}: {why}", path.display()));
        let file = File::open(path).map_err(|e| wrong(&e))?;
        let content = Content::read(&mut BufReader::new(file)).map_err(|e| wrong(&e))?;
        let document = document(&content)?;
        let tokenizer = Tokenizer::from_bytes(document.to_string()).map_err(|e| wrong(&e))?;
        let find = |name: &str| content.metadata.get(name);
        let begins = find("tokenizer.ggml.add_bos_token").and_then(|v| v.to_bool().ok()).unwrap_or(false);
        let begin = find("tokenizer.ggml.bos_token_id").and_then(|v| v.to_u32().ok()).filter(|_| begins);
        Ok(Self { tokenizer, begin })
    }

    /// `text` in tokens, nothing put before or after it.
    ///
    /// # Errors
    /// Where the tokenizer fails.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, Refusal> {
        let encoded = self.tokenizer.encode_fast(text, false);
        Ok(encoded.map_err(|e| Refusal(format!("its tokenizer failed: {e}")))?.get_ids().to_vec())
    }

    /// The text of `ids`, special tokens left out.
    ///
    /// # Errors
    /// Where the tokenizer fails.
    pub fn text(&self, ids: &[u32]) -> Result<String, Refusal> {
        self.tokenizer.decode(ids, true).map_err(|e| Refusal(format!("its tokenizer failed: {e}")))
    }

    /// Writes it as a `tokenizer.json`.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Refusal> {
        let saved = self.tokenizer.save(path, false);
        saved.map_err(|e| Refusal(format!("{}: {e}", path.display())))
    }
}

/// GPT-2's words, each with the space before it (llama.cpp, src/llama-vocab.cpp, `LLAMA_VOCAB_PRE_TYPE_GPT2`).
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Llama 3's (`LLAMA_VOCAB_PRE_TYPE_LLAMA3`): up to three digits at a time.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 2's (`LLAMA_VOCAB_PRE_TYPE_QWEN2`): one digit at a time.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How a text is cut into words, one pattern after the other, and whether a word that is a token stays one.
fn words(kind: &str) -> Option<(&'static [&'static str], bool)> {
    Some(match kind {
        "gpt-2" | "gpt2" | "mpt" | "olmo" | "jais" | "phi-2" => (&[GPT2], false),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" => {
            (&[r"\p{N}", GPT2], false)
        }
        "llama-bpe" | "llama3" | "llama-v3" => (&[LLAMA3], true),
        "qwen2" | "deepseek-r1-qwen" => (&[QWEN2], false),
        _ => return None,
    })
}

/// Types of a GGUF file's tokens that stand for themselves in a text: control, user-defined
/// (gguf-py/gguf/constants.py, `TokenType`).
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// The `tokenizer.json` of what a GGUF file says of its tokens.
fn document(content: &Content) -> Result<serde_json::Value, Refusal> {
    let find = |name: &str| content.metadata.get(&format!("tokenizer.ggml.{name}"));
    let text = |name: &str| find(name).and_then(|v| v.to_string().ok()).map(String::as_str);
    match text("model") {
        Some("gpt2") => {}
        Some(other) => {
            return Err(Refusal(format!(
                "tokens of kind {other} (tokenizer.ggml.model) are not read from a GGUF file; accepted: gpt2; or give the \
                 checkpoint's safetensors with its tokenizer.json"
            )));
        }
        None => return Err(Refusal("the file has no tokenizer (tokenizer.ggml.model)".into())),
    }
    let kind = text("pre").unwrap_or("default");
    let Some((patterns, whole_words)) = words(kind) else {
        return Err(Refusal(format!(
            "words of kind {kind} (tokenizer.ggml.pre) are not known; accepted: gpt-2, smollm, llama-bpe, qwen2 and their like; \
             or give the checkpoint's safetensors with its tokenizer.json"
        )));
    };
    let tokens = strings("tokens", find("tokens"))?;
    let merges = strings("merges", find("merges"))?;
    let kinds: Vec<i64> = match find("token_type").and_then(|v| v.to_vec().ok()) {
        Some(kinds) => kinds.iter().map(integer).collect(),
        None => Vec::new(),
    };
    let added: Vec<serde_json::Value> = tokens
        .iter()
        .zip(&kinds)
        .enumerate()
        .filter(|(_, (_, kind))| matches!(**kind, CONTROL | USER_DEFINED))
        .map(|(id, (content, kind))| {
            json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": *kind == CONTROL })
        })
        .collect();
    let mut cuts: Vec<serde_json::Value> = patterns
        .iter()
        .map(|pattern| {
            json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false })
        })
        .collect();
    let bytes =
        json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false });
    cuts.push(bytes.clone());
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        tokens.iter().enumerate().map(|(id, token)| ((*token).clone(), id.into())).collect();
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": cuts }, "post_processor": null, "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": whole_words,
            "vocab": vocabulary, "merges": merges
        }
    }))
}

fn strings<'a>(name: &str, value: Option<&'a Value>) -> Result<Vec<&'a String>, Refusal> {
    let wrong = || Refusal(format!("the file has no list of strings tokenizer.ggml.{name}"));
    let items = value.and_then(|v| v.to_vec().ok()).ok_or_else(wrong)?;
    items.iter().map(|item| item.to_string().map_err(|_| wrong())).collect()
}

/// Writers differ in the integer that they take.
fn integer(value: &Value) -> i64 {
    value
        .to_i64()
        .or_else(|_| value.to_i32().map(i64::from))
        .or_else(|_| value.to_u32().map(i64::from))
        .unwrap_or(0)
}

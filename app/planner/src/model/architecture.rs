//! The families of models that the planner knows.

use std::fmt;

/// A family of models: which tensors a layer has, and which engine code runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// Llama 2, Llama 3, `SmolLM2` and everything stored as `LlamaForCausalLM`.
    Llama,
    /// Mistral 7B and its kin: Llama with an optional window.
    Mistral,
    /// Qwen 2 and 2.5: Llama with biases on query, key and value.
    Qwen2,
    /// Qwen 3: norms on query and key heads.
    Qwen3,
    /// Gemma 2: four norms a layer, every other layer windowed, capped scores.
    Gemma2,
    /// Gemma 3, text only: five windowed layers to one full.
    Gemma3,
    /// Phi-3 and Phi-4: fused projections.
    Phi3,
    /// BERT.
    Bert,
    /// `RoBERTa` and XLM-RoBERTa: BERT with another tokenizer and shifted positions.
    Roberta,
    /// `DistilBERT`: no token types, no pooler.
    DistilBert,
}

impl Architecture {
    /// Every family.
    pub const ALL: &'static [Self] = &[
        Self::Llama,
        Self::Mistral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Gemma2,
        Self::Gemma3,
        Self::Phi3,
        Self::Bert,
        Self::Roberta,
        Self::DistilBert,
    ];

    /// `model_type` of its `config.json`.
    #[must_use]
    pub const fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3_text",
            Self::Phi3 => "phi3",
            Self::Bert => "bert",
            Self::Roberta => "roberta",
            Self::DistilBert => "distilbert",
        }
    }

    /// The family of a `model_type`.
    #[must_use]
    pub fn from_model_type(model_type: &str) -> Option<Self> {
        match model_type {
            "xlm-roberta" => Some(Self::Roberta),
            _ => Self::ALL.iter().copied().find(|a| a.model_type() == model_type),
        }
    }

    /// The family of a class name in `architectures`, for example `LlamaForCausalLM`.
    #[must_use]
    pub fn from_class(class: &str) -> Option<Self> {
        // Longest prefixes first: `DistilBert…` is not `Bert…`.
        const PREFIXES: &[(&str, Architecture)] = &[
            ("DistilBert", Architecture::DistilBert),
            ("XLMRoberta", Architecture::Roberta),
            ("Roberta", Architecture::Roberta),
            ("Bert", Architecture::Bert),
            ("Llama", Architecture::Llama),
            ("Mistral", Architecture::Mistral),
            ("Qwen2", Architecture::Qwen2),
            ("Qwen3", Architecture::Qwen3),
            ("Gemma2", Architecture::Gemma2),
            ("Gemma3", Architecture::Gemma3),
            ("Phi3", Architecture::Phi3),
        ];
        let (prefix, found) = PREFIXES.iter().find(|(prefix, _)| class.starts_with(prefix))?;
        let head = &class[prefix.len()..];
        // `Qwen2MoeForCausalLM` and `Qwen2VLFor…` are other families: what follows must be the head's name.
        (head.starts_with("For") || head == "Model" || head == "LMHeadModel" || head == "TextModel")
            .then_some(*found)
    }

    /// Whether it is an encoder: no cache, no generation.
    #[must_use]
    pub const fn is_encoder(self) -> bool {
        matches!(self, Self::Bert | Self::Roberta | Self::DistilBert)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.model_type())
    }
}

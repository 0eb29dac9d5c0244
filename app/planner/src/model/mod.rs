//! A model: its shape, layer by layer, and the exact list of its weight tensors.
//!
//! Shapes come from a Hugging Face `config.json` ([`Model::from_config`]), from a GGUF header
//! ([`crate::gguf::GgufHeader::model`]) or from the catalogue. Everything is summed over the layers, so that a pattern of
//! windows (Gemma's 5:1) needs no special case.

mod architecture;
mod config;
mod error;
mod reference;
mod tensors;

pub use architecture::Architecture;
pub use error::ModelError;
pub use tensors::{Parameters, Role, WeightTensor};

use crate::bytes::Tokens;
use crate::document::plan::StoredBlock;

/// The shape of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Catalogue id or the name its owner gave it.
    pub name: String,
    /// Family.
    pub architecture: Architecture,
    /// Width of the residual stream, in elements.
    pub hidden: u64,
    /// Rows of the token embedding, padding included.
    pub vocab: u64,
    /// Longest sequence that the model takes (`max_position_embeddings`).
    pub max_tokens: Tokens,
    /// The layers, from the input to the output.
    pub layers: Vec<Layer>,
    /// Whether the output head is the token embedding, so that it is stored once.
    pub tied_embeddings: bool,
    /// What is learned before the first layer beside the token embedding.
    pub embeddings: Embeddings,
    /// The norm after the last layer; encoders have none.
    pub final_norm: Option<Norm>,
    /// What turns the last hidden states into an answer.
    pub head: Head,
    /// Precision that the checkpoint is stored in, where its configuration says so.
    pub native: Option<Dtype>,
    /// Exact sizes by storage type, where a file's header gave them.
    pub stored: Option<Vec<StoredBlock>>,
}

/// One layer: attention, then feed-forward, each with its norms.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Attention.
    pub attention: Attention,
    /// Feed-forward.
    pub feed_forward: FeedForward,
    /// Norms, in the order in which the layer applies them.
    pub norms: Vec<LayerNorm>,
}

/// Attention of one layer.
#[derive(Debug, Clone, PartialEq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each says which tensors there are, independent of the others"
)]
pub struct Attention {
    /// Query heads.
    pub heads: u64,
    /// Key and value heads, a divisor of `heads`.
    pub kv_heads: u64,
    /// Elements of one head.
    pub head_size: u64,
    /// Elements of a head that are rotated (rotary position embedding); 0 where positions are learned.
    pub rotary_size: u64,
    /// Tokens that a token sees back, itself included; none: all.
    pub window: Option<Tokens>,
    /// Whether each token sees only those before it (decoders).
    pub causal: bool,
    /// Whether the query, key and value projections have biases.
    pub qkv_bias: bool,
    /// Whether the output projection has a bias.
    pub output_bias: bool,
    /// Whether query and key heads are normalised (one weight of `head_size` each).
    pub qk_norm: bool,
    /// Whether query, key and value are one matrix in the checkpoint (Phi-3).
    pub fused_qkv: bool,
    /// Whether attention scores are capped by a tanh (Gemma 2): it keeps one more copy of them alive.
    pub softcap: bool,
}

impl Attention {
    /// Width of all query heads, in elements.
    #[must_use]
    pub const fn query_width(&self) -> u64 {
        self.heads.saturating_mul(self.head_size)
    }

    /// Width of all key heads, in elements; the values' is the same.
    #[must_use]
    pub const fn kv_width(&self) -> u64 {
        self.kv_heads.saturating_mul(self.head_size)
    }

    /// Elements that a cache keeps of one token: a key and a value.
    #[must_use]
    pub const fn cache_elements_per_token(&self) -> u64 {
        self.kv_width().saturating_mul(2)
    }

    /// Tokens of a sequence that this layer can see: all, or its window.
    #[must_use]
    pub fn visible(&self, sequence: Tokens) -> Tokens {
        self.window.map_or(sequence, |w| w.min(sequence))
    }
}

/// Feed-forward of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedForward {
    /// Width inside, in elements.
    pub intermediate: u64,
    /// Whether a gate multiplies the up projection (`SwiGLU`, `GeGLU`): three matrices, else two.
    pub gated: bool,
    /// Whether gate and up are one matrix in the checkpoint (Phi-3).
    pub fused_gate_up: bool,
    /// Whether the projections have biases.
    pub bias: bool,
}

/// A norm of a layer and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerNorm {
    /// Where it stands.
    pub place: NormPlace,
    /// What it learns.
    pub norm: Norm,
}

/// Where a layer's norm stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NormPlace {
    /// Before attention.
    BeforeAttention,
    /// After attention: on its output (Gemma), or on the residual sum (BERT).
    AfterAttention,
    /// Before the feed-forward.
    BeforeFeedForward,
    /// After the feed-forward: on its output (Gemma), or on the residual sum (BERT).
    AfterFeedForward,
}

/// What a norm learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Norm {
    /// A weight (`RMSNorm`, arXiv 1910.07467).
    Rms,
    /// A weight and a bias (`LayerNorm`, arXiv 1607.06450).
    Layer,
}

/// What is learned before the first layer beside the token embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Embeddings {
    /// Rows of a learned position embedding; 0: none.
    pub positions: u64,
    /// Rows of a token type embedding; 0: none.
    pub token_types: u64,
    /// A norm of the sum.
    pub norm: Option<Norm>,
}

/// What turns the last hidden states into an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Logits over the vocabulary.
    LanguageModel {
        /// Whether logits are capped by a tanh (Gemma 2): it keeps one more copy of them alive.
        softcap: bool,
    },
    /// A dense layer over the first token (BERT's pooler).
    Pooler,
    /// Nothing: the hidden states are the answer.
    None,
}

/// Number formats of a checkpoint and of a computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE 754 single.
    F32,
    /// Brain float.
    Bf16,
    /// IEEE 754 half.
    F16,
}

impl Dtype {
    /// Bytes of one element.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// As the plan contract spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "fp32",
            Self::Bf16 => "bf16",
            Self::F16 => "fp16",
        }
    }
}

impl Model {
    /// Whether it generates: its attention is causal and it has a language model's head.
    #[must_use]
    pub fn is_decoder(&self) -> bool {
        matches!(self.head, Head::LanguageModel { .. }) && self.layers.iter().all(|l| l.attention.causal)
    }

    /// Elements that a cache of every token keeps per token, summed over layers.
    #[must_use]
    pub fn cache_elements_per_token(&self) -> u64 {
        self.layers.iter().map(|l| l.attention.cache_elements_per_token()).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests;

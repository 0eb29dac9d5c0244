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

use serde::{Deserialize, Serialize};

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
    /// Whether the output head has a bias (Phi-2).
    pub head_bias: bool,
    /// Blocks of weights beside the language model: vision towers, projectors.
    pub towers: Vec<Tower>,
    /// Layers that predict further tokens (multi-token prediction); engines load them only for speculation.
    pub next_token_layers: Vec<Layer>,
    /// Precision that the checkpoint is stored in, where its configuration says so.
    pub native: Option<Dtype>,
    /// Exact sizes by storage type, where a file's header gave them.
    pub stored: Option<Vec<StoredBlock>>,
}

/// One layer: a mixer over the sequence, then a feed-forward, each with its norms.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// What mixes the tokens of a sequence.
    pub mixer: Mixer,
    /// Feed-forward.
    pub feed_forward: FeedForward,
    /// Norms, in the order in which the layer applies them.
    pub norms: Vec<LayerNorm>,
}

impl Layer {
    /// Its softmax attention over keys and values, where that is its mixer.
    #[must_use]
    pub const fn attention(&self) -> Option<&Attention> {
        match &self.mixer {
            Mixer::Attention(attention) => Some(attention),
            Mixer::Latent(_) | Mixer::Recurrent(_) => None,
        }
    }

    /// Its feed-forward, where every token takes the same one.
    #[must_use]
    pub const fn dense(&self) -> Option<&DenseFeedForward> {
        match &self.feed_forward {
            FeedForward::Dense(dense) => Some(dense),
            FeedForward::Experts(_) | FeedForward::None => None,
        }
    }

    /// Its experts, where it has some.
    #[must_use]
    pub const fn experts(&self) -> Option<&Experts> {
        match &self.feed_forward {
            FeedForward::Experts(experts) => Some(experts),
            FeedForward::Dense(_) | FeedForward::None => None,
        }
    }
}

/// What mixes the tokens of a sequence.
#[derive(Debug, Clone, PartialEq)]
pub enum Mixer {
    /// Softmax attention with keys and values: MHA, GQA, MQA, full or windowed.
    Attention(Attention),
    /// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1).
    Latent(LatentAttention),
    /// A state of fixed size: Mamba, Mamba 2, gated delta rule.
    Recurrent(Recurrent),
}

/// Multi-head latent attention: what is cached of a token is one latent vector and one rotated key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatentAttention {
    /// Query heads.
    pub heads: u64,
    /// Rank of the queries' compression; none: queries come from the hidden state by one matrix.
    pub query_rank: Option<u64>,
    /// Rank of the keys' and values' compression: elements of the latent vector (`kv_lora_rank`).
    pub kv_rank: u64,
    /// Elements of a head's query and key that are not rotated (`qk_nope_head_dim`).
    pub nope_size: u64,
    /// Elements that are rotated, shared by all heads (`qk_rope_head_dim`).
    pub rope_size: u64,
    /// Elements of a head's value (`v_head_dim`).
    pub value_size: u64,
}

impl LatentAttention {
    /// Elements that a cache keeps of one token.
    #[must_use]
    pub const fn cache_elements_per_token(&self) -> u64 {
        self.kv_rank.saturating_add(self.rope_size)
    }
}

/// A recurrent mixer: its state does not grow with the sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recurrent {
    /// Mamba (arXiv 2312.00752): `inner` channels with a state of `state_size` each.
    Mamba {
        /// Inner width in elements.
        inner: u64,
        /// State elements of one channel.
        state_size: u64,
        /// Taps of the causal convolution.
        conv_kernel: u64,
        /// Rank of the step's projection.
        step_rank: u64,
        /// Whether the convolution has a bias.
        conv_bias: bool,
        /// Whether the projections have biases.
        bias: bool,
        /// Whether step, input and output matrices are normalised (Jamba).
        norms: bool,
    },
    /// Mamba 2 (arXiv 2405.21060).
    Mamba2 {
        /// Heads.
        heads: u64,
        /// Elements of a head.
        head_size: u64,
        /// Groups that share the input and output matrices.
        groups: u64,
        /// State elements of one channel.
        state_size: u64,
        /// Taps of the causal convolution.
        conv_kernel: u64,
        /// Whether the convolution has a bias.
        conv_bias: bool,
        /// Whether the projections have biases.
        bias: bool,
        /// Whether a gated norm (`inner` weights) stands before the output projection.
        norm: bool,
    },
    /// Gated delta rule (arXiv 2412.06464), as in Qwen3-Next and Qwen 3.5.
    GatedDelta {
        /// Query and key heads.
        key_heads: u64,
        /// Value heads.
        value_heads: u64,
        /// Elements of a query or key head.
        key_size: u64,
        /// Elements of a value head.
        value_size: u64,
        /// Taps of the causal convolution.
        conv_kernel: u64,
    },
}

impl Recurrent {
    /// Channels of the causal convolution.
    #[must_use]
    pub const fn conv_channels(&self) -> u64 {
        match self {
            Self::Mamba { inner, .. } => *inner,
            Self::Mamba2 { heads, head_size, groups, state_size, .. } => heads
                .saturating_mul(*head_size)
                .saturating_add(groups.saturating_mul(*state_size).saturating_mul(2)),
            Self::GatedDelta { key_heads, value_heads, key_size, value_size, .. } => key_heads
                .saturating_mul(*key_size)
                .saturating_mul(2)
                .saturating_add(value_heads.saturating_mul(*value_size)),
        }
    }

    /// Elements of one sequence's convolution state: the last `conv_kernel - 1` inputs.
    #[must_use]
    pub const fn conv_state_elements(&self) -> u64 {
        let (Self::Mamba { conv_kernel, .. }
        | Self::Mamba2 { conv_kernel, .. }
        | Self::GatedDelta { conv_kernel, .. }) = self;
        self.conv_channels().saturating_mul(conv_kernel.saturating_sub(1))
    }

    /// Elements of one sequence's recurrent (temporal) state.
    #[must_use]
    pub const fn state_elements(&self) -> u64 {
        match self {
            Self::Mamba { inner, state_size, .. } => inner.saturating_mul(*state_size),
            Self::Mamba2 { heads, head_size, state_size, .. } => {
                heads.saturating_mul(*head_size).saturating_mul(*state_size)
            }
            Self::GatedDelta { value_heads, key_size, value_size, .. } => {
                value_heads.saturating_mul(*key_size).saturating_mul(*value_size)
            }
        }
    }
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
    /// Norms of queries and keys.
    pub qk_norm: QkNorm,
    /// Whether query, key and value are one matrix in the checkpoint (Phi-3).
    pub fused_qkv: bool,
    /// Whether attention scores are capped by a tanh (Gemma 2): it keeps one more copy of them alive.
    pub softcap: bool,
    /// Whether the query projection also makes a gate of the output (Qwen 3.5): twice as many rows.
    pub output_gate: bool,
    /// Whether each head has a learned sink logit (gpt-oss).
    pub sinks: bool,
    /// Whether keys and values come from another sequence (an encoder's, an image's) and are computed once.
    pub cross: bool,
}

/// Norms of queries and keys before the scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum QkNorm {
    /// None.
    #[default]
    None,
    /// One weight of `head_size` for all query heads and one for all key heads (Qwen 3, Gemma 3).
    Head,
    /// The same with a bias.
    HeadWithBias,
    /// A weight over the width of all query heads and one over that of all key heads (`OLMo` 2, `MiniMax`).
    Full,
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
pub enum FeedForward {
    /// Every token takes the same one.
    Dense(DenseFeedForward),
    /// A router sends each token to some experts.
    Experts(Experts),
    /// None: the mixer is the whole layer.
    None,
}

/// A feed-forward that every token takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenseFeedForward {
    /// Width inside, in elements.
    pub intermediate: u64,
    /// Whether a gate multiplies the up projection (`SwiGLU`, `GeGLU`): three matrices, else two.
    pub gated: bool,
    /// Whether gate and up are one matrix in the checkpoint (Phi-3).
    pub fused_gate_up: bool,
    /// Whether the projections have biases.
    pub bias: bool,
}

impl DenseFeedForward {
    /// Matrices: three with a gate, else two.
    #[must_use]
    pub const fn matrices(&self) -> u64 {
        if self.gated { 3 } else { 2 }
    }
}

/// A mixture of experts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Experts {
    /// Routed experts.
    pub routed: u64,
    /// Routed experts that a token takes.
    pub active: u64,
    /// One routed expert.
    pub expert: DenseFeedForward,
    /// What every token takes beside them: the shared experts as one feed-forward.
    pub shared: Option<DenseFeedForward>,
    /// Whether a learned gate weighs the shared experts' output (Qwen2-MoE).
    pub shared_gate: bool,
    /// Whether the router has a bias of one element an expert (DeepSeek-V3's correction, gpt-oss).
    pub router_bias: bool,
}

/// A block of weights beside the language model.
#[derive(Debug, Clone, PartialEq)]
pub struct Tower {
    /// What it is, for example `vision tower`.
    pub name: String,
    /// Parameters that the checkpoint holds.
    pub parameters: u64,
    /// Shape of its transformer, where its buffers are planned.
    pub shape: Option<TowerShape>,
}

/// Shape of a vision tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TowerShape {
    /// Width in elements.
    pub hidden: u64,
    /// Layers.
    pub layers: u64,
    /// Heads.
    pub heads: u64,
    /// Width inside the feed-forward, in elements.
    pub intermediate: u64,
    /// Edge of a patch in pixels.
    pub patch: u64,
    /// Edge of the largest (or only) image in pixels.
    pub image: u64,
    /// Tokens that one such image gives to the language model.
    pub tokens_per_image: u64,
}

impl TowerShape {
    /// Pixels of the square that gives one token.
    fn token_edge(&self) -> u64 {
        let patches = (self.image / self.patch.max(1)).saturating_pow(2);
        // To the nearest: Pixtral's tokens count a break for each row too.
        let tokens = self.tokens_per_image.max(1);
        let merged = patches.saturating_add(tokens / 2) / tokens;
        self.patch.saturating_mul(merged.isqrt().max(1)).max(1)
    }

    /// Tokens of an image of `width` × `height` pixels in Qwen's towers: scaled to whole squares of a token and to between
    /// `least` and `most` tokens (`smart_resize` in Transformers' `image_processing_qwen2_vl.py`).
    #[must_use]
    pub fn resized_tokens(&self, width: u64, height: u64, least: u64, most: u64) -> u64 {
        let edge = self.token_edge() as f64;
        let (w, h) = (width as f64 / edge, height as f64 / edge);
        // Python rounds halves to even.
        let (columns, rows) = (libm::rint(w), libm::rint(h));
        let (columns, rows) = if columns * rows > most as f64 {
            let shrink = libm::sqrt(w * h / most as f64);
            (libm::floor(w / shrink).max(1.0), libm::floor(h / shrink).max(1.0))
        } else if columns * rows < least as f64 {
            let grow = libm::sqrt(least as f64 / (w * h));
            (libm::ceil(w * grow), libm::ceil(h * grow))
        } else {
            (columns, rows)
        };
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a product of two whole numbers of at least 1, of at most some millions"
        )]
        let tokens = (columns * rows) as u64;
        tokens
    }

    /// Tokens of an image of `width` × `height` pixels in Pixtral's tower: scaled down to its largest edge, a token for each
    /// square and one more at the end of each row (`PixtralProcessor.__call__` in Transformers' `processing_pixtral.py`).
    #[must_use]
    pub fn row_tokens(&self, width: u64, height: u64) -> u64 {
        let edge = self.token_edge();
        let ratio = (width.max(height) as f64 / self.image.max(1) as f64).max(1.0);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an edge in pixels, made smaller"
        )]
        let squares = |pixels: u64| (libm::floor(pixels as f64 / ratio) as u64).max(1).div_ceil(edge);
        squares(height).saturating_mul(squares(width) + 1)
    }
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
    /// Rows of a bias by relative position, one column for each head (`MPNet`); 0: none.
    pub relative_buckets: u64,
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
    /// The same, then a score for each label (rerankers: one).
    Classifier {
        /// Labels.
        labels: u64,
    },
    /// A dense layer and a norm, then logits by the token embedding with a bias (`ModernBERT`).
    MaskedLanguageModel,
    /// Nothing: the hidden states are the answer.
    None,
}

/// Number formats of a checkpoint and of a computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Dtype {
    /// IEEE 754 single.
    #[serde(rename = "fp32")]
    F32,
    /// Brain float.
    #[serde(rename = "bf16")]
    Bf16,
    /// IEEE 754 half.
    #[serde(rename = "fp16")]
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
        matches!(self.head, Head::LanguageModel { .. })
            && self.layers.iter().all(|l| l.attention().is_none_or(|a| a.causal))
    }

    /// Elements that a cache of every token keeps per token, summed over layers; windows are not applied.
    #[must_use]
    pub fn cache_elements_per_token(&self) -> u64 {
        self.layers
            .iter()
            .map(|l| match &l.mixer {
                Mixer::Attention(a) => a.cache_elements_per_token(),
                Mixer::Latent(a) => a.cache_elements_per_token(),
                Mixer::Recurrent(_) => 0,
            })
            .fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests;

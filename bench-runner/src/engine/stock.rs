//! Candle-transformers' stock models: which one runs a model, and what each cannot do.

use candle_core::DType;
use contract::case::{CaseSpec, Device};
use planner::document::plan::Attention;
use planner::model::Architecture;
use serde::{Deserialize, Serialize};

use super::{Precision, Refusal};
use crate::model::{Model, ModelSource};

/// A module of `candle_transformers::models`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are candle's modules")]
pub enum Stock {
    QuantizedLlama,
    QuantizedQwen2,
    QuantizedQwen3,
    QuantizedGemma3,
    QuantizedPhi3,
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Gemma2,
    Gemma3,
    Phi3,
    Bert,
}

/// Rows of the rotary table of `quantized_llama` (its constant `MAX_SEQ_LEN`).
const QUANTIZED_LLAMA_TOKENS: u64 = 4096;
/// Rows of the rotary table of `quantized_gemma3` (its constant `MAX_SEQ_LEN`).
const QUANTIZED_GEMMA3_TOKENS: u64 = 131_072;

impl Stock {
    /// The module that runs `model` in `precision`.
    ///
    /// # Errors
    /// For a family that candle-transformers has no module for.
    pub fn choose(model: &Model, precision: Precision) -> Result<Self, Refusal> {
        match precision {
            Precision::AsStored => match model.family.as_str() {
                // llama.cpp's converter writes Mistral and its kin as llama.
                "llama" => Ok(Self::QuantizedLlama),
                "qwen2" => Ok(Self::QuantizedQwen2),
                "qwen3" => Ok(Self::QuantizedQwen3),
                "gemma3" => Ok(Self::QuantizedGemma3),
                "phi3" => Ok(Self::QuantizedPhi3),
                other => Err(Refusal(format!(
                    "GGUF architecture {other}: not run by this engine; accepted: llama, qwen2, qwen3, gemma3, phi3"
                ))),
            },
            Precision::Fp8 => Err(Refusal(
                "precision fp8: candle's stock models compute no fp8; accepted: native, fp32, bf16, fp16, or the variant \
                 plimsoll"
                    .into(),
            )),
            Precision::Quantised(_) if !matches!(model.source, ModelSource::Synthetic { .. }) => Err(Refusal(
                "candle's stock models quantise no weights while loading; accepted: native, fp32, bf16, fp16, or the \
                 variant plimsoll"
                    .into(),
            )),
            Precision::Quantised(_) => match model.shape.architecture {
                Architecture::Llama | Architecture::Mistral => Ok(Self::QuantizedLlama),
                Architecture::Qwen2 => Ok(Self::QuantizedQwen2),
                Architecture::Qwen3 => Ok(Self::QuantizedQwen3),
                Architecture::Gemma3 => Ok(Self::QuantizedGemma3),
                other => Err(Refusal(format!(
                    "quantised synthetic weights of {}: not made; accepted: llama, mistral, qwen2, qwen3, gemma3_text",
                    other.model_type()
                ))),
            },
            Precision::Dense(_) if matches!(model.source, ModelSource::Gguf { .. }) => Err(Refusal(
                "candle's stock models run a GGUF file as it is stored; accepted: native, or the variant plimsoll, which \
                 converts it while loading"
                    .into(),
            )),
            Precision::Dense(_) => match model.shape.architecture {
                Architecture::Llama => Ok(Self::Llama),
                Architecture::Mistral => Ok(Self::Mistral),
                Architecture::Qwen2 => Ok(Self::Qwen2),
                Architecture::Qwen3 => Ok(Self::Qwen3),
                Architecture::Gemma2 => Ok(Self::Gemma2),
                Architecture::Gemma3 => Ok(Self::Gemma3),
                Architecture::Phi3 => Ok(Self::Phi3),
                Architecture::Bert => Ok(Self::Bert),
                other => Err(Refusal(format!(
                    "{}: not run by this engine; accepted: the decoders llama, mistral, qwen2, qwen3, gemma2, gemma3_text, \
                     phi3, and the encoder bert",
                    other.model_type()
                ))),
            },
        }
    }

    /// Whether it runs a GGUF file.
    #[must_use]
    pub const fn is_quantized(self) -> bool {
        matches!(
            self,
            Self::QuantizedLlama
                | Self::QuantizedQwen2
                | Self::QuantizedQwen3
                | Self::QuantizedGemma3
                | Self::QuantizedPhi3
        )
    }

    /// Whether it embeds sequences rather than generates.
    #[must_use]
    pub const fn is_encoder(self) -> bool {
        matches!(self, Self::Bert)
    }

    /// The module's name.
    #[must_use]
    pub const fn module(self) -> &'static str {
        match self {
            Self::QuantizedLlama => "quantized_llama",
            Self::QuantizedQwen2 => "quantized_qwen2",
            Self::QuantizedQwen3 => "quantized_qwen3",
            Self::QuantizedGemma3 => "quantized_gemma3",
            Self::QuantizedPhi3 => "quantized_phi3",
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3",
            Self::Phi3 => "phi3",
            Self::Bert => "bert",
        }
    }

    /// Longest sequence: the model's own, or where the module's rotary table ends.
    #[must_use]
    pub fn context_tokens(self, model: &Model) -> u64 {
        let table = match self {
            Self::QuantizedLlama => QUANTIZED_LLAMA_TOKENS,
            Self::QuantizedGemma3 => QUANTIZED_GEMMA3_TOKENS,
            _ => u64::MAX,
        };
        model.context_tokens.min(table)
    }

    /// What this module cannot compute, each found by reading it.
    ///
    /// # Errors
    /// Says what.
    pub fn check(self, model: &Model, spec: &CaseSpec) -> Result<(), Refusal> {
        let refuse = |why: String| Err(Refusal(format!("candle's stock {}: {why}", self.module())));
        if let Some(cache) = spec.cache {
            return refuse(format!(
                "its cache is its own, {} cannot be asked of it; accepted: default, or the variant plimsoll",
                cache.as_str()
            ));
        }
        if let Some(kv_cache) = spec.kv_cache {
            return refuse(format!(
                "its cache is of the type that it computes in, {kv_cache} cannot be asked of it; accepted: default, or \
                 the variant plimsoll"
            ));
        }
        if self.is_quantized() && spec.batch > 1 {
            return refuse(if self == Self::QuantizedQwen3 {
                "it has no cache for more than one sequence on a CPU; accepted: batch 1".into()
            } else {
                "it hands its output matrix the last position of each sequence as a view, which Candle's quantised \
                 product refuses for more than one sequence; accepted: batch 1"
                    .into()
            });
        }
        if let Some(kind) = unreadable(&model.shape) {
            return refuse(format!("Candle cannot read tensors stored as {kind}"));
        }
        // Families with other mixers and experts were refused when the module was chosen.
        let Some(a) = model.shape.layers.first().and_then(planner::model::Layer::attention) else {
            return Ok(());
        };
        let hidden = model.shape.hidden;
        let square = matches!(
            self,
            Self::Llama
                | Self::Qwen2
                | Self::Phi3
                | Self::QuantizedLlama
                | Self::QuantizedQwen2
                | Self::QuantizedPhi3
        );
        if square && a.heads * a.head_size != hidden {
            return refuse(format!(
                "it takes a head's size as hidden ÷ heads ({hidden} ÷ {}), this model's is {}",
                a.heads, a.head_size
            ));
        }
        match self {
            Self::Llama if a.qkv_bias => refuse("it has no attention biases, this model has them".into()),
            Self::Llama | Self::QuantizedLlama
                if model.shape.layers.iter().filter_map(planner::model::Layer::dense).any(|d| d.bias) =>
            {
                refuse("it has no biases in its feed-forward, this model has them".into())
            }
            Self::Mistral if model.shape.tied_embeddings => {
                refuse("it wants an output matrix of its own, this model's is its embedding".into())
            }
            Self::Gemma3 if a.kv_heads > 1 => refuse(format!(
                "its cache takes one key-value head only (\"slice-set only supports contiguous tensors\"), this model has {}",
                a.kv_heads
            )),
            Self::Qwen3 if a.window.is_some() => {
                refuse("it has no sliding window, this model has one".into())
            }
            Self::Gemma2 | Self::Gemma3 if !model.shape.tied_embeddings => {
                refuse("its output matrix is the embedding, this model has one of its own".into())
            }
            _ => match model.source {
                ModelSource::Gguf { .. } => Ok(()),
                _ => super::config::check(self, &model.config)
                    .map_err(|why| Refusal(format!("candle's stock {}: {why}", self.module()))),
            },
        }
    }

    /// Whether to ask the module for flash attention.
    ///
    /// # Errors
    /// Where the variant asked is not one that the module computes on that device.
    pub fn flash(self, spec: &CaseSpec, precision: Precision) -> Result<bool, Refusal> {
        let on_cuda = matches!(spec.device, Device::Cuda(_));
        let half = matches!(precision, Precision::Dense(DType::F16 | DType::BF16));
        // Modules with a switch; `quantized_phi3` casts to bf16 by itself.
        let has_switch = matches!(self, Self::Llama | Self::Mistral | Self::Gemma2 | Self::Gemma3);
        let can_flash =
            cfg!(feature = "flash-attn") && on_cuda && ((has_switch && half) || self == Self::QuantizedPhi3);
        // Qwen3's modules choose by themselves: blockwise attention on a CPU; on CUDA what was compiled in.
        let own_choice = match self {
            Self::Qwen3 if on_cuda => Some(if cfg!(feature = "flash-attn") { "flash" } else { "eager" }),
            // With flash-attn compiled in, the CPU path of the module is the eager one.
            Self::Qwen3 => Some(if cfg!(feature = "flash-attn") { "eager" } else { "flash" }),
            Self::QuantizedQwen3 => Some(if on_cuda { "eager" } else { "flash" }),
            _ => None,
        };
        let mut accepted = match (own_choice, can_flash) {
            (Some(own), _) => vec![own],
            (None, true) => vec!["eager", "flash"],
            (None, false) => vec!["eager"],
        };
        let asked = match &spec.attention {
            None => return Ok(false),
            Some(Attention::Eager) => "eager",
            Some(Attention::Flash) => "flash",
            Some(Attention::MemoryEfficient) => "memory-efficient",
            Some(Attention::SlidingWindow { .. }) => "sliding-window",
            Some(Attention::Longformer { .. }) => "longformer",
            Some(Attention::BigBird { .. }) => "big-bird",
        };
        if accepted.contains(&asked) {
            return Ok(own_choice.is_none() && asked == "flash");
        }
        accepted.push("default");
        let why = match asked {
            "flash" if !on_cuda => ": the module computes it on CUDA only",
            "flash" if !cfg!(feature = "flash-attn") => ": this build has no flash-attn in it",
            "flash" if has_switch => ": its kernels take fp16 and bf16 only",
            _ => "",
        };
        Err(Refusal(format!(
            "attention {asked} is not computed by candle's stock {} on {}{why}; accepted: {}",
            self.module(),
            spec.device,
            accepted.join(", ")
        )))
    }
}

/// How files store tensors that a model needs and Candle cannot read. Beside the weights there may be buffers of any type,
/// numbers of positions and the like, which no model loads: they are in the way only where without them there are too few
/// parameters.
pub(crate) fn unreadable(shape: &planner::Model) -> Option<&str> {
    let stored = shape.stored.as_ref()?;
    let readable = stored.iter().filter(|block| is_readable(&block.kind)).map(|block| block.parameters);
    if readable.sum::<u64>() >= shape.parameters().total {
        return None;
    }
    let others = stored.iter().filter(|block| !is_readable(&block.kind));
    others.max_by_key(|block| block.parameters).map(|block| block.kind.as_str())
}

/// Whether `candle_core::quantized::GgmlDType` has the type (its `from_u32`).
fn is_readable(kind: &str) -> bool {
    matches!(
        kind,
        "f32"
            | "f16"
            | "bf16"
            | "q4_0"
            | "q4_1"
            | "q5_0"
            | "q5_1"
            | "q8_0"
            | "q8_1"
            | "q2_k"
            | "q3_k"
            | "q4_k"
            | "q5_k"
            | "q6_k"
            | "q8_k"
    )
}

//! What Candle's memory model is asked, and what it answers.

use crate::bytes::{Bytes, Tokens};
use crate::document::plan::{Attention, CacheKind, Host};
use crate::ggml::GgmlType;
use crate::model::Dtype;

/// What is to run in Candle.
#[derive(Debug, Clone, PartialEq)]
pub struct CandleRequest {
    /// What a pass ends with.
    pub task: CandleTask,
    /// How the weights are held.
    pub weights: WeightStorage,
    /// The safetensors' number format where weights are converted or quantised while loading; none: they are read as held.
    pub loaded_from: Option<Dtype>,
    /// Activations and cache. Candle's quantized models compute in fp32 whatever is asked; the plan is checked for it.
    pub activations: Dtype,
    /// Sequences at once, at least 1.
    pub batch: u64,
    /// Tokens of each prompt or of each embedded sequence, at least 1.
    pub prompt: Tokens,
    /// Tokens generated after it; none where sequences are embedded.
    pub generate: Tokens,
    /// Where it computes.
    pub device: Device,
    /// Of the processor that computes, as far as it is known.
    pub host: Host,
    /// Attention variant; none: the engine's default (eager).
    pub attention: Option<Attention>,
    /// Plimsoll's decoder, and what of it; none: candle-transformers' models.
    pub decoder: Option<Decoder>,
}

/// What of Plimsoll's decoder is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoder {
    /// How caches are allocated: growing, slab or rotating.
    pub growth: CacheKind,
    /// How they hold their numbers.
    pub element: CacheElement,
}

/// How a cache of Plimsoll's decoder holds its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheElement {
    /// Single precision.
    F32,
    /// Brain float.
    Bf16,
    /// Half precision.
    F16,
    /// E4M3, without scales.
    Fp8,
    /// 8-bit integers, and a scale in single precision for each head of each token.
    Int8,
}

/// What a pass ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CandleTask {
    /// The likeliest next token, and then those after it.
    Generate,
    /// One vector for each sequence: the mean of its tokens' hidden states, scaled to length one.
    Embed,
}

/// How the weights are held.
#[derive(Debug, Clone, PartialEq)]
pub enum WeightStorage {
    /// Every tensor in one number format: candle-transformers' models over a `VarBuilder`.
    Dense(Dtype),
    /// Matrices in fp8 (E4M3) with a scale for each row; embeddings, output head and norms in the type that is computed in.
    /// Plimsoll's decoder only.
    Fp8,
    /// A GGUF file: candle-transformers' `quantized_*` models. One entry for each of [`crate::Model::tensors`], in the
    /// same order. Where only the header's sums by type are known, the entries are the likeliest assignment and
    /// `total_bytes` is exact.
    Gguf {
        /// Type of each tensor.
        types: Vec<GgmlType>,
        /// Bytes of all tensors as the file holds them.
        total_bytes: Bytes,
    },
}

/// Where Candle computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Device {
    /// In host memory.
    Cpu,
    /// On a CUDA device.
    Cuda,
}

/// What Candle takes, in bytes of tensors alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CandlePeaks {
    /// What stays allocated after loading: parameters as held in memory (dequantised embeddings among them), rotary
    /// tables, masks that are kept.
    pub weights_bytes: Bytes,
    /// The caches at the end of the last token, as allocated (spare room of a cache that grows in steps included).
    pub kv_cache_bytes: Bytes,
    /// Most bytes alive while loading.
    pub load_peak: Bytes,
    /// Most bytes alive in the prefill, or in the pass that embeds.
    pub prefill_peak: Bytes,
    /// Most bytes alive in any decode step; equal to what stays where nothing is generated.
    pub decode_peak: Bytes,
    /// What makes up the largest of the peaks beside `weights_bytes`.
    pub peak: Peak,
}

/// The largest peak, taken apart: `weights_bytes + kv_cache + activations + temporary` is that peak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peak {
    /// When it is reached.
    pub phase: PhaseOfPeak,
    /// Caches alive at that moment.
    pub kv_cache: Bytes,
    /// Activations alive at that moment.
    pub activations: Bytes,
    /// Copies, masks, upcasts, workspaces alive at that moment; for a cache that grows by copy, its second copy.
    pub temporary: Bytes,
}

/// When the largest peak is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PhaseOfPeak {
    /// While loading.
    Load,
    /// In the prefill.
    Prefill,
    /// In a decode step.
    Decode,
}

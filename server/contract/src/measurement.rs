//! What was measured of a case, as raw as it is small enough to keep.

use planner::Bytes;
use serde::{Deserialize, Serialize};

use crate::edge::Edge;
use crate::telemetry::{MemoryTrace, PhaseEnergy, Telemetry};

/// Figures of one case.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Memory by phase, in order: load, prefill, decode (decode left out where nothing was generated); of a training step
    /// load, forward, backward, optimizer.
    pub phases: Vec<PhaseMemory>,
    /// Time from opening the model to its first use, in milliseconds.
    pub load_ms: f64,
    /// Timed repetitions; warm-ups are not among them. Empty for a training step.
    pub samples: Vec<Sample>,
    /// Timed training steps; warm-ups are not among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepSample>,
    /// How each figure was obtained.
    pub methods: Methods,
    /// Threads that computed, for a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// Energy by phase, where the machine has a meter that may be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub energy: Vec<PhaseEnergy>,
    /// Clocks, power, temperature and settings of the device while it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
    /// Memory over time, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_trace: Option<MemoryTrace>,
    /// How well it predicts text, where that was asked and could be computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
    /// Why quality was asked and is not there: a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_quality: Option<String>,
    /// The edge that was found, where the case searches one: all other figures are of the largest that fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<Edge>,
}

/// How well a case predicts a text, and how far its predictions are from those of the same model unquantised.
///
/// The text is read in windows that do not overlap; the tokens of each window's second half are predicted, as llama.cpp's
/// `perplexity` does (tools/perplexity/perplexity.cpp).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// e to the mean negative log-likelihood of the predicted tokens.
    pub perplexity: f64,
    /// Its standard error over the predicted tokens.
    pub perplexity_error: f64,
    /// Perplexity of the reference over the same tokens.
    pub reference_perplexity: f64,
    /// What it is compared with: precision, decoder, attention and cache.
    pub reference: String,
    /// Part of the predictions whose likeliest token is the reference's, 0 to 1.
    pub top1_agreement: f64,
    /// Mean Kullback–Leibler divergence of the predictions from the reference's, in nats: Σ p ln(p / q) with p the
    /// reference.
    pub kl_mean: f64,
    /// Its 99th percentile over the predicted tokens, in nats.
    pub kl_p99: f64,
    /// Tokens that were predicted.
    pub tokens: u64,
    /// Tokens of a window.
    pub window: u64,
    /// The text, and the first digits of its SHA-256.
    pub text: String,
    /// How the tokens were computed: a window in one pass, or token by token.
    pub method: String,
}

/// The phases of a generation, and those of a training step. Embedding is a prefill that no decode follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Reading the model and preparing it.
    #[default]
    Load,
    /// Computing the prompt; with an encoder, the sequences and their vectors.
    Prefill,
    /// Generating tokens.
    Decode,
    /// Of a training step: from the tokens to the loss.
    Forward,
    /// From the loss to the gradients.
    Backward,
    /// From the gradients to the next parameters.
    Optimizer,
}

impl Phase {
    /// As the contract spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Optimizer => "optimizer",
        }
    }
}

/// Memory of one phase, in bytes. High marks are reset between phases; peaks are over all repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PhaseMemory {
    /// The phase.
    pub phase: Phase,
    /// Most bytes alive at once: the allocator's count on a CPU, the pool's used high mark on CUDA.
    pub peak_allocated: Bytes,
    /// Bytes alive at the end of the phase.
    pub live_at_end: Bytes,
    /// Most bytes that the pool held; CUDA only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_reserved: Option<Bytes>,
    /// Resident bytes of the process, or its bytes on the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Bytes>,
    /// Bytes of the whole device in use; CUDA only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Bytes>,
}

/// One timed repetition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Forward pass over the whole prompt (an encoder's pooling included), in milliseconds.
    pub prefill_ms: f64,
    /// From the prompt to the first token, sampling included, in milliseconds; with an encoder, to the vectors in host
    /// memory.
    pub ttft_ms: f64,
    /// Each further token's latency in milliseconds, in order: `generate_tokens - 1` of them.
    pub token_ms: Vec<f64>,
}

/// One timed training step.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StepSample {
    /// All forward passes of the step, in milliseconds.
    pub forward_ms: f64,
    /// All backward passes of the step, in milliseconds.
    pub backward_ms: f64,
    /// The optimizer, in milliseconds.
    pub optimizer_ms: f64,
    /// Mean cross entropy of the next token before the step, in nats.
    pub loss: f64,
}

impl StepSample {
    /// The whole step, in milliseconds.
    #[must_use]
    pub fn step_ms(&self) -> f64 {
        self.forward_ms + self.backward_ms + self.optimizer_ms
    }
}

/// How the figures were obtained.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Methods {
    /// Of `peak_allocated`, for example `counting allocator` or `CU_MEMPOOL_ATTR_USED_MEM_HIGH`.
    pub allocated: String,
    /// Of `process`, for example `VmHWM of /proc/self/status, reset by phase`.
    pub process: String,
    /// Of the times.
    pub time: String,
    /// Of products with weights, where not all are Candle's: instruction set and types, for example
    /// `avx2 (q4_1, q8_0)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub products: Option<String>,
}

impl Measurement {
    /// Memory of `phase`, where it was measured.
    #[must_use]
    pub fn phase(&self, phase: Phase) -> Option<&PhaseMemory> {
        self.phases.iter().find(|p| p.phase == phase)
    }

    /// Energy of `phase`, where it was metered.
    #[must_use]
    pub fn energy(&self, phase: Phase) -> Option<&PhaseEnergy> {
        self.energy.iter().find(|e| e.phase == phase)
    }

    /// Most bytes alive at once over all phases, loading too: what the device must hold. The planner's counterpart is
    /// `totals.allocated`.
    #[must_use]
    pub fn peak_allocated(&self) -> Option<Bytes> {
        self.phases.iter().map(|p| p.peak_allocated).max()
    }
}

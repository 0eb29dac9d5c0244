//! What was measured of a case, as raw as it is small enough to keep.

use planner::Bytes;
use serde::{Deserialize, Serialize};

use crate::edge::Edge;

/// Figures of one case.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Memory by phase, in order: load, prefill, decode (decode left out where nothing was generated).
    pub phases: Vec<PhaseMemory>,
    /// Time from opening the model to its first use, in milliseconds.
    pub load_ms: f64,
    /// Timed repetitions; warm-ups are not among them.
    pub samples: Vec<Sample>,
    /// How each figure was obtained.
    pub methods: Methods,
    /// Threads that computed, for a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// The edge that was found, where the case searches one: all other figures are of the largest that fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<Edge>,
}

/// The phases of a generation. Embedding is a prefill that no decode follows.
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
}

impl Phase {
    /// As the contract spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
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
}

impl Measurement {
    /// Memory of `phase`, where it was measured.
    #[must_use]
    pub fn phase(&self, phase: Phase) -> Option<&PhaseMemory> {
        self.phases.iter().find(|p| p.phase == phase)
    }

    /// Most bytes alive at once over all phases, loading too: what the device must hold. The planner's counterpart is
    /// `totals.allocated`.
    #[must_use]
    pub fn peak_allocated(&self) -> Option<Bytes> {
        self.phases.iter().map(|p| p.peak_allocated).max()
    }
}

//! Flash attention or not?

use super::{Planned, Reader, served};
use crate::bytes::{Bytes, Tokens};
use crate::document::plan::{Attention, EngineName, Plan};
use crate::document::precision::WeightPrecision;
use crate::error::PlanError;
use crate::solve;

/// A way to compute attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Scores are written down.
    Eager,
    /// Blocks of scores, one after the other.
    MemoryEfficient,
    /// `FlashAttention`'s kernel.
    Flash,
}

/// All of them.
pub const KERNELS: [Kernel; 3] = [Kernel::Eager, Kernel::MemoryEfficient, Kernel::Flash];

impl Kernel {
    /// As people read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eager => "eager",
            Self::MemoryEfficient => "memory-efficient",
            Self::Flash => "flash",
        }
    }

    const fn plan(self) -> Attention {
        match self {
            Self::Eager => Attention::Eager,
            Self::MemoryEfficient => Attention::MemoryEfficient,
            Self::Flash => Attention::Flash,
        }
    }
}

/// Engines whose phases are modelled for every kernel, the first that takes the model answers.
const SHOWN: [EngineName; 2] = [EngineName::Candle, EngineName::Transformers];
/// Lengths that are shown beside the reader's.
const LENGTHS: [u64; 4] = [1024, 4096, 16_384, 65_536];
/// Engines, and what they compute when nothing is said.
const ENGINES: [EngineName; 7] = [
    EngineName::Vllm,
    EngineName::Sglang,
    EngineName::TensorrtLlm,
    EngineName::LlamaCpp,
    EngineName::Transformers,
    EngineName::Litgpt,
    EngineName::Candle,
];

/// What ways to compute attention take.
#[derive(Debug, Clone, PartialEq)]
pub struct Attentions {
    /// The engine that the points are planned in.
    pub engine: EngineName,
    /// By length, then by kernel.
    pub points: Vec<KernelPoint>,
    /// The longest context that fits the card, by kernel; why there is none where the engine refuses it.
    pub longest: Vec<(Kernel, Result<Tokens, PlanError>)>,
    /// What engines do when nothing is said.
    pub engines: Vec<EngineDefault>,
}

/// One way at one length.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelPoint {
    /// The way.
    pub kernel: Kernel,
    /// Tokens of the sequences.
    pub context: Tokens,
    /// What it takes.
    pub planned: Planned,
}

impl KernelPoint {
    /// What reading the prompt takes beside weights and cache.
    #[must_use]
    pub fn prefill(&self) -> Bytes {
        self.beside("prefill")
    }

    /// What generating a token takes beside weights and cache.
    #[must_use]
    pub fn decode(&self) -> Bytes {
        self.beside("decode")
    }

    fn beside(&self, phase: &str) -> Bytes {
        let estimate = &self.planned.estimate;
        let peak = estimate.phases.iter().flatten().find(|p| p.phase == phase).map(|p| p.peak_bytes);
        let parts = &estimate.per_gpu;
        peak.unwrap_or_default().saturating_sub(parts.weights + parts.kv_cache + parts.recurrent_state)
    }
}

/// What an engine computes when nothing is said.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineDefault {
    /// The engine.
    pub engine: EngineName,
    /// Activations and buffers of its own choice; why there are none where it refuses the model.
    pub own: Result<Planned, PlanError>,
    /// The same with eager attention; why there are none where it has none.
    pub eager: Result<Planned, PlanError>,
}

impl Attentions {
    /// A point.
    #[must_use]
    pub fn at(&self, kernel: Kernel, context: Tokens) -> Option<&KernelPoint> {
        self.points.iter().find(|point| point.kernel == kernel && point.context == context)
    }

    /// The lengths, shortest first.
    #[must_use]
    pub fn contexts(&self) -> Vec<Tokens> {
        let mut contexts: Vec<Tokens> = self.points.iter().map(|point| point.context).collect();
        contexts.dedup();
        contexts
    }
}

/// What ways to compute attention take with the reader's model on the reader's card.
///
/// # Errors
/// A value of the reader's that is unknown; where no engine takes the model with two kernels, why the last does not.
pub fn attentions(reader: &Reader) -> Result<Attentions, PlanError> {
    let model = reader.model()?;
    let mut lengths: Vec<Tokens> = LENGTHS.map(Tokens).to_vec();
    lengths.push(reader.context);
    lengths.retain(|length| *length <= model.max_tokens);
    lengths.sort();
    lengths.dedup();
    let planned = |engine, kernel, context| plan(reader, engine, kernel, context).and_then(Planned::of);
    let takes = |engine, kernel| planned(engine, Some(kernel), reader.context).is_ok();
    let both = |engine: &EngineName| takes(*engine, Kernel::Eager) && takes(*engine, Kernel::Flash);
    let engine = SHOWN.into_iter().find(both).unwrap_or(EngineName::Transformers);
    let mut points = Vec::new();
    for context in lengths {
        for kernel in KERNELS {
            if let Ok(planned) = planned(engine, Some(kernel), context) {
                points.push(KernelPoint { kernel, context, planned });
            }
        }
    }
    if points.is_empty() {
        // Nothing is planned of it: the engine says why.
        planned(engine, Some(Kernel::Eager), reader.context)?;
    }
    let longest = KERNELS
        .into_iter()
        .map(|kernel| {
            let longest = plan(reader, engine, Some(kernel), reader.context);
            (kernel, longest.and_then(|plan| solve::longest_context(&plan)))
        })
        .collect();
    let engines = ENGINES
        .into_iter()
        .map(|engine| EngineDefault {
            engine,
            own: planned(engine, None, reader.context),
            eager: planned(engine, Some(Kernel::Eager), reader.context),
        })
        .collect();
    Ok(Attentions { engine, points, longest, engines })
}

/// The plan of an engine with 16-bit weights in the form that it reads.
fn plan(
    reader: &Reader,
    engine: EngineName,
    kernel: Option<Kernel>,
    context: Tokens,
) -> Result<Plan, PlanError> {
    let weights =
        if engine == EngineName::LlamaCpp { WeightPrecision::GgufBf16 } else { WeightPrecision::Bf16 };
    let mut plan = served(reader.place(), engine, weights, context, reader.batch)?;
    plan.attention = kernel.map(Kernel::plan);
    Ok(plan)
}

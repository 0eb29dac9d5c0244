//! A sweep: the grid of cases that a run executes.

mod refusals;

pub use refusals::is_encoder;

use planner::document::plan::{Attention, CacheKind};
use planner::document::precision::CachePrecision;
use planner::{Bytes, Tokens};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::case::{CaseSpec, Device, Variant, is_zero};
use crate::cuda::{EventTracking, ReleaseThreshold};
use crate::edge::{EdgeAxis, EdgeSpec};
use crate::shard::Shard;
use crate::training::Training;

/// A grid of cases: every combination of the axes, in this order, the last varying fastest.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// Models by the name that the runner advertises.
    pub models: Vec<String>,
    /// Precisions: `native` (as stored), `fp32`, `bf16`, `fp16`, `fp8`, or `gguf:` and a type.
    pub precisions: Vec<String>,
    /// Decoders; empty: plimsoll where it computes every model, else stock. A runner writes here what it chose before it
    /// begins; the run of a job keeps the job's sweep, and its cases say what ran. A case without a variant ran stock.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<Variant>,
    /// Attention variants; empty: the engine's default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attentions: Vec<Attention>,
    /// How caches are allocated; empty: the engine's default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caches: Vec<CacheKind>,
    /// How caches hold their numbers; empty: as activations are computed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub kv_caches: Vec<CachePrecision>,
    /// Unused bytes that the CUDA pool keeps; empty: the driver's default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub release_thresholds: Vec<ReleaseThreshold>,
    /// Whether cudarc makes events for each allocation; empty: its default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub event_tracking: Vec<EventTracking>,
    /// Training steps; empty: the cases generate or embed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trainings: Vec<Training>,
    /// Sequences at once.
    pub batches: Vec<u32>,
    /// Tokens of each prompt.
    pub prompts: Vec<Tokens>,
    /// Tokens generated after the prompt.
    pub generates: Vec<Tokens>,
    /// `cpu`, `cuda:0`, …
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub device: Device,
    /// Timed repetitions of each case, after one warm-up.
    pub repetitions: u32,
    /// Tokens of the runner's text over which each case's quality is computed; null: not computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Tokens>,
    /// The part of the grid that is executed; null: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// Most bytes that a case's tensors and workspaces may take; null: all that there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<Bytes>,
    /// What prompts and random weights are made from; 0: the ones that every version made so far.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seed: u64,
    /// Which edge each case searches for; null: none. The searched axis (`batches` or `prompts`) is then 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<EdgeSpec>,
}

/// The most cases that one sweep may have.
pub const MAX_CASES: usize = 4096;
/// The most sequences at once that a case may have.
pub const MAX_BATCH: u32 = 65_536;
/// The most tokens of a prompt, or generated, that a case may have.
pub const MAX_TOKENS: u64 = 16_777_216;
/// The least memory that a case may be limited to.
pub const MIN_MEMORY_LIMIT: Bytes = Bytes::from_mib(1);

/// The most tokens over which quality may be computed.
const MAX_QUALITY_TOKENS: u64 = 65_536;

/// Why a sweep cannot run as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SweepError {
    /// An axis without values.
    #[error("{axis}: empty; give at least one value")]
    EmptyAxis {
        /// Its field.
        axis: &'static str,
    },
    /// A value outside its range.
    #[error("{axis}: {given} is out of range; accepted: {accepted}")]
    OutOfRange {
        /// Its field.
        axis: &'static str,
        /// What was given.
        given: String,
        /// What is accepted.
        accepted: &'static str,
    },
    /// Values that are fine by themselves, of which nothing computes a case.
    #[error("{axis}: {why}")]
    Refused {
        /// The field that holds them.
        axis: &'static str,
        /// Why, and what to do.
        why: String,
    },
    /// An edge on a processor that nothing but the host's memory limits.
    #[error(
        "memory_limit: left out; searching an edge on a cpu needs one, else the kernel would have to kill the case and \
         swapping would hide the edge"
    )]
    EdgeWithoutLimit,
    /// More cases than [`MAX_CASES`].
    #[error("the grid has {cases} cases; at most {MAX_CASES}: shorten an axis")]
    TooManyCases {
        /// How many it has.
        cases: usize,
    },
}

impl SweepError {
    /// The field of the sweep that it is about; `sweep` for the whole.
    #[must_use]
    pub const fn axis(&self) -> &'static str {
        match self {
            Self::EmptyAxis { axis } | Self::OutOfRange { axis, .. } | Self::Refused { axis, .. } => axis,
            Self::EdgeWithoutLimit => "memory_limit",
            Self::TooManyCases { .. } => "sweep",
        }
    }
}

impl Sweep {
    /// Checks every axis.
    ///
    /// # Errors
    /// Names the first axis that is empty or out of range, or says that the grid is too large.
    pub fn check(&self) -> Result<(), SweepError> {
        let axes: [(&'static str, usize); 5] = [
            ("models", self.models.len()),
            ("precisions", self.precisions.len()),
            ("batches", self.batches.len()),
            ("prompts", self.prompts.len()),
            ("generates", self.generates.len()),
        ];
        if let Some((axis, _)) = axes.iter().find(|(_, n)| *n == 0) {
            return Err(SweepError::EmptyAxis { axis });
        }
        if let Some(b) = self.batches.iter().find(|b| !(1..=MAX_BATCH).contains(*b)) {
            return Err(SweepError::OutOfRange {
                axis: "batches",
                given: b.to_string(),
                accepted: "1 to 65536",
            });
        }
        if let Some(p) = self.prompts.iter().find(|p| !(1..=MAX_TOKENS).contains(&p.0)) {
            return Err(SweepError::OutOfRange {
                axis: "prompts",
                given: p.to_string(),
                accepted: "1 to 16777216",
            });
        }
        if let Some(g) = self.generates.iter().find(|g| g.0 > MAX_TOKENS) {
            return Err(SweepError::OutOfRange {
                axis: "generates",
                given: g.to_string(),
                accepted: "0 to 16777216",
            });
        }
        if !(1..=1000).contains(&self.repetitions) {
            return Err(SweepError::OutOfRange {
                axis: "repetitions",
                given: self.repetitions.to_string(),
                accepted: "1 to 1000",
            });
        }
        if let Some(tokens) = self.quality.filter(|t| !(4..=MAX_QUALITY_TOKENS).contains(&t.0)) {
            return Err(SweepError::OutOfRange {
                axis: "quality",
                given: tokens.to_string(),
                accepted: "4 to 65536",
            });
        }
        if self.trainings.iter().any(|t| !(1..=65_536).contains(&t.gradient_accumulation)) {
            return Err(SweepError::OutOfRange {
                axis: "trainings",
                given: "a gradient accumulation".to_owned(),
                accepted: "1 to 65536",
            });
        }
        if let Some(tokens) = self.quality.filter(|_| self.edge.is_some() || !self.trainings.is_empty()) {
            return Err(SweepError::OutOfRange {
                axis: "quality",
                given: tokens.to_string(),
                accepted: "none where an edge is searched or a step is trained; measure quality by a run of its own",
            });
        }
        if let Some(shard) = self.shard.filter(|shard| !shard.is_possible()) {
            return Err(SweepError::OutOfRange {
                axis: "shard",
                given: shard.to_string(),
                accepted: "i/n with 1 ≤ i ≤ n ≤ 4096",
            });
        }
        if let Some(limit) = self.memory_limit.filter(|limit| *limit < MIN_MEMORY_LIMIT) {
            return Err(SweepError::OutOfRange {
                axis: "memory_limit",
                given: limit.to_string(),
                accepted: "1 MiB (2^20 bytes) or more",
            });
        }
        self.check_edge()?;
        let cases = self.len();
        if cases > MAX_CASES {
            return Err(SweepError::TooManyCases { cases });
        }
        Ok(())
    }

    fn check_edge(&self) -> Result<(), SweepError> {
        let Some(edge) = self.edge else { return Ok(()) };
        let wrong = |axis, given: String, accepted| Err(SweepError::OutOfRange { axis, given, accepted });
        if self.device == Device::Cpu && self.memory_limit.is_none() {
            return Err(SweepError::EdgeWithoutLimit);
        }
        if edge.resolution == 0 {
            return wrong("edge.resolution", "0".to_owned(), "1 (exact) or more");
        }
        let listed = |numbers: &[String]| numbers.join(", ");
        match edge.axis {
            EdgeAxis::Batch if self.batches != [1] => {
                let given: Vec<String> = self.batches.iter().map(ToString::to_string).collect();
                wrong("batches", listed(&given), "1 with an edge in the batch, which the search enlarges")
            }
            EdgeAxis::Context if self.prompts != [Tokens(1)] => {
                let given: Vec<String> = self.prompts.iter().map(ToString::to_string).collect();
                wrong("prompts", listed(&given), "1 with an edge in the context, which the search enlarges")
            }
            EdgeAxis::Batch if edge.limit.is_some_and(|n| !(1..=u64::from(MAX_BATCH)).contains(&n)) => {
                wrong("edge.limit", edge.limit.unwrap_or(0).to_string(), "1 to 65536")
            }
            EdgeAxis::Context if edge.limit.is_some_and(|n| !(1..=MAX_TOKENS).contains(&n)) => {
                wrong("edge.limit", edge.limit.unwrap_or(0).to_string(), "1 to 16777216")
            }
            _ => Ok(()),
        }
    }

    /// Number of cases of the whole grid, repeated values of an axis counted as often as they stand there.
    #[must_use]
    pub fn len(&self) -> usize {
        [
            self.models.len(),
            self.precisions.len(),
            self.variants.len().max(1),
            self.attentions.len().max(1),
            self.caches.len().max(1),
            self.kv_caches.len().max(1),
            self.release_thresholds.len().max(1),
            self.event_tracking.len().max(1),
            self.trainings.len().max(1),
            self.batches.len(),
            self.prompts.len(),
            self.generates.len(),
        ]
        .into_iter()
        .fold(1usize, usize::saturating_mul)
    }

    /// Whether it has no case.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every case, or those of the shard, in order. Repeated values of an axis give one case, not two.
    #[must_use]
    pub fn cases(&self) -> Vec<CaseSpec> {
        let mut cases: Vec<CaseSpec> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for model in &self.models {
            for precision in &self.precisions {
                for how in self.ways() {
                    for &batch in &self.batches {
                        for &prompt_tokens in &self.prompts {
                            for &generate_tokens in &self.generates {
                                let case = CaseSpec {
                                    model: model.clone(),
                                    precision: precision.clone(),
                                    variant: how.variant,
                                    attention: how.attention.clone(),
                                    cache: how.cache,
                                    kv_cache: how.kv_cache,
                                    release_threshold: how.release_threshold,
                                    event_tracking: how.event_tracking,
                                    training: how.training.clone(),
                                    device: self.device,
                                    batch,
                                    prompt_tokens,
                                    generate_tokens,
                                    repetitions: self.repetitions,
                                    quality: self.quality,
                                    memory_limit: self.memory_limit,
                                    seed: self.seed,
                                    edge: self.edge,
                                };
                                if seen.insert(case.key()) {
                                    cases.push(case);
                                }
                            }
                        }
                    }
                }
            }
        }
        match self.shard {
            Some(shard) => shard.of(cases),
            None => cases,
        }
    }

    /// Whether `spec` is one of its cases. A runner writes the decoder into a case of a sweep that leaves it to the runner.
    #[must_use]
    pub fn asks(&self, spec: &CaseSpec) -> bool {
        let cases = self.cases();
        cases.contains(spec)
            || self.variants.is_empty() && cases.contains(&CaseSpec { variant: None, ..spec.clone() })
    }

    /// The ways to compute a case, in order.
    fn ways(&self) -> Vec<Way> {
        fn or_default<T: Clone>(values: &[T]) -> Vec<Option<T>> {
            if values.is_empty() { vec![None] } else { values.iter().cloned().map(Some).collect() }
        }
        let mut ways = Vec::new();
        for variant in or_default(&self.variants) {
            for attention in or_default(&self.attentions) {
                for cache in or_default(&self.caches) {
                    for kv_cache in or_default(&self.kv_caches) {
                        for training in or_default(&self.trainings) {
                            for release_threshold in or_default(&self.release_thresholds) {
                                for event_tracking in or_default(&self.event_tracking) {
                                    ways.push(Way {
                                        variant,
                                        attention: attention.clone(),
                                        cache,
                                        kv_cache,
                                        training: training.clone(),
                                        release_threshold,
                                        event_tracking,
                                    });
                                }
                            }
                        }
                    }
                }
            }
        }
        ways
    }

    /// A name for the same grid, whenever and wherever it is asked: SHA-256 of its JSON, 16 hex digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        let digest = Sha256::digest(json);
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        format!("{:016x}", u64::from_be_bytes(first))
    }
}

/// A way to compute a case.
struct Way {
    variant: Option<Variant>,
    attention: Option<Attention>,
    cache: Option<CacheKind>,
    kv_cache: Option<CachePrecision>,
    release_threshold: Option<ReleaseThreshold>,
    event_tracking: Option<EventTracking>,
    training: Option<Training>,
}

/// The sweep that a first visitor is offered: a small shape on the processor, about a minute on two idle cores.
#[must_use]
pub fn first_benchmark() -> Sweep {
    Sweep {
        models: vec!["HuggingFaceTB/SmolLM2-135M".to_owned()],
        precisions: vec!["fp32".to_owned(), "bf16".to_owned()],
        batches: vec![1, 2],
        prompts: vec![Tokens(64), Tokens(128)],
        generates: vec![Tokens(8)],
        device: Device::Cpu,
        repetitions: 2,
        ..Sweep::default()
    }
}

#[cfg(test)]
mod tests;

//! A case: one point of a sweep, and what came of it.

use std::fmt;
use std::str::FromStr;

use planner::document::plan::{Attention, CacheKind};
use planner::document::precision::CachePrecision;
use planner::{Bytes, Estimate, Plan, Tokens};
use serde::{Deserialize, Serialize};

use crate::cuda::{EventTracking, ReleaseThreshold};
use crate::edge::{EdgeAxis, EdgeSpec};
use crate::ids::{CaseId, RunId, UnixMillis};
use crate::measurement::Measurement;
use crate::training::Training;

/// Where a case computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The processor, in host memory.
    #[default]
    Cpu,
    /// A CUDA device by its ordinal.
    Cuda(u32),
}

/// A device that is neither `cpu` nor `cuda:N`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown device \"{0}\"; accepted: cpu, cuda:0, cuda:1, …")]
pub struct UnknownDevice(pub String);

impl FromStr for Device {
    type Err = UnknownDevice;
    fn from_str(s: &str) -> Result<Self, UnknownDevice> {
        match s {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => s
                .strip_prefix("cuda:")
                .and_then(|n| n.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| UnknownDevice(s.to_owned())),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = UnknownDevice;
    fn try_from(s: String) -> Result<Self, UnknownDevice> {
        s.parse()
    }
}

impl From<Device> for String {
    fn from(d: Device) -> Self {
        d.to_string()
    }
}

/// Which of Candle's decoders computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// candle-transformers' own models.
    Stock,
    /// Plimsoll's decoder.
    Plimsoll,
}

impl Variant {
    /// As the contract spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Plimsoll => "plimsoll",
        }
    }
}

/// A name that is no variant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown variant \"{0}\"; accepted: stock, plimsoll")]
pub struct UnknownVariant(pub String);

impl FromStr for Variant {
    type Err = UnknownVariant;
    fn from_str(s: &str) -> Result<Self, UnknownVariant> {
        match s {
            "stock" => Ok(Self::Stock),
            "plimsoll" => Ok(Self::Plimsoll),
            _ => Err(UnknownVariant(s.to_owned())),
        }
    }
}

/// An attention as `bench-runner run --attention` takes it.
#[must_use]
pub fn attention_word(attention: &Attention) -> String {
    match attention {
        Attention::Eager => "eager".to_owned(),
        Attention::MemoryEfficient => "memory-efficient".to_owned(),
        Attention::Flash => "flash".to_owned(),
        Attention::SlidingWindow { window } => format!("sliding-window:{window}"),
        Attention::Longformer { window, global_tokens } => format!("longformer:{window}:{global_tokens}"),
        Attention::BigBird { block, window_blocks, global_blocks, random_blocks } => {
            format!("big-bird:{block}:{window_blocks}:{global_blocks}:{random_blocks}")
        }
    }
}

/// A case's key as people read it: with the word of its attention in place of the document.
#[must_use]
pub fn key_in_words(key: &str) -> String {
    let parts = key.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    let Some((before, (document, after))) = parts else { return key.to_owned() };
    // Through a `Value`, as the browser reads every document: it has one reader of each type.
    let document: Result<serde_json::Value, _> = serde_json::from_str(&format!("{{{document}}}"));
    match document.and_then(serde_json::from_value) {
        Ok(attention) => format!("{before}{}{after}", attention_word(&attention)),
        Err(_) => key.to_owned(),
    }
}

/// What a case is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CaseSpec {
    /// The model by the name that the runner advertises.
    pub model: String,
    /// `native` (as stored), `fp32`, `bf16`, `fp16`, `fp8`, or `gguf:` and a type.
    pub precision: String,
    /// Which decoder. Null in rows of before there was a choice, which candle-transformers' models computed
    /// ([`CaseSpec::decoder`]); a runner names it in every case that it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<Variant>,
    /// The attention variant; null: the engine's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<Attention>,
    /// How the cache is allocated; null: the engine's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheKind>,
    /// How the cache holds its numbers; null: as activations are computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub kv_cache: Option<CachePrecision>,
    /// Unused bytes that the CUDA pool keeps; null: the driver's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_threshold: Option<ReleaseThreshold>,
    /// Whether cudarc makes events for each allocation; null: its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_tracking: Option<EventTracking>,
    /// The training step that it is; null: it generates or embeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Training>,
    /// Where it computes.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub device: Device,
    /// Sequences at once.
    pub batch: u32,
    /// Tokens of each prompt.
    pub prompt_tokens: Tokens,
    /// Tokens generated after the prompt.
    pub generate_tokens: Tokens,
    /// Timed repetitions.
    pub repetitions: u32,
    /// Tokens of the runner's text over which quality is computed after the repetitions; null: not computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Tokens>,
    /// Most bytes that its tensors and workspaces may take, the device's own or the host's; null: all that there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<Bytes>,
    /// What prompts and random weights are made from; 0: the ones that every version made so far.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seed: u64,
    /// Which edge is searched for; null: none, the case is run as it is. The searched number of this case (`batch` or
    /// `prompt_tokens`) is where the search may begin, 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<EdgeSpec>,
}

/// For fields that are left out where they are 0.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(crate) const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl CaseSpec {
    /// Which decoder computes it: what names none was measured before there was a choice, with stock.
    #[must_use]
    pub fn decoder(&self) -> Variant {
        self.variant.unwrap_or(Variant::Stock)
    }

    /// A readable name, the same for the same case: `smollm2-135m native b1 p512 g64 cpu`.
    #[must_use]
    pub fn key(&self) -> String {
        // What is left out leaves the key as it was before there was a choice.
        let mut chosen = String::new();
        if let Some(variant) = self.variant {
            chosen = format!(" {}", variant.as_str());
        }
        if let Some(attention) = &self.attention {
            chosen = format!("{chosen} {}", serde_json::to_string(attention).unwrap_or_default());
        }
        if let Some(cache) = self.cache {
            chosen = format!("{chosen} {}", cache.as_str());
        }
        if let Some(kv_cache) = self.kv_cache {
            chosen = format!("{chosen} kv:{}", kv_cache.as_str());
        }
        if let Some(training) = &self.training {
            chosen = format!("{chosen} {}", training.name());
        }
        if let Some(threshold) = self.release_threshold {
            chosen = format!("{chosen} release:{}", threshold.as_str());
        }
        if let Some(tracking) = self.event_tracking {
            chosen = format!("{chosen} events:{}", tracking.as_str());
        }
        if let Some(tokens) = self.quality {
            chosen = format!("{chosen} quality:{tokens}");
        }
        if let Some(limit) = self.memory_limit {
            chosen = format!("{chosen} limit:{}", limit.0);
        }
        if self.seed != 0 {
            chosen = format!("{chosen} seed:{}", self.seed);
        }
        if let Some(edge) = self.edge {
            chosen = format!("{chosen} {edge}");
        }
        format!(
            "{} {}{chosen} b{} p{} g{} {} r{}",
            self.model,
            self.precision,
            self.batch,
            self.prompt_tokens,
            self.generate_tokens,
            self.device,
            self.repetitions
        )
    }

    /// The case at one value of an axis, without a search: `value` sequences, or prompts that make a context of `value`
    /// tokens with what is generated.
    #[must_use]
    pub fn at(&self, axis: EdgeAxis, value: u64) -> Self {
        let plain = Self { edge: None, ..self.clone() };
        match axis {
            EdgeAxis::Batch => Self { batch: u32::try_from(value).unwrap_or(u32::MAX), ..plain },
            EdgeAxis::Context => Self { prompt_tokens: Tokens(value) - self.generate_tokens, ..plain },
        }
    }

    /// The case that the figures of `measurement` belong to: itself, or the largest that fits where an edge was searched.
    #[must_use]
    pub fn measured(&self, measurement: &Measurement) -> Self {
        let edge = measurement.edge.as_ref().filter(|edge| edge.largest > 0);
        edge.map_or_else(|| self.clone(), |edge| self.at(edge.axis, edge.largest))
    }
}

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CaseStatus {
    /// Measured.
    Ok,
    /// The device or the host had no memory for it.
    OutOfMemory,
    /// The process died of something else.
    Crashed,
    /// The engine cannot do what was asked; nothing ran.
    Refused,
    /// The engine reported an error.
    Failed,
    /// The planner said that the device has no memory for it, and it was not run.
    PredictedOutOfMemory,
}

impl CaseStatus {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::OutOfMemory => "out-of-memory",
            Self::Crashed => "crashed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::PredictedOutOfMemory => "predicted-out-of-memory",
        }
    }

    /// Every status, in the order that counts of them are shown in.
    pub const ALL: [Self; 6] =
        [Self::Ok, Self::OutOfMemory, Self::PredictedOutOfMemory, Self::Refused, Self::Failed, Self::Crashed];

    /// Whether it was tried and did not end well, so that trying again may end otherwise.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::OutOfMemory | Self::Crashed | Self::Failed)
    }

    /// Whether no later attempt takes its place: measured, or refused.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Ok | Self::Refused)
    }

    /// Whether anything ran.
    #[must_use]
    pub const fn ran(self) -> bool {
        !matches!(self, Self::Refused | Self::PredictedOutOfMemory)
    }
}

impl fmt::Display for CaseStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A case that ended: immutable once stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// [`CaseId::derive`] of the run and the key.
    pub id: CaseId,
    /// Its run.
    pub run_id: RunId,
    /// Its place in the sweep, from 0.
    pub position: u32,
    /// What it is.
    pub spec: CaseSpec,
    /// The engine that ran it, for example `candle 0.11.1 stock quantized_llama`.
    pub engine: String,
    /// The same as a plan, for the planner; null where the model could not be read.
    pub plan: Option<Plan>,
    /// What the planner said before it ran; null where there was no plan or no answer.
    pub estimate: Option<Estimate>,
    /// How it ended.
    pub status: CaseStatus,
    /// Why, where it is not ok: a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was measured; null where nothing was.
    pub measurement: Option<Measurement>,
    /// When it ended.
    pub finished_at: UnixMillis,
}

/// Filters of the list of cases; each left out admits all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CaseFilter {
    /// The run they belong to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// A model's name, or a part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// A precision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
    /// `ok`, `out-of-memory`, `crashed`, `refused`, `failed`, `predicted-out-of-memory`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<CaseStatus>,
    /// Page from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// Rows of a page, at most 200; 50 where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_page: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_without_documents() {
        for (attention, words) in [
            (Some(Attention::Eager), "m bf16 eager b1 p8 g4 cpu r0"),
            (
                Some(Attention::SlidingWindow { window: Tokens(128) }),
                "m bf16 sliding-window:128 b1 p8 g4 cpu r0",
            ),
            (None, "m bf16 b1 p8 g4 cpu r0"),
        ] {
            let spec = CaseSpec {
                model: "m".to_owned(),
                precision: "bf16".to_owned(),
                attention,
                batch: 1,
                prompt_tokens: Tokens(8),
                generate_tokens: Tokens(4),
                ..CaseSpec::default()
            };
            assert_eq!(key_in_words(&spec.key()), words);
        }
        for odd in ["m{odd} bf16 b1", "m } bf16 { b1"] {
            assert_eq!(key_in_words(odd), odd, "what is no document stays");
        }
    }
}

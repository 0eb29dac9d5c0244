//! What a runner and the server say to each other, over HTTP with a bearer token.
//!
//! A runner registers, claims a job (its lease), sends heartbeats with its progress, uploads each case as it ends, and
//! reports the end. Each call may be repeated: registration is keyed by the runner's own id, cases by
//! [`CaseId`](crate::ids::CaseId), the end by the lease.

use serde::{Deserialize, Serialize};

use crate::case::Device;
use crate::ids::{LeaseId, RunId, RunnerId, UnixMillis};
use crate::job::{Job, Progress};
use crate::machine::Machine;
use crate::run::RunnerBuild;

/// A lease lives this long after its claim or its latest heartbeat, in milliseconds.
pub const LEASE_MS: i64 = 30_000;
/// A runner sends a heartbeat this often while it holds a lease, in milliseconds.
pub const HEARTBEAT_MS: u64 = 3_000;
/// An idle runner asks for a job this often, in milliseconds.
pub const POLL_MS: u64 = 1_000;

/// A model that a runner can execute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AdvertisedModel {
    /// Its name, unique on the runner.
    pub name: String,
    /// Where its weights come from.
    pub weights: WeightSource,
    /// Precisions it can be run in: `native`, `fp32`, `bf16`, `fp16`.
    pub precisions: Vec<String>,
    /// Parameters.
    pub parameters: u64,
    /// Longest sequence in tokens.
    pub max_tokens: u64,
}

/// Where weights come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum WeightSource {
    /// A GGUF file.
    Gguf,
    /// A safetensors folder.
    Safetensors,
    /// Random numbers in a catalogue shape.
    Synthetic,
}

impl WeightSource {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gguf => "gguf",
            Self::Safetensors => "safetensors",
            Self::Synthetic => "synthetic",
        }
    }
}

/// A runner introduces itself: `PUT /api/v1/runners/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// What people call it.
    pub name: String,
    /// Where it is.
    pub machine: Machine,
    /// What it can execute.
    pub models: Vec<AdvertisedModel>,
    /// Where it can execute: `cpu`, `cuda:0`.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub devices: Vec<Device>,
    /// What it is.
    pub build: RunnerBuild,
}

/// A runner as the server knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Runner {
    /// Its id.
    pub id: RunnerId,
    /// What it said of itself.
    pub registration: Registration,
    /// When it was last heard.
    pub last_seen_at: UnixMillis,
    /// Whether it was heard within [`LEASE_MS`].
    pub online: bool,
}

/// A job granted: the answer of `POST /api/v1/runners/{id}/claim` (204 where there is none).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The job.
    pub job: Job,
    /// The hold on it.
    pub lease: LeaseId,
    /// The run to write to: the one begun before, where this machine resumes it.
    pub run_id: RunId,
    /// Keys of the cases that are stored already.
    pub done: Vec<String>,
    /// When the lease ends, unless a heartbeat comes.
    pub expires_at: UnixMillis,
}

/// A sign of life: `POST /api/v1/jobs/{id}/heartbeat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// The hold.
    pub lease: LeaseId,
    /// How far it is.
    pub progress: Progress,
}

/// The answer to a heartbeat; a lease that was lost answers 409 instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HeartbeatReply {
    /// Whether to stop.
    pub cancel: bool,
    /// When the lease ends now.
    pub expires_at: UnixMillis,
}

/// A case that ended: `PUT /api/v1/jobs/{id}/cases/{case_id}`. A case already stored is left as it is (200).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CaseUpload {
    /// The hold.
    pub lease: LeaseId,
    /// The case.
    pub case: crate::case::Case,
}

/// The end of a job: `POST /api/v1/jobs/{id}/finish`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Finish {
    /// The hold.
    pub lease: LeaseId,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a job ended, in its runner's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// Every case ended.
    Finished,
    /// Stopped on request.
    Cancelled,
    /// Could not go on.
    Failed {
        /// Why: a sentence.
        message: String,
    },
    /// The runner stops and gives the job back; it is queued again.
    Released,
}

/// What the pages of a job are told as it happens (server-sent events, JSON in `data`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct JobEvent {
    /// The job as it stands now.
    pub job: Job,
}

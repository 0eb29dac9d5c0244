//! A job: a sweep asked of the fleet.

use serde::{Deserialize, Serialize};

use crate::ids::{JobId, RunId, RunnerId, UnixMillis};
use crate::sweep::Sweep;

/// What a submitter sends. A model is a name that a runner advertises: never a path, URL or command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewJob {
    /// What people call it; left out: made from the sweep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What to execute.
    pub sweep: Sweep,
    /// The runner that must execute it; left out: any that has the models and the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_id: Option<RunnerId>,
}

/// A job and where it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What people call it.
    pub name: String,
    /// What to execute.
    pub sweep: Sweep,
    /// The runner that must execute it, if one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_id: Option<RunnerId>,
    /// Where it stands.
    pub state: JobState,
    /// The runner that holds or held it, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
    /// The run it became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// How far it is.
    pub progress: Progress,
    /// Whether its cancellation was asked and the runner has yet to stop.
    pub cancel_requested: bool,
    /// How often it was leased since a case of it last arrived.
    pub attempts: u32,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was asked.
    pub created_at: UnixMillis,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<UnixMillis>,
}

/// Where a job stands. Queued → Running → Finished | Failed | Cancelled; a lease that expires leads back to Queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// Waits for a runner.
    Queued,
    /// A runner holds its lease.
    Running,
    /// Every case ended.
    Finished,
    /// Given up after [`MAX_ATTEMPTS`] leases, or reported failed by its runner.
    Failed,
    /// Stopped on request.
    Cancelled,
}

/// Leases without a single new case after which a job is given up.
pub const MAX_ATTEMPTS: u32 = 5;

impl JobState {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing further will happen.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Cancelled)
    }
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Cases that ended.
    pub done: u32,
    /// Cases that the sweep has.
    pub total: u32,
    /// The case that runs now, by its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// What it is doing: `load`, `warm-up`, `repetition 2 of 5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Estimated milliseconds to the end, from the cases that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_ms: Option<u64>,
}

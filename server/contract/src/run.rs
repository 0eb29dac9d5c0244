//! A run: one execution of a sweep on one machine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::explore::CaseLine;
use crate::ids::{JobId, MachineId, RunId, UnixMillis};
use crate::machine::Machine;
use crate::sweep::Sweep;

/// One execution of a sweep on one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// What people call it.
    pub name: String,
    /// The job it answers, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// Where it ran.
    pub machine_id: MachineId,
    /// What it executes.
    pub sweep: Sweep,
    /// The program that measured.
    pub runner: RunnerBuild,
    /// How far it is.
    pub status: RunStatus,
    /// Where its rows come from.
    pub origin: RunOrigin,
    /// When it began.
    pub started_at: UnixMillis,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<UnixMillis>,
}

/// The program that measured, exactly.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RunnerBuild {
    /// Version of `bench-runner`.
    pub version: String,
    /// Commit it was built from; `unknown` outside a checkout.
    pub commit: String,
    /// Version of candle.
    pub candle: String,
    /// Cargo features: `cuda`, `flash-attn`, `nvtx`.
    pub features: Vec<String>,
    /// RUSTFLAGS and profile of the build.
    pub build: String,
    /// Versions of the crates that measure or compute and are in this build: `candle-core`, `nvml-wrapper`, with CUDA
    /// `cudarc`, with flash attention `candle-flash-attn`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub crates: BTreeMap<String, String>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    /// Cases are still to come, or its runner died and has not resumed.
    Running,
    /// Every case ended.
    Finished,
    /// Stopped on request; what was measured is kept.
    Cancelled,
}

impl RunStatus {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Where a run's rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RunOrigin {
    /// Measured by hand with `bench-runner run`.
    Local,
    /// Measured for a job.
    Job,
    /// Shipped with the project: really measured, elsewhere.
    Example,
}

impl RunOrigin {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Job => "job",
            Self::Example => "example",
        }
    }
}

/// A line of the list of runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RunSummary {
    /// The run.
    pub run: Run,
    /// Its machine's name.
    pub machine_name: String,
    /// `cpu`'s or the GPU's name.
    pub device_name: String,
    /// Cases that its sweep has.
    pub cases_total: u32,
    /// Cases that ended.
    pub cases_done: u32,
    /// Cases that ended well.
    pub cases_ok: u32,
    /// Highest decode rate among its cases, in tokens per second over the whole batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_decode_tokens_per_second: Option<f64>,
    /// Largest peak of allocated bytes among its cases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_peak: Option<planner::Bytes>,
}

/// A run whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RunDetail {
    /// The run.
    pub run: Run,
    /// Where it ran.
    pub machine: Machine,
    /// Its cases that ended, by position.
    pub cases: Vec<Case>,
}

/// What the cases of a run come to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunFigures {
    /// Cases that ended.
    pub done: u64,
    /// Cases that ended well.
    pub ok: u64,
    /// Highest median decode rate, in tokens per second over the whole batch.
    pub best_decode_tokens_per_second: Option<f64>,
    /// Largest peak of allocated bytes.
    pub largest_peak: Option<planner::Bytes>,
    /// How far estimates are from peaks on average, as a share of the peaks, whatever the sign.
    pub mean_error: Option<f64>,
    /// Cases that this is of.
    pub estimated: u64,
}

/// Cases of a run that a page shows.
pub const CASES_OF_PAGE: u32 = 50;
/// Most cases of a run that its plots are drawn from; of more the first that ended.
pub const MAX_PLOTTED: usize = 1000;

/// A page of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunPage {
    /// The run.
    pub run: Run,
    /// Where it ran.
    pub machine: Machine,
    /// What all its cases come to.
    pub figures: RunFigures,
    /// What its plots are drawn from, at most [`MAX_PLOTTED`].
    pub lines: Vec<CaseLine>,
    /// Some of its cases, by position, at most [`CASES_OF_PAGE`].
    pub cases: Vec<Case>,
    /// The position that the page before begins at; none on the first.
    pub previous: Option<u32>,
    /// The position that the next page begins at; none on the last.
    pub next: Option<u32>,
}

/// Filters of the list of runs; each left out admits all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct RunFilter {
    /// A model's name, or a part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// A machine's name, or a part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// A precision that one of the cases has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
    /// `running`, `finished`, `cancelled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<RunStatus>,
    /// Page from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// Rows of a page, at most 200; 50 where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_page: Option<u32>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Rows on all pages.
    pub total: u64,
    /// This page, from 1.
    pub page: u32,
    /// Rows of a page.
    pub per_page: u32,
}

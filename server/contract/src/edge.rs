//! The edge of what fits: asked in a case, answered in its measurement.

use std::fmt;
use std::str::FromStr;

use planner::Bytes;
use serde::{Deserialize, Serialize};

use crate::case::CaseStatus;

/// What is enlarged until it does not fit any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EdgeAxis {
    /// Sequences at once, for the lengths of the case.
    Batch,
    /// Tokens of each sequence, prompt and generated ones together, for the batch of the case.
    Context,
}

impl EdgeAxis {
    /// As the contract spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Context => "context",
        }
    }
}

impl fmt::Display for EdgeAxis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no axis of an edge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown edge \"{0}\"; accepted: batch, context")]
pub struct UnknownEdge(pub String);

impl FromStr for EdgeAxis {
    type Err = UnknownEdge;
    fn from_str(s: &str) -> Result<Self, UnknownEdge> {
        match s {
            "batch" => Ok(Self::Batch),
            "context" => Ok(Self::Context),
            _ => Err(UnknownEdge(s.to_owned())),
        }
    }
}

/// The search for an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EdgeSpec {
    /// What is enlarged.
    pub axis: EdgeAxis,
    /// The largest value that is tried; null: the largest that a sweep may have, or that the engine takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// How far the largest that fits and the smallest that does not may be apart at the end; 1 is exact.
    #[serde(default = "exact", skip_serializing_if = "is_exact")]
    pub resolution: u64,
}

const fn exact() -> u64 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_exact(resolution: &u64) -> bool {
    *resolution == 1
}

impl EdgeSpec {
    /// The exact edge of `axis`, as far as a sweep goes.
    #[must_use]
    pub const fn exact(axis: EdgeAxis) -> Self {
        Self { axis, limit: None, resolution: exact() }
    }
}

/// As a case's key has it: `edge:batch`, `edge:context<=8192~64`.
impl fmt::Display for EdgeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "edge:{}", self.axis)?;
        if let Some(limit) = self.limit {
            write!(f, "<={limit}")?;
        }
        if self.resolution != exact() {
            write!(f, "~{}", self.resolution)?;
        }
        Ok(())
    }
}

/// An edge that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// What was enlarged.
    pub axis: EdgeAxis,
    /// The largest value that was seen to fit: sequences, or tokens of a context; 0 where not even the smallest does. The
    /// other figures of the measurement are this value's.
    pub largest: u64,
    /// The smallest value that does not fit; null where all values up to the limit do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smallest_failed: Option<u64>,
    /// The largest that the planner said would fit, before anything ran; null where it had no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<u64>,
    /// What was tried, in order.
    pub probes: Vec<EdgeProbe>,
}

/// One value that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EdgeProbe {
    /// The value.
    pub value: u64,
    /// How it ended: `ok`, `out-of-memory`, or `refused` where the engine takes no more.
    pub status: CaseStatus,
    /// Most bytes alive at once, where it fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_allocated: Option<Bytes>,
    /// The key of a smaller case of the same run that had failed, so that this value was not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inferred_from: Option<String>,
}

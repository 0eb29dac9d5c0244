//! The measurement row: a plan and what was measured of it.

use serde::{Deserialize, Serialize};

use super::plan::Plan;
use crate::bytes::Bytes;

/// One published or measured figure set, with its plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MeasurementRow {
    /// A name unique in its file.
    pub id: String,
    /// Where the figure was published.
    pub source: String,
    /// Licence of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// What was inferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What ran.
    pub plan: Plan,
    /// What it took.
    pub measured: Measured,
}

/// Figures of one row, any subset.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the contract's table says what each is compared with")]
pub struct Measured {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activations: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuda_graphs: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_pool_bytes: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_pool_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_bytes_per_token: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_cache: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurrent_state: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent_sequences: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_basis: Option<TotalBasis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fits: Option<bool>,
}

/// How a total was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum TotalBasis {
    /// Tensors alive.
    Allocated,
    /// The allocator's pool.
    Reserved,
    /// The process.
    Process,
}

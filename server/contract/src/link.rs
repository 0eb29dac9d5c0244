//! A short link: a plan stored with the answer it had.

use planner::{Estimate, Plan};
use serde::{Deserialize, Serialize};

use crate::ids::UnixMillis;

/// A stored plan. Its id is derived from its content, so that the same plan and answer have one link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StoredPlan {
    /// Ten characters of Crockford's base 32.
    pub id: String,
    /// The plan.
    pub plan: Plan,
    /// What the planner answered when it was stored.
    pub estimate: Estimate,
    /// Version of the planner that answered.
    pub planner_version: String,
    /// When it was stored.
    pub created_at: UnixMillis,
}

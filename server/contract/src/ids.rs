//! Identifiers, each its own type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, uuid::Error> {
                s.parse().map(Self)
            }
        }
    };
}

id! {
    /// A run.
    RunId
}
id! {
    /// A case of a run: derived from the run and the case's key, so that an upload repeated is the same row.
    CaseId
}
id! {
    /// A job.
    JobId
}
id! {
    /// A runner.
    RunnerId
}
id! {
    /// A lease of a job.
    LeaseId
}
id! {
    /// A machine: derived from what identifies it, so that it is the same after a restart.
    MachineId
}

impl CaseId {
    /// The id of the case `key` of `run` (UUID version 5, the run as namespace).
    #[must_use]
    pub fn derive(run: RunId, key: &str) -> Self {
        Self(Uuid::new_v5(&run.0, key.as_bytes()))
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// This moment and `ms` milliseconds more.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

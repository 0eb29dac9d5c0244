//! Settings of a CUDA device that change what is measured, and so are dimensions of a case.

use serde::{Deserialize, Serialize};

/// How many unused bytes the device's default memory pool keeps when the program waits for the device
/// (`CU_MEMPOOL_ATTR_RELEASE_THRESHOLD`). Kept bytes are reserved and not allocated; giving them back costs time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ReleaseThreshold {
    /// None: what is unused goes back to the system. The driver's own default.
    #[serde(rename = "0")]
    Zero,
    /// All of them (2^64 - 1).
    #[serde(rename = "max")]
    Max,
}

impl ReleaseThreshold {
    /// As the contract spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zero => "0",
            Self::Max => "max",
        }
    }

    /// The attribute's value in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Zero => 0,
            Self::Max => u64::MAX,
        }
    }
}

/// Whether cudarc makes two CUDA events for each allocation, so that several streams may use it. One stream needs none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EventTracking {
    /// It does. Cudarc's default.
    On,
    /// It does not.
    Off,
}

impl EventTracking {
    /// As the contract spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

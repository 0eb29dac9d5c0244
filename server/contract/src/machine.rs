//! The machine that a run was measured on.

use planner::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::MachineId;

/// Where a run took place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Derived from host identity, CPU and GPU UUIDs.
    pub id: MachineId,
    /// Host name, as the operator calls it.
    pub name: String,
    /// Operating system and kernel, for example `Linux 6.1`.
    pub os: String,
    /// The processor.
    pub cpu: Cpu,
    /// Host memory in bytes.
    pub memory_bytes: Bytes,
    /// GPUs, in CUDA's order; empty on a machine without one.
    #[serde(default)]
    pub gpus: Vec<GpuDevice>,
}

/// A processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Cpu {
    /// As the system calls it.
    pub model: String,
    /// Logical cores visible to the process.
    pub logical_cores: u32,
    /// Instruction set that the kernels use: `avx2`, `avx512`, `neon`, `generic`.
    pub isa: String,
}

/// A GPU as its driver describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GpuDevice {
    /// The driver's UUID.
    pub uuid: String,
    /// Product name.
    pub name: String,
    /// Id in the planner's catalogue, where it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogue_id: Option<String>,
    /// Memory that CUDA sees, in bytes.
    pub memory_bytes: Bytes,
    /// Driver version.
    pub driver: String,
    /// CUDA version of the driver.
    pub cuda: String,
    /// Power limit in watts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_limit_w: Option<f64>,
    /// Highest SM clock in MHz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sm_clock_mhz: Option<u32>,
}

//! The GPUs of the catalogue.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::model::Dtype;

/// The id that plans Candle in host memory.
pub const CPU: &str = "cpu";

/// A GPU of the catalogue. What is not published is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// Its id in plans.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Memory by its name, in GB (for GDDR cards the vendors mean GiB).
    pub nominal_gb: u64,
    /// Memory as `nvidia-smi` reports it, in MiB.
    pub physical_mib: Option<u64>,
    /// Memory that a program sees (`cudaMemGetInfo`'s total), in MiB.
    pub visible_mib: Option<u64>,
    /// Memory bandwidth in GB/s (10^9 bytes).
    pub bandwidth_gb_s: Option<f64>,
    /// Dense throughput by precision.
    pub tflops: Tflops,
    /// How it reaches its peers in one host.
    pub interconnect: Option<Interconnect>,
    /// Link to the host, one direction, as specified (`PCIe` or `NVLink-C2C`), in GB/s.
    pub host_link_gb_s: Option<f64>,
    /// CUDA compute capability, for example `9.0`; none for GPUs of other makers.
    pub compute_capability: Option<String>,
    /// Streaming multiprocessors, compute units or GPU cores.
    pub sm_count: Option<u64>,
    /// Level 2 cache in MiB.
    pub l2_mib: Option<f64>,
    /// Whether it shares its memory with the processor.
    pub unified_memory: bool,
    /// Power limit in watts.
    pub power_w: Option<f64>,
    /// Where the figures come from.
    pub source: String,
    /// What else should be known.
    #[serde(default)]
    pub note: Option<String>,
}

/// Dense throughput in TFLOP/s (10^12), without structured sparsity, with fp32 accumulation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are the field's own")]
pub struct Tflops {
    pub fp32: Option<f64>,
    pub tf32: Option<f64>,
    pub bf16: Option<f64>,
    pub fp16: Option<f64>,
    pub fp8: Option<f64>,
    pub int8: Option<f64>,
    pub fp4: Option<f64>,
}

/// How a GPU reaches its peers in one host.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interconnect {
    /// What it is.
    pub kind: InterconnectKind,
    /// Both directions together, to all peers, in GB/s.
    pub gb_s: Option<f64>,
}

/// Kinds of interconnect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names are the field's own")]
pub enum InterconnectKind {
    Nvlink,
    Pcie,
    InfinityFabric,
    Unified,
}

impl Tflops {
    /// Throughput of a matrix product in a number format.
    #[must_use]
    pub const fn of(&self, dtype: Dtype) -> Option<f64> {
        match dtype {
            Dtype::F32 => self.fp32,
            Dtype::Bf16 => self.bf16,
            Dtype::F16 => self.fp16,
        }
    }
}

/// Memory that a program sees, and how that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VisibleMemory {
    /// As CUDA reported it.
    Reported(Bytes),
    /// Not reported: the physical memory less what drivers keep on the cards where both are known. From compute capability
    /// 9.0 on 0.6 % (0.4 % on B200 and H200, 0.6 % on an H100), before it 1.5 % (1.1 % on an A100 of 80 GB, 1.5 % on one of
    /// 40 GB and on an RTX 4090, 1.7 % on a T4). On Apple's chips three quarters, Metal's recommended working set.
    Assumed(Bytes),
}

impl VisibleMemory {
    /// The size either way.
    #[must_use]
    pub const fn bytes(self) -> Bytes {
        match self {
            Self::Reported(bytes) | Self::Assumed(bytes) => bytes,
        }
    }
}

impl Gpu {
    /// Memory that a program sees.
    #[must_use]
    pub fn visible(&self) -> VisibleMemory {
        if let Some(mib) = self.visible_mib {
            return VisibleMemory::Reported(Bytes::from_mib(mib));
        }
        if self.unified_memory && self.compute_capability.is_none() {
            return VisibleMemory::Assumed(Bytes::from_mib(self.nominal_gb.saturating_mul(1024) / 4 * 3));
        }
        let physical =
            self.physical_mib.map_or(Bytes(self.nominal_gb.saturating_mul(1_000_000_000)), Bytes::from_mib);
        let kept = if self.major_capability().is_some_and(|major| matches!(major, 9 | 10)) { 6 } else { 15 };
        VisibleMemory::Assumed(physical.saturating_sub(Bytes(physical.0 / 1000 * kept)))
    }

    /// First number of the compute capability: 9 for Hopper.
    #[must_use]
    pub fn major_capability(&self) -> Option<u64> {
        self.compute_capability.as_deref()?.split('.').next()?.parse().ok()
    }
}

static GPUS: LazyLock<Vec<Gpu>> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../data/gpus.json")).unwrap_or_default());

/// Every GPU.
#[must_use]
pub fn gpus() -> &'static [Gpu] {
    &GPUS
}

/// The GPU of an id, or its slice (`h100-sxm-80gb:3g.40gb`); none for [`CPU`], which is no GPU.
#[must_use]
pub fn gpu(id: &str) -> Option<&'static Gpu> {
    GPUS.iter().chain(super::mig::slices().iter().filter(|_| id.contains(':'))).find(|g| g.id == id)
}

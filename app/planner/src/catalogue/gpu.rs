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
    /// Not reported: the physical memory less 1.5 %, which is what drivers keep on the cards where both are known
    /// (0.6 % on an H100, 1.4 % on an RTX 4090, 1.5 % on an RTX 3090).
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
        let physical =
            self.physical_mib.map_or(Bytes(self.nominal_gb.saturating_mul(1_000_000_000)), Bytes::from_mib);
        VisibleMemory::Assumed(physical.saturating_sub(Bytes(physical.0 / 1000 * 15)))
    }
}

static GPUS: LazyLock<Vec<Gpu>> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../data/gpus.json")).unwrap_or_default());

/// Every GPU.
#[must_use]
pub fn gpus() -> &'static [Gpu] {
    &GPUS
}

/// The GPU of an id; none for [`CPU`], which is no GPU.
#[must_use]
pub fn gpu(id: &str) -> Option<&'static Gpu> {
    GPUS.iter().find(|g| g.id == id)
}

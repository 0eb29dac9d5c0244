//! What a GPU can do, and how it reaches its neighbours.

use crate::catalogue::{Gpu, InterconnectKind};
use crate::document::precision::{ActivationPrecision, WeightPrecision};
use crate::model::Dtype;

/// A GPU's limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Machine {
    /// Bytes a second.
    pub(super) bandwidth: f64,
    /// Dense operations a second in the format computed.
    pub(super) throughput: f64,
    /// Dense operations a second of attention, in 16 bit.
    pub(super) attention: f64,
    /// Whether its memory is stacked (HBM).
    pub(super) hbm: bool,
    /// Bytes a second to a neighbour in the node, one direction.
    pub(super) link: f64,
    /// Bytes a second to another node, one direction.
    pub(super) network: f64,
    /// Seconds before a message arrives, in the node.
    pub(super) latency: f64,
    /// GPUs of a node.
    pub(super) node: u64,
}

/// Latency of a small all-reduce over `NVLink` and over `PCIe`: NCCL's LL protocol takes about 10 µs for small messages of eight
/// ranks, several times that through host memory (nccl-tests, `all_reduce_perf`, small sizes).
const NVLINK_LATENCY: f64 = 10e-6;
const PCIE_LATENCY: f64 = 30e-6;
/// `PCIe` 4.0 ×16 as peer copies reach it.
const PCIE: f64 = 25e9;
/// One 400 Gbit/s port a GPU, as in DGX H100 systems.
const NETWORK: f64 = 50e9;

impl Machine {
    /// None where bandwidth or throughput is not known.
    pub(super) fn of(
        gpu: &Gpu,
        weights: Option<WeightPrecision>,
        activations: Option<ActivationPrecision>,
        per_node: Option<u32>,
    ) -> Option<Self> {
        use WeightPrecision as P;
        let bandwidth = gpu.bandwidth_gb_s? * 1e9;
        let sixteen = gpu.tflops.of(Dtype::Bf16).or_else(|| gpu.tflops.of(Dtype::F16));
        let rate = match (weights, activations) {
            (Some(P::Fp8), _) => gpu.tflops.fp8.or(sixteen),
            (Some(P::W8a8), _) => gpu.tflops.int8.or(sixteen),
            (Some(P::Nvfp4), _) => gpu.tflops.fp4.or(sixteen),
            (Some(P::Tf32), _) | (_, Some(ActivationPrecision::Tf32)) => gpu.tflops.tf32.or(gpu.tflops.fp32),
            (Some(P::Fp32), _) | (_, Some(ActivationPrecision::Fp32)) => gpu.tflops.fp32,
            _ => sixteen,
        }?;
        // Stacked memory is above 1.2 TB/s; beside it only 512 bits of GDDR7 are (RTX 5090 and RTX PRO 6000, 1.79 TB/s).
        let hbm = bandwidth > 1.2e12 && !gpu.id.starts_with("rtx");
        let (link, latency) = link(gpu);
        Some(Self {
            bandwidth,
            throughput: rate * 1e12,
            attention: sixteen.unwrap_or(rate) * 1e12,
            hbm,
            link,
            network: NETWORK,
            latency,
            node: per_node.map_or(8, u64::from).max(1),
        })
    }
}

/// One direction of the fastest way to a neighbour, half of the total that vendors print, and its latency; `PCIe` 4.0 ×16 where
/// nothing is known.
fn link(gpu: &Gpu) -> (f64, f64) {
    let Some(link) = gpu.interconnect else { return (PCIE, PCIE_LATENCY) };
    let one_way = link.gb_s.map_or(PCIE, |total| total * 1e9 / 2.0);
    match link.kind {
        InterconnectKind::Nvlink | InterconnectKind::InfinityFabric => (one_way, NVLINK_LATENCY),
        // Of what the slot carries, GPUs reach about four fifths in peer copies.
        InterconnectKind::Pcie | InterconnectKind::Unified => (one_way * 0.8, PCIE_LATENCY),
    }
}

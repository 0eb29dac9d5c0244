//! `ZeRO`'s arithmetic: states divided over data parallel ranks (arXiv 1910.02054, section 5 and figure 1).

use crate::document::plan::{Offload, OffloadTo};

/// What is divided over how many ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Zero {
    /// 0: nothing; 1: optimizer states; 2: gradients too; 3: parameters too (FSDP's full shard).
    pub(in crate::engine) stage: u8,
    /// Data parallel ranks.
    pub(in crate::engine) ranks: u64,
}

impl Zero {
    /// One rank's part of `bytes` of parameters.
    pub(in crate::engine) const fn parameters(self, bytes: u64) -> u64 {
        self.part(bytes, 3)
    }

    /// One rank's part of `bytes` of gradients.
    pub(in crate::engine) const fn gradients(self, bytes: u64) -> u64 {
        self.part(bytes, 2)
    }

    /// One rank's part of `bytes` of optimizer states and masters.
    pub(in crate::engine) const fn optimizer(self, bytes: u64) -> u64 {
        self.part(bytes, 1)
    }

    const fn part(self, bytes: u64, from_stage: u8) -> u64 {
        if self.stage >= from_stage && self.ranks > 1 { bytes.div_ceil(self.ranks) } else { bytes }
    }
}

/// Memory of the model's states of `parameters` with mixed-precision Adam on one rank: equation of arXiv 1910.02054, figure 1,
/// with Ψ parameters, K = 12 bytes of optimizer state a parameter and `zero.ranks` = `N_d`.
pub(in crate::engine) const fn model_states(parameters: u64, zero: Zero) -> u64 {
    let (two, twelve) = (parameters.saturating_mul(2), parameters.saturating_mul(12));
    zero.parameters(two).saturating_add(zero.gradients(two)).saturating_add(zero.optimizer(twelve))
}

/// Bytes of the host and of one GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Estimated {
    /// Of one node's host memory.
    pub(in crate::engine) host: u64,
    /// Of one GPU.
    pub(in crate::engine) gpu: u64,
}

/// A cluster as `DeepSpeed`'s estimators take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Cluster {
    /// GPUs of a node.
    pub(in crate::engine) gpus_per_node: u64,
    /// Nodes.
    pub(in crate::engine) nodes: u64,
}

/// The host's buffers come half as large again: `additional_buffer_factor`'s default.
const fn with_buffers(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / 2)
}

/// `estimate_zero2_model_states_mem_needs` of `DeepSpeed` (`runtime/zero/stage_1_and_2.py`).
pub(in crate::engine) fn deepspeed_zero2(parameters: u64, cluster: Cluster, offload: Offload) -> Estimated {
    let gpus = cluster.gpus_per_node.saturating_mul(cluster.nodes).max(1);
    if offload.optimizer == OffloadTo::None {
        Estimated {
            host: with_buffers(parameters.saturating_mul(4).saturating_mul(cluster.gpus_per_node)),
            gpu: parameters.saturating_mul(4).saturating_add(parameters.saturating_mul(16) / gpus),
        }
    } else {
        Estimated {
            host: with_buffers(parameters.saturating_mul(gpus.saturating_mul(4).max(16))),
            gpu: parameters.saturating_mul(2),
        }
    }
}

/// `estimate_zero3_model_states_mem_needs` of `DeepSpeed` (`runtime/zero/stage3.py`). `largest_layer` is in parameters;
/// `zero_init` says whether the model is built divided.
pub(in crate::engine) fn deepspeed_zero3(
    parameters: u64,
    largest_layer: u64,
    cluster: Cluster,
    offload: Offload,
    zero_init: bool,
) -> Estimated {
    let gpus = cluster.gpus_per_node.saturating_mul(cluster.nodes).max(1);
    let whole = |each: u64| parameters.saturating_mul(each);
    let divided = |each: u64| whole(each) / cluster.nodes.max(1);
    let built = whole(4).saturating_mul(cluster.gpus_per_node);
    let live = largest_layer.saturating_mul(4);
    let (host, gpu) = match (offload.optimizer, offload.parameters) {
        (OffloadTo::None, _) if zero_init => (
            largest_layer.saturating_mul(4).saturating_mul(cluster.gpus_per_node),
            live.saturating_add(whole(18) / gpus),
        ),
        (OffloadTo::None, _) => (built, live.saturating_add(whole(18) / gpus)),
        (_, OffloadTo::None) => {
            let host = if zero_init { divided(16) } else { built.max(divided(16)) };
            (host, live.saturating_add(whole(2) / gpus))
        }
        _ => (if zero_init { divided(18) } else { built.max(divided(18)) }, live),
    };
    Estimated { host: with_buffers(host), gpu }
}

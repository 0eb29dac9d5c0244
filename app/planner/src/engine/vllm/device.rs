//! What vLLM asks of the GPU beyond its memory: its generation, which decides kernels, and its multiprocessors.

use crate::catalogue::Gpu;

/// A generation of GPUs, as far as vLLM's choices differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) enum Generation {
    /// Before Ampere, other makers, and what is not known.
    Other,
    /// Compute capability 8.x.
    Ampere,
    /// Compute capability 9.0.
    Hopper,
    /// Compute capability 10.x.
    Blackwell,
    /// Compute capability 12.x: consumer Blackwell and the GB10.
    ConsumerBlackwell,
}

/// What is known of a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Device {
    /// Its generation.
    pub(in crate::engine) generation: Generation,
    /// Streaming multiprocessors.
    pub(in crate::engine) multiprocessors: u64,
    /// Whether its name says A100, for which vLLM keeps small steps (vllm-project/vllm#17885).
    pub(in crate::engine) a100: bool,
}

/// Multiprocessors by the beginning of an id, more special ones first. From NVIDIA's data sheets and architecture white papers.
const KNOWN: &[(&str, Generation, u64)] = &[
    ("h100-pcie", Generation::Hopper, 114),
    ("h100", Generation::Hopper, 132),
    ("h200", Generation::Hopper, 132),
    ("h800", Generation::Hopper, 132),
    ("gh200", Generation::Hopper, 132),
    ("h20", Generation::Hopper, 78),
    ("gb200", Generation::Blackwell, 148),
    ("gb300", Generation::Blackwell, 160),
    ("b200", Generation::Blackwell, 148),
    ("b300", Generation::Blackwell, 160),
    ("b100", Generation::Blackwell, 144),
    ("a100", Generation::Ampere, 108),
    ("a800", Generation::Ampere, 108),
    ("a10-", Generation::Ampere, 72),
    ("a10g", Generation::Ampere, 80),
    ("a30", Generation::Ampere, 56),
    ("a40", Generation::Ampere, 84),
    ("a2-", Generation::Ampere, 10),
    ("rtx-a6000", Generation::Ampere, 84),
    ("rtx-a5000", Generation::Ampere, 64),
    ("rtx-a4000", Generation::Ampere, 48),
    ("rtx-6000-ada", Generation::Ampere, 142),
    ("l40", Generation::Ampere, 142),
    ("l4-", Generation::Ampere, 58),
    ("l20", Generation::Ampere, 92),
    ("rtx-5090", Generation::ConsumerBlackwell, 170),
    ("rtx-5080", Generation::ConsumerBlackwell, 84),
    ("rtx-5070-ti", Generation::ConsumerBlackwell, 70),
    ("rtx-5070", Generation::ConsumerBlackwell, 48),
    ("rtx-5060", Generation::ConsumerBlackwell, 30),
    ("rtx-pro-6000", Generation::ConsumerBlackwell, 188),
    ("dgx-spark", Generation::ConsumerBlackwell, 48),
    ("rtx-4090", Generation::Ampere, 128),
    ("rtx-4080", Generation::Ampere, 76),
    ("rtx-4070-ti", Generation::Ampere, 60),
    ("rtx-4070", Generation::Ampere, 46),
    ("rtx-4060-ti", Generation::Ampere, 34),
    ("rtx-4060", Generation::Ampere, 24),
    ("rtx-3090", Generation::Ampere, 82),
    ("rtx-3080", Generation::Ampere, 68),
    ("rtx-3070", Generation::Ampere, 46),
    ("rtx-3060", Generation::Ampere, 28),
    ("t4", Generation::Other, 40),
    ("v100", Generation::Other, 80),
    ("mi3", Generation::Other, 304),
];

/// A count in the middle of the data-centre cards, for cards that the list lacks.
const UNKNOWN_MULTIPROCESSORS: u64 = 108;

impl Device {
    /// What is known of `gpu`.
    pub(in crate::engine) fn of(gpu: &Gpu) -> Self {
        let known = KNOWN.iter().find(|(start, _, _)| gpu.id.starts_with(start));
        let (generation, multiprocessors) =
            known.map_or((Generation::Other, UNKNOWN_MULTIPROCESSORS), |(_, g, n)| (*g, *n));
        Self { generation, multiprocessors, a100: gpu.name.to_ascii_lowercase().contains("a100") }
    }

    /// Whether `FlashAttention` 3 runs, whose split decoding takes scratch.
    pub(in crate::engine) fn flash_attention_3(self) -> bool {
        self.generation == Generation::Hopper
    }

    /// Bytes of `PyTorch`'s cuBLAS workspace: 32 MiB on Hopper and Blackwell, 8.125 MiB before
    /// (`aten/src/ATen/cuda/CUDABlas.cpp`, `parseChosenWorkspaceSize`).
    pub(in crate::engine) fn cublas_workspace(self) -> u64 {
        match self.generation {
            Generation::Hopper | Generation::Blackwell => 32 << 20,
            _ => 8320 << 10,
        }
    }
}

//! What vLLM asks of the GPU beyond its memory: its generation, which decides kernels, and its multiprocessors.

use crate::catalogue::Gpu;
use crate::error::PlanError;

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
    /// Compute capability 11 and 12: consumer Blackwell, GB10 and Thor.
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

/// A count in the middle of the data-centre cards, for cards whose count is not published.
const UNKNOWN_MULTIPROCESSORS: u64 = 108;

impl Device {
    /// What is known of `gpu`.
    pub(in crate::engine) fn of(gpu: &Gpu) -> Self {
        let generation = match capability(gpu) {
            Some(8) => Generation::Ampere,
            Some(9) => Generation::Hopper,
            Some(10) => Generation::Blackwell,
            Some(11..) => Generation::ConsumerBlackwell,
            _ => Generation::Other,
        };
        Self {
            generation,
            multiprocessors: gpu.sm_count.unwrap_or(UNKNOWN_MULTIPROCESSORS),
            a100: gpu.name.to_ascii_lowercase().contains("a100"),
        }
    }

    /// As [`Device::of`], for an engine that runs on NVIDIA's GPUs from Volta on and on AMD's.
    ///
    /// # Errors
    /// Any other GPU.
    pub(in crate::engine) fn supported(engine: &str, gpu: &Gpu) -> Result<Self, PlanError> {
        if capability(gpu).is_some_and(|major| major >= 7) || gpu.name.contains("AMD") {
            return Ok(Self::of(gpu));
        }
        Err(PlanError::unsupported(
            "gpu.id",
            format!("{engine} does not run on {}", gpu.name),
            "give an NVIDIA GPU of compute capability 7.0 or more or one of AMD's, or the engine llama.cpp",
        ))
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

/// First number of the compute capability.
fn capability(gpu: &Gpu) -> Option<u32> {
    gpu.compute_capability.as_deref().and_then(|c| c.split('.').next()).and_then(|major| major.parse().ok())
}

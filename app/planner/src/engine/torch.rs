//! What engines on plain `PyTorch` take beside their own tensors.

use crate::bytes::Bytes;
use crate::catalogue::Gpu;
use crate::document::plan::Plan;
use crate::document::precision::ActivationPrecision;
use crate::error::PlanError;
use crate::model::Dtype;

/// CUDA context and kernels' modules of a process that runs `PyTorch`, with what the allocator holds idle.
///
/// On an A100, Qwen-1.8B in GPTQ (int4 and int8) takes 0.44 GB more than weights and cache in the table of
/// QwenLM/Qwen's README; `PyTorch` with cuBLAS alone, which needs no attention library, is reported at 0.4 to 0.5 GB.
pub(super) const CONTEXT: Bytes = Bytes::from_mib(420);

/// cuBLAS's workspace, which `PyTorch` takes from its own allocator at the first product
/// (`getChosenWorkspaceSize`, `aten/src/ATen/cuda/CublasHandlePool.cpp`): 2 × 4096 KiB and 8 × 16 KiB, and 32 MiB on
/// Hopper and after.
pub(super) fn cublas_workspace(gpu: &Gpu) -> Bytes {
    // fp8 came with Hopper in the data centre and with Ada elsewhere; Ada keeps the smaller one.
    let hopper_or_later =
        ["H100", "H200", "H20", "GH200", "B100", "B200", "B300", "GB10", "RTX 50", "RTX PRO"];
    if hopper_or_later.iter().any(|name| gpu.name.contains(name)) {
        Bytes::from_mib(32)
    } else {
        Bytes((2 * 4096 + 8 * 16) << 10)
    }
}

/// The number format of a plan's activations.
pub(super) const fn compute(plan: &Plan) -> Dtype {
    match plan.precision.activations {
        None | Some(ActivationPrecision::Bf16) => Dtype::Bf16,
        Some(ActivationPrecision::Fp16) => Dtype::F16,
        // TF32 is a mode of the product; tensors are fp32.
        Some(ActivationPrecision::Fp32 | ActivationPrecision::Tf32) => Dtype::F32,
    }
}

/// The GPU of a plan.
///
/// # Errors
/// There is none.
pub(super) fn gpu(engine: &str, gpu: Option<&'static Gpu>) -> Result<&'static Gpu, PlanError> {
    gpu.ok_or_else(|| {
        PlanError::unsupported(
            "gpu.id",
            format!("{engine} is planned on a GPU only"),
            "give a GPU, or the engine candle or llama.cpp",
        )
    })
}

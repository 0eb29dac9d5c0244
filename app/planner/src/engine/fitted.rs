//! Figures that were read off measurements: all of them, in one table.
//!
//! Everything else in the engines follows from their source or is an assumption that says so. Each of these is a coefficient of a
//! form that has a meaning, named where it stands; together they can be given other values, so that a fit is redone from rows
//! and held against models that it has not seen (`bench-runner validate`).

use serde::Serialize;

/// A figure that was read off measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Constant {
    /// Bytes that the driver takes for one kernel node of a graph that vLLM captures.
    VllmGraphNode,
    /// Bytes that capturing takes at all in vLLM: the capture stream's workspaces and the first graphs' pools.
    VllmCapture,
    /// Bytes outside `PyTorch`'s allocator after vLLM's forward pass, by multiprocessor: modules and the local memory that kernels
    /// which spill reserve for every thread the GPU can hold.
    VllmModules,
    /// More of the same where the vocabulary is no multiple of 16, so that the Triton sampler's loads are not vectorized and it
    /// spills.
    VllmSpills,
    /// Bytes that tensor parallelism adds once in vLLM: NCCL's channels, `NVLink` SHARP's and the fused all-reduce's buffers.
    VllmCommunicator,
    /// The same for each rank.
    VllmCommunicatorRank,
    /// Bytes that a TensorRT-LLM process holds beyond weights, activations and cache on one GPU, the context in it: kernels'
    /// modules, attention and sampler workspaces, CUDA graphs.
    TensorRtOutside,
    /// What each doubling of the tensor parallel ranks adds to it on Hopper and before: NCCL's channels, all-reduce workspaces.
    TensorRtDoublingHopper,
    /// The same on Blackwell, where multicast buffers across `NVLink` domains come on top.
    TensorRtDoublingBlackwell,
    /// Bytes that a trainer on plain `PyTorch` holds beyond its tensors and the context: cuBLAS workspaces, modules of
    /// `FlashAttention`, and blocks of the allocator that are too small for what is asked.
    TrainerSlack,
    /// What torchtitan's allocator pools hold, in thousandths of the tensors of the fullest moment: holes between tensors of
    /// different lifetimes.
    TorchtitanPool,
    /// Seconds in which `LitGPT` launches one kernel.
    LitgptLaunch,
    /// Seconds of the first call of a `LitGPT` process, in which CUDA loads its modules.
    LitgptFirstCall,
    /// Seconds in which Transformers launches one kernel.
    TransformersLaunch,
    /// Seconds between two small kernels in training: what the host needs to launch one and the GPU to start it.
    TrainingKernel,
    /// Share of the dense rate that matrix products of training reach on Blackwell.
    TrainingBlackwell,
    /// The same on Hopper.
    TrainingHopper,
    /// The same on `GeForce` and workstation cards, whose clocks run above the boost that the rate is printed for.
    TrainingGeforce,
}

const COUNT: usize = 18;

impl Constant {
    /// All, in the order of [`Fitted`]'s table.
    pub const ALL: [Self; COUNT] = [
        Self::VllmGraphNode,
        Self::VllmCapture,
        Self::VllmModules,
        Self::VllmSpills,
        Self::VllmCommunicator,
        Self::VllmCommunicatorRank,
        Self::TensorRtOutside,
        Self::TensorRtDoublingHopper,
        Self::TensorRtDoublingBlackwell,
        Self::TrainerSlack,
        Self::TorchtitanPool,
        Self::LitgptLaunch,
        Self::LitgptFirstCall,
        Self::TransformersLaunch,
        Self::TrainingKernel,
        Self::TrainingBlackwell,
        Self::TrainingHopper,
        Self::TrainingGeforce,
    ];
}

/// A value for every [`Constant`]; by default those that estimates use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fitted([f64; COUNT]);

impl Default for Fitted {
    fn default() -> Self {
        Self::SHIPPED
    }
}

impl Fitted {
    /// What estimates use.
    pub const SHIPPED: Self = Self([
        // 22 distinct runs of 13 models of vLLM 0.19 on H100 SXM.
        14_100.0,
        mib(175.0),
        // 0.25 GiB on 132 multiprocessors, between 0.24 and 0.26 in 22 runs of 13 models.
        2_033_601.0,
        // 0.21 GiB on 132 multiprocessors in both runs of such a model (Granite 3, 49155 tokens).
        1_707_907.0,
        // 7 runs of 4 models on 2 and 4 H100: 1.82 to 1.96 GiB, of which the form explains all but 3 %.
        mib(1771.0),
        mib(48.0),
        // The capacity grids of ai-dynamo/aiconfigurator (`tests/integration/test_trtllm_kv_cache_capacity.py`): each count of
        // sequences bounds what was left. One GPU of 80 GB (Qwen3-32B, fp8) leaves 3.7 to 4.3 GiB for it and one of 288 GB
        // (Llama-3.1-8B, bf16) 3.7 to 3.9 GiB: two models, two generations, one figure.
        mib(3900.0),
        // The same grids, 2 and 4 ranks: 0 to 0.3 and 0.7 to 0.9 GiB on Hopper, 1.1 to 1.2 and 2.0 GiB on Blackwell.
        mib(380.0),
        mib(1050.0),
        // 42 rows of QwenLM/Qwen's README on one A100: two models, lengths 256 to 8192.
        mib(900.0),
        // The seven runs of Llama 3.1 8B on H100 96 GB in torchtitan's `benchmarks/llama3_h100_202412_torchtitan.md` (8 and 128
        // GPUs; eager, compiled, fp8; selective and full checkpointing). Their ratios lie from 1.089 to 1.111.
        1100.0,
        // The two unquantized rows of its resource tables (Llama 2 7B, phi-1.5; 50 tokens in one call): 50 × launches × x + y.
        11.2e-6,
        0.77,
        // Rows of Qwen 1.8B and 14B on an A100 take 0.59 to 0.78 ms a layer whatever the size (a sixth is held back by its int8
        // kernel): the median, 0.75 ms, over the 42 launches of such a layer.
        17.9e-6,
        // Informed by 24 published runs; on Blackwell by the 514 products that `SimuMax` 1.2 measured on a B200.
        20e-6,
        0.48,
        0.67,
        0.95,
    ]);

    /// A constant's value.
    #[must_use]
    pub const fn get(&self, constant: Constant) -> f64 {
        self.0[constant as usize]
    }

    /// The same with another value of a constant.
    #[must_use]
    pub const fn with(mut self, constant: Constant, value: f64) -> Self {
        self.0[constant as usize] = value;
        self
    }

    /// A constant that counts bytes (or another whole number); negative ones are 0.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates; no constant comes near"
    )]
    pub(crate) const fn whole(&self, constant: Constant) -> u64 {
        self.get(constant) as u64
    }
}

const fn mib(n: f64) -> f64 {
    n * 1_048_576.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_constant_has_its_place() {
        for (index, constant) in Constant::ALL.into_iter().enumerate() {
            assert_eq!(constant as usize, index);
            let changed = Fitted::SHIPPED.with(constant, 7.0);
            for other in Constant::ALL {
                let wanted = if other == constant { 7.0 } else { Fitted::SHIPPED.get(other) };
                assert!((changed.get(other) - wanted).abs() < f64::EPSILON);
            }
        }
        assert_eq!(Fitted::SHIPPED.whole(Constant::TrainerSlack), 900 << 20);
        assert_eq!(Fitted::SHIPPED.with(Constant::TrainerSlack, -1.0).whole(Constant::TrainerSlack), 0);
    }
}

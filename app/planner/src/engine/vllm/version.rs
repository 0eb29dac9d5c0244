//! What changed from one vLLM release to the next, as far as memory is concerned. Every line was read in the release's own
//! source (the wheels of 0.7.3, 0.8.5, 0.9.2, 0.10.2, 0.11.0, 0.12.0, 0.14.1, 0.16.0, 0.17.1, 0.18.1, 0.19.0, 0.20.2, 0.22.1,
//! 0.24.0, 0.29.0 and 0.33.0); between two of them the change is placed at the later one.

use crate::error::PlanError;

/// The newest release in the table.
pub(in crate::engine) const NEWEST: &str = "0.33.0";
const NEWEST_MINOR: u32 = 33;
const OLDEST_MINOR: u32 = 7;

/// How top-k and top-p are applied in the profile run, which decides what the sampler holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Sampler {
    /// `torch.sort` over the vocabulary: sorted values, indices and the sort's own buffers live at once.
    Sort,
    /// A Triton kernel in place, with one row of scratch a program (`v1/sample/ops/topk_topp_triton.py`).
    Triton,
    /// `FlashInfer`'s rejection sampler.
    FlashInfer,
}

/// Which CUDA graphs are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Graphs {
    /// One graph a batch size, of the whole model (the first engine).
    Full,
    /// One graph a batch size and piece between attentions.
    Piecewise,
    /// Both: pieces for mixed batches, whole graphs for decoding.
    FullAndPiecewise,
}

/// Batch sizes that are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Sizes {
    /// Largest.
    pub(in crate::engine) largest: u64,
    /// Step from 256 on; below it is 8.
    pub(in crate::engine) step: u64,
}

/// A release.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is one change of a release, independent of the others"
)]
pub(in crate::engine) struct Version {
    /// Its minor number.
    pub(in crate::engine) minor: u32,
    /// `gpu_memory_utilization` (`config/cache.py`).
    pub(in crate::engine) memory_fraction: f64,
    /// Whether the first engine runs (`VLLM_USE_V1` was off): no chunked prefill up to 32768 tokens, no cache groups.
    pub(in crate::engine) first_engine: bool,
    /// Whether large cards admit 1024 sequences rather than 256 (`EngineArgs.get_batch_defaults`).
    pub(in crate::engine) many_sequences: bool,
    /// Whether cards of at least 160 GiB take 16384 tokens a step.
    pub(in crate::engine) huge_steps: bool,
    /// How the profile run samples.
    pub(in crate::engine) sampler: Sampler,
    /// Which graphs are captured.
    pub(in crate::engine) graphs: Graphs,
    /// At which batch sizes.
    pub(in crate::engine) sizes: Sizes,
    /// Whether the graphs' estimated memory is taken out of the budget (`VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS`).
    pub(in crate::engine) graphs_in_budget: bool,
    /// Whether windows free their pages (`disable_hybrid_kv_cache_manager` exists).
    pub(in crate::engine) cache_groups: bool,
    /// Whether the tokens that are printed are concurrency times `max_model_len`, not blocks over groups.
    pub(in crate::engine) tokens_by_concurrency: bool,
    /// Whether experts compute in one workspace that is kept (`v1/worker/workspace.py`).
    pub(in crate::engine) workspace: bool,
    /// Whether bitsandbytes' doubly quantized scales are widened to fp32 on loading (`dequantize_dq`).
    pub(in crate::engine) widens_scales: bool,
    /// Whether models with recurrent layers cache prefixes by default, which costs a second state a sequence (`align`).
    pub(in crate::engine) recurrent_prefixes: bool,
    /// Whether all-reduce and norm are fused on Hopper and Blackwell, with a workspace for it.
    pub(in crate::engine) fused_all_reduce: bool,
    /// Whether graphs are captured once with and once without adapters (`cudagraph_specialize_lora`).
    pub(in crate::engine) adapter_graphs: bool,
    /// Whether experts have adapters (`FusedMoEWithLoRA`).
    pub(in crate::engine) adapted_experts: bool,
    /// Whether pages can go to host memory (`--kv-offloading-size`).
    pub(in crate::engine) offloads_pages: bool,
    /// Whether any draft model may propose; the first engine did it, the second one only with EAGLE and MTP until then.
    pub(in crate::engine) draft_models: bool,
}

impl Version {
    /// The release of minor number `minor` (0.`minor`).
    const fn of(minor: u32) -> Self {
        Self {
            minor,
            memory_fraction: if minor >= 20 { 0.92 } else { 0.9 },
            first_engine: minor < 8,
            many_sequences: minor >= 9,
            huge_steps: minor >= 33,
            sampler: if minor >= 22 {
                Sampler::FlashInfer
            } else if minor >= 17 {
                Sampler::Triton
            } else {
                Sampler::Sort
            },
            graphs: if minor < 8 {
                Graphs::Full
            } else if minor < 11 {
                Graphs::Piecewise
            } else {
                Graphs::FullAndPiecewise
            },
            sizes: Sizes {
                largest: if minor < 8 { 256 } else { 512 },
                step: if minor >= 12 { 16 } else { 8 },
            },
            graphs_in_budget: minor >= 20,
            cache_groups: minor >= 9,
            tokens_by_concurrency: minor >= 20,
            workspace: minor >= 14,
            widens_scales: minor >= 11,
            recurrent_prefixes: minor >= 29,
            fused_all_reduce: minor >= 17,
            adapter_graphs: minor >= 12,
            adapted_experts: minor >= 12,
            offloads_pages: minor >= 12,
            draft_models: minor < 8 || minor >= 16,
        }
    }

    /// Number of batch sizes up to `limit` at which a graph is captured: 1, 2, 4, then every 8 to 256, then every `step`
    /// (`VllmConfig._set_cudagraph_sizes`).
    pub(in crate::engine) const fn captures(&self, limit: u64) -> u64 {
        let limit = if limit < self.sizes.largest { limit } else { self.sizes.largest };
        let small = (limit >= 1) as u64 + (limit >= 2) as u64 + (limit >= 4) as u64;
        let eights = (if limit < 255 { limit } else { 255 }) / 8;
        let beyond = if limit >= 256 { (limit - 256) / self.sizes.step + 1 } else { 0 };
        small + eights + beyond
    }
}

/// The release of a plan, and the name to echo.
///
/// # Errors
/// Releases before 0.7 and names that are no release.
pub(in crate::engine) fn version(given: Option<&str>) -> Result<(Version, String), PlanError> {
    let Some(given) = given else { return Ok((Version::of(NEWEST_MINOR), NEWEST.to_owned())) };
    let mut numbers = given.trim_start_matches('v').split('.');
    let major = numbers.next().and_then(|n| n.parse::<u32>().ok());
    // A pre-release writes letters after the second or third number.
    let digits = |n: &str| n.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().ok();
    let shown: String = given.chars().take(40).collect();
    match (major, numbers.next().and_then(digits)) {
        (Some(0), Some(minor)) if (OLDEST_MINOR..=NEWEST_MINOR).contains(&minor) => {
            Ok((Version::of(minor), shown))
        }
        (Some(_), Some(_)) => Err(PlanError::not_planned_yet(
            "engine.version",
            format!("vLLM {shown}"),
            format!("give 0.{OLDEST_MINOR} to {NEWEST}, or leave it out"),
        )),
        _ => Err(PlanError::invalid(
            "engine.version",
            format!("\"{shown}\" is no release of vLLM"),
            format!("give one as it is published, for example {NEWEST}, or leave it out"),
        )),
    }
}

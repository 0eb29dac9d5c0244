//! `SGLang`: a share of the memory for weights and one pool of tokens, and nothing measured: what a step and the graphs take must
//! fit into what the share leaves.
//!
//! From `srt/model_executor/model_runner.py` (`profile_max_num_token`, `init_memory_pool`) of 0.5.2: the pool is what is free after
//! loading, less `1 - mem_fraction_static` of what was free before; its tokens are that by the bytes of one token in all layers.
//! Weights are loaded by layers that were vLLM's, so they are counted as there.

mod defaults;

use std::fmt::Write as _;

use super::policy::{Breakdown, Numbers, Policy, Pool, Spread};
use super::resolved::Resolved;
use super::vllm::{self, cache, device::Device, overhead, profile, rotary, weights};
use super::{accept, serving, shard};
use crate::bytes::Bytes;
use crate::document::estimate::{Components, EngineVersion, KvEstimate, Warning};
use crate::document::plan::{CacheKind, EngineName, Plan, Speculation, Workload};
use crate::document::precision::CachePrecision;
use crate::error::PlanError;
use crate::model::{Mixer, Model};
use defaults::Rules;

/// `FlashInfer`'s workspace (`SGLANG_FLASHINFER_WORKSPACE_SIZE`).
const WORKSPACE: u64 = 384 << 20;
/// Requests that the table of their tokens has room for: `max_total_tokens / context · 512`, between these.
const REQUESTS: (u64, u64) = (2048, 4096);
/// Columns of that table beyond the context.
const EXTRA_CONTEXT: u64 = 4;
/// `mamba_full_memory_ratio`: states over cache.
const STATE_RATIO: (u64, u64) = (9, 19);
/// Whose sampler and kernels a step is planned with: the same `FlashInfer` as vLLM's from 0.22 on.
const LIKE_VLLM: &str = "0.22.1";

/// One pipeline stage.
#[derive(Debug, Clone, Copy)]
struct Stage {
    weights: u64,
    /// Bytes of one token in its attention layers.
    token: u64,
    /// Bytes of one sequence's states.
    state: u64,
    profile: profile::Profile,
    graphs: overhead::GraphMemory,
}

struct Sglang {
    rules: Rules,
    name: String,
    stages: Vec<Stage>,
    runtime: u64,
    /// Memory that `nvidia-smi` reports, in MiB.
    reported_mib: u64,
    tensor: u64,
    pipeline: u64,
    data: u64,
    page: u64,
    warnings: Vec<Warning>,
    /// Host memory for cache, and the bytes of one token in all GPUs of a replica.
    host: (Bytes, u64),
    /// MiB that speculation adds to what is left free.
    reserve: u64,
    drafting: Option<Drafting>,
    command: String,
}

/// What proposes tokens: loaded when the model's pool is there already, with a pool of as many tokens beside it.
#[derive(Debug, Clone, Copy)]
struct Drafting {
    weights: u64,
    /// Bytes of one token in its layers.
    token: u64,
}

/// MiB that are left free for speculation: 6 GiB for a draft model, 2 GiB for the model's own layers
/// (`_handle_gpu_memory_settings` in `srt/server_args.py`).
fn reserve(resolved: &Resolved) -> u64 {
    match resolved.serve().and_then(|s| s.speculation.as_ref()) {
        Some(Speculation::DraftModel { .. }) => 6 * 1024,
        Some(Speculation::Mtp { .. }) => 2 * 1024,
        Some(Speculation::Ngram { .. }) | None => 0,
    }
}

/// Prepares a plan.
///
/// # Errors
/// The field that the engine refuses, and what it accepts.
pub(crate) fn prepare(resolved: &Resolved) -> Result<Box<dyn Policy>, PlanError> {
    let (plan, model) = (&resolved.plan, &resolved.model);
    let (rules, name) = defaults::rules(plan.engine.version.as_deref())?;
    let Some(gpu) = resolved.gpu else {
        return Err(PlanError::unsupported(
            "gpu.id",
            "SGLang is planned on GPUs only",
            "give a GPU, or the engine candle",
        ));
    };
    check(resolved)?;
    let p = resolved.layout();
    let (tensor, pipeline, data) = (u64::from(p.tensor), u64::from(p.pipeline), u64::from(p.data));
    let expert = u64::from(p.expert);
    let compute = vllm::compute(plan, model);
    let stored = weights::stored("SGLang", plan, model, compute, true)?;
    let device = Device::supported("SGLang", gpu)?;
    let config = rotary::config(plan);
    let table = rotary::bytes(model, config, compute.bytes());
    let tensors = weights::rank_tensors(model, tensor, expert, 1);
    let draft = weights::Draft::of("SGLang", resolved, &stored, compute, true)?;
    let rank = resolved.serve().and_then(|s| s.lora_adapters.as_ref()).map_or(0, |a| u64::from(a.rank));
    let cached = draft.as_ref().map_or_else(|| model.clone(), |d| d.beside(model));
    let setting = cache::Setting {
        tensor,
        element: vllm::cache_element("SGLang", plan, compute)?,
        convolution_element: compute.bytes(),
        state_element: vllm::state_element(config, compute),
        tokens: 1,
        groups: false,
        states: 1,
    };
    let (version, _) = vllm::version::version(Some(LIKE_VLLM))?;
    let outside = overhead::Setting {
        version: &version,
        device,
        tensor,
        compute,
        copies_inputs: stored.copies_inputs,
        fitted: resolved.fitted,
        chunked: false,
        image_prefix: true,
        adapters: rank > 0,
    };
    let layers = model.layers.len() as u64;
    let stages = (0..pipeline)
        .map(|index| {
            let (from, to) = shard::stage_layers(layers, index, pipeline);
            let (first, last) = (index == 0, index + 1 == pipeline);
            let held = weights::held(model, &tensors, &stored, (from, to), (first, last));
            let step = profile::Setting {
                version: &version,
                device,
                tensor,
                expert,
                data: 1,
                compute,
                copies_inputs: stored.copies_inputs,
                widened: stored.widened(&tensors, compute),
                samples: last,
                free_images: rotary::free_images(config),
                adapters: rank.saturating_mul(3 * 4),
                speculates: resolved.serve().is_some_and(|s| s.speculation.is_some()),
            };
            let (token, state) = token_and_state(model, &setting, from, to);
            let adapters = serving::adapter_bytes(resolved, &tensors, (from, to), compute.bytes());
            Stage {
                weights: held.bytes.saturating_add(table).saturating_add(adapters),
                token,
                state,
                profile: profile::Profile::of(model, &step, from, to),
                graphs: overhead::GraphMemory::of(model, &outside, from, to),
            }
        })
        .collect();
    let drafting = draft.as_ref().map(|d| {
        let layers = d.model.layers.len() as u64;
        Drafting { weights: d.weights, token: token_and_state(&d.model, &setting, 0, layers).0 }
    });
    let (per_token, _) = token_and_state(&cached, &cache::Setting { tensor: 1, ..setting }, 0, u64::MAX);
    Ok(Box::new(Sglang {
        host: (serving::host_cache(resolved), per_token),
        reserve: reserve(resolved),
        drafting,
        runtime: overhead::runtime(&outside, model.vocab, false),
        reported_mib: gpu.physical_mib.unwrap_or(resolved.numbers.memory.0 >> 20),
        stages,
        rules,
        name,
        tensor,
        pipeline,
        data,
        page: plan.cache.and_then(|c| c.page_tokens).map_or(1, u64::from),
        warnings: warnings(resolved),
        command: command(plan),
    }))
}

fn check(resolved: &Resolved) -> Result<(), PlanError> {
    let plan = &resolved.plan;
    accept::no_training_layout("SGLang", resolved.layout())?;
    accept::attention("SGLang", plan, &["flash"])?;
    accept::cache("SGLang", plan, CacheKind::Paged)?;
    match &plan.workload {
        Workload::Serve(serve) => {
            accept::absent("SGLang", &[("workload.gpu_layers", serve.gpu_layers.is_some())])?;
        }
        Workload::Train(_) => {
            return Err(PlanError::unsupported(
                "workload.kind",
                "SGLang does not train",
                "give serve, or a training engine",
            ));
        }
        Workload::Embed { .. } => return Err(accept::embedding_not_planned("SGLang")),
    }
    if plan.cache.is_some_and(|c| c.page_tokens == Some(0)) {
        return Err(PlanError::invalid(
            "cache.page_tokens",
            "0 is out of range",
            "give at least 1, or leave it out",
        ));
    }
    let p = resolved.layout();
    if p.context > 1 {
        return Err(PlanError::not_planned_yet(
            "parallelism.context",
            "context parallelism in SGLang",
            "leave it out",
        ));
    }
    if u64::from(p.tensor) % u64::from(p.expert.max(1)) != 0 {
        return Err(PlanError::unsupported(
            "parallelism.expert",
            format!(
                "{} does not divide the {} tensor parallel ranks, which share the experts",
                p.expert, p.tensor
            ),
            format!("give a divisor of {}, or leave it out", p.tensor),
        ));
    }
    match shard::undivided_heads(&resolved.model, p.tensor) {
        None => Ok(()),
        Some(heads) => Err(PlanError::unsupported(
            "parallelism.tensor",
            format!("{} does not divide the {heads} query heads", p.tensor),
            format!("give a divisor of {heads}"),
        )),
    }
}

/// Bytes of one token in the attention layers `from..to`, and of one sequence's states in the others.
fn token_and_state(model: &Model, s: &cache::Setting, from: u64, to: u64) -> (u64, u64) {
    let here = model.layers.iter().zip(0u64..).filter(|(_, index)| (from..to).contains(index));
    here.fold((0, 0), |(token, state): (u64, u64), (layer, _)| match &layer.mixer {
        Mixer::Recurrent(r) => (token, state.saturating_add(cache::state_bytes(r, s))),
        mixer => (token.saturating_add(cache::token_bytes(mixer, s).unwrap_or(0)), state),
    })
}

fn warnings(resolved: &Resolved) -> Vec<Warning> {
    let mut warnings = vec![Warning::new(
        "step-not-measured",
        "SGLang does not measure its steps: the share of memory for weights and pool is a rule by GPU and ranks, and what a \
         step takes is planned here as vLLM's would be.",
    )];
    let tensor = u64::from(resolved.layout().tensor);
    let kv_heads = resolved.model.layers.iter().filter_map(|l| l.attention()).map(|a| a.kv_heads).min();
    if let Some(heads) = kv_heads.filter(|h| tensor > *h) {
        warnings.push(Warning::new(
            "kv-heads-replicated",
            format!("{heads} key heads over {tensor} ranks: each rank keeps one, and they repeat."),
        ));
    }
    if resolved.model.layers.iter().filter_map(|l| l.attention()).any(|a| a.window.is_some()) {
        warnings.push(Warning::new(
            "windows-keep-everything",
            "Layers with a window are planned in the one pool, which keeps every token of every layer; SGLang has a second pool \
             for them in Llama 4 and gpt-oss only.",
        ));
    }
    warnings
}

fn command(plan: &Plan) -> String {
    let model = plan.model.called("MODEL");
    let mut command = format!("python -m sglang.launch_server --model-path {model}");
    let p = &plan.parallelism;
    for (flag, n) in
        [("--tp-size", p.tensor), ("--pp-size", p.pipeline), ("--dp-size", p.data), ("--ep-size", p.expert)]
    {
        if n > 1 {
            let _ = write!(command, " {flag} {n}");
        }
    }
    if plan.precision.kv_cache == Some(CachePrecision::Fp8) {
        command.push_str(" --kv-cache-dtype fp8_e5m2");
    }
    if let Some(tokens) = plan.cache.and_then(|c| c.page_tokens) {
        let _ = write!(command, " --page-size {tokens}");
    }
    command.push_str(&serving_flags(plan));
    command
}

/// The flags of what stands beside the model.
fn serving_flags(plan: &Plan) -> String {
    let Workload::Serve(serve) = &plan.workload else { return String::new() };
    let mut flags = String::new();
    if let Some(adapters) = &serve.lora_adapters {
        let _ = write!(
            flags,
            " --enable-lora --max-loras-per-batch {} --max-lora-rank {} --lora-target-modules {}",
            adapters.count,
            adapters.rank,
            adapters.targets.as_ref().map_or_else(|| "all".to_owned(), |t| t.join(" "))
        );
    }
    match &serve.speculation {
        None => {}
        Some(Speculation::DraftModel { model, tokens, .. }) => {
            let draft = model.called("DRAFT");
            let _ = write!(
                flags,
                " --speculative-algorithm STANDALONE --speculative-draft-model-path {draft}{}",
                steps(*tokens)
            );
        }
        Some(Speculation::Mtp { tokens, .. }) => {
            let _ = write!(flags, " --speculative-algorithm NEXTN{}", steps(*tokens));
        }
        Some(Speculation::Ngram { tokens, .. }) => {
            let _ = write!(flags, " --speculative-algorithm NGRAM --speculative-num-draft-tokens {tokens}");
        }
    }
    if serve.host_cache_mib > 0 {
        // In GB for each rank; 0 would be a ratio.
        let p = &plan.parallelism;
        let ranks = u64::from(p.tensor) * u64::from(p.pipeline) * u64::from(p.data);
        let gb = (serve.host_cache_mib as f64 * 1_048_576.0 / 1e9 / ranks.max(1) as f64).ceil();
        let _ = write!(flags, " --enable-hierarchical-cache --hicache-size {gb:.0}");
    }
    if serve.concurrent_sequences > SPECULATING
        && !matches!(serve.speculation, None | Some(Speculation::Ngram { .. }))
        && serve.max_sequences.is_none()
    {
        let _ = write!(flags, " --max-running-requests {}", serve.concurrent_sequences);
    }
    flags
}

/// `max_running_requests` where a draft proposes and nothing is given.
const SPECULATING: u64 = 48;

/// One chain of `tokens` proposed tokens: as many steps, of one candidate each, and the token that the check adds.
fn steps(tokens: u32) -> String {
    format!(
        " --speculative-num-steps {tokens} --speculative-eagle-topk 1 --speculative-num-draft-tokens {}",
        u64::from(tokens) + 1
    )
}

/// What a plan leaves out.
struct Settings {
    defaults: defaults::Defaults,
    fraction: f64,
}

impl Sglang {
    /// The host's pool mirrors the GPUs', and must be larger (`HostKVCache.__init__`, `srt/mem_cache/memory_pool_host.py`).
    fn check_host(&self, pool_bytes: u64) -> Result<(), PlanError> {
        let ranks = self.tensor.saturating_mul(self.pipeline).saturating_mul(self.data);
        let pools = Bytes(pool_bytes.saturating_mul(ranks));
        if self.host.0 == Bytes::ZERO || self.host.0 > pools {
            return Ok(());
        }
        Err(PlanError::unsupported(
            "workload.host_cache_mib",
            format!("SGLang's pool in host memory must be larger than the GPUs', {pools} here"),
            format!("give more than {}, or leave it out", pools.0.div_ceil(1 << 20)),
        ))
    }

    fn settings(&self, numbers: &Numbers) -> Settings {
        let defaults = self.rules.defaults(
            self.reported_mib,
            self.tensor,
            self.pipeline,
            numbers.max_batched_tokens.map(|t| t.0),
            numbers.max_sequences,
            self.reserve,
        );
        Settings { defaults, fraction: numbers.memory_fraction.unwrap_or(defaults.fraction) }
    }
}

impl Policy for Sglang {
    fn engine(&self) -> EngineVersion {
        EngineVersion { name: EngineName::Sglang, version: self.name.clone(), variant: None }
    }

    fn breakdown(&self, numbers: &Numbers) -> Result<Breakdown, PlanError> {
        let Settings { defaults, fraction } = self.settings(numbers);
        let longest = numbers.max_model_len.0.max(1);
        // What is free once the context and the communicators exist.
        let before = numbers.free_memory().0.saturating_sub(overhead::CONTEXT).saturating_sub(self.runtime);
        let budget = vllm::share(before, fraction);
        let mut tokens = u64::MAX;
        let mut heaviest: Option<(u64, &Stage)> = None;
        let mut negative = false;
        for stage in &self.stages {
            negative |= stage.weights > budget;
            let rest = budget.saturating_sub(stage.weights);
            let for_cache =
                if stage.state > 0 { rest / STATE_RATIO.1 * (STATE_RATIO.1 - STATE_RATIO.0) } else { rest };
            tokens = tokens.min(for_cache.checked_div(stage.token).unwrap_or(u64::MAX));
            if heaviest.is_none_or(|(weights, _)| stage.weights >= weights) {
                heaviest = Some((stage.weights, stage));
            }
        }
        let Some((_, stage)) = heaviest else {
            return Err(PlanError::invalid("parallelism.pipeline", "there are no stages", "give at least 1"));
        };
        if negative || tokens == u64::MAX {
            tokens = 0;
        }
        tokens = tokens / self.page * self.page;
        let requests = numbers.max_sequences.unwrap_or_else(|| {
            let by_context = u128::from(tokens) * 512 / u128::from(longest);
            u64::try_from(by_context).unwrap_or(u64::MAX).clamp(REQUESTS.0, REQUESTS.1)
        });
        let (activations, temporary) =
            stage.profile.peak(defaults.step, defaults.largest_batch.min(defaults.step));
        // `ReqToTokenPool`: an int32 for each token that each request may have.
        let table = requests.saturating_mul(longest.saturating_add(EXTRA_CONTEXT)).saturating_mul(4);
        let sequences = numbers.sequences.div_ceil(self.data.max(1));
        let paged = |length: u64| length.div_ceil(self.page).saturating_mul(self.page);
        // The radix tree holds what all sequences begin with once.
        let common = (numbers.common().0 / self.page * self.page).saturating_mul(sequences.saturating_sub(1));
        let needed = paged(numbers.sequence_held().0).saturating_mul(sequences).saturating_sub(common);
        let state_pool = if stage.state > 0 {
            let room = budget.saturating_sub(stage.weights) / STATE_RATIO.1 * STATE_RATIO.0;
            room - room % stage.state
        } else {
            0
        };
        let drafting = self.drafting.unwrap_or(Drafting { weights: 0, token: 0 });
        let token = stage.token.saturating_add(drafting.token);
        let pool_bytes = tokens.saturating_mul(token);
        self.check_host(pool_bytes)?;
        let parts = Components {
            weights: Bytes(stage.weights.saturating_add(drafting.weights)),
            kv_cache: Bytes(needed.saturating_mul(token)),
            recurrent_state: Bytes(state_pool),
            activations: Bytes(activations),
            temporary: Bytes(temporary.saturating_add(WORKSPACE).saturating_add(table)),
            cuda_graphs: Bytes(stage.graphs.captured(
                defaults.graphs,
                defaults.largest_batch,
                defaults.largest_batch,
            )),
            runtime: Bytes(self.runtime),
            context: Bytes(overhead::CONTEXT),
            ..Components::default()
        };
        let allocated = parts.weights
            + Bytes(pool_bytes).max(parts.kv_cache)
            + parts.recurrent_state
            + parts.activations
            + parts.temporary;
        let pool = if negative {
            Pool::Negative
        } else if tokens >= paged(longest) && tokens >= needed {
            Pool::Enough
        } else {
            Pool::Short
        };
        Ok(Breakdown {
            parts,
            allocated,
            reserved: allocated,
            kv: KvEstimate {
                bytes_per_token: Bytes(token),
                pool_bytes: Bytes(pool_bytes),
                pool_tokens: tokens,
                max_concurrent_sequences: tokens.checked_div(paged(longest)).unwrap_or(0),
            },
            host: serving::host_memory(self.host.0, self.host.1),
            capacity: numbers.free_memory(),
            pool,
            ..Breakdown::default()
        })
    }

    fn warnings(&self, _numbers: &Numbers) -> Vec<Warning> {
        self.warnings.clone()
    }

    fn spread(&self) -> Spread {
        Spread {
            weights: 0.01,
            cache: 0.03,
            activations: 0.4,
            states: 0.0,
            overhead: 0.5,
            basis: "n=0 measured runs: shares, steps and captured batches from SGLang's source; steps and graphs as vLLM's, \
                    assumed to be off by as much as a half"
                .to_owned(),
        }
    }

    fn command(&self, numbers: &Numbers) -> Option<String> {
        let Settings { defaults, fraction } = self.settings(numbers);
        let mut command = self.command.clone();
        let _ = write!(
            command,
            " --context-length {} --chunked-prefill-size {} --mem-fraction-static {fraction}",
            numbers.max_model_len, defaults.step
        );
        if let Some(requests) = numbers.max_sequences {
            let _ = write!(command, " --max-running-requests {requests}");
        }
        Some(command)
    }
}

#[cfg(test)]
mod tests;

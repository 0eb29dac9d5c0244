//! vLLM: weights, a profile run, and pages of cache in what is left of the budget.
//!
//! `gpu_memory_utilization` of the GPU's whole memory is the budget; weights, the peak of the profile run and what lies outside
//! `PyTorch`'s allocator come out of it (`Worker.determine_available_memory`), and the rest becomes pages.

pub(super) mod cache;
pub(super) mod device;
mod embed;
pub(super) mod overhead;
pub(super) mod profile;
pub(super) mod rotary;
pub(super) mod version;
pub(super) mod weights;

use std::fmt::Write as _;

use super::accept;
use super::policy::{Breakdown, Numbers, Policy, Pool, Spread};
use super::resolved::Resolved;
use super::{serving, shard, stored};
use crate::bytes::Bytes;
use crate::document::estimate::{Components, EngineVersion, KvEstimate, Warning};
use crate::document::plan::{CacheKind, EngineName, Plan, Speculation, Workload};
use crate::document::precision::{ActivationPrecision, CachePrecision};
use crate::error::PlanError;
use crate::model::{Dtype, Mixer, Model, WeightTensor};
use device::Device;
use overhead::GraphMemory;
use profile::Profile;
use version::{Graphs, Version};

/// Tokens of a page (`CacheConfig.DEFAULT_BLOCK_SIZE`).
const PAGE_TOKENS: u64 = 16;

/// One pipeline stage.
#[derive(Debug, Clone, Copy)]
struct Stage {
    /// Weights and persistent buffers in bytes.
    weights: u64,
    /// Its profile run.
    profile: Profile,
    /// The draft's profile run, while the hidden states of the model's are alive.
    drafting: Option<Profile>,
    /// Its graphs.
    graphs: GraphMemory,
    /// Bytes of a block.
    block: u64,
    /// Bytes of one token in its layers.
    token: cache::TokenBytes,
}

struct Vllm {
    version: Version,
    task: Task,
    name: String,
    stages: Vec<Stage>,
    pages: cache::Pages,
    /// Bytes outside the allocator.
    runtime: u64,
    /// Bytes of one sequence's states, padding included, in the stage that has most.
    data: u64,
    device: Device,
    warnings: Vec<Warning>,
    /// Bytes of one token's hidden state.
    hidden: u64,
    /// Host memory for pages, and the bytes of one token in all GPUs of a replica.
    host: (Bytes, u64),
    /// The command without its numbers.
    command: String,
}

/// What the plan asks of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    /// Tokens after tokens.
    Generate,
    /// One vector for each sequence, of a decoder: as a prompt that nothing follows.
    EmbedDecoder,
    /// The same of an encoder, which keeps no cache.
    EmbedEncoder,
}

impl Task {
    fn of(resolved: &Resolved) -> Self {
        match (resolved.embeds(), resolved.model.architecture.is_encoder()) {
            (false, _) => Self::Generate,
            (true, false) => Self::EmbedDecoder,
            (true, true) => Self::EmbedEncoder,
        }
    }
}

/// What the scheduler takes a step.
#[derive(Debug, Clone, Copy)]
struct Limits {
    tokens: u64,
    sequences: u64,
    fraction: f64,
}

/// Prepares a plan.
///
/// # Errors
/// The field that the engine refuses, and what it accepts.
pub(crate) fn prepare(resolved: &Resolved) -> Result<Box<dyn Policy>, PlanError> {
    let (plan, model) = (&resolved.plan, &resolved.model);
    let (mut version, name) = version::version(plan.engine.version.as_deref())?;
    let Some(gpu) = resolved.gpu else {
        return Err(PlanError::unsupported(
            "gpu.id",
            "vLLM is planned on GPUs only",
            "give a GPU, or the engine candle",
        ));
    };
    check(resolved)?;
    let task = Task::of(resolved);
    if task != Task::Generate {
        embed::check(resolved, task, &version)?;
        // "Pooling models do not support full cudagraphs" (`VllmConfig.__post_init__`, `config/vllm.py`).
        version.graphs = Graphs::Piecewise;
    }
    let p = resolved.layout();
    let (tensor, pipeline, data) = (u64::from(p.tensor), u64::from(p.pipeline), u64::from(p.data));
    let expert = u64::from(p.expert);
    let compute = compute(plan, model);
    let stored = weights::stored("vLLM", plan, model, compute, version.widens_scales)?;
    let device = Device::supported("vLLM", gpu)?;
    let config = rotary::config(plan);
    let table = rotary::bytes(model, config, compute.bytes());
    let mut tensors = weights::rank_tensors(model, tensor, expert, data);
    if task != Task::Generate {
        tensors.retain(|t| embed::loads(t.role, model.head));
    }
    check_serving(resolved, &version, &name)?;
    let draft = weights::Draft::of("vLLM", resolved, &stored, compute, version.widens_scales)?;
    let element = cache_element("vLLM", plan, compute)?;
    let kept_states = if version.recurrent_prefixes { 2 } else { 1 };
    let paging = cache::Setting {
        tensor,
        element,
        convolution_element: compute.bytes(),
        state_element: state_element(config, compute),
        tokens: plan.cache.and_then(|c| c.page_tokens).map_or(PAGE_TOKENS, u64::from),
        groups: version.cache_groups,
        states: kept_states,
    };
    // A draft's layers have pages in the same pool.
    let cached = draft.as_ref().map_or_else(|| model.clone(), |d| d.beside(model));
    let pages = cache::pages(&cached, &paging);
    let outside = overhead::Setting {
        version: &version,
        device,
        tensor,
        compute,
        copies_inputs: stored.copies_inputs,
        fitted: resolved.fitted,
        chunked: config.is_some_and(|c| rotary::field(c, "attention_chunk_size").is_some()),
        image_prefix: image_prefix(model),
        adapters: resolved.serve().is_some_and(|s| s.lora_adapters.is_some()),
    };
    let setting = profile::Setting {
        version: &version,
        device,
        tensor,
        expert,
        data,
        compute,
        copies_inputs: stored.copies_inputs,
        widened: stored.widened(&tensors, compute),
        samples: false,
        free_images: rotary::free_images(config),
        adapters: 0,
        speculates: resolved.serve().is_some_and(|s| s.speculation.is_some()),
    };
    let ranks = Ranks {
        resolved,
        tensors: &tensors,
        stored: &stored,
        table,
        draft: draft.as_ref(),
        cached: &cached,
        pages: &pages,
        paging: &paging,
        outside: &outside,
        setting,
        generates: task == Task::Generate,
    };
    let stages = (0..pipeline).map(|index| ranks.stage(index, pipeline)).collect();
    Ok(Box::new(Vllm {
        hidden: model.hidden.saturating_mul(compute.bytes()),
        host: (serving::host_cache(resolved), whole_token(resolved, &cached, &paging)),
        // Nothing is sampled where sequences are embedded.
        runtime: overhead::runtime(
            &outside,
            if task == Task::Generate { model.vocab } else { 0 },
            pipeline == 1 && data == 1,
        ),
        task,
        stages,
        pages,
        data,
        device,
        warnings: warnings(resolved, &version, task),
        command: command(plan, &stored, embed::flag(task, &version)),
        version,
        name,
    }))
}

/// What every stage is made of.
struct Ranks<'a> {
    resolved: &'a Resolved,
    tensors: &'a [WeightTensor],
    stored: &'a weights::Stored,
    /// Bytes of the rotary tables.
    table: u64,
    draft: Option<&'a weights::Draft>,
    /// The model with its draft's layers.
    cached: &'a Model,
    pages: &'a cache::Pages,
    paging: &'a cache::Setting,
    outside: &'a overhead::Setting<'a>,
    /// A profile run that does not sample and has no adapters.
    setting: profile::Setting<'a>,
    generates: bool,
}

impl Ranks<'_> {
    fn stage(&self, index: u64, pipeline: u64) -> Stage {
        let model = &self.resolved.model;
        let (from, to) = shard::stage_layers(model.layers.len() as u64, index, pipeline);
        let (first, last) = (index == 0, index + 1 == pipeline);
        let held = weights::held(model, self.tensors, self.stored, (from, to), (first, last));
        let adapters =
            serving::Slots::of(self.resolved, self.tensors, (from, to), self.setting.compute.bytes());
        let setting =
            profile::Setting { samples: last && self.generates, adapters: adapters.token, ..self.setting };
        // Speculation has one stage.
        let cached_to = if last { self.cached.layers.len() as u64 } else { to };
        Stage {
            weights: held
                .bytes
                .saturating_add(self.table)
                .saturating_add(self.draft.map_or(0, |d| d.weights))
                .saturating_add(adapters.bytes)
                .saturating_add(serving::Slots::of_vocabulary(
                    self.resolved,
                    first,
                    last,
                    self.setting.compute.bytes(),
                )),
            profile: Profile::of(model, &setting, from, to),
            drafting: self
                .draft
                .map(|d| Profile::of(&d.model, &self.setting, 0, d.model.layers.len() as u64)),
            graphs: GraphMemory::of(model, self.outside, from, to),
            block: self.pages.block_bytes(from, cached_to),
            token: cache::TokenBytes::of(self.cached, self.paging, from, cached_to),
        }
    }
}

/// Bytes of one token of the longest sequence in all ranks of a replica.
fn whole_token(resolved: &Resolved, cached: &Model, paging: &cache::Setting) -> u64 {
    let whole = cache::TokenBytes::of(cached, &cache::Setting { tensor: 1, ..*paging }, 0, u64::MAX);
    whole.averaged(resolved.numbers.max_model_len.0)
}

/// What vLLM refuses, or what is not planned of it.
fn check(resolved: &Resolved) -> Result<(), PlanError> {
    let (plan, model) = (&resolved.plan, &resolved.model);
    accept::no_training_layout("vLLM", resolved.layout())?;
    accept::attention("vLLM", plan, &["flash"])?;
    accept::cache("vLLM", plan, CacheKind::Paged)?;
    match &plan.workload {
        Workload::Serve(serve) => {
            accept::absent("vLLM", &[("workload.gpu_layers", serve.gpu_layers.is_some())])?;
        }
        Workload::Train(_) => {
            return Err(PlanError::unsupported(
                "workload.kind",
                "vLLM does not train",
                "give serve, or a training engine",
            ));
        }
        Workload::Embed { .. } => {}
    }
    if let Some(tokens) = plan.cache.and_then(|c| c.page_tokens).filter(|t| *t == 0 || t % 16 != 0) {
        return Err(PlanError::invalid(
            "cache.page_tokens",
            format!("{tokens} is no multiple of 16"),
            "give 16, 32, 64 or 128, or leave it out",
        ));
    }
    let p = resolved.layout();
    if p.context > 1 {
        return Err(PlanError::not_planned_yet(
            "parallelism.context",
            "context parallelism in vLLM",
            "leave it out",
        ));
    }
    if p.expert > 1 && u64::from(p.expert) != u64::from(p.tensor) * u64::from(p.data) {
        return Err(PlanError::unsupported(
            "parallelism.expert",
            format!(
                "vLLM divides experts over all {} ranks or by tensor alone",
                u64::from(p.tensor) * u64::from(p.data)
            ),
            "give tensor · data, or leave it out",
        ));
    }
    if let Some(heads) = shard::undivided_heads(model, p.tensor) {
        return Err(PlanError::unsupported(
            "parallelism.tensor",
            format!("{} does not divide the {heads} query heads", p.tensor),
            format!("give a divisor of {heads}"),
        ));
    }
    Ok(())
}

/// Ranks that `--max-lora-rank` takes (`MaxLoRARanks` in `config/lora.py`).
const ADAPTER_RANKS: [u32; 9] = [1, 8, 16, 32, 64, 128, 256, 320, 512];

/// The largest vocabulary of a head with adapters (`LogitsProcessorWithLoRA.create_lora_weights`).
const ADAPTED_VOCABULARY: u64 = 258_048;

/// What stands beside the model and is not in every release.
fn check_serving(resolved: &Resolved, version: &Version, name: &str) -> Result<(), PlanError> {
    let (plan, model) = (&resolved.plan, &resolved.model);
    let Some(serve) = resolved.serve() else { return Ok(()) };
    if let Some(adapters) = &serve.lora_adapters {
        if !ADAPTER_RANKS.contains(&adapters.rank) {
            return Err(PlanError::unsupported(
                "workload.lora_adapters.rank",
                format!("{} is no rank that vLLM sets room aside for", adapters.rank),
                "give 1, 8, 16, 32, 64, 128, 256, 320 or 512: at least the largest adapter's",
            ));
        }
        if adapters.targets.is_some() {
            return Err(PlanError::unsupported(
                "workload.lora_adapters.targets",
                "vLLM sets room aside for every linear module, whatever the adapters change",
                "leave it out",
            ));
        }
        if !version.adapted_experts && model.layers.iter().any(|l| l.experts().is_some()) {
            return Err(PlanError::unsupported(
                "workload.lora_adapters",
                format!("vLLM {name} has no adapters for experts"),
                "give version 0.12 or later, or leave it out",
            ));
        }
        if serving::names_embeddings(model) && !model.tied_embeddings && model.vocab > ADAPTED_VOCABULARY {
            return Err(PlanError::unsupported(
                "workload.lora_adapters",
                format!(
                    "vLLM adapts heads of at most {ADAPTED_VOCABULARY} tokens; {} has {}",
                    model.name, model.vocab
                ),
                "leave it out, or give another engine",
            ));
        }
        if plan.parallelism.expert > 1 {
            return Err(PlanError::unsupported(
                "workload.lora_adapters",
                "vLLM has no adapters for experts that are divided over ranks",
                "leave it or parallelism.expert out",
            ));
        }
    }
    if matches!(serve.speculation, Some(Speculation::DraftModel { .. })) && !version.draft_models {
        return Err(PlanError::unsupported(
            "workload.speculation.kind",
            format!("vLLM {name} takes no draft model"),
            "give version 0.16 or later, or the kind mtp or ngram",
        ));
    }
    if serve.host_cache_mib > 0 && !version.offloads_pages {
        return Err(PlanError::unsupported(
            "workload.host_cache_mib",
            format!("vLLM {name} has no --kv-offloading-size"),
            "give version 0.12 or later, or leave it out",
        ));
    }
    Ok(())
}

/// The flags of what stands beside the model.
fn serving_flags(plan: &Plan) -> String {
    let Workload::Serve(serve) = &plan.workload else { return String::new() };
    let mut flags = String::new();
    if let Some(adapters) = &serve.lora_adapters {
        let _ =
            write!(flags, " --enable-lora --max-loras {} --max-lora-rank {}", adapters.count, adapters.rank);
    }
    let speculative = serve.speculation.as_ref().map(|speculation| match speculation {
        Speculation::DraftModel { model, tokens, .. } => {
            let draft = model.called("DRAFT");
            format!(r#"{{"method":"draft_model","model":"{draft}","num_speculative_tokens":{tokens}}}"#)
        }
        Speculation::Mtp { tokens, .. } => format!(r#"{{"method":"mtp","num_speculative_tokens":{tokens}}}"#),
        Speculation::Ngram { tokens, .. } => {
            format!(r#"{{"method":"ngram","num_speculative_tokens":{tokens},"prompt_lookup_max":{tokens}}}"#)
        }
    });
    if let Some(json) = speculative {
        let _ = write!(flags, " --speculative-config '{json}'");
    }
    if serve.host_cache_mib > 0 {
        // Each replica takes its own.
        let each = serve.host_cache_mib as f64 / f64::from(plan.parallelism.data.max(1));
        let _ = write!(flags, " --kv-offloading-size {}", each / 1024.0);
    }
    if let Some(images) = serve.images {
        let _ = write!(flags, r#" --limit-mm-per-prompt '{{"image":{}}}'"#, images.per_prompt);
    }
    flags
}

pub(super) fn compute(plan: &Plan, model: &Model) -> Dtype {
    match (plan.precision.activations, plan.precision.weights.and_then(stored::plain)) {
        (Some(ActivationPrecision::Fp32 | ActivationPrecision::Tf32), _) => Dtype::F32,
        (Some(ActivationPrecision::Fp16), _) => Dtype::F16,
        (Some(ActivationPrecision::Bf16), _) => Dtype::Bf16,
        (None, Some(dtype)) => dtype,
        (None, None) => match model.native {
            Some(Dtype::F16) => Dtype::F16,
            _ => Dtype::Bf16,
        },
    }
}

pub(super) fn cache_element(engine: &str, plan: &Plan, compute: Dtype) -> Result<u64, PlanError> {
    match plan.precision.kv_cache {
        None => Ok(compute.bytes()),
        Some(CachePrecision::Fp32) => Ok(4),
        Some(CachePrecision::Bf16 | CachePrecision::Fp16) => Ok(2),
        // One scale a layer.
        Some(CachePrecision::Fp8) => Ok(1),
        Some(other) => Err(PlanError::unsupported(
            "precision.kv_cache",
            format!("{engine} has no {other} cache"),
            "give bf16, fp16, fp32 or fp8, or leave it out",
        )),
    }
}

/// Bytes of an element of a recurrent state: `mamba_ssm_dtype` of the configuration (Qwen 3.5), else the compute precision.
pub(super) fn state_element(config: Option<&serde_json::Value>, compute: Dtype) -> u64 {
    match config.and_then(|c| rotary::field(c, "mamba_ssm_dtype")).and_then(serde_json::Value::as_str) {
        Some("float32") => 4,
        Some("bfloat16" | "float16") => 2,
        _ => compute.bytes(),
    }
}

/// Whether the model's images attend to themselves in both directions: Gemma 3 with its tower.
pub(super) fn image_prefix(model: &Model) -> bool {
    model.architecture == crate::model::Architecture::Gemma3 && !model.towers.is_empty()
}

fn warnings(resolved: &Resolved, version: &Version, task: Task) -> Vec<Warning> {
    if task == Task::EmbedEncoder {
        return vec![Warning::new(
            "no-cache",
            "An encoder keeps no cache: vLLM neither profiles nor fills the GPU, it takes weights, graphs and a step's \
             activations.",
        )];
    }
    let mut warnings = Vec::new();
    let tensor = u64::from(resolved.layout().tensor);
    let kv_heads = resolved
        .model
        .layers
        .iter()
        .filter_map(|l| l.attention())
        .map(|a| a.kv_heads)
        .min()
        .unwrap_or(u64::MAX);
    if tensor > kv_heads {
        warnings.push(Warning::new(
            "kv-heads-replicated",
            format!("{kv_heads} key heads over {tensor} ranks: each rank keeps one, and they repeat."),
        ));
    }
    if tensor > 1 && resolved.model.layers.iter().any(|l| matches!(l.mixer, Mixer::Latent(_))) {
        warnings.push(Warning::new(
            "latent-cache-replicated",
            "Latent attention's cache is whole on every tensor parallel rank.",
        ));
    }
    if resolved.model.layers.iter().any(|l| matches!(l.mixer, Mixer::Recurrent(_))) {
        warnings.push(Warning::new(
            "attention-pages-raised",
            "Pages are as large as a recurrent state, so that short sequences take a whole one in every group.",
        ));
    }
    if !version.graphs_in_budget {
        warnings.push(Warning::new(
            "graphs-outside-budget",
            "This version captures CUDA graphs beyond gpu_memory_utilization; from 0.20 on they come out of it.",
        ));
    }
    warnings
}

/// The command without the numbers that can change.
fn command(plan: &Plan, stored: &weights::Stored, task: &str) -> String {
    let model = plan.model.called("MODEL");
    let mut command = format!("vllm serve {model}{task}");
    let p = &plan.parallelism;
    for (flag, n) in [
        ("--tensor-parallel-size", p.tensor),
        ("--pipeline-parallel-size", p.pipeline),
        ("--data-parallel-size", p.data),
    ] {
        if n > 1 {
            let _ = write!(command, " {flag} {n}");
        }
    }
    if p.expert > 1 {
        command.push_str(" --enable-expert-parallel");
    }
    match plan.precision.activations {
        Some(ActivationPrecision::Fp32 | ActivationPrecision::Tf32) => command.push_str(" --dtype float32"),
        Some(ActivationPrecision::Fp16) => command.push_str(" --dtype float16"),
        Some(ActivationPrecision::Bf16) => command.push_str(" --dtype bfloat16"),
        None => {}
    }
    if let Some(method) = stored.flag {
        let _ = write!(command, " --quantization {method}");
    }
    if plan.precision.kv_cache == Some(CachePrecision::Fp8) {
        command.push_str(" --kv-cache-dtype fp8");
    }
    if let Some(tokens) = plan.cache.and_then(|c| c.page_tokens) {
        let _ = write!(command, " --block-size {tokens}");
    }
    command.push_str(&serving_flags(plan));
    command
}

impl Stage {
    /// Bytes of activations and of what is temporary at the peak of the profile run: the model's, or the draft's after it.
    fn peak(&self, limits: &Limits, hidden: u64) -> (u64, u64) {
        let (activations, temporary) = self.profile.peak(limits.tokens, limits.sequences);
        let Some(drafting) = self.drafting else { return (activations, temporary) };
        let (drafted, beside) = drafting.peak(limits.tokens, limits.sequences);
        let drafted = drafted.saturating_add(hidden.saturating_mul(limits.tokens));
        if drafted.saturating_add(beside) > activations.saturating_add(temporary) {
            (drafted, beside)
        } else {
            (activations, temporary)
        }
    }
}

impl Vllm {
    /// What the plan leaves out, by version and GPU (`EngineArgs.get_batch_defaults`, as an API server).
    fn limits(&self, numbers: &Numbers) -> Limits {
        const GIB: u64 = 1 << 30;
        let v = &self.version;
        let large = numbers.memory.0 >= 70 * GIB && !(self.device.a100 && v.many_sequences);
        let tokens = numbers.max_batched_tokens.map_or_else(
            || {
                if v.first_engine {
                    // A prompt is one step; from 32768 tokens on it is chunked.
                    if numbers.max_model_len.0 <= 32_768 { numbers.max_model_len.0.max(2048) } else { 2048 }
                } else if v.huge_steps && numbers.memory.0 >= 160 * GIB {
                    16_384
                } else if large {
                    8192
                } else {
                    2048
                }
            },
            |t| t.0,
        );
        let sequences = numbers.max_sequences.unwrap_or(if large && v.many_sequences { 1024 } else { 256 });
        let limits = Limits {
            tokens: tokens.max(1),
            sequences: sequences.clamp(1, tokens.max(1)),
            fraction: numbers.memory_fraction.unwrap_or(v.memory_fraction),
        };
        if self.task == Task::Generate { limits } else { embed::limits(limits, self.task, numbers) }
    }

    /// The tokens that the engine prints for a pool of `blocks`.
    fn pool_tokens(&self, blocks: u64, one: u64, longest: u64) -> u64 {
        let groups = self.pages.groups.len().max(1) as u64;
        if self.version.tokens_by_concurrency {
            let tokens = u128::from(blocks) * u128::from(longest) / u128::from(one.max(1));
            u64::try_from(tokens).unwrap_or(u64::MAX)
        } else {
            (blocks / groups).saturating_mul(self.pages.tokens)
        }
    }
}

impl Policy for Vllm {
    fn engine(&self) -> EngineVersion {
        EngineVersion { name: EngineName::Vllm, version: self.name.clone(), variant: None }
    }

    fn breakdown(&self, numbers: &Numbers) -> Result<Breakdown, PlanError> {
        let numbers = &self.asked(numbers);
        let limits = self.limits(numbers);
        if self.task == Task::EmbedEncoder {
            return self.encoder(numbers, limits);
        }
        let budget = share(numbers.memory.0, limits.fraction);
        let longest = numbers.max_model_len.0.max(1);
        let mut heaviest = (0u64, None);
        let mut blocks = u64::MAX;
        let mut available = 0;
        let mut negative = budget > numbers.free_memory().0;
        for stage in &self.stages {
            let (activations, temporary) = stage.peak(&limits, self.hidden);
            let graphs = stage.graphs.bytes(&self.version, limits.sequences, limits.tokens);
            let counted = if self.version.graphs_in_budget { graphs } else { 0 };
            let taken = stage
                .weights
                .saturating_add(activations)
                .saturating_add(temporary)
                .saturating_add(self.runtime)
                .saturating_add(counted);
            negative |= taken > budget;
            let left = budget.saturating_sub(taken);
            let held = left.checked_div(stage.block).unwrap_or(u64::MAX);
            if held < blocks || self.stages.len() == 1 {
                (blocks, available) = (held, left);
            }
            if taken >= heaviest.0 || heaviest.1.is_none() {
                heaviest = (taken, Some((stage, activations, temporary, graphs)));
            }
        }
        let (Some((stage, activations, temporary, graphs)), false) = (heaviest.1, self.stages.is_empty())
        else {
            return Err(PlanError::invalid("parallelism.pipeline", "there are no stages", "give at least 1"));
        };
        if negative {
            (blocks, available) = (0, 0);
        }
        let one = self.pages.blocks(longest, limits.tokens);
        let sequences = numbers.sequences.div_ceil(self.data.max(1));
        let (attention, states) =
            self.pages.attention_and_state_blocks(numbers.sequence_held().0.max(1), limits.tokens);
        // Whole pages of what all sequences begin with are there once.
        let common = self.pages.common_blocks(numbers.common().0).saturating_mul(sequences.saturating_sub(1));
        let attention = attention.saturating_mul(sequences).saturating_sub(common);
        let cache = attention.saturating_mul(stage.block);
        let state_bytes = states.saturating_mul(sequences).saturating_mul(stage.block);
        let needed = attention.saturating_add(states.saturating_mul(sequences));
        let pool = if negative {
            Pool::Negative
        } else if blocks >= one && blocks >= needed {
            Pool::Enough
        } else {
            Pool::Short
        };
        let parts = Components {
            weights: Bytes(stage.weights),
            kv_cache: Bytes(cache),
            recurrent_state: Bytes(state_bytes),
            activations: Bytes(activations),
            temporary: Bytes(temporary),
            cuda_graphs: Bytes(graphs),
            runtime: Bytes(self.runtime),
            context: Bytes(overhead::CONTEXT),
            ..Components::default()
        };
        let allocated = parts.weights
            + Bytes(cache.saturating_add(state_bytes).max(available))
            + parts.activations
            + parts.temporary;
        Ok(Breakdown {
            parts,
            allocated,
            reserved: allocated,
            kv: KvEstimate {
                bytes_per_token: Bytes(stage.token.averaged(longest)),
                // States live in the same pool and are a component of their own.
                pool_bytes: Bytes(available.saturating_sub(state_bytes)),
                pool_tokens: self.pool_tokens(blocks, one, longest),
                max_concurrent_sequences: blocks.checked_div(one).unwrap_or(0),
            },
            host: serving::host_memory(self.host.0, self.host.1),
            capacity: numbers.free_memory(),
            pool,
            ..Breakdown::default()
        })
    }

    fn warnings(&self, numbers: &Numbers) -> Vec<Warning> {
        let mut warnings = self.warnings.clone();
        let budget = share(numbers.memory.0, self.limits(&self.asked(numbers)).fraction);
        if budget > numbers.free_memory().0 {
            warnings.push(Warning::new(
                "fraction-exceeds-free-memory",
                "gpu_memory_utilization is a share of the whole GPU, and less than that is free: vLLM refuses to start. Give \
                 a smaller workload.memory_fraction.",
            ));
        }
        warnings
    }

    fn spread(&self) -> Spread {
        if self.task != Task::Generate {
            return embed::spread();
        }
        Spread {
            weights: 0.005,
            cache: 0.01,
            activations: 0.05,
            states: 0.0,
            overhead: 0.1,
            basis: "n=31 published runs of 13 models, vLLM 0.19 on H100; other versions and GPUs from the source alone"
                .to_owned(),
        }
    }

    fn command(&self, numbers: &Numbers) -> Option<String> {
        let numbers = &self.asked(numbers);
        let limits = self.limits(numbers);
        let mut command = self.command.clone();
        let _ = write!(
            command,
            " --max-model-len {} --max-num-batched-tokens {} --max-num-seqs {} --gpu-memory-utilization {}",
            numbers.max_model_len, limits.tokens, limits.sequences, limits.fraction
        );
        Some(command)
    }
}

/// A share of a size.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share between 0 and 1 of a size, rounded down as the engine does"
)]
pub(super) fn share(bytes: u64, fraction: f64) -> u64 {
    (bytes as f64 * fraction) as u64
}

#[cfg(test)]
mod tests;

//! What people set beside a served model, which engines have it, and what it takes where an engine simply holds it as well.

use std::fmt::Write as _;

use super::policy::{Breakdown, Numbers, Policy, Spread};
use super::resolved::Resolved;
use super::training::lora;
use super::{shard, stored, vllm};
use crate::bytes::{Bytes, Tokens};
use crate::document::estimate::{EngineVersion, Estimate, HostMemory, Warning};
use crate::document::plan::{EngineName, Lora, LoraAdapters, Serve, Speculation, Workload};
use crate::error::PlanError;
use crate::model::{Mixer, Model, WeightTensor};

/// The most tokens that are proposed at once.
const MAX_PROPOSED: u32 = 64;
/// The most adapters at once.
const MAX_ADAPTERS: u64 = 4096;

/// A setting beside a served model.
struct Setting {
    field: &'static str,
    given: fn(&Serve) -> bool,
    /// What has it.
    engines: &'static [EngineName],
}

const PREFIXES: &[EngineName] = &[EngineName::Vllm, EngineName::Sglang, EngineName::TensorrtLlm];
const HELD_BESIDE: &[EngineName] = &[EngineName::LlamaCpp, EngineName::Transformers];

/// Which engine has which setting. An engine that is left out may have it as well, but is not planned with it.
const SETTINGS: &[Setting] = &[
    Setting {
        field: "workload.shared_prefix_tokens",
        given: |s| s.shared_prefix_tokens > Tokens(0),
        engines: PREFIXES,
    },
    Setting { field: "workload.host_cache_mib", given: |s| s.host_cache_mib > 0, engines: PREFIXES },
    Setting {
        field: "workload.images",
        given: |s| s.images.is_some(),
        engines: &[EngineName::Vllm, EngineName::Sglang],
    },
    Setting {
        field: "workload.lora_adapters",
        given: |s| s.lora_adapters.is_some(),
        engines: &[EngineName::Vllm, EngineName::Sglang, EngineName::LlamaCpp, EngineName::Transformers],
    },
    Setting {
        field: "workload.speculation.model",
        given: |s| matches!(s.speculation, Some(Speculation::DraftModel { .. })),
        engines: &[EngineName::Vllm, EngineName::Sglang, EngineName::LlamaCpp, EngineName::Transformers],
    },
    Setting {
        field: "workload.speculation.kind",
        given: |s| matches!(s.speculation, Some(Speculation::Mtp { .. })),
        engines: &[EngineName::Vllm, EngineName::Sglang],
    },
    Setting {
        field: "workload.speculation.kind",
        given: |s| matches!(s.speculation, Some(Speculation::Ngram { .. })),
        engines: &[EngineName::Vllm, EngineName::Sglang],
    },
];

/// The engine's name as plans spell it.
fn name_of(name: EngineName) -> String {
    serde_json::to_value(name).ok().and_then(|n| n.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Refuses what the engine lacks and what is out of range.
pub(super) fn check(resolved: &Resolved) -> Result<(), PlanError> {
    let Some(serve) = resolved.serve() else { return Ok(()) };
    let engine = resolved.plan.engine.name;
    if let Some(setting) = SETTINGS.iter().find(|s| (s.given)(serve) && !s.engines.contains(&engine)) {
        let have: Vec<String> = setting.engines.iter().map(|e| name_of(*e)).collect();
        return Err(PlanError::not_planned_yet(
            setting.field,
            format!("it in {}", name_of(engine)),
            format!("give the engine {}, or leave it out", have.join(", ")),
        ));
    }
    if serve.shared_prefix_tokens > Tokens(0)
        && resolved.model.layers.iter().any(|l| matches!(l.mixer, Mixer::Recurrent(_)))
    {
        return Err(PlanError::not_planned_yet(
            "workload.shared_prefix_tokens",
            format!("sharing the states of {}'s recurrent layers", resolved.model.name),
            "leave it out",
        ));
    }
    if let Some(adapters) = &serve.lora_adapters {
        check_adapters(adapters, &resolved.model)?;
    }
    if let Some(speculation) = &serve.speculation {
        check_speculation(speculation, resolved)?;
    }
    Ok(())
}

fn check_adapters(adapters: &LoraAdapters, model: &Model) -> Result<(), PlanError> {
    if !(1..=MAX_ADAPTERS).contains(&adapters.count) {
        return Err(PlanError::invalid(
            "workload.lora_adapters.count",
            format!("{} is out of range", adapters.count),
            format!("give 1 to {MAX_ADAPTERS}"),
        ));
    }
    let targets = adapters.targets.clone().unwrap_or_else(|| vec!["q_proj".to_owned()]);
    let lora = Lora { rank: adapters.rank, targets, train_embeddings: false };
    match lora::adapters(model, &lora) {
        // Without targets only the rank is checked.
        Err(e) if adapters.targets.is_none() && e.field.ends_with("targets") => Ok(()),
        Err(e) => Err(PlanError { field: e.field.replacen("lora", "lora_adapters", 1), ..e }),
        Ok(_) => Ok(()),
    }
}

fn check_speculation(speculation: &Speculation, resolved: &Resolved) -> Result<(), PlanError> {
    if !(1..=MAX_PROPOSED).contains(&speculation.tokens()) {
        return Err(PlanError::invalid(
            "workload.speculation.tokens",
            format!("{} is out of range", speculation.tokens()),
            format!("give 1 to {MAX_PROPOSED}"),
        ));
    }
    if let Some(share) = speculation.acceptance().filter(|a| !(a.is_finite() && (0.0..1.0).contains(a))) {
        return Err(PlanError::invalid(
            "workload.speculation.acceptance",
            format!("{share} is out of range"),
            "give a share of at least 0 and less than 1, or leave it out",
        ));
    }
    if matches!(speculation, Speculation::Mtp { .. }) && resolved.model.next_token_layers.is_empty() {
        return Err(PlanError::unsupported(
            "workload.speculation.kind",
            format!("{} has no layers that predict further tokens", resolved.model.name),
            "give draft-model or ngram, or a model that has them (DeepSeek-V3, GLM-4.5, Qwen3-Next)",
        ));
    }
    let layout = resolved.layout();
    if layout.pipeline > 1 {
        return Err(PlanError::not_planned_yet(
            "workload.speculation",
            "speculation over pipeline stages",
            "leave it or parallelism.pipeline out",
        ));
    }
    let engine = resolved.plan.engine.name;
    if engine == EngineName::Transformers && resolved.numbers.sequences > u64::from(layout.data) {
        return Err(PlanError::unsupported(
            "workload.concurrent_sequences",
            "Transformers speculates for one sequence at a time (`assisted generate is only supported for batch_size = 1`)",
            "give 1, or leave workload.speculation out",
        ));
    }
    let Some(draft) = draft(resolved)?.filter(|_| matches!(speculation, Speculation::DraftModel { .. }))
    else {
        return Ok(());
    };
    // llama.cpp lets a few padded rows differ (`SPEC_VOCAB_MAX_SIZE_DIFFERENCE`).
    let apart = if engine == EngineName::LlamaCpp { 128 } else { 0 };
    if let Some(heads) = shard::undivided_heads(&draft.model, layout.tensor) {
        return Err(PlanError::unsupported(
            "workload.speculation.model",
            format!("{} tensor parallel ranks do not divide the draft's {heads} query heads", layout.tensor),
            "give another draft, or other ranks",
        ));
    }
    if draft.model.vocab.abs_diff(resolved.model.vocab) > apart {
        return Err(PlanError::unsupported(
            "workload.speculation.model",
            format!(
                "{} knows {} tokens and {} knows {}: a draft must have the same vocabulary",
                draft.model.name, draft.model.vocab, resolved.model.name, resolved.model.vocab
            ),
            "give a smaller model of the same family",
        ));
    }
    Ok(())
}

/// What proposes tokens, as a model of its own: a draft model, or the model's layers for further tokens with its embedding and
/// head. None without speculation, and where nothing is computed for it.
///
/// # Errors
/// `workload.speculation.model…` where it cannot be read or generates nothing.
pub(crate) fn draft(resolved: &Resolved) -> Result<Option<Resolved>, PlanError> {
    let Some(speculation) = resolved.serve().and_then(|s| s.speculation.as_ref()) else { return Ok(None) };
    let mut drafting = resolved.clone();
    if let Workload::Serve(serve) = &mut drafting.plan.workload {
        serve.speculation = None;
        serve.lora_adapters = None;
        serve.images = None;
        serve.gpu_layers = None;
    }
    drafting.numbers.gpu_layers = None;
    match speculation {
        Speculation::Ngram { .. } => Ok(None),
        Speculation::Mtp { .. } => {
            drafting.model.layers = std::mem::take(&mut drafting.model.next_token_layers);
            drafting.model.towers = Vec::new();
            Ok(Some(drafting))
        }
        Speculation::DraftModel { model, precision, .. } => {
            let named = |e: PlanError| PlanError {
                field: e.field.replacen("model", "workload.speculation.model", 1),
                ..e
            };
            drafting.model = Model::from_ref(model).map_err(named)?;
            if !drafting.model.is_decoder() {
                return Err(PlanError::invalid(
                    "workload.speculation.model",
                    format!("{} is an encoder and proposes nothing", drafting.model.name),
                    "give a model that generates",
                ));
            }
            drafting.plan.model = (**model).clone();
            if drafting.plan.engine.name == EngineName::LlamaCpp {
                // The draft's cache has a type of its own, fp16 where nothing is said (`-ctkd`, `-ctvd`).
                drafting.plan.precision.kv_cache = None;
            }
            drafting.plan.precision.weights = *precision;
            drafting.plan.compression = crate::document::plan::Compression::default();
            drafting.sparse = false;
            drafting.warnings = Vec::new();
            Ok(Some(drafting))
        }
    }
}

/// Elements of the adapters' two matrices in the layers `from..to` on one of `tensor` ranks. Without targets every linear module of
/// a layer has them.
fn adapter_elements(
    adapters: &LoraAdapters,
    model: &Model,
    parts: &[WeightTensor],
    layers: (u64, u64),
    tensor: u64,
) -> u64 {
    let rank = u64::from(adapters.rank);
    let divide = |n: u64| n.div_ceil(tensor.max(1));
    let Some(targets) = &adapters.targets else {
        return linear(parts, layers)
            .map(|t| rank.saturating_mul(t.columns.saturating_add(t.rows)).saturating_mul(t.copies))
            .fold(0, u64::saturating_add);
    };
    let lora = Lora { rank: adapters.rank, targets: targets.clone(), train_embeddings: false };
    let found = lora::adapters(model, &lora).unwrap_or_default();
    found
        .iter()
        .filter(|a| (layers.0..layers.1).contains(&(a.layer as u64)))
        .map(|a| {
            // Inputs are divided where the module's are: behind the mixer and in the feed-forward's down projection.
            let width = match a.reads {
                lora::Reads::MixerOutput | lora::Reads::FeedForwardInner => {
                    divide(a.inputs).saturating_add(a.outputs)
                }
                lora::Reads::MixerInput | lora::Reads::Inside | lora::Reads::FeedForwardInput => {
                    a.inputs.saturating_add(divide(a.outputs))
                }
            };
            rank.saturating_mul(width).saturating_mul(a.copies)
        })
        .fold(0, u64::saturating_add)
}

/// The matrices of the layers `from..to` that can have an adapter.
fn linear(parts: &[WeightTensor], layers: (u64, u64)) -> impl Iterator<Item = &WeightTensor> {
    parts.iter().filter(move |t| {
        t.layer.is_some_and(|l| (layers.0..layers.1).contains(&l))
            && matches!(stored::place(t), stored::Place::Linear | stored::Place::Expert)
    })
}

/// Bytes of all adapters of a plan in the layers `from..to` on one of its tensor parallel ranks, each element `element` bytes.
pub(super) fn adapter_bytes(
    resolved: &Resolved,
    parts: &[WeightTensor],
    layers: (u64, u64),
    element: u64,
) -> u64 {
    let Some(adapters) = resolved.serve().and_then(|s| s.lora_adapters.as_ref()) else { return 0 };
    adapter_elements(adapters, &resolved.model, parts, layers, u64::from(resolved.layout().tensor))
        .saturating_mul(adapters.count)
        .saturating_mul(element)
}

/// Host memory for cache that leaves the GPUs.
pub(super) fn host_cache(resolved: &Resolved) -> Bytes {
    resolved.serve().map_or(Bytes::ZERO, |s| Bytes::from_mib(s.host_cache_mib))
}

/// That memory and the tokens in it, each `token` bytes in all GPUs of a replica.
pub(super) fn host_memory(cache: Bytes, token: u64) -> HostMemory {
    let kv_tokens = cache.0.checked_div(token).unwrap_or(0);
    HostMemory { kv_cache: cache, kv_tokens, ..HostMemory::default() }
}

/// An error of a draft's own plan, at the fields that say what the draft is.
pub(super) fn of_draft(error: PlanError) -> PlanError {
    let field = match error.field.as_str() {
        "precision.weights" => "workload.speculation.precision",
        _ => "workload.speculation.model",
    };
    PlanError { field: field.to_owned(), ..error }
}

/// An engine that holds adapters and a draft beside its model, each with buffers of its own.
struct Beside {
    main: Box<dyn Policy>,
    draft: Option<Box<dyn Policy>>,
    /// Bytes of all adapters in each layer.
    adapters: Vec<u64>,
    /// Whether both models' compute buffers stay (llama.cpp), or only the larger is alive (`PyTorch`).
    both: bool,
    flags: String,
}

/// Puts adapters and a draft beside `main`, where the engine does just that.
pub(super) fn beside(resolved: &Resolved, main: Box<dyn Policy>) -> Result<Box<dyn Policy>, PlanError> {
    let engine = resolved.plan.engine.name;
    let Some(serve) = resolved.serve().filter(|_| HELD_BESIDE.contains(&engine)) else { return Ok(main) };
    if serve.lora_adapters.is_none() && serve.speculation.is_none() {
        return Ok(main);
    }
    let layout = resolved.layout();
    if layout.tensor > 1 || layout.pipeline > 1 {
        return Err(PlanError::not_planned_yet(
            "workload.lora_adapters",
            format!("adapters or a draft beside a model that {} divides over GPUs", name_of(engine)),
            "leave them or parallelism out",
        ));
    }
    let draft = draft(resolved)?.map(|d| super::prepare(&d)).transpose().map_err(of_draft)?;
    let llama = engine == EngineName::LlamaCpp;
    // llama.cpp's converter writes adapters in fp16; PEFT widens them to fp32 (`autocast_adapter_dtype`).
    let element = if llama { 2 } else { 4 };
    let tensors = resolved.model.tensors();
    let mut flags = String::new();
    if llama {
        for n in 0..serve.lora_adapters.as_ref().map_or(0, |a| a.count) {
            let _ = write!(flags, " --lora ADAPTER_{}.gguf", n + 1);
        }
        // How many tokens it proposes has another flag from build to build.
        if let Some(Speculation::DraftModel { model, .. }) = &serve.speculation {
            let name = model.called("DRAFT");
            let name = name.rsplit('/').next().unwrap_or(name);
            let _ = write!(flags, " -md {name}.gguf");
        }
    }
    Ok(Box::new(Beside {
        main,
        draft,
        adapters: (0..resolved.model.layers.len() as u64)
            .map(|layer| adapter_bytes(resolved, &tensors, (layer, layer + 1), element))
            .collect(),
        both: llama,
        flags,
    }))
}

impl Policy for Beside {
    fn engine(&self) -> EngineVersion {
        self.main.engine()
    }

    fn breakdown(&self, numbers: &Numbers) -> Result<Breakdown, PlanError> {
        let mut answer = self.main.breakdown(numbers)?;
        // An adapter's matrices lie where its layer's are: the last of -ngl on the GPU, the head counted as one.
        let layers = self.adapters.len();
        let on_gpu = numbers.gpu_layers.map_or(layers, |n| (n as usize).saturating_sub(1).min(layers));
        let (on_host, on_gpu) = self.adapters.split_at(layers - on_gpu);
        let mut added = Bytes(on_gpu.iter().copied().fold(0, u64::saturating_add));
        answer.parts.weights += added;
        answer.host.weights += Bytes(on_host.iter().copied().fold(0, u64::saturating_add));
        if let Some(draft) = &self.draft {
            let beside = draft.breakdown(&Numbers { gpu_layers: None, ..*numbers })?;
            let (p, d) = (&mut answer.parts, &beside.parts);
            let before = p.activations + p.temporary;
            p.weights += d.weights;
            p.kv_cache += d.kv_cache;
            p.recurrent_state += d.recurrent_state;
            if self.both {
                p.activations += d.activations;
                p.temporary += d.temporary;
            } else if d.activations + d.temporary > before {
                (p.activations, p.temporary) = (d.activations, d.temporary);
            }
            added += d.weights + d.kv_cache + d.recurrent_state + (p.activations + p.temporary - before);
            answer.kv.bytes_per_token += beside.kv.bytes_per_token;
            answer.kv.pool_bytes += beside.kv.pool_bytes;
            answer.host.weights += beside.host.weights;
        }
        answer.allocated += added;
        answer.reserved += added;
        Ok(answer)
    }

    fn complete(&self, numbers: &Numbers, estimate: &mut Estimate) -> Result<(), PlanError> {
        self.main.complete(numbers, estimate)?;
        // The phases are those of the model alone.
        estimate.phases = None;
        Ok(())
    }

    fn warnings(&self, numbers: &Numbers) -> Vec<Warning> {
        self.main.warnings(numbers)
    }

    fn spread(&self) -> Spread {
        self.main.spread()
    }

    fn command(&self, numbers: &Numbers) -> Option<String> {
        let command = self.main.command(numbers)?;
        // Only llama.cpp's command line has flags for what stands beside the model.
        self.both.then(|| format!("{command}{}", self.flags))
    }
}

/// Whether vLLM's class of a model has `embedding_modules`: `LlamaForCausalLM` and what derives from it, and a few more.
pub(super) const fn names_embeddings(model: &Model) -> bool {
    use crate::model::Architecture as A;
    matches!(model.architecture, A::Llama | A::Mistral | A::Mixtral | A::Phi3 | A::Granite)
}

/// What vLLM sets aside for adapters and what its layers compute for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Slots {
    /// Bytes of the stacked matrices of one rank.
    pub(super) bytes: u64,
    /// Bytes of fp32 products of one token.
    pub(super) token: u64,
}

impl Slots {
    /// Of the linear modules among `parts` in the layers `from..to`, one tensor an adapter matrix and module for all slots together, as
    /// `BaseLinearLayerWithLoRA.create_lora_weights` and `FusedMoEWithLoRA` make them (`vllm/lora/layers`).
    pub(super) fn of(resolved: &Resolved, parts: &[WeightTensor], layers: (u64, u64), element: u64) -> Self {
        let Some(adapters) = resolved.serve().and_then(|s| s.lora_adapters.as_ref()) else {
            return Self::default();
        };
        let rank = u64::from(adapters.rank);
        let slots = adapters.count.saturating_mul(rank).saturating_mul(element);
        let bytes = linear(parts, layers)
            .map(|t| {
                let of =
                    |width: u64| vllm::weights::block(slots.saturating_mul(width).saturating_mul(t.copies));
                of(t.columns).saturating_add(of(t.rows))
            })
            .fold(0, u64::saturating_add);
        // Query, key and value in one buffer (`add_lora_linear`).
        Self { bytes, token: rank.saturating_mul(3 * 4) }
    }

    /// What the embedding and the head have of them, whole on every rank (`VocabParallelEmbeddingWithLoRA`,
    /// `LogitsProcessorWithLoRA`), where the model's class names them (`embedding_modules`).
    pub(super) fn of_vocabulary(resolved: &Resolved, first: bool, last: bool, element: u64) -> u64 {
        let model = &resolved.model;
        let Some(adapters) = resolved.serve().and_then(|s| s.lora_adapters.as_ref()) else { return 0 };
        if !names_embeddings(model) {
            return 0;
        }
        let slots = adapters.count.saturating_mul(u64::from(adapters.rank)).saturating_mul(element);
        let both = vllm::weights::block(slots.saturating_mul(model.vocab))
            .saturating_add(vllm::weights::block(slots.saturating_mul(model.hidden)));
        both.saturating_mul(u64::from(first) + u64::from(last && !model.tied_embeddings))
    }
}

#[cfg(test)]
mod tests;

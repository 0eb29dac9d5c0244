//! A plan, checked and resolved: what the arithmetic needs, and nothing else.

use super::CANDLE_VERSION;
use super::storage::{self, Storage};
use crate::bytes::{Bytes, Tokens};
use crate::catalogue::{self, CPU, Gpu, VisibleMemory};
use crate::document::estimate::Warning;
use crate::document::plan::{
    Attention, CacheKind, EngineName, GpuRef, Parallelism, Plan, Prune, SCHEMA, Serve, Workload,
};
use crate::engine::{CandleRequest, Device};
use crate::error::PlanError;
use crate::model::Model;

/// The most sequences at once that a plan may ask.
pub(crate) const MAX_SEQUENCES: u64 = 1 << 20;

/// A plan, checked and resolved.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// What runs.
    pub(crate) model: Model,
    /// How it runs.
    pub(crate) request: CandleRequest,
    /// Longest sequence admitted.
    pub(crate) max_model_len: Tokens,
    /// The GPU, where it is one.
    pub(crate) gpu: Option<&'static Gpu>,
    /// Memory that may be filled; none: not known.
    pub(crate) capacity: Option<Bytes>,
    /// What the reader should know.
    pub(crate) warnings: Vec<Warning>,
}

impl Question {
    /// Checks every field of a plan.
    pub(crate) fn of(plan: &Plan) -> Result<Self, PlanError> {
        if plan.schema != SCHEMA {
            return Err(PlanError::invalid(
                "schema",
                format!("version {} of the contract is unknown", plan.schema),
                format!("give {SCHEMA}"),
            ));
        }
        let mut warnings = Vec::new();
        let model = Model::from_ref(&plan.model)?;
        check_gpu_facts(plan)?;
        let gpu = resolve_gpu(&plan.gpu)?;
        check_engine(plan, &mut warnings)?;
        check_parallelism(&plan.parallelism)?;
        check_count(plan)?;
        check_attention(plan)?;
        check_unplanned(plan)?;
        let serve = check_workload(plan, &model)?;
        let max_model_len = check_lengths(serve, &model)?;
        let Storage { weights, compute } = storage::storage(plan, &model, &mut warnings)?;
        let device = if gpu.is_some() { Device::Cuda } else { Device::Cpu };
        check_host(plan)?;
        let request = CandleRequest {
            weights,
            activations: compute,
            batch: serve.concurrent_sequences,
            prompt: serve.prompt_tokens,
            generate: serve.output_tokens,
            device,
            isa: plan.host.isa.clone(),
            threads: plan.host.threads,
            attention: plan.attention.clone(),
        };
        let capacity = capacity(&plan.gpu, gpu, &mut warnings)?;
        Ok(Self { model, request, max_model_len, gpu, capacity, warnings })
    }
}

fn warning(code: &str, message: impl Into<String>) -> Warning {
    Warning { code: code.to_owned(), message: message.into() }
}

fn resolve_gpu(reference: &GpuRef) -> Result<Option<&'static Gpu>, PlanError> {
    if reference.id == CPU {
        return Ok(None);
    }
    catalogue::gpu(&reference.id).map(Some).ok_or_else(|| {
        let names = catalogue::gpus().iter().map(|g| g.id.as_str()).chain([CPU]);
        let nearest = catalogue::nearest(&reference.id, names, 4).join(", ");
        let shown: String = reference.id.chars().take(80).collect();
        PlanError::invalid(
            "gpu.id",
            format!("\"{shown}\" is not in the catalogue"),
            format!("nearest: {nearest}"),
        )
    })
}

/// Numbers that must be numbers, whether this version uses them or not.
fn check_gpu_facts(plan: &Plan) -> Result<(), PlanError> {
    for (field, value) in [("gpu.price_per_hour", plan.gpu.price_per_hour), ("gpu.power_w", plan.gpu.power_w)]
    {
        if let Some(value) = value.filter(|v| !v.is_finite() || *v < 0.0) {
            return Err(PlanError::invalid(
                field,
                format!("{value} is out of range"),
                "give a number of at least 0",
            ));
        }
    }
    if plan.gpu.gpus_per_node == Some(0) {
        return Err(PlanError::invalid(
            "gpu.gpus_per_node",
            "0 is out of range",
            "give at least 1, or leave it out",
        ));
    }
    Ok(())
}

fn check_engine(plan: &Plan, warnings: &mut Vec<Warning>) -> Result<(), PlanError> {
    if plan.engine.name != EngineName::Candle {
        let name = serde_json::to_value(plan.engine.name).ok();
        let name = name.as_ref().and_then(|n| n.as_str()).unwrap_or("this engine").to_owned();
        return Err(PlanError::not_planned_yet("engine.name", name, "give candle, or leave engine out"));
    }
    if let Some(version) = plan.engine.version.as_deref().filter(|v| *v != CANDLE_VERSION) {
        let shown: String = version.chars().take(40).collect();
        return Err(PlanError::not_planned_yet(
            "engine.version",
            format!("Candle {shown}"),
            format!("give {CANDLE_VERSION}, or leave it out"),
        ));
    }
    match plan.engine.variant.as_deref() {
        Some("stock") => Ok(()),
        None => {
            warnings.push(warning(
                "variant-stock",
                "Planned as candle-transformers' own models (variant stock); Plimsoll's decoder is not planned yet.",
            ));
            Ok(())
        }
        Some("plimsoll") => Err(PlanError::not_planned_yet(
            "engine.variant",
            "the variant plimsoll",
            "give stock, or leave it out",
        )),
        Some(other) => {
            let shown: String = other.chars().take(40).collect();
            Err(PlanError::invalid(
                "engine.variant",
                format!("\"{shown}\" is unknown"),
                "give stock, or leave it out",
            ))
        }
    }
}

fn check_parallelism(parallelism: &Parallelism) -> Result<(), PlanError> {
    let Parallelism {
        tensor,
        pipeline,
        data,
        expert,
        context,
        sequence,
        pipeline_schedule,
        zero_stage,
        offload,
    } = parallelism;
    let ranks = [
        ("parallelism.tensor", *tensor),
        ("parallelism.pipeline", *pipeline),
        ("parallelism.data", *data),
        ("parallelism.expert", *expert),
        ("parallelism.context", *context),
    ];
    for (field, n) in ranks {
        match n {
            0 => return Err(PlanError::invalid(field, "0 is out of range", "give 1, or leave it out")),
            1 => {}
            n => {
                let what = format!("spreading a model over {n} ranks");
                return Err(PlanError::not_planned_yet(field, what, "give 1, or leave it out"));
            }
        }
    }
    let default = Parallelism::default();
    let others = [
        ("parallelism.sequence", *sequence != default.sequence, "sequence parallelism"),
        (
            "parallelism.pipeline_schedule",
            *pipeline_schedule != default.pipeline_schedule,
            "another pipeline schedule",
        ),
        ("parallelism.zero_stage", *zero_stage != default.zero_stage, "ZeRO"),
        ("parallelism.offload", *offload != default.offload, "offloading"),
    ];
    match others.into_iter().find(|(_, differs, _)| *differs) {
        Some((field, _, what)) => Err(PlanError::not_planned_yet(field, what, "leave it out")),
        None => Ok(()),
    }
}

/// After [`check_parallelism`] the product is 1.
fn check_count(plan: &Plan) -> Result<(), PlanError> {
    let p = &plan.parallelism;
    let product =
        [p.tensor, p.pipeline, p.data, p.context].into_iter().map(u64::from).fold(1, u64::saturating_mul);
    match plan.gpu.count {
        Some(count) if u64::from(count) != product => Err(PlanError::invalid(
            "gpu.count",
            format!("{count} is not tensor · pipeline · data · context = {product}"),
            format!("give {product}, or leave it out"),
        )),
        _ => Ok(()),
    }
}

fn check_attention(plan: &Plan) -> Result<(), PlanError> {
    match &plan.attention {
        None | Some(Attention::Eager) => {}
        Some(other) => {
            let kind = match other {
                Attention::Eager => "eager",
                Attention::MemoryEfficient => "memory-efficient",
                Attention::Flash => "flash",
                Attention::SlidingWindow { .. } => "sliding-window",
                Attention::Longformer { .. } => "longformer",
                Attention::BigBird { .. } => "big-bird",
            };
            return Err(PlanError::not_planned_yet(
                "attention.kind",
                format!("{kind} attention in stock Candle"),
                "give eager, or leave attention out; a model's own windows always apply",
            ));
        }
    }
    match plan.cache {
        None => Ok(()),
        Some(cache) if cache.kind == CacheKind::Growing && cache.page_tokens.is_none() => Ok(()),
        Some(cache) if cache.kind == CacheKind::Growing => {
            Err(PlanError::invalid("cache.page_tokens", "given for a cache without pages", "leave it out"))
        }
        Some(_) => Err(PlanError::not_planned_yet(
            "cache.kind",
            "another cache than stock Candle's growing one",
            "give growing, or leave cache out",
        )),
    }
}

fn check_unplanned(plan: &Plan) -> Result<(), PlanError> {
    if plan.compression.prune != Prune::None {
        return Err(PlanError::not_planned_yet("compression.prune", "pruning", "leave compression out"));
    }
    if plan.agent_memory.is_some() {
        return Err(PlanError::not_planned_yet("agent_memory", "an agent's memory", "leave it out"));
    }
    Ok(())
}

fn check_workload<'a>(plan: &'a Plan, model: &Model) -> Result<&'a Serve, PlanError> {
    let field = "workload.kind";
    match &plan.workload {
        Workload::Serve(serve) if model.is_decoder() => Ok(serve),
        Workload::Serve(_) => Err(PlanError::invalid(
            field,
            format!(
                "{} is an encoder ({}), which generates nothing to serve",
                model.name, model.architecture
            ),
            "give a model that generates; the workload embed is not planned yet",
        )),
        Workload::Train(_) => Err(PlanError::not_planned_yet(field, "training", "give serve")),
        Workload::Embed { .. } => Err(PlanError::not_planned_yet(field, "embedding", "give serve")),
    }
}

/// Lengths are within the model's; answers the longest sequence admitted.
fn check_lengths(serve: &Serve, model: &Model) -> Result<Tokens, PlanError> {
    let range = |field: &str, given: u64, accepted: &str| {
        PlanError::invalid(field, format!("{given} is out of range"), format!("give {accepted}"))
    };
    if !(1..=MAX_SEQUENCES).contains(&serve.concurrent_sequences) {
        let accepted = format!("1 to {MAX_SEQUENCES}");
        return Err(range("workload.concurrent_sequences", serve.concurrent_sequences, &accepted));
    }
    let longest = model.max_tokens;
    if serve.prompt_tokens == Tokens(0) || serve.prompt_tokens > longest {
        return Err(PlanError::invalid(
            "workload.prompt_tokens",
            format!(
                "{} is out of range: {} takes sequences of at most {longest} tokens",
                serve.prompt_tokens, model.name
            ),
            format!("give 1 to {longest}"),
        ));
    }
    let sequence = serve.sequence_tokens();
    if sequence > longest {
        return Err(PlanError::invalid(
            "workload.output_tokens",
            format!(
                "{} after a prompt of {} make {sequence}: {} takes sequences of at most {longest} tokens",
                serve.output_tokens, serve.prompt_tokens, model.name
            ),
            format!("give at most {}", longest.0 - serve.prompt_tokens.0),
        ));
    }
    if let Some(max) = serve.max_model_len.filter(|max| *max < sequence || *max > longest) {
        return Err(PlanError::invalid(
            "workload.max_model_len",
            format!("{max} is out of range: prompt and output make {sequence}, the model takes {longest}"),
            format!("give {sequence} to {longest}, or leave it out"),
        ));
    }
    let absent = [
        ("workload.max_batched_tokens", serve.max_batched_tokens.is_some()),
        ("workload.max_sequences", serve.max_sequences.is_some()),
        ("workload.memory_fraction", serve.memory_fraction.is_some()),
        ("workload.gpu_layers", serve.gpu_layers.is_some()),
    ];
    if let Some((field, _)) = absent.into_iter().find(|(_, given)| *given) {
        return Err(PlanError::unsupported(field, "Candle has no such setting", "leave it out"));
    }
    Ok(serve.max_model_len.unwrap_or(sequence))
}

fn check_host(plan: &Plan) -> Result<(), PlanError> {
    if plan.host.threads == Some(0) {
        return Err(PlanError::invalid(
            "host.threads",
            "0 is out of range",
            "give at least 1, or leave it out",
        ));
    }
    Ok(())
}

/// Visible memory less what is in use.
fn capacity(
    reference: &GpuRef,
    gpu: Option<&'static Gpu>,
    warnings: &mut Vec<Warning>,
) -> Result<Option<Bytes>, PlanError> {
    if reference.memory_mib == Some(0) {
        return Err(PlanError::invalid(
            "gpu.memory_mib",
            "0 is out of range",
            "give at least 1, or leave it out",
        ));
    }
    let visible = match (reference.memory_mib, gpu) {
        (Some(mib), _) => Bytes::from_mib(mib),
        (None, Some(gpu)) => match gpu.visible() {
            VisibleMemory::Reported(bytes) => bytes,
            VisibleMemory::Assumed(bytes) => {
                warnings.push(warning(
                    "visible-memory-assumed",
                    format!(
                        "How much of its memory {} shows to a program is not known here: planned with {bytes}, 1.5 % less \
                         than physical. Give gpu.memory_mib for your card.",
                        gpu.name
                    ),
                ));
                bytes
            }
        },
        (None, None) => {
            warnings.push(warning(
                "cpu-memory-unknown",
                "Whether it fits is not known: give gpu.memory_mib, the host's memory in MiB.",
            ));
            return Ok(None);
        }
    };
    let in_use = Bytes::from_mib(reference.in_use_mib);
    if in_use > visible {
        return Err(PlanError::invalid(
            "gpu.in_use_mib",
            format!("{} MiB are more than the {visible} that are there", reference.in_use_mib),
            format!("give 0 to {}", visible.0 >> 20),
        ));
    }
    Ok(Some(visible - in_use))
}

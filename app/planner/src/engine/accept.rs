//! What several engines refuse, in the same words.

use crate::document::plan::{Attention, CacheKind, Parallelism, Plan};
use crate::error::PlanError;

/// Refuses the first field that is given and that `engine` has no setting for.
pub(super) fn absent(engine: &str, fields: &[(&'static str, bool)]) -> Result<(), PlanError> {
    match fields.iter().find(|(_, given)| *given) {
        Some((field, _)) => {
            Err(PlanError::unsupported(*field, format!("{engine} has no such setting"), "leave it out"))
        }
        None => Ok(()),
    }
}

/// Which engines an `embed` plan can name instead.
const EMBEDDERS: &str = "give the engine transformers or vllm, or candle for a BERT";

/// An engine that runs no encoders and answers no hidden states.
pub(super) fn embeds_nothing(engine: &str) -> PlanError {
    PlanError::unsupported("workload.kind", format!("{engine} does not embed"), EMBEDDERS)
}

/// An engine that embeds, which is not planned.
pub(super) fn embedding_not_planned(engine: &str) -> PlanError {
    PlanError::not_planned_yet("workload.kind", format!("embedding in {engine}"), EMBEDDERS)
}

/// What only trainers have: sequence parallelism, pipeline schedules, `ZeRO`, offload of states.
pub(super) fn no_training_layout(engine: &str, p: &Parallelism) -> Result<(), PlanError> {
    let default = Parallelism::default();
    absent(
        engine,
        &[
            ("parallelism.sequence", p.sequence),
            ("parallelism.pipeline_schedule", p.pipeline_schedule != default.pipeline_schedule),
            ("parallelism.zero_stage", p.zero_stage != default.zero_stage),
            ("parallelism.offload.optimizer", p.offload.optimizer != default.offload.optimizer),
            ("parallelism.offload.parameters", p.offload.parameters != default.offload.parameters),
        ],
    )
}

/// One device: nothing is divided. Replicas (`data`) are as many devices that each hold the whole.
pub(super) fn one_device(engine: &str, p: &Parallelism) -> Result<(), PlanError> {
    no_training_layout(engine, p)?;
    let divided = [
        ("parallelism.tensor", p.tensor > 1),
        ("parallelism.pipeline", p.pipeline > 1),
        ("parallelism.expert", p.expert > 1),
        ("parallelism.context", p.context > 1),
    ];
    match divided.into_iter().find(|(_, asked)| *asked) {
        Some((field, _)) => Err(PlanError::unsupported(
            field,
            format!("{engine} runs whole on one device here"),
            "leave it out, or give another engine",
        )),
        None => Ok(()),
    }
}

/// The name of an attention variant in plans.
pub(super) const fn attention_name(attention: &Attention) -> &'static str {
    match attention {
        Attention::Eager => "eager",
        Attention::MemoryEfficient => "memory-efficient",
        Attention::Flash => "flash",
        Attention::SlidingWindow { .. } => "sliding-window",
        Attention::Longformer { .. } => "longformer",
        Attention::BigBird { .. } => "big-bird",
    }
}

/// Refuses an attention variant that is not one of `accepted`.
pub(super) fn attention(engine: &str, plan: &Plan, accepted: &[&str]) -> Result<(), PlanError> {
    match plan.attention.as_ref().map(attention_name).filter(|name| !accepted.contains(name)) {
        None => Ok(()),
        Some(name) => Err(PlanError::unsupported(
            "attention.kind",
            format!("{engine} has no {name} attention to choose; a model's own windows always apply"),
            format!("give {}, or leave attention out", accepted.join(" or ")),
        )),
    }
}

/// Refuses any cache but `kind`, and pages where that has none.
pub(super) fn cache(engine: &str, plan: &Plan, kind: CacheKind) -> Result<(), PlanError> {
    let Some(cache) = plan.cache else { return Ok(()) };
    let name = match kind {
        CacheKind::Growing => "growing",
        CacheKind::Slab => "slab",
        CacheKind::Rotating => "rotating",
        CacheKind::Paged => "paged",
    };
    if cache.kind != kind {
        return Err(PlanError::unsupported(
            "cache.kind",
            format!("{engine}'s cache is {name}"),
            format!("give {name}, or leave cache out"),
        ));
    }
    if kind != CacheKind::Paged && cache.page_tokens.is_some() {
        return Err(PlanError::invalid(
            "cache.page_tokens",
            "given for a cache without pages",
            "leave it out",
        ));
    }
    Ok(())
}

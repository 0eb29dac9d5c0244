//! What several trainers refuse, in the same words.

use super::zero::Zero;
use crate::document::plan::{Attention, Plan, Prune, Train, TrainMethod};
use crate::engine::accept::absent;
use crate::engine::resolved::Resolved;
use crate::error::PlanError;
use crate::model::Model;

use super::lora::{self, Adapter};

/// The adapters of a plan: none where everything is trained.
///
/// # Errors
/// `workload.lora` where the method needs one and has none, or the other way round; those of [`lora::adapters`].
pub(in crate::engine) fn adapters(model: &Model, train: &Train) -> Result<Vec<Adapter>, PlanError> {
    match (train.method, &train.lora) {
        (TrainMethod::Lora | TrainMethod::Qlora, Some(lora)) => lora::adapters(model, lora),
        (TrainMethod::Lora | TrainMethod::Qlora, None) => {
            Err(PlanError::invalid("workload.lora", "the method needs adapters", "give rank and targets"))
        }
        (TrainMethod::Full | TrainMethod::Distill, None) => Ok(Vec::new()),
        (TrainMethod::Full | TrainMethod::Distill, Some(_)) => Err(PlanError::invalid(
            "workload.lora",
            "given for a method without adapters",
            "leave it out, or give method lora or qlora",
        )),
    }
}

/// Data parallel ranks and the `ZeRO` stage of an engine that divides nothing else.
///
/// # Errors
/// The first other axis, and what training here never has.
pub(in crate::engine) fn data_parallel(
    engine: &str,
    resolved: &Resolved,
    stages: &[u8],
) -> Result<Zero, PlanError> {
    let p = resolved.layout();
    let axes = [
        ("parallelism.tensor", p.tensor > 1),
        ("parallelism.pipeline", p.pipeline > 1),
        ("parallelism.expert", p.expert > 1),
        ("parallelism.context", p.context > 1),
        ("parallelism.sequence", p.sequence),
    ];
    if let Some((field, _)) = axes.into_iter().find(|(_, asked)| *asked) {
        return Err(PlanError::unsupported(
            field,
            format!("{engine} is planned with data parallel ranks only"),
            "leave it out, or give megatron or torchtitan",
        ));
    }
    if !stages.contains(&p.zero_stage) {
        let known: Vec<String> = stages.iter().map(u8::to_string).collect();
        return Err(PlanError::unsupported(
            "parallelism.zero_stage",
            format!("{engine} has no stage {}", p.zero_stage),
            format!("give {}", known.join(" or ")),
        ));
    }
    Ok(Zero { stage: p.zero_stage, ranks: u64::from(p.data) })
}

/// What no trainer here plans.
///
/// # Errors
/// The field.
pub(in crate::engine) fn common(engine: &str, plan: &Plan, train: &Train) -> Result<(), PlanError> {
    if plan.compression.prune != Prune::None {
        return Err(PlanError::not_planned_yet(
            "compression.prune",
            "training of a pruned model",
            "leave compression out",
        ));
    }
    if let Some(Attention::SlidingWindow { .. } | Attention::Longformer { .. } | Attention::BigBird { .. }) =
        plan.attention
    {
        return Err(PlanError::unsupported(
            "attention.kind",
            format!("{engine} trains with the model's own attention pattern"),
            "give eager, memory-efficient or flash, or leave attention out",
        ));
    }
    absent(
        engine,
        &[
            ("cache", plan.cache.is_some()),
            ("workload.float8_linear", train.float8_linear),
            ("workload.async_tensor_parallel", train.async_tensor_parallel),
        ],
    )
}

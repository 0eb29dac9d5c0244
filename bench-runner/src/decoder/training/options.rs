//! What a training case asks, and what of it is refused.

use candle_core::DType;
use contract::case::{CaseSpec, Variant};
use contract::training::{ALL_TARGETS, Training};
use planner::document::plan::{Attention, Checkpointing, Optimizer, TrainMethod};
use planner::model::{Architecture, FeedForward};
use serde::{Deserialize, Serialize};

use crate::decoder::numbers::{Activation, Numbers};
use crate::decoder::weights::as_size;
use crate::engine::{Precision, Refusal};
use crate::model::Model;

/// A training step of a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// What it does.
    pub training: Training,
    /// Tokens of a sequence.
    pub tokens: usize,
    /// Of the optimizer.
    pub learning_rate: f64,
}

/// Families whose layers have a backward here.
const FAMILIES: &str = "llama, mistral, qwen2, qwen3";

/// The type that a step computes in: a dense precision's own; over blocks fp32, or with mixed precision bf16.
#[must_use]
pub fn compute_type(training: &Training, precision: Precision) -> DType {
    match precision {
        Precision::Dense(dtype) => dtype,
        _ if training.mixed_precision => DType::BF16,
        _ => DType::F32,
    }
}

impl Options {
    /// Those of a case.
    ///
    /// # Errors
    /// What the step cannot do, and what it can instead.
    pub fn of_case(
        spec: &CaseSpec,
        training: &Training,
        model: &Model,
        precision: Precision,
    ) -> Result<Self, Refusal> {
        let refuse = |why: String| Err(Refusal(format!("training: {why}")));
        if spec.variant == Some(Variant::Stock) {
            return refuse(
                "candle-transformers' models have operations without a backward pass; accepted: variant plimsoll".into(),
            );
        }
        let family = model.shape.architecture;
        let is_known = matches!(
            family,
            Architecture::Llama | Architecture::Mistral | Architecture::Qwen2 | Architecture::Qwen3
        );
        let is_dense = |l: &planner::model::Layer| {
            l.attention().is_some() && matches!(l.feed_forward, FeedForward::Dense(_))
        };
        if !is_known || !model.shape.layers.iter().all(is_dense) {
            return refuse(format!(
                "{} is not trained; accepted: dense models of {FAMILIES}",
                family.model_type()
            ));
        }
        let numbers =
            Numbers::of_config(family, &model.config).map_err(|e| Refusal(format!("training: {e}")))?;
        if numbers.activation != Activation::Silu {
            return refuse("of activations only silu is trained".into());
        }
        if spec.generate_tokens.0 > 0 {
            return refuse(format!(
                "it generates nothing, not {}; accepted: generate 0",
                spec.generate_tokens
            ));
        }
        if !matches!(spec.attention, None | Some(Attention::Eager)) {
            return refuse("only eager attention has a backward pass here; accepted: eager".into());
        }
        if spec.cache.is_some() || spec.kv_cache.is_some() {
            return refuse("it has no cache; leave cache and kv-cache out".into());
        }
        check_method(training, model, precision)?;
        let learning_rate = match training.optimizer {
            Optimizer::Adamw => 1e-3,
            Optimizer::Sgd => 1e-1,
            other => {
                return refuse(format!("optimizer {other:?} is not written; accepted: adamw, sgd"));
            }
        };
        if training.checkpointing == Checkpointing::Selective {
            return refuse("selective checkpointing is not written; accepted: none, full".into());
        }
        if training.gradient_accumulation == 0 {
            return refuse("gradient accumulation 0: nothing would run; accepted: 1 or more".into());
        }
        Ok(Self { training: training.clone(), tokens: as_size(spec.prompt_tokens.0), learning_rate })
    }
}

fn check_method(training: &Training, model: &Model, precision: Precision) -> Result<(), Refusal> {
    let refuse = |why: &str| Err(Refusal(format!("training: {why}")));
    let blocks = matches!(precision, Precision::Quantised(_) | Precision::AsStored);
    match training.method {
        TrainMethod::Distill => {
            return refuse("distillation is not written; accepted: full, lora, qlora");
        }
        TrainMethod::Qlora if !blocks => {
            return refuse(
                "qlora keeps what is frozen in blocks; accepted precisions: gguf:q8_0, gguf:q4_0, … (native of a GGUF file)",
            );
        }
        TrainMethod::Full | TrainMethod::Lora if !matches!(precision, Precision::Dense(_)) => {
            return refuse(
                "of blocks and fp8 no gradient is made; accepted precisions: fp32, bf16, fp16, or method qlora",
            );
        }
        _ => {}
    }
    match (precision, training.mixed_precision) {
        (Precision::Dense(DType::F32), true) => {
            return refuse(
                "mixed precision computes in 16 bit beside fp32 masters; accepted precisions: bf16, fp16, or leave mixed out",
            );
        }
        (Precision::Dense(DType::F16), false) => {
            return refuse(
                "fp16 alone cannot hold the optimizer's small numbers; accepted: mixed precision, or bf16",
            );
        }
        _ => {}
    }
    match (&training.lora, training.method) {
        (None, TrainMethod::Full) => Ok(()),
        (Some(_), TrainMethod::Full) => refuse("adapters belong to lora and qlora; leave the rank out"),
        (None, _) => refuse("no rank; accepted: lora:8, qlora:16, …"),
        (Some(lora), _) => {
            let unknown = lora.targets.iter().find(|t| !ALL_TARGETS.contains(&t.as_str()));
            if u64::from(lora.rank) > model.shape.hidden || lora.rank == 0 {
                refuse(&format!("rank {} is out of range; accepted: 1 to {}", lora.rank, model.shape.hidden))
            } else if let Some(unknown) = unknown {
                refuse(&format!("no module {unknown}; accepted: {}", ALL_TARGETS.join(", ")))
            } else if lora.targets.is_empty() {
                refuse(&format!("no module has an adapter; accepted: {}", ALL_TARGETS.join(", ")))
            } else if lora.train_embeddings {
                refuse("embeddings are not trained beside adapters; leave them out")
            } else {
                Ok(())
            }
        }
    }
}

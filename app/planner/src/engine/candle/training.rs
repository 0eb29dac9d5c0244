//! Training in Candle: the step that `bench-runner` runs with Plimsoll's decoder.

use super::load;
use super::plimsoll::training::{Peaks, Step, is_trained, peaks};
use super::policy::{CUDA_CONTEXT, CUDA_RUNTIME};
use super::storage::weights;
use super::tensor::Context;
use super::{CANDLE_VERSION, MAX_POSITIONS, Processor};
use crate::document::estimate::{Components, EngineVersion, Estimate, PhasePeak, Warning};
use crate::document::plan::{
    Attention, Checkpointing, EngineName, Optimizer, Plan, Prune, Train, TrainMethod,
};
use crate::document::precision::ActivationPrecision;
use crate::engine::accept;
use crate::engine::policy::{Breakdown, Numbers, Policy, Spread};
use crate::engine::request::{Device, WeightStorage};
use crate::engine::resolved::Resolved;
use crate::engine::tape::Alive;
use crate::engine::training;
use crate::error::PlanError;
use crate::model::{Dtype, Model};

const ENGINE: &str = "Plimsoll's training step";

struct Trains {
    model: Model,
    step: Step,
    device: Device,
    processor: Processor,
    warnings: Vec<Warning>,
}

/// Prepares a plan that trains.
///
/// # Errors
/// What the step does not do, and what it does instead.
pub(super) fn prepare(
    resolved: &Resolved,
    train: &Train,
    device: Device,
    warnings: Vec<Warning>,
) -> Result<Box<dyn Policy>, PlanError> {
    let (plan, model) = (&resolved.plan, &resolved.model);
    training::accept::common(ENGINE, plan, train)?;
    check(plan, train, model)?;
    // Refuses ranks and targets that the model has none of.
    training::accept::adapters(model, train)?;
    let held = weights(plan.precision.weights, model, device)?;
    let compute = compute(plan, train, &held)?;
    let step = Step {
        lora: train.lora.clone(),
        moments: train.optimizer == Optimizer::Adamw,
        masters: compute != Dtype::F32 && train.master_weights,
        checkpoints: train.checkpointing == Checkpointing::Full,
        compute: load::element(compute),
        weights: held,
    };
    let processor = Processor::of(&plan.host)?;
    Ok(Box::new(Trains { model: model.clone(), step, device, processor, warnings }))
}

fn check(plan: &Plan, train: &Train, model: &Model) -> Result<(), PlanError> {
    if !is_trained(model.architecture) || !model.towers.is_empty() {
        return Err(PlanError::not_planned_yet(
            "model",
            format!("training of {} in Candle", model.architecture.model_type()),
            "plan a dense model of llama, mistral, qwen2 or qwen3, or another engine",
        ));
    }
    if !matches!(plan.attention, None | Some(Attention::Eager)) {
        return Err(PlanError::unsupported(
            "attention.kind",
            "only eager attention has a backward pass in Candle",
            "give eager, or leave attention out",
        ));
    }
    if train.method == TrainMethod::Distill {
        return Err(PlanError::unsupported(
            "workload.method",
            format!("{ENGINE} has no teacher"),
            "give full, lora or qlora",
        ));
    }
    if !matches!(train.optimizer, Optimizer::Adamw | Optimizer::Sgd) {
        return Err(PlanError::unsupported(
            "workload.optimizer",
            format!("{ENGINE} does not have it"),
            "give adamw or sgd",
        ));
    }
    if train.checkpointing == Checkpointing::Selective {
        return Err(PlanError::unsupported(
            "workload.checkpointing",
            format!("{ENGINE} keeps everything or the layers' inputs"),
            "give none or full",
        ));
    }
    accept::absent(
        ENGINE,
        &[
            ("workload.optimizer_in_backward", train.optimizer_in_backward),
            ("workload.fused_cross_entropy", train.fused_cross_entropy),
            ("workload.activation_offload", train.activation_offload),
            ("workload.compile", train.compile),
            ("workload.lora.train_embeddings", train.lora.as_ref().is_some_and(|l| l.train_embeddings)),
            ("compression.prune", plan.compression.prune != Prune::None),
            ("precision.kv_cache", plan.precision.kv_cache.is_some()),
        ],
    )
}

/// The type that is computed in: a dense precision's own; over blocks fp32, or with mixed precision bf16.
fn compute(plan: &Plan, train: &Train, held: &WeightStorage) -> Result<Dtype, PlanError> {
    let qlora = train.method == TrainMethod::Qlora;
    let field = "precision.weights";
    let compute = match held {
        WeightStorage::Gguf { .. } if qlora && train.mixed_precision => Dtype::Bf16,
        WeightStorage::Gguf { .. } if qlora => Dtype::F32,
        WeightStorage::Dense(dtype) if !qlora => *dtype,
        _ if qlora => {
            return Err(PlanError::unsupported(
                field,
                format!("{ENGINE} keeps the frozen weights of qlora in blocks"),
                "give a GGUF precision, such as gguf:q4_0",
            ));
        }
        _ => {
            return Err(PlanError::unsupported(
                field,
                "no gradient is made of blocks",
                "give fp32, bf16 or fp16, or method qlora",
            ));
        }
    };
    if compute == Dtype::F32 && train.mixed_precision {
        return Err(PlanError::invalid(
            "workload.mixed_precision",
            "true, with weights in fp32, which are computed in as they are",
            "give false, or precision.weights bf16",
        ));
    }
    if compute != Dtype::F32 && !train.mixed_precision {
        return Err(PlanError::invalid(
            "workload.mixed_precision",
            format!("false, with weights in {}, which are computed in as they are", compute.as_str()),
            "give true, or precision.weights fp32; without masters, master_weights false",
        ));
    }
    if !train.master_weights && (compute == Dtype::F16 || (qlora && compute != Dtype::F32)) {
        return Err(PlanError::unsupported(
            "workload.master_weights",
            format!("{ENGINE} does without masters only of bf16 weights"),
            "leave it out",
        ));
    }
    let asked = plan.precision.activations.map(|a| match a {
        ActivationPrecision::Fp32 => Some(Dtype::F32),
        ActivationPrecision::Bf16 => Some(Dtype::Bf16),
        ActivationPrecision::Fp16 => Some(Dtype::F16),
        ActivationPrecision::Tf32 => None,
    });
    match asked {
        Some(asked) if asked != Some(compute) => Err(PlanError::unsupported(
            "precision.activations",
            format!("{ENGINE} computes this in {}", compute.as_str()),
            format!("give {}, or leave it out", compute.as_str()),
        )),
        _ => Ok(compute),
    }
}

impl Trains {
    fn peaks(&self, numbers: &Numbers) -> Result<Peaks, PlanError> {
        let (batch, tokens) = (numbers.micro_batch, numbers.sequence.0);
        for (field, number) in [("workload.micro_batch", batch), ("workload.sequence_tokens", tokens)] {
            if number == 0 {
                return Err(PlanError::invalid(field, "is 0", "give at least 1"));
            }
        }
        if batch.saturating_mul(tokens).saturating_mul(tokens) > MAX_POSITIONS {
            return Err(PlanError::invalid(
                "workload",
                format!("{batch} sequences of {tokens} tokens have more than 2^40 pairs"),
                "give fewer sequences or shorter ones",
            ));
        }
        let cx = Context::new(self.device, self.processor);
        peaks(&cx, &self.model, &self.step, (batch, tokens, numbers.gradient_accumulation))
    }
}

impl Policy for Trains {
    fn engine(&self) -> EngineVersion {
        EngineVersion {
            name: EngineName::Candle,
            version: CANDLE_VERSION.to_owned(),
            variant: Some("plimsoll".to_owned()),
        }
    }

    fn breakdown(&self, numbers: &Numbers) -> Result<Breakdown, PlanError> {
        let Peaks { load, forward, backward, update } = self.peaks(numbers)?;
        let mut high = load;
        for phase in [forward, backward, update] {
            if phase.total() > high.total() {
                high = phase;
            }
        }
        let on_gpu = self.device == Device::Cuda;
        let (runtime, context) = if on_gpu { (CUDA_RUNTIME, CUDA_CONTEXT) } else { Default::default() };
        let Alive { weights, cache: _, activations, temporary, gradients, optimizer } = high;
        let parts = Components {
            weights,
            activations,
            temporary,
            gradients,
            optimizer,
            runtime,
            context,
            ..Components::default()
        };
        Ok(Breakdown {
            parts,
            allocated: high.total(),
            reserved: high.total() + runtime,
            capacity: numbers.free_memory(),
            ..Breakdown::default()
        })
    }

    fn complete(&self, numbers: &Numbers, estimate: &mut Estimate) -> Result<(), PlanError> {
        let Peaks { load, forward, backward, update } = self.peaks(numbers)?;
        let phases = [("load", load), ("forward", forward), ("backward", backward), ("step", update)];
        let named =
            |(phase, alive): (&str, Alive)| PhasePeak { phase: phase.to_owned(), peak_bytes: alive.total() };
        estimate.phases = Some(phases.into_iter().map(named).collect());
        Ok(())
    }

    fn warnings(&self, _numbers: &Numbers) -> Vec<Warning> {
        self.warnings.clone()
    }

    fn spread(&self) -> Spread {
        let basis = format!(
            "tensors counted from Candle {CANDLE_VERSION}'s backward pass, ±3 %; {}",
            if self.device == Device::Cuda {
                "context and runtime assumed, from half to twice; no measured GPU runs yet"
            } else {
                "held to the allocator's count by tests; the process itself is not in it"
            }
        );
        Spread { weights: 0.03, cache: 0.03, activations: 0.03, states: 0.03, overhead: 0.5, basis }
    }
}

#[cfg(test)]
mod tests {
    use crate::document::plan::Plan;
    use crate::{Estimate, PlanError, estimate};

    fn planned(change: &serde_json::Value) -> Result<Estimate, PlanError> {
        let mut plan = serde_json::json!({
            "schema": 1, "model": { "id": "Qwen/Qwen3-0.6B" }, "gpu": { "id": "h100-sxm-80gb" },
            "engine": { "name": "candle", "variant": "plimsoll" }, "precision": { "weights": "bf16" },
            "workload": { "kind": "train", "method": "full", "sequence_tokens": 512, "micro_batch": 2 }
        });
        merge(&mut plan, change);
        let plan: Plan = serde_json::from_value(plan).unwrap();
        estimate(&plan)
    }

    fn merge(into: &mut serde_json::Value, change: &serde_json::Value) {
        if let (Some(into), Some(change)) = (into.as_object_mut(), change.as_object()) {
            for (key, value) in change {
                merge(into.entry(key).or_insert(serde_json::Value::Null), value);
            }
        } else {
            *into = change.clone();
        }
    }

    #[test]
    fn what_stays_is_counted_by_hand() {
        let mixed = planned(&serde_json::json!({})).unwrap();
        let parameters = mixed.per_gpu.gradients.0 / 2;
        // Qwen3-0.6B has 596 049 920 parameters, its head the embedding; all have a gradient when the pass ends, and
        // masters and two moments in fp32.
        assert_eq!(mixed.per_gpu.optimizer.0, 596_049_920 * 12);
        assert!(parameters <= 596_049_920, "{parameters}");
        assert!(mixed.per_gpu.weights.0 >= 596_049_920 * 2);
        let pure = planned(&serde_json::json!({ "workload": { "master_weights": false } })).unwrap();
        assert_eq!(pure.per_gpu.optimizer.0, 596_049_920 * 4);
        let sgd =
            planned(&serde_json::json!({ "workload": { "master_weights": false, "optimizer": "sgd" } }));
        assert_eq!(sgd.unwrap().per_gpu.optimizer.0, 0);
    }

    #[test]
    fn checkpoints_and_adapters_save() {
        let total = |change| planned(&change).unwrap().totals.allocated;
        let full = total(serde_json::json!({}));
        let checkpointed = total(serde_json::json!({ "workload": { "checkpointing": "full" } }));
        let lora = serde_json::json!({ "rank": 8, "targets": ["q_proj", "v_proj"] });
        let adapters = total(serde_json::json!({ "workload": { "method": "lora", "lora": lora } }));
        let blocks = total(serde_json::json!({ "precision": { "weights": "gguf:q4_0" },
            "workload": { "method": "qlora", "lora": lora } }));
        assert!(checkpointed < full && adapters < full && blocks < adapters);
    }

    #[test]
    fn what_the_step_does_not_do_names_its_field() {
        for (change, field) in [
            (serde_json::json!({ "workload": { "optimizer": "lion" } }), "workload.optimizer"),
            (serde_json::json!({ "workload": { "checkpointing": "selective" } }), "workload.checkpointing"),
            (serde_json::json!({ "workload": { "compile": true } }), "workload.compile"),
            (serde_json::json!({ "workload": { "method": "lora" } }), "workload.lora"),
            (serde_json::json!({ "precision": { "weights": "fp32" } }), "workload.mixed_precision"),
            (serde_json::json!({ "precision": { "weights": "gguf:q4_0" } }), "precision.weights"),
            (serde_json::json!({ "attention": { "kind": "flash" } }), "attention.kind"),
            (serde_json::json!({ "engine": { "variant": "stock" } }), "engine.variant"),
            (serde_json::json!({ "model": { "id": "google/gemma-3-1b-it" } }), "model"),
        ] {
            let error = planned(&change).unwrap_err();
            assert!(error.to_string().starts_with(field), "{change}: {error}");
        }
    }

    #[test]
    fn a_graph_as_deep_as_the_deepest_models_is_walked() {
        let numbers = |e: &Estimate| e.phases.as_ref().map(Vec::len);
        let deep = planned(&serde_json::json!({ "model": { "id": "meta-llama/Llama-3.1-405B" } }));
        assert_eq!(deep.as_ref().map(numbers), Ok(Some(4)));
    }
}

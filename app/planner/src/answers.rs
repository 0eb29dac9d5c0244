//! The questions that people bring, answered with computed numbers.
//!
//! Nothing here is a rule of thumb: each figure is an estimate of a plan that is named beside it, so that the planner's page
//! can open it.

use crate::bytes::{Bytes, Tokens};
use crate::document::estimate::Estimate;
use crate::document::plan::{EngineName, EngineRef, GpuRef, ModelRef, Plan, Workload};
use crate::document::precision::WeightPrecision;
use crate::error::PlanError;
use crate::{catalogue, estimate, link, solve};

/// A figure and the plan that it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// Its estimate.
    pub estimate: Estimate,
}

impl Planned {
    fn of(plan: Plan) -> Result<Self, PlanError> {
        let estimate = estimate(&plan)?;
        Ok(Self { plan, estimate })
    }
}

/// What a billion parameters take in one precision.
#[derive(Debug, Clone, PartialEq)]
pub struct PerBillion {
    /// The precision.
    pub precision: WeightPrecision,
    /// Bytes of 10^9 parameters, the tensors that the precision leaves unquantised included.
    pub bytes: Bytes,
    /// Where the figure comes from.
    pub planned: Planned,
}

/// Precisions, each with the engine that stores it so.
const STORED: [(WeightPrecision, EngineName); 12] = [
    (WeightPrecision::Fp32, EngineName::Transformers),
    (WeightPrecision::Bf16, EngineName::Vllm),
    (WeightPrecision::Fp8, EngineName::Vllm),
    (WeightPrecision::W8a8, EngineName::Vllm),
    (WeightPrecision::Int4G128, EngineName::Vllm),
    (WeightPrecision::Nf4, EngineName::Transformers),
    (WeightPrecision::Nf4Dq, EngineName::Transformers),
    (WeightPrecision::GgufQ8_0, EngineName::LlamaCpp),
    (WeightPrecision::GgufQ6K, EngineName::LlamaCpp),
    (WeightPrecision::GgufQ5KM, EngineName::LlamaCpp),
    (WeightPrecision::GgufQ4KM, EngineName::LlamaCpp),
    (WeightPrecision::GgufQ3KM, EngineName::LlamaCpp),
];

/// How much memory a billion parameters of `model` take by precision, weights alone.
///
/// # Errors
/// A model that the catalogue lacks; a plan that is refused.
pub fn per_billion(model: &str) -> Result<Vec<PerBillion>, PlanError> {
    let parameters = parameters(model)?;
    STORED
        .iter()
        .map(|&(precision, engine)| {
            let planned = Planned::of(served(model, "h100-sxm-80gb", engine, precision, 128)?)?;
            let bytes = planned.estimate.per_gpu.weights + planned.estimate.host.weights;
            let each = u128::from(bytes.0) * 1_000_000_000 / u128::from(parameters.max(1));
            Ok(PerBillion { precision, bytes: Bytes(u64::try_from(each).unwrap_or(u64::MAX)), planned })
        })
        .collect()
}

/// How a model runs on one card.
#[derive(Debug, Clone, PartialEq)]
pub struct OnOneCard {
    /// The model's catalogue id.
    pub model: &'static str,
    /// The GPU's catalogue id.
    pub gpu: &'static str,
    /// The best of the ways that are asked for: the precision that loses least and fits whole, else the split that keeps
    /// most layers on the card.
    pub way: Way,
}

/// A way to run a model.
#[derive(Debug, Clone, PartialEq)]
pub enum Way {
    /// All of it on the card.
    Whole {
        /// The plan, its context being what was asked.
        planned: Planned,
        /// The longest context that fits.
        longest_context: Tokens,
    },
    /// Some layers on the card, the rest in host memory (llama.cpp's `-ngl`).
    Split {
        /// The plan.
        planned: Planned,
        /// Layers on the card.
        gpu_layers: u32,
        /// Layers in all.
        layers: u32,
    },
    /// Not even one layer.
    No,
}

/// Models that people ask about, small and large.
pub const MODELS: [&str; 2] = ["meta-llama/Llama-2-7b-hf", "meta-llama/Llama-3.1-70B"];
/// Cards of 12, 16 and 24 GB.
pub const CARDS: [&str; 3] = ["rtx-3060-12gb", "rtx-4080-16gb", "rtx-4090-24gb"];
/// Ways to hold the weights, the one that loses least first.
const BY_QUALITY: [(WeightPrecision, EngineName); 5] = [
    (WeightPrecision::Bf16, EngineName::LlamaCpp),
    (WeightPrecision::GgufQ8_0, EngineName::LlamaCpp),
    (WeightPrecision::GgufQ6K, EngineName::LlamaCpp),
    (WeightPrecision::GgufQ5KM, EngineName::LlamaCpp),
    (WeightPrecision::GgufQ4KM, EngineName::LlamaCpp),
];

/// Whether each of [`MODELS`] runs on each of [`CARDS`] with `context` tokens, and how.
///
/// # Errors
/// A plan that is refused.
pub fn on_one_card(context: u64) -> Result<Vec<OnOneCard>, PlanError> {
    let mut answers = Vec::new();
    for model in MODELS {
        for gpu in CARDS {
            answers.push(OnOneCard { model, gpu, way: way(model, gpu, context)? });
        }
    }
    Ok(answers)
}

fn way(model: &str, gpu: &str, context: u64) -> Result<Way, PlanError> {
    for (precision, engine) in BY_QUALITY {
        let precision =
            if precision == WeightPrecision::Bf16 { WeightPrecision::GgufBf16 } else { precision };
        let planned = Planned::of(served(model, gpu, engine, precision, context)?)?;
        if planned.estimate.fits {
            let longest_context = solve::longest_context(&planned.plan)?;
            return Ok(Way::Whole { planned, longest_context });
        }
    }
    let precision = WeightPrecision::GgufQ4KM;
    let layers = layers(model)?;
    let with = |gpu_layers: u32| -> Result<Planned, PlanError> {
        let mut plan = served(model, gpu, EngineName::LlamaCpp, precision, context)?;
        if let Workload::Serve(serve) = &mut plan.workload {
            serve.gpu_layers = Some(gpu_layers);
        }
        Planned::of(plan)
    };
    // The most layers that fit: each takes more, so halving finds them.
    let (mut low, mut high) = (0u32, layers);
    while low < high {
        let middle = high - (high - low) / 2;
        if with(middle)?.estimate.fits {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    if low == 0 {
        return Ok(Way::No);
    }
    Ok(Way::Split { planned: with(low)?, gpu_layers: low, layers })
}

/// What training takes beside serving.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingRow {
    /// What is done.
    pub what: &'static str,
    /// Its plan and estimate.
    pub planned: Planned,
    /// Its memory as a multiple of serving's weights.
    pub times_serving: f64,
}

/// Serving against the ways of training, of one model and length on one large GPU.
///
/// # Errors
/// A plan that is refused.
pub fn training_against_inference(model: &str, sequence: u64) -> Result<Vec<TrainingRow>, PlanError> {
    let adapters = "\"lora\":{\"rank\":16,\"targets\":[\"q_proj\",\"k_proj\",\"v_proj\",\"o_proj\"]}";
    let rows = [
        ("serve one sequence, 16 bit", None),
        ("full fine-tuning, AdamW, fp32 masters", Some("\"method\":\"full\"".to_owned())),
        ("the same, checkpointed", Some("\"method\":\"full\",\"checkpointing\":\"full\"".to_owned())),
        (
            "LoRA of rank 16 on attention",
            Some(format!("\"method\":\"lora\",\"checkpointing\":\"full\",{adapters}")),
        ),
        (
            "QLoRA of rank 16 on attention",
            Some(format!("\"method\":\"qlora\",\"checkpointing\":\"full\",{adapters}")),
        ),
    ];
    let mut answers: Vec<TrainingRow> = Vec::new();
    for (what, workload) in rows {
        let mut plan =
            served(model, "b200-sxm-192gb", EngineName::Transformers, WeightPrecision::Bf16, sequence)?;
        if let Some(fields) = workload {
            // Its Trainer takes the fused AdamW, whose step copies nothing.
            plan.engine.version = Some("5.0".to_owned());
            let text = format!("{{\"kind\":\"train\",\"sequence_tokens\":{sequence},{fields}}}");
            let read = serde_json::from_str(&text);
            plan.workload =
                read.map_err(|e| PlanError::invalid("workload", e.to_string(), "correct the document"))?;
            if fields.contains("qlora") {
                plan.precision.weights = Some(WeightPrecision::Nf4Dq);
            }
        }
        let planned = Planned::of(plan)?;
        let first =
            answers.first().map_or(planned.estimate.per_gpu.total, |a| a.planned.estimate.per_gpu.total);
        let times_serving = planned.estimate.per_gpu.total.0 as f64 / first.0.max(1) as f64;
        answers.push(TrainingRow { what, planned, times_serving });
    }
    Ok(answers)
}

/// One sequence of `context` tokens, a quarter of it output.
fn served(
    model: &str,
    gpu: &str,
    engine: EngineName,
    precision: WeightPrecision,
    context: u64,
) -> Result<Plan, PlanError> {
    let output = context / 4;
    let mut plan =
        link::from_query(&format!("model={model}&gpu={gpu}&context={}&output={output}", context - output))?;
    plan.model = ModelRef::catalogue(model);
    plan.gpu = GpuRef::one(gpu);
    plan.engine = EngineRef { name: engine, version: None, variant: None };
    plan.precision.weights = Some(precision);
    Ok(plan)
}

fn unknown(model: &str) -> PlanError {
    PlanError::invalid(
        "model.id",
        format!("\"{model}\" is not in the catalogue"),
        "give an id of the catalogue",
    )
}

fn parameters(model: &str) -> Result<u64, PlanError> {
    catalogue::model(model).map(|entry| entry.parameters).ok_or_else(|| unknown(model))
}

fn layers(model: &str) -> Result<u32, PlanError> {
    let entry = catalogue::model(model).ok_or_else(|| unknown(model))?;
    let model = entry.model().map_err(|e| PlanError::invalid("model.id", e.to_string(), "give another"))?;
    Ok(u32::try_from(model.layers.len()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Folklore says 1 GB a billion in 16 bit; it is 2 GB = 1.86 GiB, and the rotary table is on top.
    #[test]
    fn sixteen_bit_takes_two_bytes() {
        let rows = per_billion("meta-llama/Llama-3.1-8B").unwrap();
        let of = |precision| rows.iter().find(|r| r.precision == precision).unwrap().bytes.0 as f64 / 1e9;
        assert!((of(WeightPrecision::Bf16) - 2.0).abs() < 0.02);
        assert!((of(WeightPrecision::Fp32) - 4.0).abs() < 0.04);
        assert!(of(WeightPrecision::GgufQ4KM) > 0.55 && of(WeightPrecision::GgufQ4KM) < 0.65);
        // An 8-bit format is not half of 16 bit: embedding and head stay.
        assert!(of(WeightPrecision::Fp8) > 1.0 && of(WeightPrecision::Fp8) < 1.3);
    }

    #[test]
    fn a_7b_runs_on_every_card_and_a_70b_whole_on_none() {
        for answer in on_one_card(4096).unwrap() {
            match (answer.model, &answer.way) {
                ("meta-llama/Llama-2-7b-hf", Way::Whole { planned, longest_context }) => {
                    assert!(planned.estimate.fits && longest_context.0 >= 4096, "{answer:?}");
                }
                ("meta-llama/Llama-3.1-70B", Way::Split { planned, gpu_layers, layers }) => {
                    assert!(gpu_layers < layers && planned.estimate.fits, "{answer:?}");
                    assert!(planned.estimate.host.weights > Bytes::ZERO);
                }
                _ => panic!("{answer:?}"),
            }
        }
    }

    #[test]
    fn training_takes_several_times_as_much() {
        let rows = training_against_inference("meta-llama/Llama-2-7b-hf", 2048).unwrap();
        assert!(rows[1].times_serving > 6.0, "{}", rows[1].times_serving);
        assert!(rows[2].planned.estimate.per_gpu.total < rows[1].planned.estimate.per_gpu.total);
        assert!(rows[3].times_serving < 2.5 && rows[4].times_serving < 1.0 + rows[3].times_serving / 2.0);
    }
}

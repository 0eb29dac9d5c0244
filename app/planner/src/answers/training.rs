//! Fine-tune or `LoRA`?

use serde_json::{Value, json};

use super::{Planned, Reader, served};
use crate::catalogue;
use crate::document::plan::{EngineName, EngineRef, Plan, TrainMethod, Workload};
use crate::document::precision::WeightPrecision;
use crate::error::PlanError;

/// What training takes beside serving.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingRow {
    /// What is done.
    pub what: &'static str,
    /// What is trained; none: it is served.
    pub method: Option<TrainMethod>,
    /// Its plan and estimate.
    pub planned: Planned,
    /// Its memory as a multiple of serving's.
    pub times_serving: f64,
}

/// The rank of the adapters.
const RANK: u32 = 16;
/// The projections of attention, as families call them; the first that a model has are taken.
const ATTENTION: [&[&str]; 7] = [
    &["q_proj", "k_proj", "v_proj", "o_proj"],
    &["query_key_value", "dense"],
    &["qkv_proj", "o_proj"],
    &["c_attn", "c_proj"],
    &["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"],
    &["q_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"],
    &["in_proj", "out_proj"],
];
/// Ways to train, with and without recomputing.
const WAYS: [(&str, TrainMethod, &str); 4] = [
    ("full fine-tuning, AdamW, fp32 masters", TrainMethod::Full, "none"),
    ("the same, checkpointed", TrainMethod::Full, "full"),
    ("LoRA of rank 16 on attention", TrainMethod::Lora, "full"),
    ("QLoRA of rank 16 on attention", TrainMethod::Qlora, "full"),
];

/// Serving against the ways of training the reader's model, on one of the reader's cards whether it holds them or not.
///
/// # Errors
/// A value of the reader's that is unknown; a plan that is refused.
pub fn training_against_inference(reader: &Reader) -> Result<Vec<TrainingRow>, PlanError> {
    let (rows, refused) = rows(reader)?;
    refused.into_iter().next().map_or(Ok(rows), |(_, error)| Err(error))
}

/// What is done and why it is not planned.
pub type NotPlanned = (&'static str, PlanError);

/// The ways that are planned, serving first, and those that are not.
fn rows(reader: &Reader) -> Result<(Vec<TrainingRow>, Vec<NotPlanned>), PlanError> {
    reader.model()?;
    let serving = Planned::of(base(reader)?)?;
    let whole = serving.estimate.per_gpu.total.0.max(1) as f64;
    let mut rows = vec![TrainingRow {
        what: "serve as many sequences, 16 bit",
        method: None,
        planned: serving,
        times_serving: 1.0,
    }];
    let mut refused = Vec::new();
    for (what, method, checkpointing) in WAYS {
        match trained(reader, method, checkpointing) {
            Ok(planned) => {
                let times_serving = planned.estimate.per_gpu.total.0 as f64 / whole;
                rows.push(TrainingRow { what, method: Some(method), planned, times_serving });
            }
            Err(error) => refused.push((what, error)),
        }
    }
    Ok((rows, refused))
}

fn base(reader: &Reader) -> Result<Plan, PlanError> {
    served(reader.place(), EngineName::Transformers, WeightPrecision::Bf16, reader.context, reader.batch)
}

fn trained(reader: &Reader, method: TrainMethod, checkpointing: &str) -> Result<Planned, PlanError> {
    let with = |lora: Value| {
        let mut plan = base(reader)?;
        // Its Trainer takes the fused AdamW, whose step copies nothing.
        plan.engine.version = Some("5.0".to_owned());
        if method == TrainMethod::Qlora {
            plan.precision.weights = Some(WeightPrecision::Nf4Dq);
        }
        let workload = json!({
            "kind": "train",
            "method": method,
            "sequence_tokens": reader.context,
            "micro_batch": reader.batch,
            "checkpointing": checkpointing,
            "lora": lora,
        });
        plan.workload = serde_json::from_value::<Workload>(workload)
            .map_err(|e| PlanError::invalid("workload", e.to_string(), "correct the document"))?;
        Planned::of(plan)
    };
    if method == TrainMethod::Full {
        return with(Value::Null);
    }
    let mut refused = None;
    for targets in ATTENTION {
        match with(json!({ "rank": RANK, "targets": targets })) {
            Ok(planned) => return Ok(planned),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or_else(|| PlanError::invalid("workload.lora", "has no target", "give targets")))
}

/// Ways to train a model, and where each has room.
#[derive(Debug, Clone, PartialEq)]
pub struct Trainings {
    /// Serving first, then what is trained.
    pub rows: Vec<TrainingRow>,
    /// Where each row of training has room.
    pub homes: Vec<Home>,
    /// The ways that are not planned, and why.
    pub refused: Vec<NotPlanned>,
}

/// Where a way to train has room.
#[derive(Debug, Clone, PartialEq)]
pub struct Home {
    /// The smallest single NVIDIA card of the catalogue that holds it.
    pub smallest: Option<(&'static str, Planned)>,
    /// The fewest of the reader's cards that hold it: 1 in Transformers, else 2, 4, … 64 that divide parameters, gradients and
    /// states (Transformers' FSDP, else `DeepSpeed`'s `ZeRO` stage 3), each with sequences of its own; none where 64 do not.
    pub cards: Option<(u32, Planned)>,
}

/// Most cards that are tried.
const MOST_CARDS: u32 = 64;

/// Ways to train the reader's model, and where each has room.
///
/// # Errors
/// A value of the reader's that is unknown; why serving is not planned.
pub fn trainings(reader: &Reader) -> Result<Trainings, PlanError> {
    let (rows, refused) = rows(reader)?;
    let trained = rows.iter().filter(|row| row.method.is_some());
    let homes =
        trained.map(|row| Home { smallest: smallest(&row.planned), cards: cards(&row.planned) }).collect();
    Ok(Trainings { rows, homes, refused })
}

impl Trainings {
    /// Each way to train with where it has room.
    pub fn trained(&self) -> impl Iterator<Item = (&TrainingRow, &Home)> {
        self.rows.iter().filter(|row| row.method.is_some()).zip(&self.homes)
    }

    /// The way of a method that takes least.
    #[must_use]
    pub fn least(&self, method: TrainMethod) -> Option<(&TrainingRow, &Home)> {
        self.trained()
            .filter(|(row, _)| row.method == Some(method))
            .min_by_key(|(row, _)| row.planned.estimate.per_gpu.total)
    }
}

fn smallest(planned: &Planned) -> Option<(&'static str, Planned)> {
    let total = planned.estimate.per_gpu.total;
    let mut cards: Vec<_> = catalogue::gpus()
        .iter()
        .filter(|gpu| gpu.compute_capability.is_some() && !gpu.unified_memory)
        .filter(|gpu| gpu.visible().bytes() >= total)
        .collect();
    cards.sort_by_key(|gpu| gpu.visible().bytes());
    cards.into_iter().find_map(|gpu| {
        let mut plan = planned.plan.clone();
        plan.gpu.id.clone_from(&gpu.id);
        let found = Planned::of(plan).ok().filter(|found| found.estimate.fits)?;
        Some((gpu.id.as_str(), found))
    })
}

fn cards(planned: &Planned) -> Option<(u32, Planned)> {
    if planned.estimate.fits {
        return Some((1, planned.clone()));
    }
    let mut counts = std::iter::successors(Some(2u32), |n| Some(n * 2)).take_while(|n| *n <= MOST_CARDS);
    counts.find_map(|n| {
        let mut plan = planned.plan.clone();
        (plan.parallelism.data, plan.parallelism.zero_stage) = (n, 3);
        let sharded = EngineRef { name: EngineName::Deepspeed, ..EngineRef::default() };
        let deepspeed = Plan { engine: sharded, ..plan.clone() };
        let fitting = |plan| Planned::of(plan).ok().filter(|found| found.estimate.fits);
        Some((n, fitting(plan).or_else(|| fitting(deepspeed))?))
    })
}

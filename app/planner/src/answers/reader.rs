//! Who asks, and what.

use super::{Attentions, Billion, CanRun, Trades, Trainings};
use super::{attentions, billion, can_run, trades, trainings};
use crate::bytes::Tokens;
use crate::catalogue;
use crate::engine::resolved::MAX_SEQUENCES;
use crate::error::PlanError;
use crate::model::Model;

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Can I run X on Y?
    CanRun,
    /// How much memory do a billion parameters take?
    PerBillion,
    /// Is it worth quantizing?
    Quantize,
    /// Flash attention or not?
    Attention,
    /// Fine-tune or `LoRA`?
    Training,
}

/// A model, a card, and how much is asked of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reader {
    /// The model's catalogue id.
    pub model: String,
    /// The GPU's catalogue id.
    pub gpu: String,
    /// Tokens of a sequence, prompt and output together.
    pub context: Tokens,
    /// Sequences at once.
    pub batch: u64,
}

/// The shortest sequence that is asked for: a quarter of it is output.
const SHORTEST: u64 = 8;

impl Reader {
    /// The model.
    ///
    /// # Errors
    /// The field (`model`, `gpu`, `context`, `batch`) whose value is unknown or out of range.
    pub fn model(&self) -> Result<Model, PlanError> {
        let model = generating(&self.model)?;
        if catalogue::gpu(&self.gpu).is_none() {
            let names = catalogue::gpus().iter().map(|gpu| gpu.id.as_str());
            return Err(unknown("gpu", &self.gpu, names));
        }
        let longest = model.max_tokens;
        if !(SHORTEST..=longest.0).contains(&self.context.0) {
            return Err(PlanError::invalid(
                "context",
                format!("{} is out of range", self.context),
                format!("give {SHORTEST} to {longest} tokens, what {} takes", model.name),
            ));
        }
        if !(1..=MAX_SEQUENCES).contains(&self.batch) {
            let remedy = format!("give 1 to {MAX_SEQUENCES}");
            return Err(PlanError::invalid("batch", format!("{} is out of range", self.batch), remedy));
        }
        Ok(model)
    }

    /// What runs where.
    pub(super) fn place(&self) -> (&str, &str) {
        (&self.model, &self.gpu)
    }
}

/// A model of the catalogue that generates.
///
/// # Errors
/// Names `model` where the catalogue lacks it or it is an encoder.
pub(super) fn generating(id: &str) -> Result<Model, PlanError> {
    let entry = catalogue::model(id)
        .ok_or_else(|| unknown("model", id, catalogue::models().iter().map(|model| model.id.as_str())))?;
    let model = entry.model().map_err(|e| PlanError::invalid("model", e.to_string(), "choose another"))?;
    if model.is_decoder() {
        return Ok(model);
    }
    Err(PlanError::invalid(
        "model",
        format!("{id} is an encoder, which generates nothing"),
        "choose a model that generates, or plan it in the planner with the workload embed",
    ))
}

fn unknown(field: &str, given: &str, names: impl Iterator<Item = &'static str>) -> PlanError {
    let nearest = catalogue::nearest(given, names, 4).join(", ");
    let shown: String = given.chars().take(80).collect();
    PlanError::invalid(field, format!("\"{shown}\" is not in the catalogue"), format!("nearest: {nearest}"))
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// To [`Topic::CanRun`].
    CanRun(Box<CanRun>),
    /// To [`Topic::PerBillion`].
    PerBillion(Box<Billion>),
    /// To [`Topic::Quantize`].
    Quantize(Trades),
    /// To [`Topic::Attention`].
    Attention(Attentions),
    /// To [`Topic::Training`].
    Training(Trainings),
}

/// Answers a question.
///
/// # Errors
/// A value that is unknown or out of range ([`Reader::model`]); what the planner says where it plans none of the ways.
pub fn answer(topic: Topic, reader: &Reader) -> Result<Reply, PlanError> {
    Ok(match topic {
        Topic::CanRun => Reply::CanRun(Box::new(can_run(reader)?)),
        Topic::PerBillion => Reply::PerBillion(Box::new(billion(reader)?)),
        Topic::Quantize => Reply::Quantize(trades(reader)?),
        Topic::Attention => Reply::Attention(attentions(reader)?),
        Topic::Training => Reply::Training(trainings(reader)?),
    })
}

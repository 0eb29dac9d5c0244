//! Can I run X on Y?

use super::one_card::split;
use super::{OnOneCard, Planned, Reader, Refused, Way, on_one_card, served};
use crate::bytes::Tokens;
use crate::document::estimate::Estimate;
use crate::document::plan::EngineName;
use crate::document::precision::WeightPrecision as P;
use crate::error::PlanError;
use crate::model::Architecture;
use crate::{estimate, solve};

/// Ways to hold the weights and the engines that do, the one that loses least first.
const WAYS: [(P, EngineName); 13] = [
    (P::Bf16, EngineName::Vllm),
    (P::GgufBf16, EngineName::LlamaCpp),
    (P::Bf16, EngineName::Candle),
    (P::Fp8, EngineName::Vllm),
    (P::GgufQ8_0, EngineName::LlamaCpp),
    (P::GgufQ6K, EngineName::LlamaCpp),
    (P::GgufQ5KM, EngineName::LlamaCpp),
    (P::Int4G128, EngineName::Vllm),
    (P::Nf4Dq, EngineName::Transformers),
    (P::GgufQ4KM, EngineName::LlamaCpp),
    (P::GgufQ4KM, EngineName::Candle),
    (P::GgufQ3KM, EngineName::LlamaCpp),
    (P::GgufQ2K, EngineName::LlamaCpp),
];

/// Models of every size that people ask for on the same card.
const LADDER: [&str; 6] = [
    "meta-llama/Llama-3.2-3B",
    "meta-llama/Llama-3.1-8B",
    "Qwen/Qwen2.5-14B",
    "Qwen/Qwen2.5-32B",
    "meta-llama/Llama-3.1-70B",
    "deepseek-ai/DeepSeek-V3",
];

/// Whether a model runs on a card, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct CanRun {
    /// The ways that were planned, the one that loses least first.
    pub ways: Vec<Ran>,
    /// The ways that were not.
    pub refused: Vec<Refused>,
    /// The most exact way with the advice of its estimate, where it does not fit.
    pub advised: Option<Estimate>,
    /// Layers on the card and in host memory, where no way fits whole; none also where llama.cpp lacks the model.
    pub split: Option<Way>,
    /// Other models on the same card, one sequence of as many tokens each.
    pub others: Vec<OnOneCard>,
}

/// A way to run a model, and how far it goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Ran {
    /// The plan with what it takes.
    pub planned: Planned,
    /// The longest sequence with as many at once.
    pub longest_context: Tokens,
    /// The most sequences of as many tokens.
    pub most_sequences: u64,
}

impl CanRun {
    /// The way that loses least of those that fit.
    #[must_use]
    pub fn best(&self) -> Option<&Ran> {
        self.ways.iter().find(|way| way.planned.estimate.fits)
    }

    /// The way that needs least.
    #[must_use]
    pub fn smallest(&self) -> Option<&Ran> {
        self.ways.iter().min_by_key(|way| way.planned.needed())
    }
}

/// Whether the reader's model runs on the reader's card.
///
/// # Errors
/// A value of the reader's that is unknown; where no way is planned, why the first is not.
pub fn can_run(reader: &Reader) -> Result<CanRun, PlanError> {
    let model = reader.model()?;
    // gpt-oss is published with its experts in MXFP4: nothing is lost by it.
    let published = (model.architecture == Architecture::GptOss).then_some((P::Mxfp4, EngineName::Vllm));
    let (mut ways, mut refused) = (Vec::new(), Vec::new());
    for (weights, engine) in published.into_iter().chain(WAYS) {
        match ran(reader, engine, weights) {
            Ok(way) => ways.push(way),
            Err(error) => refused.push(Refused { engine, weights, error }),
        }
    }
    let Some(exact) = ways.first() else {
        return Err(refused.swap_remove(0).error);
    };
    let fits = exact.planned.estimate.fits;
    let advised = if fits { None } else { Some(estimate(&exact.planned.plan)?) };
    let none_fits = ways.iter().all(|way| !way.planned.estimate.fits);
    let split = none_fits.then(|| split(reader.place(), reader.context, reader.batch).ok()).flatten();
    let others = LADDER
        .iter()
        .filter(|other| **other != reader.model)
        .filter_map(|other| on_one_card(&[other], &[&reader.gpu], reader.context).ok())
        .flatten()
        .collect();
    Ok(CanRun { ways, refused, advised, split, others })
}

fn ran(reader: &Reader, engine: EngineName, weights: P) -> Result<Ran, PlanError> {
    let planned = Planned::of(served(reader.place(), engine, weights, reader.context, reader.batch)?)?;
    let longest_context = solve::longest_context(&planned.plan)?;
    let most_sequences = solve::largest_batch(&planned.plan)?;
    Ok(Ran { planned, longest_context, most_sequences })
}

//! The best way to run a model on one card in llama.cpp, whole or in part.

use super::reader::generating;
use super::{Planned, served};
use crate::bytes::Tokens;
use crate::document::plan::{EngineName, Workload};
use crate::document::precision::WeightPrecision;
use crate::error::PlanError;
use crate::solve;

/// How a model runs on one card.
#[derive(Debug, Clone, PartialEq)]
pub struct OnOneCard {
    /// The model's catalogue id.
    pub model: String,
    /// The GPU's catalogue id.
    pub gpu: String,
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
const BY_QUALITY: [WeightPrecision; 5] = [
    WeightPrecision::GgufBf16,
    WeightPrecision::GgufQ8_0,
    WeightPrecision::GgufQ6K,
    WeightPrecision::GgufQ5KM,
    WeightPrecision::GgufQ4KM,
];

/// Whether each of `models` runs on each of `cards` with `context` tokens, and how.
///
/// # Errors
/// A plan that is refused.
pub fn on_one_card(models: &[&str], cards: &[&str], context: Tokens) -> Result<Vec<OnOneCard>, PlanError> {
    let mut answers = Vec::new();
    for model in models {
        for gpu in cards {
            let way = way((model, gpu), context, 1)?;
            answers.push(OnOneCard { model: (*model).to_owned(), gpu: (*gpu).to_owned(), way });
        }
    }
    Ok(answers)
}

fn way(place: (&str, &str), context: Tokens, batch: u64) -> Result<Way, PlanError> {
    for precision in BY_QUALITY {
        let planned = Planned::of(served(place, EngineName::LlamaCpp, precision, context, batch)?)?;
        if planned.estimate.fits {
            let longest_context = solve::longest_context(&planned.plan)?;
            return Ok(Way::Whole { planned, longest_context });
        }
    }
    split(place, context, batch)
}

/// As many layers of the smallest of these precisions on the card as fit.
pub(super) fn split(place: (&str, &str), context: Tokens, batch: u64) -> Result<Way, PlanError> {
    let layers = u32::try_from(generating(place.0)?.layers.len()).unwrap_or(u32::MAX);
    let with = |gpu_layers: u32| -> Result<Planned, PlanError> {
        let mut plan = served(place, EngineName::LlamaCpp, WeightPrecision::GgufQ4KM, context, batch)?;
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

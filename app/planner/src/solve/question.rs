//! Questions about a plan and their answers, as documents: the command line and the REST interface speak these.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    LayoutPoint, LoadPoint, Offer, ParetoPoint, SpeedLimits, best_layout, cheapest_gpu, fewest_gpus,
    largest_batch, load_line, longest_context, pareto,
};
use crate::bytes::Tokens;
use crate::document::plan::Plan;
use crate::error::PlanError;

/// Batches of a load line where none are given.
const BATCHES: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
/// Most batches of a load line.
const MAX_BATCHES: usize = 64;

/// A plan and what is asked of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// What is asked; left out: the overview.
    #[serde(default)]
    pub question: Asked,
    /// The plan.
    pub plan: Plan,
    /// Batches of the load line; left out: 1, 2, 4 … 256. For `overview` and `load-line`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batches: Option<Vec<u64>>,
    /// How slow an answer may be; left out: as slow as it is. For `overview` (its fewest GPUs), `fewest-gpus`,
    /// `cheapest-gpu` and `layouts`.
    #[serde(default, skip_serializing_if = "SpeedLimits::is_none")]
    pub limits: SpeedLimits,
    /// How many GPUs are laid out; left out: as many as the plan has. For `layouts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<u32>,
    /// Prices of one GPU for an hour by catalogue id, in any one currency; GPUs without a price are not offered. Left out:
    /// every GPU is offered and ranked without prices. For `cheapest-gpu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<BTreeMap<String, f64>>,
}

/// What is asked of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// Largest batch, longest context, load line, fewest GPUs and Pareto set of a plan that serves.
    #[default]
    Overview,
    /// The most sequences at once.
    LargestBatch,
    /// The longest sequence.
    LongestContext,
    /// For each batch the longest context.
    LoadLine,
    /// The fewest of the plan's GPUs.
    FewestGpus,
    /// GPUs of the catalogue that hold the plan, the cheapest first.
    CheapestGpu,
    /// Ways to spread the plan over a number of GPUs.
    Layouts,
    /// Precisions that no other beats in all of memory, speed and quality.
    Pareto,
}

/// The answer to a [`Question`]; `question` says to which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "question", rename_all = "kebab-case")]
pub enum Answer {
    /// The most that fits where the plan runs.
    Overview {
        /// The most sequences at once, all else as in the plan; 0: not even one.
        largest_batch: u64,
        /// The most tokens of a sequence, prompt and output together, with the plan's batch; 0: not even one of prompt.
        longest_context: Tokens,
        /// For each batch the longest context.
        load_line: Vec<LoadPoint>,
        /// The fewest of the plan's GPUs that hold it; null where 64 do not.
        fewest_gpus: Option<Fewest>,
        /// Precisions of the weights that no other beats in all of memory, speed and quality, smallest first.
        precisions: Vec<ParetoPoint>,
    },
    /// The largest batch.
    LargestBatch {
        /// The most sequences at once, all else as in the plan; 0: not even one.
        largest_batch: u64,
    },
    /// The longest context.
    LongestContext {
        /// The most tokens of a sequence, prompt and output together, with the plan's batch; 0: not even one of prompt.
        longest_context: Tokens,
    },
    /// The load line.
    LoadLine {
        /// For each batch the longest context.
        load_line: Vec<LoadPoint>,
    },
    /// The fewest GPUs.
    FewestGpus {
        /// The fewest of the plan's GPUs that hold it within the limits; null where 64 do not.
        fewest_gpus: Option<Fewest>,
    },
    /// The cheapest GPU.
    CheapestGpu {
        /// What the offers are ranked by.
        ranked_by: Ranking,
        /// GPUs that hold the plan within the limits, at most 8 of a kind, the best first.
        offers: Vec<Offer>,
    },
    /// Layouts.
    Layouts {
        /// How many GPUs are laid out.
        gpus: u32,
        /// Layouts that fit within the limits, fastest first; where speed is not known, those that take least of a GPU.
        layouts: Vec<LayoutPoint>,
    },
    /// The Pareto set.
    Pareto {
        /// Precisions of the weights that no other beats in all of memory, speed and quality, smallest first.
        precisions: Vec<ParetoPoint>,
    },
}

/// What offers are ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Ranking {
    /// The prices that were given, for an hour.
    Price,
    /// No prices were given, and the catalogue has none: the fewest GPUs, then the least memory of all of them.
    GpusAndMemory,
}

/// GPUs that hold a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Fewest {
    /// How many.
    pub count: u32,
    /// The fastest layout on them.
    pub layout: LayoutPoint,
}

impl Question {
    /// A question of which only the plan and what is asked are said.
    #[must_use]
    pub const fn new(question: Asked, plan: Plan) -> Self {
        let limits = SpeedLimits { time_to_first_token_ms: None, time_per_output_token_ms: None };
        Self { question, plan, batches: None, limits, gpus: None, prices: None }
    }

    /// The answer.
    ///
    /// # Errors
    /// The field of the question that is out of range or that what is asked has no use for; else those of the function that
    /// answers, whose fields are the plan's.
    pub fn answer(&self) -> Result<Answer, PlanError> {
        self.check()?;
        let plan = &self.plan;
        let batches = self.batches.as_deref().unwrap_or(&BATCHES);
        Ok(match self.question {
            Asked::Overview => Answer::Overview {
                largest_batch: largest_batch(plan)?,
                longest_context: longest_context(plan)?,
                load_line: load_line(plan, batches)?,
                fewest_gpus: self.fewest()?,
                precisions: pareto(plan)?,
            },
            Asked::LargestBatch => Answer::LargestBatch { largest_batch: largest_batch(plan)? },
            Asked::LongestContext => Answer::LongestContext { longest_context: longest_context(plan)? },
            Asked::LoadLine => Answer::LoadLine { load_line: load_line(plan, batches)? },
            Asked::FewestGpus => Answer::FewestGpus { fewest_gpus: self.fewest()? },
            Asked::CheapestGpu => {
                let prices = self.prices.as_ref();
                let ranked_by = if prices.is_some() { Ranking::Price } else { Ranking::GpusAndMemory };
                Answer::CheapestGpu { ranked_by, offers: cheapest_gpu(plan, prices, &self.limits)? }
            }
            Asked::Layouts => {
                let gpus = self.gpus.unwrap_or_else(|| gpus_of(plan));
                Answer::Layouts { gpus, layouts: best_layout(plan, gpus, &self.limits)? }
            }
            Asked::Pareto => Answer::Pareto { precisions: pareto(plan)? },
        })
    }

    fn fewest(&self) -> Result<Option<Fewest>, PlanError> {
        let found = fewest_gpus(&self.plan, &self.limits)?;
        Ok(found.map(|(count, layout)| Fewest { count, layout }))
    }

    /// What does not go with what is asked, and what is out of range.
    fn check(&self) -> Result<(), PlanError> {
        use Asked::{CheapestGpu, FewestGpus, Layouts, LoadLine, Overview};
        let given: [(&str, bool, &[Asked], &str); 4] = [
            ("batches", self.batches.is_some(), &[Overview, LoadLine], "overview or load-line"),
            (
                "limits",
                !self.limits.is_none(),
                &[Overview, FewestGpus, CheapestGpu, Layouts],
                "overview, fewest-gpus, cheapest-gpu or layouts",
            ),
            ("gpus", self.gpus.is_some(), &[Layouts], "layouts"),
            ("prices", self.prices.is_some(), &[CheapestGpu], "cheapest-gpu"),
        ];
        for (field, there, takers, names) in given {
            if there && !takers.contains(&self.question) {
                return Err(PlanError::invalid(
                    field,
                    "is given, and this question has no use for it",
                    format!("leave it out or ask {names}"),
                ));
            }
        }
        let wrong = |n: &Vec<u64>| n.is_empty() || n.len() > MAX_BATCHES || n.contains(&0);
        if self.batches.as_ref().is_some_and(wrong) {
            let remedy = format!("give 1 to {MAX_BATCHES} numbers, each at least 1");
            return Err(PlanError::invalid("batches", "is out of range", remedy));
        }
        for (field, limit) in [
            ("limits.time_to_first_token_ms", self.limits.time_to_first_token_ms),
            ("limits.time_per_output_token_ms", self.limits.time_per_output_token_ms),
        ] {
            if let Some(limit) = limit.filter(|limit| !limit.is_finite() || *limit < 0.0) {
                let problem = format!("{limit} is out of range");
                return Err(PlanError::invalid(field, problem, "give milliseconds, at least 0"));
            }
        }
        if self.gpus.is_some_and(|gpus| !(1..=super::layout::MAX_GPUS).contains(&gpus)) {
            let remedy = format!("give 1 to {}", super::layout::MAX_GPUS);
            return Err(PlanError::invalid("gpus", "is out of range", remedy));
        }
        if self.prices.as_ref().is_some_and(BTreeMap::is_empty) {
            return Err(PlanError::invalid(
                "prices",
                "is empty",
                "give a price of a GPU's catalogue id, or leave it out",
            ));
        }
        Ok(())
    }
}

/// GPUs that a plan is spread over.
fn gpus_of(plan: &Plan) -> u32 {
    let p = &plan.parallelism;
    let product = [p.pipeline, p.data, p.context].iter().fold(p.tensor, |all, n| all.saturating_mul(*n));
    plan.gpu.count.unwrap_or(product)
}

//! How few GPUs, and which of the catalogue costs least.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::layout::{LayoutPoint, SpeedLimits, on_one, search};
use crate::catalogue;
use crate::document::plan::Plan;
use crate::error::PlanError;

/// The most GPUs that are tried.
const MOST: u32 = 64;
/// The most GPUs of one kind that an offer has: a node's.
const NODE: u32 = 8;

/// GPUs that hold a plan, and their price.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Offer {
    /// The GPU's catalogue id.
    pub gpu: String,
    /// How many.
    pub count: u32,
    /// Price of all for an hour, in the currency of the prices given.
    pub per_hour: f64,
    /// Price of a million tokens at full speed; none where speed is not known.
    pub per_million_tokens: Option<f64>,
    /// The fastest layout on them.
    pub layout: LayoutPoint,
}

/// The fewest GPUs of the plan's kind that hold it and keep the limits, with the fastest layout on them; none where 64 do not.
///
/// # Errors
/// Those of [`super::best_layout`].
pub fn fewest_gpus(plan: &Plan, limits: &SpeedLimits) -> Result<Option<(u32, LayoutPoint)>, PlanError> {
    fewest(plan, limits, MOST)
}

fn fewest(plan: &Plan, limits: &SpeedLimits, most: u32) -> Result<Option<(u32, LayoutPoint)>, PlanError> {
    let compiled = on_one(plan)?;
    for gpus in 1..=most {
        if let Some(layout) = search(&compiled, gpus, limits)?.into_iter().next() {
            return Ok(Some((gpus, layout)));
        }
    }
    Ok(None)
}

/// GPUs of the catalogue that hold the plan, cheapest for an hour first, each with the fewest that do, at most a node of 8.
/// `prices`: of one GPU for an hour by catalogue id; GPUs without a price are not offered.
///
/// # Errors
/// A price of an unknown GPU, or one that is no number of at least 0. A GPU that the plan contradicts is not offered.
pub fn cheapest_gpu(
    plan: &Plan,
    prices: &BTreeMap<String, f64>,
    limits: &SpeedLimits,
) -> Result<Vec<Offer>, PlanError> {
    let mut offers = Vec::new();
    for (id, price) in prices {
        if catalogue::gpu(id).is_none() {
            let names = catalogue::gpus().iter().map(|g| g.id.as_str());
            let nearest = catalogue::nearest(id, names, 4).join(", ");
            let shown: String = id.chars().take(80).collect();
            return Err(PlanError::invalid(
                "prices",
                format!("\"{shown}\" is not in the catalogue"),
                format!("nearest: {nearest}"),
            ));
        }
        if !price.is_finite() || *price < 0.0 {
            return Err(PlanError::invalid(
                "prices",
                format!("{price} for {id} is out of range"),
                "give a number of at least 0",
            ));
        }
        let mut moved = plan.clone();
        moved.gpu.id.clone_from(id);
        (moved.gpu.memory_mib, moved.gpu.in_use_mib, moved.gpu.count) = (None, 0, None);
        let Ok(Some((count, layout))) = fewest(&moved, limits, NODE) else { continue };
        let per_hour = price * f64::from(count);
        let rate = layout.tokens_per_second.filter(|rate| *rate > 0.0);
        offers.push(Offer {
            gpu: id.clone(),
            count,
            per_hour,
            per_million_tokens: rate.map(|rate| per_hour / 3600.0 / rate * 1e6),
            layout,
        });
    }
    offers.sort_by(|a, b| a.per_hour.total_cmp(&b.per_hour));
    Ok(offers)
}

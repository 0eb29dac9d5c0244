//! How few GPUs, and which of the catalogue costs least.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::layout::{LayoutPoint, SpeedLimits, on_one, search};
use crate::bytes::Bytes;
use crate::catalogue::{self, Gpu};
use crate::document::plan::Plan;
use crate::error::PlanError;

/// The most GPUs that are tried.
const MOST: u32 = 64;
/// The most GPUs of one kind that an offer has: a node's.
const NODE: u32 = 8;

/// GPUs that hold a plan, and their price where it is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Offer {
    /// The GPU's catalogue id.
    pub gpu: String,
    /// How many.
    pub count: u32,
    /// Memory that a program sees of all of them.
    pub memory_bytes: Bytes,
    /// Price of all for an hour, in the currency of the prices given; none where none were.
    pub per_hour: Option<f64>,
    /// Price of a million tokens at full speed; none where speed or price is not known.
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

/// GPUs of the catalogue that hold the plan, each with the fewest that do, at most a node of 8. `prices`: of one GPU for an
/// hour by catalogue id; the cheapest for an hour first, and GPUs without a price are not offered. Without prices every
/// GPU is offered, the fewest first, then the least memory of all of them: the catalogue has no prices.
///
/// # Errors
/// A price of an unknown GPU, or one that is no number of at least 0. A GPU that the plan contradicts is not offered.
pub fn cheapest_gpu(
    plan: &Plan,
    prices: Option<&BTreeMap<String, f64>>,
    limits: &SpeedLimits,
) -> Result<Vec<Offer>, PlanError> {
    let kinds: Vec<(&Gpu, Option<f64>)> = match prices {
        Some(prices) => prices.iter().map(priced).collect::<Result<_, _>>()?,
        None => catalogue::gpus().iter().map(|gpu| (gpu, None)).collect(),
    };
    let mut offers = Vec::new();
    for (gpu, price) in kinds {
        let mut moved = plan.clone();
        moved.gpu.id.clone_from(&gpu.id);
        (moved.gpu.memory_mib, moved.gpu.in_use_mib, moved.gpu.count) = (None, 0, None);
        let Ok(Some((count, layout))) = fewest(&moved, limits, NODE) else { continue };
        let per_hour = price.map(|price| price * f64::from(count));
        let rate = layout.tokens_per_second.filter(|rate| *rate > 0.0);
        offers.push(Offer {
            gpu: gpu.id.clone(),
            count,
            memory_bytes: gpu.visible().bytes() * u64::from(count),
            per_hour,
            per_million_tokens: per_hour.zip(rate).map(|(price, rate)| price / 3600.0 / rate * 1e6),
            layout,
        });
    }
    offers.sort_by(|a, b| {
        let price = |offer: &Offer| offer.per_hour.unwrap_or(0.0);
        price(a).total_cmp(&price(b)).then(a.count.cmp(&b.count)).then(a.memory_bytes.cmp(&b.memory_bytes))
    });
    Ok(offers)
}

/// The GPU of a price, and the price.
fn priced((id, price): (&String, &f64)) -> Result<(&'static Gpu, Option<f64>), PlanError> {
    let shown: String = id.chars().take(80).collect();
    let gpu = catalogue::gpu(id).ok_or_else(|| {
        let names = catalogue::gpus().iter().map(|g| g.id.as_str());
        let nearest = catalogue::nearest(id, names, 4).join(", ");
        let problem = format!("\"{shown}\" is not in the catalogue");
        PlanError::invalid("prices", problem, format!("nearest: {nearest}"))
    })?;
    if !price.is_finite() || *price < 0.0 {
        let problem = format!("{price} is out of range");
        return Err(PlanError::invalid(format!("prices.{id}"), problem, "give a number of at least 0"));
    }
    Ok((gpu, Some(*price)))
}

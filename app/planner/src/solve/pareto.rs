//! What memory, speed and quality trade for each other.

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::document::estimate::Quality;
use crate::document::plan::Plan;
use crate::document::precision::WeightPrecision;
use crate::error::PlanError;
use crate::estimate::Compiled;

/// A precision that no other beats in all of memory, speed and quality.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ParetoPoint {
    /// How weights are stored.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub weights: WeightPrecision,
    /// Bytes of the GPU that carries most, with the cache that is asked for instead of the engine's pool.
    pub needed_bytes: Bytes,
    /// Tokens a second; none where speed is not known.
    pub tokens_per_second: Option<f64>,
    /// What is published of its quality; none: nothing, and it counts as the worst.
    pub quality: Option<Quality>,
    /// Whether the plan fits with it.
    pub fits: bool,
}

impl ParetoPoint {
    fn loss(&self) -> (u8, f64) {
        self.quality.as_ref().map_or((u8::MAX, 0.0), |q| (q.class as u8, q.perplexity_percent.unwrap_or(0.0)))
    }

    /// At least as good in everything, and better in something.
    pub(crate) fn beats(&self, other: &Self) -> bool {
        let speed = |p: &Self| p.tokens_per_second.unwrap_or(0.0);
        let as_good = self.needed_bytes <= other.needed_bytes
            && speed(self) >= speed(other)
            && self.loss() <= other.loss();
        let better = self.needed_bytes < other.needed_bytes
            || speed(self) > speed(other)
            || self.loss() < other.loss();
        as_good && better
    }
}

/// Precisions of the weights that the plan's engine takes and that no other beats, smallest first. Cache and activations are
/// the engine's default for each.
///
/// # Errors
/// Where the engine takes none of them: what it says of the plan's own.
pub fn pareto(plan: &Plan) -> Result<Vec<ParetoPoint>, PlanError> {
    let mut points: Vec<ParetoPoint> = Vec::new();
    for &weights in WeightPrecision::ALL {
        let mut changed = plan.clone();
        changed.precision.weights = Some(weights);
        (changed.precision.kv_cache, changed.precision.activations) = (None, None);
        let Ok(compiled) = Compiled::new(&changed) else { continue };
        let numbers = compiled.numbers();
        let Ok(answer) = compiled.breakdown(&numbers) else { continue };
        let pool = answer.kv.pool_bytes - answer.parts.kv_cache;
        points.push(ParetoPoint {
            weights,
            needed_bytes: answer.parts.total - pool,
            tokens_per_second: compiled.speed(&numbers).map(|s| s.tokens_per_second),
            quality: compiled.quality(),
            fits: answer.fits,
        });
    }
    if points.is_empty() {
        return Compiled::new(plan).map(|_| Vec::new());
    }
    let mut best: Vec<ParetoPoint> =
        points.iter().filter(|p| !points.iter().any(|other| other.beats(p))).cloned().collect();
    best.sort_by_key(|p| p.needed_bytes);
    Ok(best)
}

//! Energy and cost of a plan at its full speed.

use crate::document::estimate::{Cost, Energy, Speed};
use crate::engine::resolved::Resolved;

/// Joules of a kilowatt hour.
const KWH: f64 = 3.6e6;

/// Energy; none where neither plan nor catalogue gives a power, or nothing is generated.
pub(super) fn energy(resolved: &Resolved, speed: &Speed) -> Option<Energy> {
    let given = resolved.plan.gpu.power_w;
    let each = given.or_else(|| resolved.gpu.and_then(|gpu| gpu.power_w))?;
    let rate = positive(speed.tokens_per_second)?;
    let watts = each * resolved.gpus as f64;
    let joules = watts / rate;
    Some(Energy {
        watts,
        joules_per_token: joules,
        kwh_per_million_tokens: joules * 1e6 / KWH,
        basis: if given.is_some() {
            "gpu.power_w of every GPU; host and cooling are not in it".to_owned()
        } else {
            "the GPU's power limit, an upper end; host and cooling are not in it".to_owned()
        },
    })
}

/// Cost; none where the plan gives no price, or nothing is generated.
pub(super) fn cost(resolved: &Resolved, speed: &Speed) -> Option<Cost> {
    let per_hour = resolved.plan.gpu.price_per_hour? * resolved.gpus as f64;
    let rate = positive(speed.tokens_per_second)?;
    Some(Cost { per_hour, per_million_tokens: per_hour / 3600.0 / rate * 1e6 })
}

fn positive(rate: f64) -> Option<f64> {
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

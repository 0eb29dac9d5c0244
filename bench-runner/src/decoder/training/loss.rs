//! Next-token cross entropy.

use candle_core::{DType, Result, Tensor};

use super::operations;

/// The mean over `targets` (rows) of the cross entropy of `logits` (rows × vocabulary), in nats. The logits are whole, not in
/// chunks, and in single precision.
#[allow(clippy::needless_pass_by_value, reason = "where nothing is recorded, they go when they are widened")]
pub(super) fn cross_entropy(logits: Tensor, targets: &Tensor) -> Result<Tensor> {
    let (rows, _) = logits.dims2()?;
    let wide = logits.to_dtype(DType::F32)?;
    drop(logits);
    let shifted = {
        // Any shift gives the same loss, so the largest is a constant.
        let largest = wide.detach().max_keepdim(1)?.neg()?;
        operations::plus(&wide, &largest)?
    };
    drop(wide);
    let chosen = shifted.gather(&targets.unsqueeze(1)?, 1)?;
    let total = shifted.exp()?.sum_keepdim(1)?.log()?;
    let each = 1.0 / rows as f64;
    (total - chosen)?.sum_all()? * each
}

//! The scores of every pair at once.

use candle_core::{DType, Result, Tensor};

use super::{Pass, Scores, Seen, Visibility, grouped, masked, product_type, ungrouped};
use crate::decoder::cache::View;
use crate::decoder::host;

pub(super) fn attend(
    query: Tensor,
    view: View,
    visibility: Visibility,
    scores: Scores,
    pass: &mut Pass,
) -> Result<Tensor> {
    let (_, heads, tokens, _) = query.dims4()?;
    let (computed, dtype) = (product_type(&query), query.dtype());
    // What lies before every window is not looked at.
    let first = pass.first_entry(visibility, &view);
    let len = view.len() - first;
    let weights = {
        let made = {
            let keys = view.keys(first, len, computed)?;
            let wide = grouped(&query, keys.dim(1)?)?.to_dtype(computed)?;
            drop(query);
            let scaled = (wide * scores.scale)?;
            scores.of(&scaled, &keys)?
        };
        let queries = (pass.start, pass.start + tokens - 1);
        let seen = pass.seen(visibility, view.places(), queries, (first, len));
        let made = if seen == Seen::All {
            made
        } else {
            let mask = pass.mask(visibility, view.places(), queries, (first, len), DType::F32)?;
            masked(made, &mask, tokens)?
        };
        host::softmax(made)?
    };
    let weights = if computed == DType::F32 { weights } else { weights.to_dtype(computed)? };
    let out = {
        let values = view.values(first, len, computed)?;
        weights.matmul(&values)?
    };
    drop((weights, view));
    ungrouped(out, heads, tokens, dtype)
}

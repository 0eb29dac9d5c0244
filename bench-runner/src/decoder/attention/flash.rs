//! `FlashAttention`: candle-nn's kernels on a processor, flash-attn's on CUDA where it is compiled in.

use candle_core::{DType, Result, Tensor};
use candle_nn::attention::cpu_flash::{causal, standard};
use contract::case::Device;
use half::{bf16, f16};

use super::{Pass, QUERIES, Scores, Seen, Stretch, Visibility};
use crate::decoder::cache::{Places, View};
use crate::decoder::weights::as_size;
use crate::engine::Refusal;

/// Whether a device has kernels for it.
///
/// # Errors
/// Says what is missing.
pub(super) fn check(
    device: Device,
    shape: &planner::Model,
    compute: DType,
) -> std::result::Result<(), Refusal> {
    if let Device::Cuda(_) = device {
        check_heads(shape)?;
    }
    match device {
        Device::Cuda(_) if !cfg!(feature = "flash-attn") => Err(Refusal(
            "attention flash: this build has no flash-attn in it (cargo build --features flash-attn); accepted: \
             eager, memory-efficient"
                .into(),
        )),
        Device::Cuda(_) if !matches!(compute, DType::F16 | DType::BF16) => Err(Refusal(
            "attention flash: flash-attn's kernels take fp16 and bf16 only; accepted: eager, memory-efficient".into(),
        )),
        Device::Cpu | Device::Cuda(_) => Ok(()),
    }
}

/// Heads that flash-attn's kernels take (candle-flash-attn 0.11.1, `FlashAttn::cuda_fwd_t`).
fn check_heads(shape: &planner::Model) -> std::result::Result<(), Refusal> {
    let mut heads = shape.layers.iter().filter_map(planner::model::Layer::attention).map(|a| a.head_size);
    match heads.find(|size| !size.is_multiple_of(8) || *size > LARGEST_HEAD) {
        None => Ok(()),
        Some(size) => Err(Refusal(format!(
            "attention flash: flash-attn's kernels take heads of 8, 16, … {LARGEST_HEAD} elements, this model's have {size}; \
             accepted: eager, memory-efficient"
        ))),
    }
}

/// Elements of a head.
const LARGEST_HEAD: u64 = 256;

pub(super) fn attend(
    query: &Tensor,
    view: &View,
    visibility: Visibility,
    scores: Scores,
    pass: &mut Pass,
) -> Result<Tensor> {
    let (batch, tokens, heads, size) = query.dims4()?;
    let keys = view.keys(0, view.len(), query.dtype())?;
    let values = view.values(0, view.len(), query.dtype())?;
    let Places::From(first) = view.places() else {
        // One token that sees all that the ring holds of its sequence.
        return sequences(batch, |row| {
            let empty = pass.empty.get(row).or(pass.empty.first()).copied().unwrap_or(0);
            let own: Vec<u32> = (0u32..)
                .zip(0..view.len())
                .filter_map(|(entry, at)| (view.places().position(at) >= empty).then_some(entry))
                .collect();
            let of = |t: &Tensor| match t.narrow(0, row, 1) {
                Ok(t) if own.len() < view.len() => {
                    t.index_select(&Tensor::new(own.as_slice(), t.device())?, 1)
                }
                other => other,
            };
            let out = kernel(
                &query.narrow(0, row, 1)?,
                &of(&keys)?,
                &of(&values)?,
                &Cut::Last { window: None },
                scores,
            )?;
            out.reshape((1, tokens, heads * size))
        });
    };
    sequences(batch, |row| {
        let empty = pass.empty.get(row).or(pass.empty.first()).copied().unwrap_or(0);
        let of = |t: &Tensor| t.narrow(0, row, 1);
        // Places that hold nothing are left out: before the sequence's first token.
        let skipped = empty.saturating_sub(pass.start).min(tokens);
        let cut = empty.saturating_sub(first).min(view.len());
        let query = of(query)?.narrow(1, skipped, tokens - skipped)?;
        let (keys, values) =
            (of(&keys)?.narrow(1, cut, view.len() - cut)?, of(&values)?.narrow(1, cut, view.len() - cut)?);
        let own = Own { start: pass.start + skipped, first: first + cut };
        let out = sequence(&query, &keys, &values, visibility, own, pass, scores)?;
        if skipped == 0 {
            return Ok(out);
        }
        let nothing = Tensor::zeros((1, skipped, heads * size), out.dtype(), out.device())?;
        Tensor::cat(&[&nothing, &out], 1)
    })
}

/// One sequence after another.
fn sequences(batch: usize, mut one: impl FnMut(usize) -> Result<Tensor>) -> Result<Tensor> {
    if batch == 1 {
        return one(0);
    }
    let all = (0..batch).map(&mut one).collect::<Result<Vec<_>>>()?;
    Tensor::cat(&all, 0)
}

/// Where a sequence's own queries and keys begin.
#[derive(Clone, Copy)]
struct Own {
    start: usize,
    first: usize,
}

fn sequence(
    query: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    visibility: Visibility,
    own: Own,
    pass: &mut Pass,
    scores: Scores,
) -> Result<Tensor> {
    let (_, tokens, heads, size) = query.dims4()?;
    let reach = visibility.reach().map(as_size);
    let held = keys.dim(1)?;
    let last = own.start + tokens - 1;
    // A window that reaches back to the first key lets everything through.
    if reach.is_none_or(|reach| reach + own.first > last) || on_cuda(query) {
        let out = kernel(query, keys, values, &Cut::Last { window: reach }, scores)?;
        return out.reshape((1, tokens, heads * size));
    }
    let mut blocks = Vec::with_capacity(tokens.div_ceil(QUERIES));
    for at in (0..tokens).step_by(QUERIES) {
        let len = QUERIES.min(tokens - at);
        let queries = (own.start + at, own.start + at + len - 1);
        let begin = as_size(visibility.first(queries.0 as u64)).saturating_sub(own.first);
        let end = (queries.1 + 1 - own.first).min(held);
        let part = |t: &Tensor| t.narrow(1, begin, end - begin);
        // Positions are places here: a window moves with them.
        let places = Places::From(own.first);
        let wide = |(a, b): Stretch| (a as u64, b as u64);
        let seen = visibility.relation(wide(queries), wide((own.first + begin, own.first + end - 1)));
        let cut = if seen == Seen::All {
            Cut::None
        } else {
            Cut::Mask(own_mask(pass, visibility, places, queries, (begin, end - begin), query.dtype())?)
        };
        let out = kernel(&query.narrow(1, at, len)?, &part(keys)?, &part(values)?, &cut, scores)?;
        blocks.push(out.reshape((1, len, heads * size))?);
    }
    Tensor::cat(&blocks, 1)
}

fn own_mask(
    pass: &mut Pass,
    visibility: Visibility,
    places: Places,
    queries: (usize, usize),
    keys: (usize, usize),
    dtype: DType,
) -> Result<Tensor> {
    // Nothing is empty here: what was, is cut off.
    let empty = std::mem::replace(&mut pass.empty, vec![0]);
    let mask = pass.mask(visibility, places, queries, keys, dtype);
    pass.empty = empty;
    mask?.flatten_to(3)
}

/// What a kernel leaves out.
enum Cut {
    /// Nothing.
    None,
    /// What comes after each query, the last query standing at the last key; and, where the kernel can, what lies before
    /// its window.
    Last { window: Option<usize> },
    /// What a mask says: queries × keys.
    Mask(Tensor),
}

fn on_cuda(t: &Tensor) -> bool {
    t.device().is_cuda()
}

/// Tokens × heads × size of one sequence.
fn kernel(query: &Tensor, keys: &Tensor, values: &Tensor, cut: &Cut, scores: Scores) -> Result<Tensor> {
    if on_cuda(query) {
        cuda(query, keys, values, cut, scores)
    } else {
        cpu(query, keys, values, cut, scores)
    }
}

/// `run_causal_attn_cpu` of a type.
type Causal = fn(&Tensor, &Tensor, &Tensor, f32, usize, Option<f32>, Option<f32>) -> Result<Tensor>;
/// `run_flash_attn_cpu` of a type.
type Standard =
    fn(&Tensor, &Tensor, &Tensor, Option<&Tensor>, f32, Option<f32>, Option<f32>) -> Result<Tensor>;

fn cpu(query: &Tensor, keys: &Tensor, values: &Tensor, cut: &Cut, scores: Scores) -> Result<Tensor> {
    let (causal, standard): (Causal, Standard) = match query.dtype() {
        DType::F32 => (causal::run_causal_attn_cpu::<f32>, standard::run_flash_attn_cpu::<f32>),
        DType::F16 => (causal::run_causal_attn_cpu::<f16>, standard::run_flash_attn_cpu::<f16>),
        DType::BF16 => (causal::run_causal_attn_cpu::<bf16>, standard::run_flash_attn_cpu::<bf16>),
        other => candle_core::bail!("flash attention computes fp32, fp16 and bf16, not {other:?}"),
    };
    let (tokens, held) = (query.dim(1)?, keys.dim(1)?);
    let (scale, cap) = single(scores);
    let out = match cut {
        // With a cap and without ALiBi, candle-nn 0.11.1's kernel of one query adds ALiBi's bias of slope 1 all the same
        // (`causal_decode_f32`, where `max_bias` 0 gives 2⁰); one query sees all, so the other kernel does.
        Cut::Last { .. } if tokens > 1 || cap.is_none() => {
            causal(query, keys, values, scale, held - tokens, None, cap)?
        }
        Cut::None | Cut::Last { .. } => standard(query, keys, values, None, scale, None, cap)?,
        Cut::Mask(mask) => standard(query, keys, values, Some(mask), scale, None, cap)?,
    };
    // The kernels answer in single precision, heads first.
    out.to_dtype(query.dtype())?.transpose(1, 2)
}

#[allow(clippy::cast_possible_truncation, reason = "the kernels take single precision")]
fn single(scores: Scores) -> (f32, Option<f32>) {
    (scores.scale as f32, scores.cap.map(|c| c as f32))
}

#[cfg(feature = "flash-attn")]
fn cuda(query: &Tensor, keys: &Tensor, values: &Tensor, cut: &Cut, scores: Scores) -> Result<Tensor> {
    let (scale, cap) = single(scores);
    let (left, right) = match cut {
        Cut::None => (None, None),
        Cut::Last { window } => (window.map(|w| w - 1), Some(0)),
        Cut::Mask(_) => candle_core::bail!("flash-attn takes no mask"),
    };
    match cap {
        None => candle_flash_attn::flash_attn_windowed(query, keys, values, scale, left, right),
        Some(cap) => candle_flash_attn::flash_attn_alibi_windowed_softcap(
            query, keys, values, None, scale, left, right, cap,
        ),
    }
}

#[cfg(not(feature = "flash-attn"))]
fn cuda(_: &Tensor, _: &Tensor, _: &Tensor, cut: &Cut, _: Scores) -> Result<Tensor> {
    let asked = if let Cut::Last { window: Some(_) } = cut { " with a window" } else { "" };
    candle_core::bail!("this build has no flash-attn{asked}")
}

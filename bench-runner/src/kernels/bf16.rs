//! Products with weights in bf16, widened in registers and summed in single precision.

use half::bf16;

use super::{Isa, Shared, in_parallel};

/// Columns that are widened at once.
pub(super) const WIDTH: usize = 16;
/// Rows of weights that are multiplied at once.
pub(super) const ROWS: usize = 4;

/// Activations in single precision: of every 16 columns those at even places, then those at odd ones, as two vectors of
/// pairs of bf16 are widened (a shift gives the even ones, a mask the odd ones). Rows end in zeros.
#[derive(Debug)]
pub(super) struct Activations {
    numbers: Vec<f32>,
    columns: usize,
}

impl Activations {
    fn new<T: Copy>(x: &[T], columns: usize, wide: impl Fn(T) -> f32) -> Self {
        let padded = columns.next_multiple_of(WIDTH);
        let mut numbers = vec![0.0; x.len() / columns * padded];
        for (from, to) in x.chunks_exact(columns).zip(numbers.chunks_exact_mut(padded)) {
            for (from, to) in from.chunks(WIDTH).zip(to.chunks_exact_mut(WIDTH)) {
                let (even, odd) = to.split_at_mut(WIDTH / 2);
                for (x, to) in from.iter().step_by(2).zip(even) {
                    *to = wide(*x);
                }
                for (x, to) in from.iter().skip(1).step_by(2).zip(odd) {
                    *to = wide(*x);
                }
            }
        }
        Self { numbers, columns: padded }
    }

    /// A row, of whole vectors.
    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.numbers[row * self.columns..(row + 1) * self.columns]
    }
}

/// Weights: outputs × inputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights<'a> {
    numbers: &'a [bf16],
    pub(super) columns: usize,
    pub(super) rows: usize,
}

impl<'a> Weights<'a> {
    pub(super) fn row(self, row: usize) -> &'a [bf16] {
        &self.numbers[row * self.columns..(row + 1) * self.columns]
    }
}

/// What a kernel computes: some rows of weights for all of activations.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) first: usize,
    pub(super) last: usize,
    /// Rows of activations.
    pub(super) to: usize,
}

/// `x` (any rows of `columns`, one after another, made single by `wide`) times the transposed `weights` (outputs ×
/// `columns`), by the kernels of `isa`.
///
/// # Errors
/// Where these are not whole rows, `out` is not a row of outputs for each of `x`, or this processor lacks `isa`.
pub fn bf16_product<T: Copy>(
    x: &[T],
    wide: impl Fn(T) -> f32,
    weights: &[bf16],
    columns: usize,
    out: &mut [f32],
    isa: Isa,
) -> candle_core::Result<()> {
    /// Rows of weights of a unit of work.
    const UNIT: usize = 8 * ROWS;
    if columns == 0
        || !x.len().is_multiple_of(columns)
        || !weights.len().is_multiple_of(columns)
        || out.len() != x.len() / columns * (weights.len() / columns)
    {
        candle_core::bail!(
            "{} activations, {} weights and {} results of {columns} columns",
            x.len(),
            weights.len(),
            out.len()
        )
    }
    isa.check()?;
    let (m, rows) = (x.len() / columns, weights.len() / columns);
    let weights = Weights { numbers: weights, columns, rows };
    let activations = Activations::new(x, columns, wide);
    let out = Shared(out.as_mut_ptr());
    // Every unit writes its own outputs of the result.
    in_parallel(rows.div_ceil(UNIT), |units| {
        for unit in units {
            let part = Part { first: unit * UNIT, last: rows.min((unit + 1) * UNIT), to: m };
            match isa {
                // SAFETY: only this unit writes its part of the result.
                Isa::Portable => unsafe { portable(weights, &activations, out, part) },
                // SAFETY: the processor has what the kernel needs, and only this unit writes its part.
                #[cfg(target_arch = "x86_64")]
                _ => unsafe { super::x86_bf16::product(weights, &activations, out, part) },
                // SAFETY: only this unit writes its part of the result.
                #[cfg(not(target_arch = "x86_64"))]
                _ => unsafe { portable(weights, &activations, out, part) },
            }
        }
    });
    Ok(())
}

/// A row of weights by one of activations.
fn dot(weights: &[bf16], x: &[f32]) -> f32 {
    let mut sums = [0f32; WIDTH];
    for (weights, x) in weights.chunks(WIDTH).zip(x.chunks_exact(WIDTH)) {
        for (place, weight) in weights.iter().enumerate() {
            sums[place] += weight.to_f32() * x[place / 2 + place % 2 * (WIDTH / 2)];
        }
    }
    sums.iter().sum()
}

/// A part in plain Rust.
///
/// # Safety
/// `out` has a row of outputs for every row of activations, and nobody else writes or reads the part's.
unsafe fn portable(weights: Weights<'_>, activations: &Activations, out: Shared, part: Part) {
    for row in part.first..part.last {
        for x in 0..part.to {
            // SAFETY: within the part.
            unsafe { *out.0.add(x * weights.rows + row) = dot(weights.row(row), activations.row(x)) };
        }
    }
}

/// What is left of a row of weights after its whole vectors, by the same of activations.
pub(super) fn rest(weights: &[bf16], x: &[f32]) -> f32 {
    let done = weights.len() / WIDTH * WIDTH;
    if done == weights.len() { 0.0 } else { dot(&weights[done..], &x[done..]) }
}

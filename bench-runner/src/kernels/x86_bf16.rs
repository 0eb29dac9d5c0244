//! [`super::bf16`] for x86-64.

#![allow(clippy::cast_ptr_alignment, reason = "loads here take any alignment")]

use std::arch::x86_64::{
    __m256, _mm_add_ps, _mm_storeu_ps, _mm256_and_si256, _mm256_castps256_ps128, _mm256_castsi256_ps,
    _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_hadd_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_set1_epi32, _mm256_setzero_ps, _mm256_slli_epi32,
};

use std::ops::Range;

use half::bf16;

use super::Shared;
use super::bf16::{Activations, Part, ROWS, WIDTH, Weights, rest};

/// Rows of activations at once: twelve sums, three of them and a weight fill the sixteen registers.
const AT_ONCE: usize = 3;
/// Bytes of a cache of the first level.
const L1: usize = 32 << 10;

/// A part of a product.
///
/// # Safety
/// The processor has AVX2 and FMA. `out` has a row of outputs for every row of activations, and nobody else writes or
/// reads the part's.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn product(weights: Weights<'_>, activations: &Activations, out: Shared, part: Part) {
    // Of activations as many rows as stay in half of a cache of the first level, then all weights by these.
    let row_bytes = size_of_val(activations.row(0));
    let at_once = (L1 / 2 / row_bytes / AT_ONCE * AT_ONCE).max(AT_ONCE);
    for from in (0..part.to).step_by(at_once) {
        let to = part.to.min(from + at_once);
        for first in (part.first..part.last).step_by(ROWS) {
            // SAFETY: as promised.
            unsafe { group(weights, activations, out, first..part.last.min(first + ROWS), from..to) };
        }
    }
}

/// Some of up to four rows of weights by some of activations.
///
/// # Safety
/// As [`product`].
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn group(
    weights: Weights<'_>,
    activations: &Activations,
    out: Shared,
    outputs: Range<usize>,
    from: Range<usize>,
) {
    // A row that is not there is computed as the last one, and not written.
    let rows: [&[bf16]; ROWS] =
        std::array::from_fn(|i| weights.row((outputs.start + i).min(outputs.end - 1)));
    let write = |row: usize, sums: [f32; ROWS]| {
        for ((sum, weight), output) in sums.iter().zip(rows).zip(outputs.clone()) {
            let sum = sum + rest(weight, activations.row(row));
            // SAFETY: within the part.
            unsafe { *out.0.add(row * weights.rows + output) = sum };
        }
    };
    let mut row = from.start;
    while row + AT_ONCE <= from.end {
        let x = std::array::from_fn(|i| activations.row(row + i));
        for (index, sums) in sums::<AT_ONCE>(rows, x).into_iter().enumerate() {
            write(row + index, sums);
        }
        row += AT_ONCE;
    }
    while row < from.end {
        let [own] = sums::<1>(rows, [activations.row(row)]);
        write(row, own);
        row += 1;
    }
}

/// Sums over the whole vectors of four rows of weights, for each of some rows of activations.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn sums<const M: usize>(weights: [&[bf16]; ROWS], x: [&[f32]; M]) -> [[f32; ROWS]; M] {
    let vectors = weights[0].len() / WIDTH;
    let odd = _mm256_set1_epi32(-65536);
    let mut sums = [[_mm256_setzero_ps(); ROWS]; M];
    let (weights, x) = (weights.map(<[bf16]>::as_ptr), x.map(<[f32]>::as_ptr));
    for vector in 0..vectors {
        let at = vector * WIDTH;
        for part in [0, 1] {
            // SAFETY: rows of activations are at least as long as those of weights, which have so many vectors.
            let x = x.map(|x| unsafe { _mm256_loadu_ps(x.add(at + part * (WIDTH / 2))) });
            for (row, weights) in weights.iter().enumerate() {
                // SAFETY: as above.
                let pairs = unsafe { _mm256_loadu_si256(weights.add(at).cast()) };
                let bits =
                    if part == 0 { _mm256_slli_epi32::<16>(pairs) } else { _mm256_and_si256(pairs, odd) };
                let wide = _mm256_castsi256_ps(bits);
                for m in 0..M {
                    sums[m][row] = _mm256_fmadd_ps(wide, x[m], sums[m][row]);
                }
            }
        }
    }
    sums.map(|sums| across(sums))
}

/// The sum of each vector.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn across([a, b, c, d]: [__m256; ROWS]) -> [f32; ROWS] {
    let halves = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    let sums = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves));
    let mut out = [0.0; ROWS];
    // SAFETY: four numbers.
    unsafe { _mm_storeu_ps(out.as_mut_ptr(), sums) };
    out
}

//! [`super::bf16`] for x86-64.

#![allow(clippy::cast_ptr_alignment, reason = "loads here take any alignment")]

use std::arch::x86_64::{
    __m256, _MM_HINT_T0, _mm_add_ps, _mm_prefetch, _mm_storeu_ps, _mm256_add_ps, _mm256_and_si256,
    _mm256_broadcast_ss, _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_extractf128_ps, _mm256_fmadd_ps,
    _mm256_hadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_permute2f128_ps, _mm256_set1_epi32,
    _mm256_setzero_ps, _mm256_shuffle_ps, _mm256_slli_epi32, _mm256_storeu_ps, _mm256_unpackhi_ps,
    _mm256_unpacklo_ps,
};

use std::ops::Range;

use half::bf16;

use super::Shared;
use super::bf16::{Activations, Part, ROWS, WIDTH, Weights, rest};

/// Rows of activations by which weights are multiplied as they come from memory, at once: twelve sums, three of them and a
/// weight fill the sixteen registers.
const AT_ONCE: usize = 3;
/// Rows of activations from which on weights are widened once for all of them.
const PANELS_FROM: usize = 2 * AT_ONCE;

/// A part of a product.
///
/// # Safety
/// The processor has AVX2 and FMA. `out` has a row of outputs for every row of activations, and nobody else writes or
/// reads the part's.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn product(weights: Weights<'_>, activations: &Activations, out: Shared, part: Part) {
    if part.to == 1 {
        let x = activations.row(0);
        for output in part.first..part.last {
            let row = weights.row(output);
            // SAFETY: within the part.
            unsafe { *out.0.add(output) = single(row, x) + rest(row, x) };
        }
        return;
    }
    if part.to >= PANELS_FROM {
        #[allow(clippy::large_stack_arrays, reason = "20 KiB, of a worker's own stack")]
        let mut panel = Panel([0.0; DEEP * WIDE]);
        for first in (part.first..part.last).step_by(WIDE) {
            let outputs = first..part.last.min(first + WIDE);
            // SAFETY: as promised.
            unsafe { panelled(weights, activations, out, &outputs, part.to, &mut panel) };
        }
        return;
    }
    for first in (part.first..part.last).step_by(ROWS) {
        // SAFETY: as promised.
        unsafe { group(weights, activations, out, first..part.last.min(first + ROWS), 0..part.to) };
    }
}

/// Bytes between what is multiplied and what is asked of memory: some hundred cycles' worth.
const AHEAD: usize = 1536;

/// The sum over the whole vectors of one row of weights. Rows follow one another, so that memory is read straight on.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn single(weights: &[bf16], x: &[f32]) -> f32 {
    let vectors = weights.len() / WIDTH;
    let (weights, x) = (weights.as_ptr(), x.as_ptr());
    let mask = _mm256_set1_epi32(-65536);
    let times = |vector: usize, [even, odd]: [__m256; 2]| {
        let at = vector * WIDTH;
        // SAFETY: both rows have so many vectors.
        unsafe {
            let pairs = _mm256_loadu_si256(weights.add(at).cast());
            let wide = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs));
            let wide_odd = _mm256_castsi256_ps(_mm256_and_si256(pairs, mask));
            [
                _mm256_fmadd_ps(wide, _mm256_loadu_ps(x.add(at)), even),
                _mm256_fmadd_ps(wide_odd, _mm256_loadu_ps(x.add(at + WIDTH / 2)), odd),
            ]
        }
    };
    let (mut first, mut second) = ([_mm256_setzero_ps(); 2], [_mm256_setzero_ps(); 2]);
    for pair in 0..vectors / 2 {
        // Asking for what is not there does nothing.
        _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(pair * 2 * WIDTH).cast::<i8>().wrapping_add(AHEAD));
        first = times(2 * pair, first);
        second = times(2 * pair + 1, second);
    }
    if vectors % 2 == 1 {
        first = times(vectors - 1, first);
    }
    let sums = [first[0], first[1], second[0], second[1]];
    across(sums).iter().sum()
}

/// Outputs of a panel: two vectors.
const WIDE: usize = 16;
/// Columns of a panel: with six rows of activations it stays in a cache of the first level.
const DEEP: usize = 320;
/// Rows of activations that a panel is multiplied by at once: twelve sums, a column of it and an activation fill the
/// registers.
const TALL: usize = 6;

/// Weights widened, column by column, in the order that activations have: 20 KiB.
#[repr(align(64))]
struct Panel([f32; DEEP * WIDE]);

impl Panel {
    /// Takes the columns from `from` on of `outputs`, which may be fewer than [`WIDE`]: the others are zeros.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn fill(&mut self, weights: Weights<'_>, outputs: &Range<usize>, from: usize, count: usize) {
        let mask = _mm256_set1_epi32(-65536);
        for half in 0..WIDE / 8 {
            for at in (0..count).step_by(WIDTH) {
                let (mut even, mut odd) = ([_mm256_setzero_ps(); 8], [_mm256_setzero_ps(); 8]);
                for lane in 0..8 {
                    let output = outputs.start + half * 8 + lane;
                    if output >= outputs.end {
                        continue;
                    }
                    let row = &weights.row(output)[from + at..];
                    // The last columns of a row may be fewer than a vector.
                    let mut whole = [bf16::ZERO; WIDTH];
                    let row = if row.len() < WIDTH {
                        whole[..row.len()].copy_from_slice(row);
                        whole.as_ptr()
                    } else {
                        row.as_ptr()
                    };
                    // SAFETY: a vector is there.
                    let pairs = unsafe { _mm256_loadu_si256(row.cast()) };
                    even[lane] = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs));
                    odd[lane] = _mm256_castsi256_ps(_mm256_and_si256(pairs, mask));
                }
                for (part, columns) in [transposed(even), transposed(odd)].into_iter().enumerate() {
                    for (index, column) in columns.into_iter().enumerate() {
                        let to = &mut self.0[(at + part * 8 + index) * WIDE + half * 8..][..8];
                        // SAFETY: eight numbers.
                        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), column) };
                    }
                }
            }
        }
    }
}

/// Rows of eight as columns.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn transposed(rows: [__m256; 8]) -> [__m256; 8] {
    let four = |rows: [__m256; 4]| {
        let (low, high) = (_mm256_unpacklo_ps(rows[0], rows[1]), _mm256_unpackhi_ps(rows[0], rows[1]));
        let (low_2, high_2) = (_mm256_unpacklo_ps(rows[2], rows[3]), _mm256_unpackhi_ps(rows[2], rows[3]));
        [
            _mm256_shuffle_ps::<0x44>(low, low_2),
            _mm256_shuffle_ps::<0xEE>(low, low_2),
            _mm256_shuffle_ps::<0x44>(high, high_2),
            _mm256_shuffle_ps::<0xEE>(high, high_2),
        ]
    };
    let (first, last) = (four([0, 1, 2, 3].map(|i| rows[i])), four([4, 5, 6, 7].map(|i| rows[i])));
    std::array::from_fn(|i| {
        if i < 4 {
            _mm256_permute2f128_ps::<0x20>(first[i], last[i])
        } else {
            _mm256_permute2f128_ps::<0x31>(first[i - 4], last[i - 4])
        }
    })
}

/// Up to [`WIDE`] outputs for all rows of activations.
///
/// # Safety
/// As [`product`].
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn panelled(
    weights: Weights<'_>,
    activations: &Activations,
    out: Shared,
    outputs: &Range<usize>,
    rows: usize,
    panel: &mut Panel,
) {
    let columns = activations.row(0).len();
    let pieces = columns.div_ceil(DEEP);
    let deep = columns.div_ceil(pieces).next_multiple_of(WIDTH);
    for from in (0..columns).step_by(deep) {
        let count = deep.min(columns - from);
        panel.fill(weights, outputs, from, count);
        let x = |row: usize| activations.row(row)[from..from + count].as_ptr();
        let mut at = 0;
        while at < rows {
            let place = Place { out, width: weights.rows, outputs, row: at, added: from > 0 };
            // SAFETY: the panel and the rows have so many columns, the place is the part's.
            unsafe {
                match rows - at {
                    1 => place.put(times(panel, count, [x(at)])),
                    2 => place.put(times(panel, count, [0, 1].map(|i| x(at + i)))),
                    3 => place.put(times(panel, count, [0, 1, 2].map(|i| x(at + i)))),
                    4 => place.put(times(panel, count, [0, 1, 2, 3].map(|i| x(at + i)))),
                    5 => place.put(times(panel, count, [0, 1, 2, 3, 4].map(|i| x(at + i)))),
                    _ => place.put(times(panel, count, [0, 1, 2, 3, 4, 5].map(|i| x(at + i)))),
                }
            }
            at += TALL;
        }
    }
}

/// Some rows of activations by a panel.
///
/// # Safety
/// The panel and each row have `count` columns.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn times<const M: usize>(panel: &Panel, count: usize, x: [*const f32; M]) -> [[__m256; 2]; M] {
    let mut sums = [[_mm256_setzero_ps(); 2]; M];
    let panel = panel.0.as_ptr();
    for column in 0..count {
        // SAFETY: as promised.
        unsafe {
            let weights = [0, 8].map(|half| _mm256_loadu_ps(panel.add(column * WIDE + half)));
            for m in 0..M {
                let x = _mm256_broadcast_ss(&*x[m].add(column));
                sums[m][0] = _mm256_fmadd_ps(weights[0], x, sums[m][0]);
                sums[m][1] = _mm256_fmadd_ps(weights[1], x, sums[m][1]);
            }
        }
    }
    sums
}

/// Where the products of a panel go.
struct Place<'a> {
    out: Shared,
    /// Outputs of the matrix.
    width: usize,
    outputs: &'a Range<usize>,
    /// The first row of activations.
    row: usize,
    /// To what is there.
    added: bool,
}

impl Place<'_> {
    /// # Safety
    /// The result has these rows, and nobody else writes or reads them at these outputs.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn put<const M: usize>(&self, sums: [[__m256; 2]; M]) {
        for (index, sums) in sums.into_iter().enumerate() {
            // SAFETY: within the result.
            let to = unsafe { self.out.0.add((self.row + index) * self.width + self.outputs.start) };
            if self.outputs.len() == WIDE {
                for (half, sums) in sums.into_iter().enumerate() {
                    // SAFETY: eight numbers are there.
                    unsafe {
                        let to = to.add(half * 8);
                        let sums = if self.added { _mm256_add_ps(sums, _mm256_loadu_ps(to)) } else { sums };
                        _mm256_storeu_ps(to, sums);
                    }
                }
                continue;
            }
            let mut lanes = [0f32; WIDE];
            // SAFETY: sixteen numbers in `lanes`, as many as there are outputs in the result.
            unsafe {
                _mm256_storeu_ps(lanes.as_mut_ptr(), sums[0]);
                _mm256_storeu_ps(lanes.as_mut_ptr().add(8), sums[1]);
                for (lane, sum) in lanes.iter().enumerate().take(self.outputs.len()) {
                    *to.add(lane) = if self.added { *to.add(lane) + sum } else { *sum };
                }
            }
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

//! The kernels in plain Rust.

use super::Shared;
use super::activations::{Activations, Scale};
use super::format::{BLOCK, Format, GROUPS, ROWS};
use super::pack::{Packed, Part, Tile, half};

/// Quantises a block of activations (`ggml/src/ggml-quants.c`, `quantize_row_q8_1_ref`, its scale in single precision).
#[allow(clippy::cast_possible_truncation, reason = "between -127 and 127")]
pub(super) fn quantise(from: &[f32; BLOCK], to: &mut [i8; BLOCK]) -> Scale {
    let largest = from.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let scale = largest / 127.0;
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    let mut sum = 0i32;
    for (from, to) in from.iter().zip(to) {
        *to = (from * inverse).round_ties_even() as i8;
        sum += i32::from(*to);
    }
    Scale { scale, sum: scale * sum as f32 }
}

/// The stored number of a tile's block.
fn number<F: Format>(block: &[u8], group: usize, byte: usize) -> i32 {
    let nibble = || {
        let both = block[group % 4 * 32 + byte];
        if group < GROUPS / 2 { both & 15 } else { both >> 4 }
    };
    match F::BITS {
        4 => i32::from(nibble()),
        5 => i32::from(nibble() | (block[4 * 32 + byte] >> group & 1) << 4),
        _ => i32::from(block[group * 32 + byte].cast_signed()),
    }
}

/// A row of a tile as numbers.
pub(super) fn dequantised<F: Format>(tile: Tile<'_>, lane: usize, out: &mut [f32]) {
    let blocks = tile.numbers.chunks_exact(F::KIND.tile_bytes());
    let scales = tile.scales.chunks_exact(F::KIND.tile_scales());
    for ((block, scales), out) in blocks.zip(scales).zip(out.chunks_exact_mut(BLOCK)) {
        let scale = half(scales[lane]);
        let offset = scales.get(ROWS + lane).map_or(0.0, |offset| half(*offset));
        for (column, out) in out.iter_mut().enumerate() {
            let stored = number::<F>(block, column / 4, lane * 4 + column % 4);
            *out = (stored as f32 - F::ZERO) * scale + offset;
        }
    }
}

/// A part of a product.
///
/// # Safety
/// `out` has a row of the matrix's outputs for every row of activations, and nobody else writes or reads the part's.
pub(super) unsafe fn product<F: Format>(packed: &Packed, activations: &Activations, out: Shared, part: Part) {
    let blocks = activations.columns() / BLOCK;
    for tile_index in part.first..part.first + part.count {
        let tile = packed.tile(tile_index, 0, blocks);
        let left = ROWS.min(packed.rows() - tile_index * ROWS);
        for row in part.from..part.to {
            let sums = row_by_tile::<F>(tile, activations, row);
            for (lane, sum) in sums.iter().enumerate().take(left) {
                // SAFETY: within the part.
                unsafe { *out.0.add(row * packed.rows() + tile_index * ROWS + lane) = *sum };
            }
        }
    }
}

fn row_by_tile<F: Format>(tile: Tile<'_>, activations: &Activations, row: usize) -> [f32; ROWS] {
    let mut sums = [0f32; ROWS];
    let blocks = tile.numbers.chunks_exact(F::KIND.tile_bytes());
    let scales = tile.scales.chunks_exact(F::KIND.tile_scales());
    let (numbers, _) = activations.numbers(row).as_chunks::<BLOCK>();
    for (((block, scales), x), own) in blocks.zip(scales).zip(numbers).zip(activations.scales(row)) {
        let mut dots = [0i32; ROWS];
        for group in 0..GROUPS {
            for (lane, dot) in dots.iter_mut().enumerate() {
                for byte in 0..4 {
                    *dot += number::<F>(block, group, lane * 4 + byte) * i32::from(x[group * 4 + byte]);
                }
            }
        }
        for (lane, (sum, dot)) in sums.iter_mut().zip(dots).enumerate() {
            let scale = half(scales[lane]);
            let offset = scales.get(ROWS + lane).map_or(-F::ZERO * scale, |offset| half(*offset));
            *sum += scale * own.scale * dot as f32 + offset * own.sum;
        }
    }
    sums
}

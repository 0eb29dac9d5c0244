//! The kernels for x86-64, on vectors of 256 bits.

#![allow(clippy::cast_ptr_alignment, reason = "loads and stores here take any alignment")]

use std::arch::x86_64::{
    __m256, __m256i, _mm_loadu_si128, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32, _mm256_add_ps,
    _mm256_and_ps, _mm256_and_si256, _mm256_castsi256_ps, _mm256_cvtepi32_ps, _mm256_cvtph_ps,
    _mm256_cvtps_epi32, _mm256_dpbusd_avx_epi32, _mm256_dpbusd_epi32, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_max_ps, _mm256_mul_ps,
    _mm256_or_si256, _mm256_packs_epi16, _mm256_packs_epi32, _mm256_permutevar8x32_epi32, _mm256_set1_epi8,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setr_epi32, _mm256_setzero_ps,
    _mm256_setzero_si256, _mm256_sign_epi8, _mm256_sllv_epi32, _mm256_srli_epi16, _mm256_srlv_epi32,
    _mm256_storeu_ps, _mm256_storeu_si256, _mm256_xor_si256,
};

use super::Shared;
use super::activations::{Activations, Scale};
use super::format::{BLOCK, Format, GROUPS, ROWS};
use super::pack::{Packed, Part, Tile};

/// [`super::portable::quantise`], to the same numbers.
///
/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn quantise(from: &[f32; BLOCK], to: &mut [i8; BLOCK]) -> Scale {
    let (parts, _) = from.as_chunks::<8>();
    // SAFETY: each part is eight numbers.
    let loaded = [0, 1, 2, 3].map(|i| unsafe { _mm256_loadu_ps(parts[i].as_ptr()) });
    let magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(i32::MAX));
    let [a, b, c, d] = loaded.map(|x| _mm256_and_ps(x, magnitude));
    let mut lanes = [0f32; 8];
    // SAFETY: eight numbers.
    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), _mm256_max_ps(_mm256_max_ps(a, b), _mm256_max_ps(c, d))) };
    let largest = lanes.iter().fold(0f32, |largest, x| largest.max(*x));
    let scale = largest / 127.0;
    let inverse = _mm256_set1_ps(if largest > 0.0 { 127.0 / largest } else { 0.0 });
    let [a, b, c, d] = loaded.map(|x| _mm256_cvtps_epi32(_mm256_mul_ps(x, inverse)));
    let sums = _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d));
    // Packing works in halves of vectors: the order is mended at the end.
    let packed = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    let ordered = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    let mut lanes = [0i32; 8];
    // SAFETY: 32 bytes each.
    unsafe {
        _mm256_storeu_si256(to.as_mut_ptr().cast(), ordered);
        _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sums);
    }
    Scale { scale, sum: scale * lanes.iter().sum::<i32>() as f32 }
}

/// Numbers of a tile that are unpacked at once: 10 KiB, a third of a cache of the first level.
const UNPACKED_BLOCKS: usize = 32;

/// Numbers of a tile in bytes, and what scales them.
#[repr(align(64))]
struct Unpacked {
    numbers: [[u8; 32]; UNPACKED_BLOCKS * GROUPS],
    factors: [Factors; UNPACKED_BLOCKS],
}

/// Scales and offsets of a tile's block, in single precision.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Factors {
    scales: [f32; ROWS],
    offsets: [f32; ROWS],
}

/// Rows of activations that are multiplied with the same numbers at once: their sums fit the registers.
const AT_ONCE: usize = 4;

/// Kernels of an instruction set: what its features are called, and how it multiplies.
///
/// `$unsigned` tells whether 8-bit weights are multiplied as unsigned numbers, 128 more than they are. `$dots` is given
/// weights of the eight groups of a block, four bytes of each of eight rows, and a block of activations for each of some
/// rows; it gives the sums of their products, one for each row of weights.
macro_rules! kernels {
    ($(#[$doc:meta])* $module:ident, $features:literal, unsigned: $unsigned:literal, $dots:item) => {
        $(#[$doc])*
        pub(super) mod $module {
            #[allow(clippy::wildcard_imports, reason = "the module is a part of this one")]
            use super::*;

            $dots

            /// What a stored number stands above its meaning, as it is multiplied.
            const fn zero<F: Format>() -> f32 {
                if $unsigned && F::BITS == 8 { 128.0 } else { F::ZERO }
            }

            /// Numbers of a group, a byte each.
            ///
            /// # Safety
            /// `block` is a tile's block of the format.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn group<F: Format>(block: *const u8, group: usize) -> __m256i {
                // SAFETY: a block has so many vectors.
                let at = |vector: usize| unsafe { _mm256_loadu_si256(block.add(vector * 32).cast()) };
                if F::BITS == 8 {
                    let signed = at(group);
                    return if $unsigned { _mm256_xor_si256(signed, _mm256_set1_epi8(i8::MIN)) } else { signed };
                }
                let both = at(group % 4);
                let part = if group < GROUPS / 2 { both } else { _mm256_srli_epi16::<4>(both) };
                let low = _mm256_and_si256(part, _mm256_set1_epi8(15));
                if F::BITS == 4 {
                    return low;
                }
                #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "below 8")]
                let by = |n: usize| _mm256_set1_epi32(n as i32);
                let fifths = if group <= 4 {
                    _mm256_sllv_epi32(at(4), by(4 - group))
                } else {
                    _mm256_srlv_epi32(at(4), by(group - 4))
                };
                _mm256_or_si256(low, _mm256_and_si256(fifths, _mm256_set1_epi8(16)))
            }

            /// Scales and offsets of a tile's block.
            #[inline]
            #[target_feature(enable = $features)]
            fn factors<F: Format>(halves: &[[u8; 2]]) -> (__m256, __m256) {
                // SAFETY: there are as many halves as a block has, eight or sixteen.
                let at = |i: usize| unsafe { _mm256_cvtph_ps(_mm_loadu_si128(halves[i..i + ROWS].as_ptr().cast())) };
                let scales = at(0);
                let offsets = if F::KIND.has_offset() {
                    at(ROWS)
                } else {
                    _mm256_mul_ps(scales, _mm256_set1_ps(-zero::<F>()))
                };
                (scales, offsets)
            }

            /// Products of some rows of activations with `blocks` of a tile.
            ///
            /// # Safety
            /// `weights` gives vectors for every block and group, `scaled` for every block; each row of `x` has as many
            /// blocks and scales.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn rows<F: Format, const M: usize>(
                blocks: usize,
                weights: impl Fn(usize, usize) -> __m256i,
                scaled: impl Fn(usize) -> (__m256, __m256),
                x: [(*const i8, *const Scale); M],
            ) -> [__m256; M] {
                let mut sums = [_mm256_setzero_ps(); M];
                let mut offset_sums = [_mm256_setzero_ps(); M];
                for block in 0..blocks {
                    // SAFETY: the rows have so many blocks.
                    let dots = unsafe {
                        dots::<F, M>(|group| weights(block, group), x.map(|(numbers, _)| numbers.add(block * BLOCK)))
                    };
                    let (scales, offsets) = scaled(block);
                    for row in 0..M {
                        // SAFETY: the rows have so many scales.
                        let own = unsafe { *x[row].1.add(block) };
                        let factor = _mm256_mul_ps(scales, _mm256_set1_ps(own.scale));
                        sums[row] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[row]), factor, sums[row]);
                        if F::KIND.has_offset() || zero::<F>() != 0.0 {
                            // One row has registers to spare, and would wait for one sum after the other.
                            let to = if M == 1 { &mut offset_sums[row] } else { &mut sums[row] };
                            *to = _mm256_fmadd_ps(offsets, _mm256_set1_ps(own.sum), *to);
                        }
                    }
                }
                if M == 1 {
                    sums[0] = _mm256_add_ps(sums[0], offset_sums[0]);
                }
                sums
            }

            /// A part of a product.
            ///
            /// # Safety
            /// The processor has these features. `out` has a row of the matrix's outputs for every row of activations,
            /// and nobody else writes or reads the part's.
            #[target_feature(enable = $features)]
            pub(in super::super) unsafe fn product<F: Format>(
                packed: &Packed,
                activations: &Activations,
                out: Shared,
                part: Part,
            ) {
                if part.to - part.from <= AT_ONCE {
                    let blocks = activations.columns() / BLOCK;
                    for index in part.first..part.first + part.count {
                        let tile = packed.tile(index, 0, blocks);
                        // SAFETY: as promised.
                        unsafe { streamed::<F>(tile, activations, &Place::of(packed, out, index), part) };
                    }
                    return;
                }
                let mut unpacked = Unpacked {
                    numbers: [[0; 32]; UNPACKED_BLOCKS * GROUPS],
                    factors: [Factors { scales: [0.0; ROWS], offsets: [0.0; ROWS] }; UNPACKED_BLOCKS],
                };
                for index in part.first..part.first + part.count {
                    // SAFETY: as promised.
                    unsafe { tiled::<F>(packed, activations, &Place::of(packed, out, index), part, &mut unpacked) };
                }
            }

            /// A tile for few rows of activations: its numbers go from memory to the products.
            ///
            /// # Safety
            /// As [`product`].
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn streamed<F: Format>(tile: Tile<'_>, activations: &Activations, place: &Place, part: Part) {
                let blocks = activations.columns() / BLOCK;
                let numbers = tile.numbers.as_ptr();
                // SAFETY: the tile has so many blocks.
                let weights =
                    |block: usize, g: usize| unsafe { group::<F>(numbers.add(block * F::KIND.tile_bytes()), g) };
                let scaled = |block: usize| {
                    let count = F::KIND.tile_scales();
                    factors::<F>(&tile.scales[block * count..(block + 1) * count])
                };
                let row = |row: usize| {
                    let row = part.from + row;
                    (activations.numbers(row).as_ptr(), activations.scales(row).as_ptr())
                };
                // SAFETY: as promised.
                unsafe {
                    match part.to - part.from {
                        1 => place.put(part.from, rows::<F, 1>(blocks, weights, scaled, [row(0)]), false),
                        2 => place.put(part.from, rows::<F, 2>(blocks, weights, scaled, [row(0), row(1)]), false),
                        3 => {
                            let x = [row(0), row(1), row(2)];
                            place.put(part.from, rows::<F, 3>(blocks, weights, scaled, x), false);
                        }
                        _ => {
                            let x = [row(0), row(1), row(2), row(3)];
                            place.put(part.from, rows::<F, 4>(blocks, weights, scaled, x), false);
                        }
                    }
                }
            }

            /// A tile for many rows of activations: its numbers are unpacked once for all of them.
            ///
            /// # Safety
            /// As [`product`].
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn tiled<F: Format>(
                packed: &Packed,
                activations: &Activations,
                place: &Place,
                part: Part,
                unpacked: &mut Unpacked,
            ) {
                let all = activations.columns() / BLOCK;
                for start in (0..all).step_by(UNPACKED_BLOCKS) {
                    let blocks = UNPACKED_BLOCKS.min(all - start);
                    let tile = packed.tile(place.tile, start, blocks);
                    let halves = tile.scales.chunks_exact(F::KIND.tile_scales());
                    for (block, (stored, halves)) in
                        tile.numbers.chunks_exact(F::KIND.tile_bytes()).zip(halves).enumerate()
                    {
                        let (scales, offsets) = factors::<F>(halves);
                        let to = &mut unpacked.factors[block];
                        // SAFETY: a block is there, and room for 32 bytes each.
                        unsafe {
                            for g in 0..GROUPS {
                                let numbers = group::<F>(stored.as_ptr(), g);
                                _mm256_storeu_si256(
                                    unpacked.numbers[block * GROUPS + g].as_mut_ptr().cast(),
                                    numbers,
                                );
                            }
                            _mm256_storeu_ps(to.scales.as_mut_ptr(), scales);
                            _mm256_storeu_ps(to.offsets.as_mut_ptr(), offsets);
                        }
                    }
                    let (numbers, factors) = (unpacked.numbers.as_ptr(), unpacked.factors.as_ptr());
                    // SAFETY: so many blocks were unpacked.
                    let weights =
                        |block: usize, g: usize| unsafe { _mm256_loadu_si256(numbers.add(block * GROUPS + g).cast()) };
                    // SAFETY: as above.
                    let scaled = |block: usize| unsafe {
                        let factors = &*factors.add(block);
                        (_mm256_loadu_ps(factors.scales.as_ptr()), _mm256_loadu_ps(factors.offsets.as_ptr()))
                    };
                    // SAFETY: rows are as long as the matrix's.
                    let row = |row: usize| unsafe {
                        let numbers = activations.numbers(row).as_ptr().add(start * BLOCK);
                        (numbers, activations.scales(row).as_ptr().add(start))
                    };
                    let (mut at, more) = (part.from, start > 0);
                    // SAFETY: as promised.
                    unsafe {
                        while at + AT_ONCE <= part.to {
                            let x = [row(at), row(at + 1), row(at + 2), row(at + 3)];
                            place.put(at, rows::<F, AT_ONCE>(blocks, weights, scaled, x), more);
                            at += AT_ONCE;
                        }
                        while at < part.to {
                            place.put(at, rows::<F, 1>(blocks, weights, scaled, [row(at)]), more);
                            at += 1;
                        }
                    }
                }
            }
        }
    };
}

/// Where a tile's products go.
struct Place {
    out: Shared,
    tile: usize,
    /// Outputs of the matrix.
    width: usize,
}

impl Place {
    const fn of(packed: &Packed, out: Shared, tile: usize) -> Self {
        Self { out, tile, width: packed.rows() }
    }

    /// Writes the products of rows from `row` on, `added` to what is there.
    ///
    /// # Safety
    /// The processor has AVX2; the result has these rows, and nobody else writes or reads them at this tile.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn put<const M: usize>(&self, row: usize, sums: [__m256; M], added: bool) {
        let column = self.tile * ROWS;
        let left = self.width - column;
        for (index, sums) in sums.into_iter().enumerate() {
            // SAFETY: within the result.
            let to = unsafe { self.out.0.add((row + index) * self.width + column) };
            if left >= ROWS {
                // SAFETY: eight numbers are there.
                unsafe {
                    let sums = if added { _mm256_add_ps(sums, _mm256_loadu_ps(to)) } else { sums };
                    _mm256_storeu_ps(to, sums);
                }
                continue;
            }
            let mut lanes = [0f32; ROWS];
            // SAFETY: eight numbers in `lanes`, `left` in the result.
            unsafe {
                _mm256_storeu_ps(lanes.as_mut_ptr(), sums);
                for (lane, sum) in lanes.iter().enumerate().take(left) {
                    *to.add(lane) = if added { *to.add(lane) + sum } else { *sum };
                }
            }
        }
    }
}

/// Four activations in every lane.
///
/// # Safety
/// The processor has AVX2; four bytes are there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn spread(x: *const i8) -> __m256i {
    // SAFETY: as promised.
    _mm256_set1_epi32(unsafe { x.cast::<i32>().read_unaligned() })
}

kernels! {
    /// AVX2 has no sum of four products of bytes. It sums two in 16 bits, where eight pairs of numbers of 4 bits fit
    /// (8 × 2 × 15 × 127 = 30 480), and four of 5 bits (4 × 2 × 31 × 127 = 31 496). Weights of 8 bits are multiplied by
    /// their magnitude, their sign given to the activation (2 × 128 × 127 = 32 512), and summed in 32 bits at once.
    avx2, "avx2,fma,f16c", unsigned: false,
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dots<F: Format, const M: usize>(
        weights: impl Fn(usize) -> __m256i,
        x: [*const i8; M],
    ) -> [__m256i; M] {
        let ones = _mm256_set1_epi16(1);
        let mut sums = [_mm256_setzero_si256(); M];
        if F::BITS == 8 {
            for group in 0..GROUPS {
                let weights = weights(group);
                let magnitudes = _mm256_abs_epi8(weights);
                for row in 0..M {
                    // SAFETY: a block has so many groups.
                    let signed = _mm256_sign_epi8(unsafe { spread(x[row].add(group * 4)) }, weights);
                    let pairs = _mm256_maddubs_epi16(magnitudes, signed);
                    sums[row] = _mm256_add_epi32(sums[row], _mm256_madd_epi16(pairs, ones));
                }
            }
            return sums;
        }
        let at_once = if F::BITS == 4 { GROUPS } else { GROUPS / 2 };
        for first in (0..GROUPS).step_by(at_once) {
            let mut pairs = [_mm256_setzero_si256(); M];
            for group in first..first + at_once {
                let weights = weights(group);
                for row in 0..M {
                    // SAFETY: a block has so many groups.
                    let x = unsafe { spread(x[row].add(group * 4)) };
                    pairs[row] = _mm256_add_epi16(pairs[row], _mm256_maddubs_epi16(weights, x));
                }
            }
            for row in 0..M {
                sums[row] = _mm256_add_epi32(sums[row], _mm256_madd_epi16(pairs[row], ones));
            }
        }
        sums
    }
}

macro_rules! vnni {
    ($($module:ident, $features:literal, $sum:ident;)+) => {
        $(kernels! {
            /// One instruction sums four products of unsigned and signed bytes in 32 bits.
            $module, $features, unsigned: true,
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn dots<F: Format, const M: usize>(
                weights: impl Fn(usize) -> __m256i,
                x: [*const i8; M],
            ) -> [__m256i; M] {
                let mut sums = [_mm256_setzero_si256(); M];
                for group in 0..GROUPS {
                    let weights = weights(group);
                    for row in 0..M {
                        // SAFETY: a block has so many groups.
                        sums[row] = $sum(sums[row], weights, unsafe { spread(x[row].add(group * 4)) });
                    }
                }
                sums
            }
        })+
    };
}

vnni! {
    avx_vnni, "avx2,fma,f16c,avxvnni", _mm256_dpbusd_avx_epi32;
    avx512_vnni, "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni", _mm256_dpbusd_epi32;
}

#[cfg(test)]
kernels! {
    /// VNNI's sum, exact, from instructions of AVX2: for tests on processors without it.
    in_steps, "avx2,fma,f16c", unsigned: true,
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dots<F: Format, const M: usize>(
        weights: impl Fn(usize) -> __m256i,
        x: [*const i8; M],
    ) -> [__m256i; M] {
        let mut sums = [_mm256_setzero_si256(); M];
        for group in 0..GROUPS {
            let mut bytes = [0u8; 32];
            // SAFETY: 32 bytes.
            unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), weights(group)) };
            for row in 0..M {
                let mut lanes = [0i32; ROWS];
                for (lane, weights) in lanes.iter_mut().zip(bytes.chunks_exact(4)) {
                    for (byte, weight) in weights.iter().enumerate() {
                        // SAFETY: a block has so many activations.
                        *lane += i32::from(*weight) * i32::from(unsafe { *x[row].add(group * 4 + byte) });
                    }
                }
                // SAFETY: 32 bytes.
                let lanes = unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) };
                sums[row] = _mm256_add_epi32(sums[row], lanes);
            }
        }
        sums
    }
}

//! Weights in tiles.

use half::f16;

use super::activations::Activations;
use super::format::{BLOCK, Format, GROUPS, Kind, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, ROWS};
use super::{Isa, Shared, in_parallel, portable};

/// A cache line, so that numbers begin at one.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A matrix of outputs × inputs in tiles (see [`super::format`]). It takes the bytes of its blocks, rows rounded up to
/// whole tiles.
#[derive(Debug)]
pub struct Packed {
    kind: Kind,
    rows: usize,
    columns: usize,
    lines: Vec<Line>,
}

/// A tile of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    /// Numbers, [`Kind::tile_bytes`] a block.
    pub(super) numbers: &'a [u8],
    /// Half-precision scales and offsets, [`Kind::tile_scales`] a block.
    pub(super) scales: &'a [[u8; 2]],
}

impl Packed {
    /// Bytes that a matrix takes.
    #[must_use]
    pub const fn bytes(kind: Kind, rows: usize, columns: usize) -> usize {
        let blocks = rows.div_ceil(ROWS) * (columns / BLOCK);
        (blocks * (kind.tile_bytes() + 2 * kind.tile_scales())).next_multiple_of(size_of::<Line>())
    }

    /// The matrix whose rows' `blocks` are as a GGUF file has them.
    ///
    /// # Errors
    /// Where these are not the bytes of so many rows of whole blocks.
    pub fn new(kind: Kind, rows: usize, columns: usize, blocks: &[u8]) -> candle_core::Result<Self> {
        let row_bytes = columns / BLOCK * kind.block_bytes();
        if rows == 0 || columns == 0 || !columns.is_multiple_of(BLOCK) || blocks.len() != rows * row_bytes {
            candle_core::bail!(
                "{} bytes are not {rows} × {columns} weights in blocks of {kind:?}",
                blocks.len()
            )
        }
        let lines = vec![Line([0; 64]); Self::bytes(kind, rows, columns) / size_of::<Line>()];
        let mut packed = Self { kind, rows, columns, lines };
        let (numbers_at, tile_bytes, scales) = (packed.scales_at(), kind.tile_bytes(), kind.tile_scales());
        let per_row = columns / BLOCK;
        let (numbers, halves) = packed.as_bytes_mut().split_at_mut(numbers_at);
        for (row, stored) in blocks.chunks_exact(row_bytes).enumerate() {
            for (column, block) in stored.chunks_exact(kind.block_bytes()).enumerate() {
                let at = row / ROWS * per_row + column;
                let tile = &mut numbers[at * tile_bytes..(at + 1) * tile_bytes];
                let halves = &mut halves[at * 2 * scales..(at + 1) * 2 * scales];
                let lane = row % ROWS;
                halves[2 * lane..2 * lane + 2].copy_from_slice(&block[..2]);
                if kind.has_offset() {
                    halves[2 * (ROWS + lane)..2 * (ROWS + lane) + 2].copy_from_slice(&block[2..4]);
                }
                interleave(kind, &block[if kind.has_offset() { 4 } else { 2 }..], lane, tile);
            }
        }
        Ok(packed)
    }

    /// The type of its blocks.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Outputs.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    #[must_use]
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// Where scales begin.
    const fn scales_at(&self) -> usize {
        self.rows.div_ceil(ROWS) * (self.columns / BLOCK) * self.kind.tile_bytes()
    }

    fn as_bytes(&self) -> &[u8] {
        // SAFETY: lines are bytes, all of them initialised, without padding.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), size_of_val(self.lines.as_slice())) }
    }

    fn as_bytes_mut(&mut self) -> &mut [u8] {
        let bytes = size_of_val(self.lines.as_slice());
        // SAFETY: as above, and every byte is a valid one.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), bytes) }
    }

    /// A tile's blocks from `first` on, `count` of them.
    pub(super) fn tile(&self, tile: usize, first: usize, count: usize) -> Tile<'_> {
        let at = tile * (self.columns / BLOCK) + first;
        let (numbers, rest) = self.as_bytes().split_at(self.scales_at());
        let (bytes, scales) = (self.kind.tile_bytes(), self.kind.tile_scales());
        let (halves, _) = rest.as_chunks::<2>();
        Tile {
            numbers: &numbers[at * bytes..(at + count) * bytes],
            scales: &halves[at * scales..(at + count) * scales],
        }
    }

    /// Row `row` as numbers in single precision.
    ///
    /// # Errors
    /// Where the matrix has no such row, or `out` is not as long as one.
    pub fn row(&self, row: usize, out: &mut [f32]) -> candle_core::Result<()> {
        if row >= self.rows || out.len() != self.columns {
            candle_core::bail!("row {row} into {} numbers of {} × {}", out.len(), self.rows, self.columns)
        }
        let write = match self.kind {
            Kind::Q4_0 => portable::dequantised::<Q4_0>,
            Kind::Q4_1 => portable::dequantised::<Q4_1>,
            Kind::Q5_0 => portable::dequantised::<Q5_0>,
            Kind::Q5_1 => portable::dequantised::<Q5_1>,
            Kind::Q8_0 => portable::dequantised::<Q8_0>,
        };
        write(self.tile(row / ROWS, 0, self.columns / BLOCK), row % ROWS, out);
        Ok(())
    }

    /// A part of a product, by the kernels of `isa`.
    ///
    /// # Safety
    /// The processor has `isa`. `out` has a row of outputs for every row of activations, and nobody else writes or reads
    /// the part's.
    unsafe fn part(&self, activations: &Activations, out: Shared, part: Part, isa: Isa) {
        // SAFETY: as promised.
        unsafe {
            match self.kind {
                Kind::Q4_0 => self.part_of::<Q4_0>(activations, out, part, isa),
                Kind::Q4_1 => self.part_of::<Q4_1>(activations, out, part, isa),
                Kind::Q5_0 => self.part_of::<Q5_0>(activations, out, part, isa),
                Kind::Q5_1 => self.part_of::<Q5_1>(activations, out, part, isa),
                Kind::Q8_0 => self.part_of::<Q8_0>(activations, out, part, isa),
            }
        }
    }

    /// [`Packed::part`] of a type.
    ///
    /// # Safety
    /// As there.
    unsafe fn part_of<F: Format>(&self, activations: &Activations, out: Shared, part: Part, isa: Isa) {
        // SAFETY: as promised.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => super::x86::avx2::product::<F>(self, activations, out, part),
                #[cfg(target_arch = "x86_64")]
                Isa::AvxVnni => super::x86::avx_vnni::product::<F>(self, activations, out, part),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512Vnni => super::x86::avx512_vnni::product::<F>(self, activations, out, part),
                _ => portable::product::<F>(self, activations, out, part),
            }
        }
    }
}

/// A matrix, and where its product goes: a row of outputs for every row of activations.
pub type Factor<'a> = (&'a Packed, &'a mut [f32]);

/// `x` (any rows of inputs, one after another) times each of the transposed matrices, by the kernels of `isa`. Activations
/// are quantised once for all, and threads are called once.
///
/// # Errors
/// Where the matrices differ in inputs, `x` is not whole rows of them, a result is not a row of outputs for each, or this
/// processor lacks `isa`.
pub fn products(factors: &mut [Factor<'_>], x: &[f32], isa: Isa) -> candle_core::Result<()> {
    /// Rows of activations that a thread multiplies with one tile before it goes to the next: what these take stays in a
    /// cache of the second level.
    const AT_ONCE: usize = 128;
    let Some(columns) = factors.first().map(|(packed, _)| packed.columns) else { return Ok(()) };
    let m = x.len() / columns;
    for (packed, out) in &*factors {
        if packed.columns != columns || x.len() != m * columns || out.len() != m * packed.rows {
            candle_core::bail!(
                "{} activations and {} results of a matrix of {} × {}",
                x.len(),
                out.len(),
                packed.rows,
                packed.columns
            )
        }
    }
    isa.check()?;
    let mut activations = Activations::new(m, columns);
    match isa {
        // SAFETY: the processor has what this needs.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::AvxVnni | Isa::Avx512Vnni => {
            activations.fill(x, |from, to| unsafe { super::x86::quantise(from, to) });
        }
        _ => activations.fill(x, portable::quantise),
    }
    let activations = &activations;
    let matrices: Vec<(&Packed, Shared, usize)> = factors
        .iter_mut()
        .map(|(packed, out)| (*packed, Shared(out.as_mut_ptr()), packed.rows.div_ceil(ROWS)))
        .collect();
    let tiles: usize = matrices.iter().map(|(_, _, tiles)| tiles).sum();
    // Every unit writes its own rows and outputs of a result.
    in_parallel(m.div_ceil(AT_ONCE) * tiles, |units| {
        let mut unit = units.start;
        while unit < units.end {
            let from = unit / tiles * AT_ONCE;
            let mut first = unit % tiles;
            let mut here = (tiles - first).min(units.end - unit);
            unit += here;
            // Tiles one after another for the same activations, from one matrix to the next.
            for (packed, out, own) in &matrices {
                if first >= *own {
                    first -= own;
                    continue;
                }
                let count = (own - first).min(here);
                let part = Part { first, count, from, to: m.min(from + AT_ONCE) };
                // SAFETY: the processor has `isa`, and only this unit writes its part of the result.
                unsafe { packed.part(activations, *out, part, isa) };
                here -= count;
                if here == 0 {
                    break;
                }
                first = 0;
            }
        }
    });
    Ok(())
}

/// What a kernel computes: some tiles for some rows of activations.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// The first tile.
    pub(super) first: usize,
    /// Tiles.
    pub(super) count: usize,
    /// The first row of activations.
    pub(super) from: usize,
    /// The row after the last.
    pub(super) to: usize,
}

/// Puts the numbers of one block into row `lane` of a tile.
fn interleave(kind: Kind, numbers: &[u8], lane: usize, tile: &mut [u8]) {
    let place = |group: usize| group * 32 + lane * 4;
    match kind {
        Kind::Q8_0 => {
            for group in 0..GROUPS {
                tile[place(group)..place(group) + 4].copy_from_slice(&numbers[group * 4..group * 4 + 4]);
            }
        }
        Kind::Q4_0 | Kind::Q4_1 | Kind::Q5_0 | Kind::Q5_1 => {
            let (fifths, halves) = numbers.split_at(numbers.len() - BLOCK / 2);
            for group in 0..GROUPS / 2 {
                tile[place(group)..place(group) + 4].copy_from_slice(&halves[group * 4..group * 4 + 4]);
            }
            for (byte, fifth) in fifths.iter().enumerate() {
                for bit in 0..8 {
                    let column = byte * 8 + bit;
                    tile[4 * 32 + lane * 4 + column % 4] |= (fifth >> bit & 1) << (column / 4);
                }
            }
        }
    }
}

/// A number in half precision.
pub(super) fn half(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}

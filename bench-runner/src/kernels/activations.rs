//! Activations in 8 bits.

use super::format::BLOCK;

/// The scale of a block, and the sum of what its numbers mean.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[repr(C)]
pub(super) struct Scale {
    pub(super) scale: f32,
    pub(super) sum: f32,
}

/// Rows of activations in blocks of 32: numbers of −127 to 127, scaled by a block's largest magnitude over 127.
#[derive(Debug)]
pub(super) struct Activations {
    numbers: Vec<i8>,
    scales: Vec<Scale>,
    columns: usize,
}

impl Activations {
    /// Room for `rows` of `columns`.
    pub(super) fn new(rows: usize, columns: usize) -> Self {
        let scales = vec![Scale::default(); rows * (columns / BLOCK)];
        Self { numbers: vec![0; rows * columns], scales, columns }
    }

    pub(super) const fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn numbers(&self, row: usize) -> &[i8] {
        &self.numbers[row * self.columns..(row + 1) * self.columns]
    }

    pub(super) fn scales(&self, row: usize) -> &[Scale] {
        let blocks = self.columns / BLOCK;
        &self.scales[row * blocks..(row + 1) * blocks]
    }

    /// Quantises by `block` (32 activations to 32 numbers) on candle's threads where that is worth waking them.
    pub(super) fn fill(
        &mut self,
        x: &[f32],
        block: impl Fn(&[f32; BLOCK], &mut [i8; BLOCK]) -> Scale + Sync,
    ) {
        /// Blocks of one piece of work: 8192 activations.
        const PIECE: usize = 256;
        let (from, _) = x.as_chunks::<BLOCK>();
        let (to, _) = self.numbers.as_chunks_mut::<BLOCK>();
        let each = |from: &[[f32; BLOCK]], to: &mut [[i8; BLOCK]], scales: &mut [Scale]| {
            for ((from, to), scale) in from.iter().zip(to).zip(scales) {
                *scale = block(from, to);
            }
        };
        if from.len() <= PIECE {
            return each(from, to, &mut self.scales);
        }
        let mut pieces: Vec<_> =
            from.chunks(PIECE).zip(to.chunks_mut(PIECE)).zip(self.scales.chunks_mut(PIECE)).collect();
        super::in_pieces(&mut pieces, 1, |_, pieces| {
            for ((from, to), scales) in pieces {
                each(from, to, scales);
            }
        });
    }
}

//! Products of activations with weights on a processor, where candle's own are slow: weights in 8-row tiles of 4, 5 or 8
//! bits against activations in 8 bits, and bf16 weights widened in registers.
//!
//! The scheme is llama.cpp's: activations are quantised row by row in blocks of 32 with the block's scale and sum
//! (`ggml/src/ggml-quants.c`, `quantize_row_q8_1_ref`), integers are multiplied, and each block's sum is scaled
//! (`ggml/src/ggml-cpu/quants.c`, `ggml_vec_dot_q4_1_q8_1`). Weights are interleaved as `ggml/src/ggml-cpu/repack.cpp` does
//! it for eight rows, for more types than there. Which instructions are used is decided when the program runs ([`Isa`]).

mod activations;
mod bf16;
mod format;
mod isa;
mod pack;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
mod x86_bf16;

pub use bf16::bf16_product;
pub use format::Kind;
pub use isa::Isa;
pub use pack::{Factor, Packed, products};

use std::ops::Range;
use std::sync::Mutex;

use candle_core::quantized::GgmlDType;

/// The type that our kernels multiply blocks of `stored` as. None: candle multiplies them, which has kernels of its own for
/// types not listed here, and for Arm.
#[must_use]
pub const fn kind(stored: GgmlDType) -> Option<Kind> {
    if !cfg!(target_arch = "x86_64") {
        return None;
    }
    match stored {
        GgmlDType::Q4_0 => Some(Kind::Q4_0),
        GgmlDType::Q4_1 => Some(Kind::Q4_1),
        GgmlDType::Q5_0 => Some(Kind::Q5_0),
        GgmlDType::Q5_1 => Some(Kind::Q5_1),
        GgmlDType::Q8_0 => Some(Kind::Q8_0),
        _ => None,
    }
}

/// Whether weights in bf16 are widened by our kernels; candle widens whole operands (0.11.1, `cpu_backend/mod.rs`).
#[must_use]
pub fn widen_bf16() -> bool {
    Isa::detected() != Isa::Portable
}

/// Calls `work` with every part of `0..units`, on candle's threads.
fn in_parallel(units: usize, work: impl Fn(Range<usize>) + Sync) {
    candle_core::utils::barrier_pool().execute_chunked(units, work);
}

/// Calls `work` with every `size` of `x` and its index, on candle's threads.
pub(crate) fn in_pieces<T: Send>(x: &mut [T], size: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    let pieces: Vec<Mutex<&mut [T]>> = x.chunks_mut(size).map(Mutex::new).collect();
    in_parallel(pieces.len(), |range| {
        for (index, piece) in range.clone().zip(&pieces[range]) {
            // Nobody else takes this one.
            if let Ok(mut piece) = piece.lock() {
                work(index, &mut piece);
            }
        }
    });
}

/// A result that several threads write disjoint parts of.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

// SAFETY: who makes one promises that no element is written by two threads (see `products`, `bf16_product`).
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

#[cfg(test)]
mod tests;

//! Bytes of a vector index in memory.
//!
//! Sources: faiss wiki, "Guidelines to choose an index" (flat 4·d, HNSW 4·d + M·2·4 bytes a vector, IVF-PQ M + 8), its
//! `faiss/impl/HNSW.cpp` (2·M links on the lowest level, M on each above, levels with probability 1/M), and
//! `faiss/IndexIVFPQ.cpp` (centroids, codebooks of 256 entries a sub-quantizer, an 8-byte id a vector).

use crate::bytes::Bytes;
use crate::document::plan::{VectorElement, VectorIndex, VectorStore};

/// Sub-quantizers of a product quantizer: one byte for each eight dimensions, as faiss' wiki has it for `PQ` at 32 times less
/// than fp32.
const DIMENSIONS_PER_CODE: u64 = 8;
/// Entries of a sub-quantizer's codebook, for codes of a byte.
const CODEBOOK: u64 = 256;
/// Bytes of a link or a list's id in faiss (`storage_idx_t` is 32 bit) and of an id in an inverted list.
const LINK: u64 = 4;
const ID: u64 = 8;

/// Bytes of the store's vectors and its index.
pub(super) fn bytes(store: &VectorStore) -> Bytes {
    let n = store.vectors;
    let d = u64::from(store.dimensions);
    let codes = d.div_ceil(DIMENSIONS_PER_CODE);
    let vector = match store.element {
        VectorElement::Fp32 => d * 4,
        VectorElement::Fp16 => d * 2,
        VectorElement::Int8 => d,
        VectorElement::Binary => d.div_ceil(8),
        VectorElement::Pq => codes,
    };
    // A codebook for each sub-quantizer: 256 entries of its dimensions in fp32, together 256 whole vectors.
    let codebooks = if store.element == VectorElement::Pq { Bytes(CODEBOOK * d * 4) } else { Bytes::ZERO };
    let vectors = Bytes(vector) * n + codebooks;
    match store.index {
        VectorIndex::Flat => vectors,
        VectorIndex::Hnsw { m } => vectors + links(n, u64::from(m)),
        VectorIndex::IvfPq => {
            // faiss' guideline: 4 to 16 times the root of n lists; 4 is what its autotuned defaults start from.
            let lists = lists(n);
            vectors + Bytes(ID) * n + Bytes(d * 4) * lists
        }
    }
}

/// 2·M links on level 0; a node is on level l with probability M^-l, and has M links there: M / (M − 1) · M in the mean of all
/// levels above, which is M·n / (M − 1) links. Beside them faiss keeps a level (4 bytes) and an offset (8 bytes) a node.
fn links(n: u64, m: u64) -> Bytes {
    let lowest = Bytes(2 * m * LINK) * n;
    let upper = Bytes(m * LINK) * (n / m.saturating_sub(1).max(1));
    lowest + upper + Bytes(12) * n
}

/// Inverted lists: four times the root of the vectors.
fn lists(n: u64) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the root of at most 2^48")]
    let root = libm::sqrt(n as f64) as u64;
    (4 * root).min(n)
}

//! Quantized matrices: `candle-core/src/quantized` (0.11.1), `QMatMul` and the kernels it picks.

use std::cell::RefCell;

use super::tensor::{Context, Element, Refused, Tensor};
use crate::bytes::Bytes;
use crate::engine::request::Device;
use crate::engine::tape::{Block, Kind};
use crate::ggml::GgmlType;

/// Instruction sets that Candle's kernels tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Isa {
    /// AVX-512 F and VNNI with AMX int8 tiles.
    Avx512Amx,
    /// AVX-512 F and VNNI.
    Avx512,
    /// AVX2 with AVX-VNNI.
    AvxVnni,
    /// AVX2 and FMA.
    Avx2,
    /// aarch64 with the dot product instructions.
    Neon,
    /// Nothing of these.
    Generic,
}

impl Isa {
    /// The words that a plan may say.
    pub(super) const WORDS: &'static str = "avx2, avx-vnni, avx512, avx512-amx, neon, generic";

    pub(super) fn from_word(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "avx2" => Self::Avx2,
            "avx-vnni" => Self::AvxVnni,
            "avx512" => Self::Avx512,
            "avx512-amx" => Self::Avx512Amx,
            "neon" => Self::Neon,
            "generic" => Self::Generic,
            _ => return None,
        })
    }

    pub(super) const fn is_x86(self) -> bool {
        matches!(self, Self::Avx512Amx | Self::Avx512 | Self::AvxVnni | Self::Avx2)
    }

    /// Not Arm's.
    pub(super) const fn is_x86_or_generic(self) -> bool {
        !matches!(self, Self::Neon)
    }
}

/// A weight matrix of `rows` outputs and `columns` inputs, as `QMatMul` holds it.
#[derive(Debug)]
pub(super) enum QMatMul {
    /// f32, f16 and bf16 are widened to f32 at loading (`QMatMul::from_arc`).
    Dense(Tensor),
    /// Blocks, and copies in the kernels' order, made when first needed and kept beside the original
    /// (`repack.rs`, `PackedCache`).
    Blocks {
        kind: GgmlType,
        rows: u64,
        columns: u64,
        stored: Block,
        repacked: RefCell<Option<Block>>,
        tiles: RefCell<Option<Block>>,
    },
}

/// The kernel of one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    /// `k_quants.rs`: activations quantised into the calling thread's scratch, which only grows.
    Plain,
    /// `repack_x86.rs`: activations quantised into a buffer of the call.
    Repacked,
    /// The same with AMX tiles, and a buffer for each thread.
    Tiles,
    /// `neon.rs`: repacked weights, scratch of the thread.
    RepackedScratch,
}

impl QMatMul {
    /// Loads a matrix.
    pub(super) fn load(cx: &Context, kind: GgmlType, rows: u64, columns: u64) -> Result<Self, Refused> {
        if !kind.is_quantized() {
            return Ok(Self::Dense(Tensor::new(cx, &[rows, columns], Element::F32, Kind::Weights)));
        }
        let stored = bytes(kind, rows, columns)?;
        Ok(Self::Blocks {
            kind,
            rows,
            columns,
            stored: cx.tape.alloc(Kind::Weights, stored),
            repacked: RefCell::default(),
            tiles: RefCell::default(),
        })
    }

    /// `QMatMul::forward`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, Refused> {
        match self {
            Self::Dense(weight) => Ok(x.matmul_weight(weight)),
            Self::Blocks { kind, rows, columns, stored, repacked, tiles } => {
                x.require_contiguous("a quantized matrix product")?;
                let mut dims = x.dims().to_vec();
                if let Some(last) = dims.last_mut() {
                    *last = *rows;
                }
                let m = dims.iter().rev().skip(1).copied().fold(1, u64::saturating_mul);
                let out = Tensor::new(x.cx(), &dims, Element::F32, Kind::Activation);
                if x.cx().device == Device::Cpu {
                    product(x.cx(), *kind, (m, *columns, *rows), stored.bytes(), repacked, tiles);
                }
                Ok(out)
            }
        }
    }
}

/// Bytes of a stored matrix.
pub(super) fn bytes(kind: GgmlType, rows: u64, columns: u64) -> Result<Bytes, Refused> {
    kind.tensor_bytes(rows, columns)
        .map(Bytes)
        .ok_or_else(|| Refused(format!("rows of {columns} elements are not whole blocks of {kind}")))
}

/// `QTensor::cpu_fwd` after its result is allocated.
fn product(
    cx: &Context,
    kind: GgmlType,
    (m, k, n): (u64, u64, u64),
    stored: Bytes,
    repacked: &RefCell<Option<Block>>,
    tiles: &RefCell<Option<Block>>,
) {
    let activations =
        |block: GgmlType| Bytes(m.saturating_mul(k / block.block_elements())) * block.block_bytes();
    let keep = |place: &RefCell<Option<Block>>, size: Bytes| {
        place.borrow_mut().get_or_insert_with(|| cx.tape.alloc(Kind::Weights, size));
    };
    match path(cx.isa, kind, m, k, n) {
        Path::Plain => cx.scratch(activations(partner(kind))),
        Path::Repacked => {
            let _quantised = cx.tape.alloc(Kind::Temporary, activations(GgmlType::Q8_K));
            keep(repacked, x86_tiles(kind, n, k));
        }
        Path::Tiles => {
            let _quantised = cx.tape.alloc(Kind::Temporary, activations(GgmlType::Q8_K));
            // `TileQ4KAmx`: 16 rows × 256 columns in 5120 bytes.
            keep(tiles, Bytes(n / 16) * (k / 256) * 5120);
            // `matmul_amx_q4k`: two halves of 16 rows for each thread that finds a block of 32 rows to do.
            let busy = cx.threads.min(m.div_ceil(32));
            let _rows = cx.tape.alloc(Kind::Temporary, Bytes(2 * 8 * 16 * 32) * (k / 256) * busy);
        }
        Path::RepackedScratch => {
            keep(repacked, stored);
            cx.scratch(activations(partner(kind)));
        }
    }
}

/// Which kernel multiplies `m` rows (`repack.rs`, `try_matmul_f32`; `repack_x86.rs`, `select`).
fn path(isa: Isa, kind: GgmlType, m: u64, k: u64, n: u64) -> Path {
    if isa.is_x86() {
        let fits = k > 0 && n.is_multiple_of(16) && k.is_multiple_of(256);
        let selected = match kind {
            GgmlType::Q4_K => true,
            GgmlType::Q6_K => m > 1,
            GgmlType::Q8_0 => isa != Isa::Avx2,
            _ => false,
        };
        return match fits && selected {
            true if isa == Isa::Avx512Amx && kind == GgmlType::Q4_K && m >= 32 => Path::Tiles,
            true => Path::Repacked,
            false => Path::Plain,
        };
    }
    let neon = match kind {
        GgmlType::Q4_0 | GgmlType::Q8_0 => n.is_multiple_of(4),
        GgmlType::Q4_K | GgmlType::Q5_K | GgmlType::Q6_K => n.is_multiple_of(8),
        _ => false,
    };
    if isa == Isa::Neon && neon { Path::RepackedScratch } else { Path::Plain }
}

/// `TileQ4K`, `TileQ6K` (16 rows × 256 columns) and `TileQ8_0` (16 rows × 32 columns).
fn x86_tiles(kind: GgmlType, n: u64, k: u64) -> Bytes {
    match kind {
        GgmlType::Q4_K => Bytes(n / 16) * (k / 256) * 3072,
        GgmlType::Q6_K => Bytes(n / 16) * (k / 256) * 5120,
        _ => Bytes(n / 16) * (k / 32) * 544,
    }
}

/// The type that activations are quantised to (`VecDotType` in `k_quants.rs`).
fn partner(kind: GgmlType) -> GgmlType {
    match kind {
        GgmlType::Q4_0 | GgmlType::Q5_0 | GgmlType::Q8_0 => GgmlType::Q8_0,
        GgmlType::Q4_1 | GgmlType::Q5_1 | GgmlType::Q8_1 => GgmlType::Q8_1,
        _ => GgmlType::Q8_K,
    }
}

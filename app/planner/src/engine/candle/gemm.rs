//! Workspaces of the `gemm` crate (0.19.0), which multiplies f32 and f16 on a processor.
//!
//! `gemm-common/src/gemm.rs` and `gemm-f16/src/gemm.rs`, `gemm_basic_generic`; blocking from
//! `gemm-common/src/cache.rs`, `kernel_params`.

use crate::bytes::Bytes;

/// A processor's cache of one level, as the crate reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cache {
    /// Ways.
    pub ways: u64,
    /// Size, of one core's share below level 3.
    pub bytes: u64,
}

/// Caches of levels 1 to 3, which decide how a product is cut, so the sizes of its workspaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caches([Cache; 3]);

impl Caches {
    /// Sizes in KiB that are assumed where a plan does not say them: AMD Zen 2 and 3, close to other server processors.
    const ASSUMED: [u32; 3] = [32, 512, 32 << 10];

    /// Caches of these sizes in KiB, levels 1 (data), 2 and 3: of the first two a hardware thread's share, as `cache_info`
    /// divides them by the threads of a core, leaving their ways.
    ///
    /// A plan has no ways. A level 1 cache of x86 has 64 sets, for its index lies within a page of 4 KiB, and none since 2008
    /// is smaller than 32 KiB: what is, is half of one; of level 2, 1024 sets are AMD's since Zen and Intel's of Skylake-SP
    /// and Ice Lake-SP; level 3 is taken to have 16 ways.
    pub(super) fn of(sizes: [Option<u32>; 3]) -> Self {
        let mut sizes =
            sizes.into_iter().zip(Self::ASSUMED).map(|(said, assumed)| u64::from(said.unwrap_or(assumed)));
        let mut next = || sizes.next().unwrap_or(1).max(1);
        let (l1, l2, l3) = (next(), next(), next());
        let l1_ways = if l1 < 32 { l1 / 2 } else { l1 / 4 };
        Self([
            Cache { ways: l1_ways.clamp(2, 16), bytes: l1.max(32) << 10 },
            Cache { ways: (l2 / 64).clamp(2, 32), bytes: l2 << 10 },
            Cache { ways: 16, bytes: l3 << 10 },
        ])
    }

    /// Bytes of one thread's slab.
    pub(super) const fn slab(self) -> Bytes {
        Bytes(self.0[1].bytes)
    }
}

const LINE: u64 = 64;

/// Shape of a micro-kernel: `lanes` of a vector, `rows` × `columns` of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kernel {
    lanes: u64,
    rows: u64,
    columns: u64,
    /// Products of few rows and columns take a kernel without packing.
    horizontal: bool,
}

impl Kernel {
    /// x86 with FMA (`gemm-f32/src/microkernel.rs`, `fma`); the AVX-512 kernels are behind a feature that Candle leaves off.
    pub(super) const FMA: Self = Self { lanes: 8, rows: 16, columns: 6, horizontal: true };
    /// aarch64.
    pub(super) const NEON: Self = Self { lanes: 4, rows: 16, columns: 4, horizontal: false };
    /// Anything else.
    pub(super) const SCALAR: Self = Self { lanes: 1, rows: 2, columns: 4, horizontal: false };
}

/// Strides of an operand in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Strides {
    pub row: u64,
    pub column: u64,
}

/// A product of `m` × `k` and `k` × `n` into a row-major result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Product {
    pub m: u64,
    pub n: u64,
    pub k: u64,
    pub lhs: Strides,
    pub rhs: Strides,
}

/// What a product allocates beside its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Workspace {
    /// Freed when the product is done: the packed operands.
    pub packed: Bytes,
    /// Which threads take a slab of the level 2 cache's size and keep it for ever.
    pub slabs: Slabs,
}

/// Who takes a slab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Slabs {
    /// Nobody.
    #[default]
    None,
    /// The thread that calls.
    Caller,
    /// Every worker of the pool.
    Workers,
}

/// Work below which one thread computes (`DEFAULT_THREADING_THRESHOLD`).
const THREADING_THRESHOLD: u64 = 48 * 48 * 256;
/// `DEFAULT_RHS_PACKING_THRESHOLD`.
const RHS_PACKING_THRESHOLD: u64 = 128;

/// Number formats that the crate multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    F32,
    /// Packed as f32.
    F16,
}

/// The workspace of one product.
pub(super) fn workspace(
    caches: Caches,
    kernel: Kernel,
    element: Element,
    threads: u64,
    product: Product,
) -> Workspace {
    // The crate computes the transposed product when the result is row-major, as Candle's always is; a result of one
    // row counts as column-major already (`gemm/src/gemm.rs`, `do_transpose`: column stride 1 < row stride n).
    let Product { m, n, k, lhs, rhs } = product;
    let (m, n, lhs, rhs) = if 1 < n {
        let turn = |s: Strides| Strides { row: s.column, column: s.row };
        (n, m, turn(rhs), turn(lhs))
    } else {
        (m, n, lhs, rhs)
    };
    let (result_row, result_column) = if 1 < product.n { (1, product.n) } else { (product.n.max(1), 1) };
    if m == 0 || n == 0 || k == 0 {
        return Workspace::default();
    }
    let f16 = element == Element::F16;
    if !f16 && kernel.horizontal && lhs.column == 1 && rhs.row == 1 && m.saturating_mul(n) <= 256 {
        return Workspace::default();
    }
    if k <= 2
        || (n <= 1 && lhs.row == 1 && result_row == 1)
        || (n <= 1 && lhs.column == 1 && rhs.row == 1)
        || (m <= 1 && rhs.column == 1 && result_column == 1)
        || (m <= 1 && rhs.row == 1 && lhs.column == 1)
    {
        return Workspace::default();
    }
    let blocks = if !f16 && m <= 64 && n <= 64 {
        let depth = k.min(512);
        Blocks {
            depth,
            rows: (caches.slab().0 / 4 / depth) / kernel.rows * kernel.rows,
            columns: n.next_multiple_of(kernel.columns),
        }
    } else {
        Blocks::new(caches, kernel, m, n, k)
    };
    // The f16 kernels always pack the right operand, for it is converted there.
    let pack_rhs = f16
        || (rhs.row != 1 && m > 2 * kernel.rows)
        || (rhs.row == 1 && m > RHS_PACKING_THRESHOLD * kernel.rows);
    let prepack_lhs = m <= 2 * blocks.rows && (!m.is_multiple_of(kernel.lanes) || lhs.row != 1);
    let mut packed = 0u64;
    if pack_rhs {
        packed = packed.saturating_add(
            blocks.depth.saturating_mul(kernel.columns).saturating_mul(blocks.columns / kernel.columns),
        );
    }
    if prepack_lhs {
        packed = packed
            .saturating_add(blocks.depth.saturating_mul(kernel.rows).saturating_mul(m.div_ceil(kernel.rows)));
    }
    let columns_at_once = blocks.columns.min(n);
    let work = m.saturating_mul(columns_at_once).saturating_mul(blocks.depth.min(k));
    let slabs = match (prepack_lhs, threads > 1 && work >= THREADING_THRESHOLD) {
        (true, _) => Slabs::None,
        (false, true) => Slabs::Workers,
        (false, false) => Slabs::Caller,
    };
    Workspace { packed: Bytes(packed) * 4, slabs }
}

/// How a product is cut, in elements: `kernel_params` for operands of 4 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Blocks {
    depth: u64,
    rows: u64,
    columns: u64,
}

impl Blocks {
    fn new(caches: Caches, kernel: Kernel, m: u64, n: u64, k: u64) -> Self {
        const SIZE: u64 = 4;
        let Caches([l1, l2, l3]) = caches;
        let sets = l1.bytes / (LINE * l1.ways);
        let common = greatest_common_divisor(kernel.rows * SIZE, LINE * sets);
        let depth_0 = LINE * sets / common;
        let lhs_ways = kernel.rows * SIZE / common;
        let rhs_ways = kernel.columns * depth_0 * SIZE / (LINE * sets);
        let multiplier = l1.ways / (lhs_ways + rhs_ways).max(1);
        let depth = (depth_0 * multiplier.next_power_of_two()).max(512).min(k);
        let depth = k.div_ceil(k.div_ceil(depth));

        let rhs_panel = kernel.columns * depth * SIZE;
        let rhs_ways = rhs_panel.div_ceil(l2.bytes / l2.ways);
        let lhs_ways = (l2.ways - 1).saturating_sub(rhs_ways).max(1);
        let rows = (lhs_ways * l2.bytes) / (l2.ways * SIZE * depth) / kernel.rows * kernel.rows;
        let passes = m.div_ceil(rows.max(1));
        let rows = (m.div_ceil(passes * kernel.rows) * kernel.rows).min(8 * kernel.rows);

        let panel = (l3.ways - 1) * l3.bytes / l3.ways;
        let columns = panel / (SIZE * depth) / kernel.columns * kernel.columns;
        let passes = n.div_ceil(columns.max(1));
        let columns = n.div_ceil(passes * kernel.columns) * kernel.columns;
        Self { depth, rows, columns }
    }
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `kernel_params` computes it: 12 ways of a level 1 cache allow panels of 1024, 8 ways of 512, and 12 ways whose size is
    /// raised to 32 KiB, for two threads share it, of 672, which are seven to 4096.
    #[test]
    fn a_larger_level_1_cache_cuts_products_deeper() {
        let (m, n, k) = (128, 4096, 4096);
        let lhs = Strides { row: k, column: 1 };
        let rhs = Strides { row: 1, column: k };
        for (kib, depth) in [(None, 512), (Some(32), 512), (Some(48), 1024), (Some(24), 586)] {
            let caches = Caches::of([kib, None, None]);
            let found = workspace(caches, Kernel::FMA, Element::F32, 2, Product { m, n, k, lhs, rhs });
            let columns = m.next_multiple_of(6);
            assert_eq!(
                found,
                Workspace { packed: Bytes(depth * columns * 4), slabs: Slabs::Workers },
                "{kib:?}"
            );
        }
    }
}

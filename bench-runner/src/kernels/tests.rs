use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use half::bf16;

use super::activations::Activations;
use super::format::BLOCK;
use super::{Isa, Kind, Packed, bf16_product, kind, portable, products};

/// Numbers between −1 and 1 (xorshift64, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn list(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

const STORED: [(Kind, GgmlDType); 5] = [
    (Kind::Q4_0, GgmlDType::Q4_0),
    (Kind::Q4_1, GgmlDType::Q4_1),
    (Kind::Q5_0, GgmlDType::Q5_0),
    (Kind::Q5_1, GgmlDType::Q5_1),
    (Kind::Q8_0, GgmlDType::Q8_0),
];

/// Rows, columns, rows of activations: below, at and above a tile, several at once, what is unpacked at once (1024
/// columns) and what shares a tile (128 rows).
const SIZES: [(usize, usize, usize); 9] = [
    (1, 32, 1),
    (7, 96, 2),
    (8, 64, 3),
    (9, 576, 4),
    (17, 1056, 5),
    (100, 576, 7),
    (24, 2080, 13),
    (10, 160, 129),
    (33, 1056, 131),
];

fn product(packed: &Packed, x: &[f32], out: &mut [f32], isa: Isa) -> candle_core::Result<()> {
    products(&mut [(packed, out)], x, isa)
}

/// Weights quantised by candle, and what they mean.
fn weights(stored: GgmlDType, rows: usize, columns: usize, random: &mut Random) -> (QTensor, Vec<f32>) {
    let wide = Tensor::from_vec(random.list(rows * columns), (rows, columns), &Device::Cpu).unwrap();
    let quantised = QTensor::quantize(&wide, stored).unwrap();
    let meant = quantised.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    (quantised, meant)
}

/// Activations as their 8-bit blocks mean them, by the plain arithmetic of `quantize_row_q8_1_ref`.
fn rounded(x: &[f32]) -> Vec<f32> {
    x.chunks(BLOCK)
        .flat_map(|block| {
            let scale = block.iter().fold(0f32, |a, b| a.max(b.abs())) / 127.0;
            block.iter().map(move |x| if scale > 0.0 { (x / scale).round_ties_even() * scale } else { 0.0 })
        })
        .collect()
}

/// The product in double precision, and the sum of its terms' magnitudes, for each output.
fn reference(weights: &[f32], x: &[f32], columns: usize) -> Vec<(f64, f64)> {
    x.chunks(columns)
        .flat_map(|x| {
            weights.chunks(columns).map(move |row| {
                let terms = row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
                terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
            })
        })
        .collect()
}

fn assert_near(got: &[f32], want: &[(f64, f64)], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (index, (got, (want, size))) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*got) - want).abs();
        assert!(
            error <= tolerance * size + 1e-30,
            "{what}: output {index}: {got}, {want} ± {tolerance} × {size}"
        );
    }
}

#[test]
fn every_kernel_multiplies_what_the_blocks_mean() {
    for seed in [1, 77, 4096] {
        let mut random = Random(seed);
        for (kind, stored) in STORED {
            for (rows, columns, m) in SIZES {
                let (quantised, meant) = weights(stored, rows, columns, &mut random);
                let packed = Packed::new(kind, rows, columns, &quantised.data().unwrap()).unwrap();
                let x = random.list(m * columns);
                let want = reference(&meant, &rounded(&x), columns);
                let whole = reference(&meant, &x, columns);
                for isa in Isa::available() {
                    let what = format!("{kind:?} {rows} × {columns} by {m}, {isa}, seed {seed}");
                    let mut out = vec![f32::NAN; m * rows];
                    product(&packed, &x, &mut out, isa).unwrap();
                    // Single precision adds up to 65 blocks; a half-way case may round the other way by 1/127 of one term.
                    assert_near(&out, &want, 2e-4, &what);
                    // Rounding activations to 8 bits is at most half of 1/127 of a block's largest.
                    assert_near(&out, &whole, 0.05, &what);
                }
            }
        }
    }
}

#[test]
fn several_matrices_at_once_are_each_by_itself() {
    let mut random = Random(11);
    for (m, columns) in [(1, 64), (3, 576), (140, 96)] {
        let sizes = [
            (9, Kind::Q4_1, GgmlDType::Q4_1),
            (33, Kind::Q8_0, GgmlDType::Q8_0),
            (1, Kind::Q4_0, GgmlDType::Q4_0),
        ];
        let x = random.list(m * columns);
        let packed = sizes.map(|(rows, kind, stored)| {
            let (quantised, _) = weights(stored, rows, columns, &mut random);
            Packed::new(kind, rows, columns, &quantised.data().unwrap()).unwrap()
        });
        for isa in Isa::available() {
            let mut together = sizes.map(|(rows, ..)| vec![f32::NAN; m * rows]);
            let mut factors: Vec<_> =
                packed.iter().zip(&mut together).map(|(p, out)| (p, &mut out[..])).collect();
            products(&mut factors, &x, isa).unwrap();
            for (packed, together) in packed.iter().zip(&together) {
                let mut alone = vec![f32::NAN; together.len()];
                product(packed, &x, &mut alone, isa).unwrap();
                assert_eq!(together, &alone, "{isa} {m}");
            }
        }
    }
    assert!(products(&mut [], &[], Isa::Portable).is_ok());
}

#[test]
fn the_largest_numbers_do_not_overflow_sums() {
    let (rows, columns) = (9, 64);
    for (kind, fill, meant) in [
        (Kind::Q4_0, 0xff, 7.0),
        (Kind::Q4_0, 0x00, -8.0),
        (Kind::Q4_1, 0xff, 15.0),
        (Kind::Q5_0, 0xff, 15.0),
        (Kind::Q5_0, 0x00, -16.0),
        (Kind::Q5_1, 0xff, 31.0),
        (Kind::Q8_0, 0x7f, 127.0),
        (Kind::Q8_0, 0x81, -127.0),
        (Kind::Q8_0, 0x80, -128.0),
    ] {
        let mut blocks = vec![fill; rows * columns / BLOCK * kind.block_bytes()];
        for block in blocks.chunks_mut(kind.block_bytes()) {
            block[..2].copy_from_slice(&half::f16::ONE.to_le_bytes());
            if kind.has_offset() {
                block[2..4].copy_from_slice(&half::f16::ZERO.to_le_bytes());
            }
        }
        let packed = Packed::new(kind, rows, columns, &blocks).unwrap();
        for m in [1, 9] {
            for sign in [1.0, -1.0] {
                for isa in Isa::available() {
                    let mut out = vec![0.0; m * rows];
                    product(&packed, &vec![sign; m * columns], &mut out, isa).unwrap();
                    let want = sign * meant * columns as f32;
                    for y in out {
                        assert!(
                            (y - want).abs() <= 1e-4 * want.abs(),
                            "{kind:?} {fill:x} {isa}: {y}, {want}"
                        );
                    }
                }
            }
        }
    }
}

/// The kernels for VNNI where no processor has it: with its sum of four products done in steps.
#[cfg(target_arch = "x86_64")]
#[test]
fn what_is_built_around_vnni_is_right_without_it() {
    use super::format::{Format, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, ROWS};
    use super::pack::Part;
    use super::{Shared, x86};

    fn check<F: Format>(stored: GgmlDType, (rows, columns, m): (usize, usize, usize), random: &mut Random) {
        let (quantised, meant) = weights(stored, rows, columns, random);
        let packed = Packed::new(F::KIND, rows, columns, &quantised.data().unwrap()).unwrap();
        let x = random.list(m * columns);
        let mut activations = Activations::new(m, columns);
        activations.fill(&x, portable::quantise);
        let mut out = vec![f32::NAN; m * rows];
        let part = Part { first: 0, count: rows.div_ceil(ROWS), from: 0, to: m };
        // SAFETY: the processor has AVX2, and the part is the whole result.
        unsafe { x86::in_steps::product::<F>(&packed, &activations, Shared(out.as_mut_ptr()), part) };
        assert_near(
            &out,
            &reference(&meant, &rounded(&x), columns),
            2e-4,
            &format!("{stored:?} {rows} × {columns}"),
        );
    }

    if Isa::detected() == Isa::Portable {
        eprintln!("not tested here: the kernels of x86-64, for want of AVX2");
        return;
    }
    let mut random = Random(5);
    for size in SIZES {
        check::<Q4_0>(GgmlDType::Q4_0, size, &mut random);
        check::<Q4_1>(GgmlDType::Q4_1, size, &mut random);
        check::<Q5_0>(GgmlDType::Q5_0, size, &mut random);
        check::<Q5_1>(GgmlDType::Q5_1, size, &mut random);
        check::<Q8_0>(GgmlDType::Q8_0, size, &mut random);
    }
}

#[test]
fn rows_are_what_candle_reads_them_as() {
    let mut random = Random(9);
    for (kind, stored) in STORED {
        let (rows, columns) = (19, 96);
        let (quantised, meant) = weights(stored, rows, columns, &mut random);
        let packed = Packed::new(kind, rows, columns, &quantised.data().unwrap()).unwrap();
        let mut row = vec![0.0; columns];
        for (index, meant) in meant.chunks(columns).enumerate() {
            packed.row(index, &mut row).unwrap();
            // Candle rounds its product with the scale before it adds an offset, as this does.
            assert_eq!(row, meant, "{kind:?} row {index}");
        }
        assert!(packed.row(rows, &mut row).is_err());
        assert!(packed.row(0, &mut row[1..]).is_err());
    }
}

#[test]
fn a_packed_matrix_takes_the_bytes_of_its_blocks() {
    for kind in Kind::ALL {
        // Whole tiles and whole cache lines.
        assert_eq!(Packed::bytes(kind, 64, 64), 64 * 2 * kind.block_bytes(), "{kind:?}");
        let blocks = vec![0; 9 * 2 * kind.block_bytes()];
        assert!(Packed::new(kind, 9, 64, &blocks).is_ok());
        assert!(Packed::new(kind, 9, 64, &blocks[1..]).is_err());
        assert!(Packed::new(kind, 0, 64, &[]).is_err());
        assert!(Packed::new(kind, 9, 65, &blocks).is_err());
    }
}

#[test]
fn products_with_bf16_are_those_of_single_precision() {
    for seed in [3, 1234] {
        let mut random = Random(seed);
        for (rows, columns, m) in
            [(1, 1, 1), (3, 15, 2), (4, 16, 3), (5, 33, 4), (66, 576, 7), (35, 1537, 11)]
        {
            let weights: Vec<bf16> = random.list(rows * columns).into_iter().map(bf16::from_f32).collect();
            let meant: Vec<f32> = weights.iter().map(|w| w.to_f32()).collect();
            let x = random.list(m * columns);
            let narrow: Vec<bf16> = x.iter().map(|x| bf16::from_f32(*x)).collect();
            let narrow_meant: Vec<f32> = narrow.iter().map(|x| x.to_f32()).collect();
            for isa in Isa::available() {
                let what = format!("{rows} × {columns} by {m}, {isa}");
                let mut out = vec![f32::NAN; m * rows];
                bf16_product(&x, |x| x, &weights, columns, &mut out, isa).unwrap();
                assert_near(&out, &reference(&meant, &x, columns), 1e-5, &what);
                bf16_product(&narrow, bf16::to_f32, &weights, columns, &mut out, isa).unwrap();
                assert_near(&out, &reference(&meant, &narrow_meant, columns), 1e-5, &what);
            }
        }
    }
}

#[test]
fn the_best_that_the_processor_has_is_taken_and_no_other_computes() {
    let available = Isa::available();
    assert_eq!(available.first(), Some(&Isa::Portable));
    assert_eq!(available.last(), Some(&Isa::detected()));
    #[cfg(target_arch = "x86_64")]
    assert_eq!(
        available.contains(&Isa::Avx2),
        candle_core::utils::with_avx() && candle_core::utils::with_f16c()
    );
    let packed = Packed::new(Kind::Q8_0, 1, 32, &[0; 34]).unwrap();
    for isa in [Isa::Portable, Isa::Avx2, Isa::AvxVnni, Isa::Avx512Vnni] {
        let mut out = [0.0];
        assert_eq!(product(&packed, &[0.0; 32], &mut out, isa).is_ok(), available.contains(&isa), "{isa}");
        let one = [bf16::ONE];
        assert_eq!(
            bf16_product(&[1.0], |x| x, &one, 1, &mut out, isa).is_ok(),
            available.contains(&isa),
            "{isa}"
        );
    }
}

#[test]
fn types_without_a_kernel_are_candles() {
    for (ours, stored) in STORED {
        assert_eq!(kind(stored), cfg!(target_arch = "x86_64").then_some(ours));
    }
    for stored in
        [GgmlDType::F32, GgmlDType::F16, GgmlDType::BF16, GgmlDType::Q8_1, GgmlDType::Q4K, GgmlDType::Q6K]
    {
        assert_eq!(kind(stored), None);
    }
}

#[test]
fn wrong_sizes_are_refused() {
    let packed = Packed::new(Kind::Q4_1, 3, 32, &[0; 60]).unwrap();
    let (x, mut out) = ([0.0; 33], [0.0; 6]);
    assert!(product(&packed, &x, &mut out[..3], Isa::Portable).is_err());
    assert!(product(&packed, &x[..32], &mut out, Isa::Portable).is_err());
    assert!(bf16_product(&x, |x| x, &[bf16::ONE; 32], 32, &mut out[..1], Isa::Portable).is_err());
    assert!(bf16_product(&x, |x| x, &[bf16::ONE; 33], 33, &mut out, Isa::Portable).is_err());
    assert!(bf16_product(&x[..0], |x| x, &[], 0, &mut out[..0], Isa::Portable).is_err());
}

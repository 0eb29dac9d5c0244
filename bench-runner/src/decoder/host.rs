//! Steps between products on a processor, in place and on the threads that products run on.
//!
//! Candle's hand them to a second pool of threads, which has to be woken while the first one's still look for work, and
//! take an exponential at a time. What they do not compute is left to candle.

use candle_core::{CpuStorage, DType, InplaceOp1, InplaceOp2, InplaceOp3, Layout, Result, Tensor};

use super::rope::Order;

/// Elements from which on threads share the work.
const SHARED: usize = 32 << 10;

/// Whether `x` is computed here: what a gradient will be asked of keeps its operands.
pub(super) fn takes(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32 && x.is_contiguous() && !x.track_op()
}

/// e to the power of `x`: 0 below −87.3, where single precision ends. Cephes' polynomial (`single/expf.c`), relative error
/// below 2⁻²²; written so that the compiler computes several at once.
fn exp(x: f32) -> f32 {
    /// Adding it leaves the nearest whole number in the last bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.3, 88.3);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    // ln 2 in two parts, the first of few bits.
    let r = clamped - whole * 0.693_359_4 + whole * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4 * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let power = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    if x < -87.3 { 0.0 } else { (p * r * r + r + 1.0) * power }
}

/// The part of a storage that a contiguous layout covers.
fn part(layout: &Layout) -> Result<std::ops::Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => candle_core::bail!("computed in place: contiguous tensors, not {layout:?}"),
    }
}

fn numbers(storage: &CpuStorage) -> Result<&[f32]> {
    match storage {
        CpuStorage::F32(numbers) => Ok(numbers),
        _ => candle_core::bail!("computed in place: single precision only"),
    }
}

fn numbers_mut(storage: &mut CpuStorage) -> Result<&mut [f32]> {
    match storage {
        CpuStorage::F32(numbers) => Ok(numbers),
        _ => candle_core::bail!("computed in place: single precision only"),
    }
}

/// Calls `f` with each stretch of `width` numbers and its index.
fn each(x: &mut [f32], width: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    if x.len() < SHARED {
        x.chunks_mut(width).enumerate().for_each(|(index, row)| f(index, row));
        return;
    }
    // So many to a thread that handing them over costs nothing.
    let at_once = (SHARED / 8).div_ceil(width);
    crate::kernels::in_pieces(x, at_once * width, |piece, rows| {
        rows.chunks_mut(width).enumerate().for_each(|(index, row)| f(piece * at_once + index, row));
    });
}

/// The softmax of the last dimension, of scores that nothing else holds.
pub(super) fn softmax(scores: Tensor) -> Result<Tensor> {
    if !takes(&scores) {
        return candle_nn::ops::softmax_last_dim(&scores);
    }
    scores.inplace_op1(&Softmax)?;
    Ok(scores)
}

struct Softmax;

impl InplaceOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax in place"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let width = layout.dims().last().copied().unwrap_or(1).max(1);
        each(&mut numbers_mut(x)?[part(layout)?], width, |_, row| {
            let largest = row.iter().fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a });
            let mut sums = [0f32; 8];
            for lanes in row.chunks_mut(8) {
                for (x, sum) in lanes.iter_mut().zip(&mut sums) {
                    *x = exp(*x - largest);
                    *sum += *x;
                }
            }
            let factor = 1.0 / sums.iter().sum::<f32>();
            for x in row {
                *x *= factor;
            }
        });
        Ok(())
    }
}

/// `gate` · sigmoid(`gate`) · `up`, in the place of `gate`, which nothing else holds.
pub(super) fn silu_times(gate: Tensor, up: &Tensor) -> Result<Tensor> {
    if takes(&gate) && takes(up) {
        gate.inplace_op2(up, &SiluTimes)?;
        return Ok(gate);
    }
    let bent = gate.silu()?;
    drop(gate);
    bent * up
}

struct SiluTimes;

impl InplaceOp2 for SiluTimes {
    fn name(&self) -> &'static str {
        "silu times"
    }

    fn cpu_fwd(
        &self,
        gate: &mut CpuStorage,
        layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<()> {
        /// Numbers of a stretch.
        const WIDTH: usize = 1024;
        let up = &numbers(up)?[part(up_layout)?];
        each(&mut numbers_mut(gate)?[part(layout)?], WIDTH, |index, gates| {
            for (gate, up) in gates.iter_mut().zip(&up[index * WIDTH..]) {
                *gate = *gate / (1.0 + exp(-*gate)) * up;
            }
        });
        Ok(())
    }
}

/// `x`, which nothing else holds, with the halves of each head rotated against each other (arXiv 2104.09864). Cosines and
/// sines are tokens × half a head, or sequences × tokens × half a head.
pub(super) fn rotate(x: Tensor, cos: &Tensor, sin: &Tensor, order: Order) -> Result<Tensor> {
    x.inplace_op3(cos, sin, &Rotate(order))?;
    Ok(x)
}

struct Rotate(Order);

impl InplaceOp3 for Rotate {
    fn name(&self) -> &'static str {
        "rotate in place"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        layout: &Layout,
        cos: &CpuStorage,
        cos_layout: &Layout,
        sin: &CpuStorage,
        sin_layout: &Layout,
    ) -> Result<()> {
        let (_, second, third, size) = layout.shape().dims4()?;
        let half = size / 2;
        let (heads, tokens) = match self.0 {
            Order::HeadsFirst => (second, third),
            Order::TokensFirst => (third, second),
        };
        let by_sequence = cos_layout.dims().len() == 3;
        let (cos, sin) = (&numbers(cos)?[part(cos_layout)?], &numbers(sin)?[part(sin_layout)?]);
        each(&mut numbers_mut(x)?[part(layout)?], size, |index, head| {
            let (sequence, inner) = (index / (heads * tokens), index % (heads * tokens));
            let token = match self.0 {
                Order::HeadsFirst => inner % tokens,
                Order::TokensFirst => inner / heads,
            };
            let at = (token + if by_sequence { sequence * tokens } else { 0 }) * half;
            let (first, second) = head.split_at_mut(half);
            for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(cos[at..].iter().zip(&sin[at..])) {
                (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Device, Tensor};
    use candle_nn::rotary_emb;

    use super::{Order, exp, rotate, silu_times, softmax};

    fn random(dims: &[usize]) -> Tensor {
        Tensor::randn(0f32, 3f32, dims, &Device::Cpu).unwrap()
    }

    fn assert_same(ours: &Tensor, candles: &Tensor) {
        let (ours, candles) = (ours.flatten_all().unwrap(), candles.flatten_all().unwrap());
        let (ours, candles) = (ours.to_vec1::<f32>().unwrap(), candles.to_vec1::<f32>().unwrap());
        assert_eq!(ours.len(), candles.len());
        for (a, b) in ours.iter().zip(&candles) {
            assert!((a - b).abs() <= 1e-6 * b.abs().max(1.0), "{a} {b}");
        }
    }

    #[test]
    fn the_exponential_is_that_of_double_precision() {
        for step in -8730..=8830i16 {
            let x = f32::from(step) / 100.0;
            let want = f64::from(x).exp();
            assert!((f64::from(exp(x)) / want - 1.0).abs() < 2.4e-7, "{x}: {} {want}", exp(x));
        }
        assert_eq!(exp(0.0).to_bits(), 1f32.to_bits());
        assert_eq!(exp(-1e30).to_bits(), 0f32.to_bits());
        assert!(exp(f32::NAN).is_nan());
    }

    // Small ones are computed by the calling thread, large ones by several.
    #[test]
    fn softmaxes_are_candles() {
        for dims in [[1, 9, 1, 7], [2, 3, 5, 33], [1, 4, 100, 130]] {
            let x = random(&dims);
            let want = candle_nn::ops::softmax_last_dim(&x).unwrap();
            assert_same(&softmax(x).unwrap(), &want);
        }
        let x = (random(&[1, 1, 2, 40]) * 1e6).unwrap();
        let want = candle_nn::ops::softmax_last_dim(&x).unwrap();
        assert_same(&softmax(x).unwrap(), &want);
    }

    #[test]
    fn gates_are_candles() {
        for dims in [[1, 1, 1536], [1, 3, 10], [2, 40, 1000]] {
            let (gate, up) = (random(&dims), random(&dims));
            let want = (gate.silu().unwrap() * &up).unwrap();
            assert_same(&silu_times(gate, &up).unwrap(), &want);
        }
    }

    #[test]
    fn rotations_are_candles() {
        for (batch, heads, tokens, size) in [(1, 9, 1, 64), (2, 3, 5, 16), (2, 8, 70, 64)] {
            for dims in [vec![tokens, size / 2], vec![batch, tokens, size / 2]] {
                // A table's part: its numbers begin later than its storage.
                let mut longer = dims.clone();
                longer[0] += 1;
                let table = || random(&longer).narrow(0, 1, dims[0]).unwrap();
                let (cos, sin) = (table(), table());
                let x = random(&[batch, heads, tokens, size]);
                let want = rotary_emb::rope(&x, &cos, &sin).unwrap();
                assert_same(&rotate(x, &cos, &sin, Order::HeadsFirst).unwrap(), &want);
                let x = random(&[batch, tokens, heads, size]);
                let want = rotary_emb::rope_thd(&x, &cos, &sin).unwrap();
                assert_same(&rotate(x, &cos, &sin, Order::TokensFirst).unwrap(), &want);
            }
        }
    }

    #[test]
    fn what_is_not_single_precision_is_left_to_candle() {
        let x = random(&[1, 2, 3, 8]).to_dtype(candle_core::DType::BF16).unwrap();
        let sums = softmax(x.to_dtype(candle_core::DType::F64).unwrap()).unwrap().sum(D::Minus1).unwrap();
        for sum in sums.flatten_all().unwrap().to_vec1::<f64>().unwrap() {
            assert!((sum - 1.0).abs() < 1e-9, "{sum}");
        }
        assert_eq!(silu_times(x.clone(), &x).unwrap().dtype(), candle_core::DType::BF16);
    }
}

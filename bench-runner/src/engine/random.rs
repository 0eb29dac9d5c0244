//! Synthetic weights: pseudo-random, never zero everywhere (zeros draw less power and flatter a GPU's speed), and the
//! same for the same tensor's name.

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use half::{bf16, f16};

/// 2^64 ÷ the golden ratio, odd: the generator's step.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A small generator (`SplitMix64`; Steele, Lea and Flood 2014, fig. 17): fast, seedable, good enough for weights.
pub(super) struct Random(u64);

impl Random {
    /// Seeded by a name (FNV-1a, 64 bits) and the sweep's seed, of which 0 changes nothing.
    pub(super) fn seeded(name: &str, seed: u64) -> Self {
        let name = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        // An odd factor maps different seeds to different states, and spreads them over all bits.
        Self(name ^ seed.wrapping_mul(GOLDEN))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform below `bound` (Lemire's multiplication; its bias is below 2^-32).
    #[allow(clippy::cast_possible_truncation, reason = "the product's upper half is below bound")]
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }

    /// Uniform in ±`spread` around `centre`.
    #[allow(clippy::cast_possible_truncation, reason = "24 bits are what an f32 holds")]
    pub(super) fn around(&mut self, centre: f32, spread: f32) -> f32 {
        let unit = (self.next() >> 40) as u32;
        centre + spread * (f32::from_bits(0x3f80_0000 | (unit >> 1)) * 2.0 - 3.0)
    }
}

/// Where a tensor's values lie, by its name: norms about one, so that activations keep their size; the rest with the
/// variance of the usual initialisation (0.02² = spread²/3).
pub(super) fn distribution(name: &str) -> (f32, f32) {
    if name.contains("norm") { (1.0, 0.1) } else { (0.0, 0.035) }
}

/// The random tensor of that name, of the seed 0.
///
/// # Errors
/// For a type that is not made, and where the device has no memory.
pub(crate) fn random_tensor(name: &str, shape: Shape, dtype: DType, device: &Device) -> Result<Tensor> {
    seeded_tensor(name, 0, shape, dtype, device)
}

/// The random tensor of that name and seed.
///
/// # Errors
/// For a type that is not made, and where the device has no memory.
pub(crate) fn seeded_tensor(
    name: &str,
    seed: u64,
    shape: Shape,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    let mut random = Random::seeded(name, seed);
    let (centre, spread) = distribution(name);
    let values = (0..shape.elem_count()).map(move |_| random.around(centre, spread));
    match dtype {
        DType::F32 => Tensor::from_vec(values.collect::<Vec<f32>>(), shape, device),
        DType::F16 => Tensor::from_vec(values.map(f16::from_f32).collect::<Vec<f16>>(), shape, device),
        DType::BF16 => Tensor::from_vec(values.map(bf16::from_f32).collect::<Vec<bf16>>(), shape, device),
        other => candle_core::bail!("synthetic weights are fp32, fp16 or bf16, not {other:?}"),
    }
}

/// Makes every tensor that a model asks for, in the type asked, without a copy in another type.
pub(super) struct RandomTensors {
    /// Whether the output matrix is the embedding.
    pub(super) tied: bool,
    /// The sweep's seed.
    pub(super) seed: u64,
}

impl SimpleBackend for RandomTensors {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        seeded_tensor(name, self.seed, shape, dtype, device)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("{name}: its shape must be given")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        !(self.tied && name.contains("lm_head"))
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn the_generator_is_splitmix64() {
        // The first three outputs for seed 1234567, as in Rosetta Code's "Pseudo-random numbers/Splitmix64".
        let mut random = Random(1_234_567);
        let got = [random.next(), random.next(), random.next()];
        assert_eq!(got, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn seeds_differ_and_none_is_what_it_always_was() {
        // FNV-1a of "prompt" is the state of the seed 0.
        assert_eq!(Random::seeded("prompt", 0).0, 0x6bd0_68e6_4dd3_3f7b);
        let first = |seed| Random::seeded("prompt", seed).next();
        let distinct: std::collections::HashSet<u64> = (0..1000).map(first).collect();
        assert_eq!(distinct.len(), 1000);
    }

    #[test]
    fn values_lie_in_their_interval_and_are_not_all_alike() {
        let mut random = Random::seeded("blk.0.attn_q.weight", 0);
        let values: Vec<f32> = (0..10_000).map(|_| random.around(1.0, 0.1)).collect();
        assert!(values.iter().all(|v| (0.9..=1.1).contains(v)));
        let mean = values.iter().sum::<f32>() / 10_000.0;
        assert!((mean - 1.0).abs() < 0.005, "mean {mean}");
    }
}

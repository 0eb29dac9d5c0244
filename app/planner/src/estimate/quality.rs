//! What a precision of the weights costs in quality, where that was published.

use crate::document::estimate::{Quality, QualityClass};
use crate::document::precision::WeightPrecision;
use crate::model::Dtype;

/// llama.cpp, `tools/perplexity/README.md`, "`LLaMA` 3 8b Scoreboard" at revision f364eb6f: growth of the perplexity over
/// WikiText-2 from 6.231636 (the file's own fp16 base), and mean KL divergence. K-quants and older types without an importance
/// matrix, i-quants with one of 10 million tokens (the best of several for `q2_k_s` and `iq1_s`).
const SCOREBOARD: &[(WeightPrecision, f64, f64)] = {
    use WeightPrecision as P;
    &[
        (P::GgufQ8_0, 0.002_650, 0.001_355),
        (P::GgufQ6K, 0.021_748, 0.005_452),
        (P::GgufQ5KM, 0.056_974, 0.010_762),
        (P::GgufQ5KS, 0.104_964, 0.016_595),
        (P::GgufQ5_1, 0.106_223, 0.018_045),
        (P::GgufQ5_0, 0.131_591, 0.022_239),
        (P::GgufQ4KM, 0.175_482, 0.031_273),
        (P::GgufIq4Nl, 0.223_959, 0.035_742),
        (P::GgufIq4Xs, 0.228_071, 0.036_334),
        (P::GgufQ4KS, 0.268_895, 0.043_136),
        (P::GgufQ4_1, 0.451_103, 0.071_683),
        (P::GgufQ4_0, 0.468_514, 0.071_940),
        (P::GgufQ3KL, 0.556_242, 0.087_176),
        (P::GgufQ3KM, 0.656_864, 0.101_913),
        (P::GgufIq3M, 0.666_694, 0.102_534),
        (P::GgufIq3S, 0.733_867, 0.111_278),
        (P::GgufIq3Xs, 0.931_409, 0.138_693),
        (P::GgufIq3Xxs, 1.226_803, 0.183_625),
        (P::GgufQ3KS, 1.632_152, 0.228_217),
        (P::GgufIq2M, 2.369_166, 0.325_989),
        (P::GgufQ2KS, 3.092_145, 0.403_360),
        (P::GgufIq2S, 3.419_148, 0.439_197),
        (P::GgufQ2K, 3.519_934, 0.445_132),
        (P::GgufIq2Xs, 4.529_791, 0.546_290),
        (P::GgufIq2Xxs, 7.860_148, 0.812_022),
        (P::GgufIq1M, 19.262_089, 1.393_084),
        (P::GgufIq1S, 51.866_126, 2.211_278),
    ]
};

/// Perplexity of the scoreboard's fp16 base.
const BASE: f64 = 6.231_634;

const SCOREBOARD_SOURCE: &str = "llama.cpp, tools/perplexity/README.md, LLaMA 3 8B on WikiText-2 at f364eb6f";
const BF16_SOURCE: &str = "\"Give Me BF16 or Give Me Death\", arXiv 2411.02355: Llama 3.1 8B to 405B on benchmarks, no \
                           perplexities";
const QLORA_SOURCE: &str = "QLoRA, arXiv 2305.14314, section 4: NF4 with double quantization matches 16 bit on MMLU after \
                            fine-tuning, LLaMA 7B to 65B";

/// What is published of a precision; none where nothing is. `native` is the checkpoint's own format.
pub(super) fn quality(precision: Option<WeightPrecision>, native: Option<Dtype>) -> Option<Quality> {
    use WeightPrecision as P;
    let reference = |source: &str| {
        Some(Quality {
            class: QualityClass::Reference,
            perplexity_percent: None,
            kl_divergence: None,
            source: source.to_owned(),
        })
    };
    let classed = |class, source: &str| {
        Some(Quality { class, perplexity_percent: None, kl_divergence: None, source: source.to_owned() })
    };
    let Some(precision) = precision else {
        return native.and_then(|_| reference("the checkpoint's own precision"));
    };
    if let Some(&(_, delta, divergence)) = SCOREBOARD.iter().find(|(p, ..)| *p == precision) {
        let percent = delta / BASE * 100.0;
        return Some(Quality {
            class: class(percent),
            perplexity_percent: Some(percent),
            kl_divergence: Some(divergence),
            source: SCOREBOARD_SOURCE.to_owned(),
        });
    }
    match precision {
        P::Fp32 | P::Tf32 | P::GgufF32 => reference("at least the checkpoint's own precision"),
        P::Bf16 | P::Fp16 | P::GgufF16 | P::GgufBf16 if native == Some(Dtype::F32) => classed(
            QualityClass::NearLossless,
            "llama.cpp, tools/perplexity/README.md: fp16 against bf16, 0.04 %",
        ),
        P::Bf16 | P::Fp16 | P::GgufF16 | P::GgufBf16 => reference("the checkpoint's own precision"),
        P::Fp8 => classed(QualityClass::NearLossless, BF16_SOURCE),
        P::W8a8 | P::Int8 | P::Int4G128 => classed(QualityClass::Small, BF16_SOURCE),
        P::Nf4 | P::Nf4Dq => classed(QualityClass::Small, QLORA_SOURCE),
        _ => None,
    }
}

/// The class of a perplexity's growth in percent.
fn class(percent: f64) -> QualityClass {
    match percent {
        p if p < 0.5 => QualityClass::NearLossless,
        p if p < 2.0 => QualityClass::Small,
        p if p < 10.0 => QualityClass::Noticeable,
        _ => QualityClass::Heavy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table's own perplexities: base plus delta is what it prints.
    #[test]
    fn the_scoreboard_adds_up() {
        for (precision, printed) in [
            (WeightPrecision::GgufQ8_0, 6.234_284),
            (WeightPrecision::GgufQ6K, 6.253_382),
            (WeightPrecision::GgufQ4KM, 6.407_115),
            (WeightPrecision::GgufQ2K, 9.751_568),
        ] {
            let found = quality(Some(precision), Some(Dtype::Bf16)).unwrap();
            let perplexity = BASE * (1.0 + found.perplexity_percent.unwrap() / 100.0);
            assert!((perplexity - printed).abs() < 1e-5, "{precision}: {perplexity}");
        }
    }

    #[test]
    fn fewer_bits_are_never_of_a_better_class() {
        let mut last = QualityClass::Reference;
        for (precision, ..) in SCOREBOARD {
            let class = quality(Some(*precision), None).unwrap().class;
            assert!(class >= last, "{precision}");
            last = class;
        }
        assert_eq!(last, QualityClass::Heavy);
        assert!(
            quality(Some(WeightPrecision::Nvfp4), Some(Dtype::Bf16)).is_none(),
            "nothing is published here"
        );
    }
}

//! Interpretation of stored samples: rates and percentiles, computed in one place for CLI, API and pages.

use serde::{Deserialize, Serialize};

use crate::case::CaseSpec;
use crate::measurement::Measurement;

/// Median, spread and extremes of a set of figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Distribution {
    /// How many figures.
    pub n: u32,
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation; 0 for one figure.
    pub standard_deviation: f64,
    /// Smallest.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

impl Distribution {
    /// Of `figures`; none where there are none. Percentiles interpolate linearly between the closest ranks (Hyndman
    /// and Fan 1996, definition 7).
    #[must_use]
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().filter(|x| x.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let n = sorted.len();
        let mean = sorted.iter().sum::<f64>() / n as f64;
        let variance =
            if n > 1 { sorted.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1) as f64 } else { 0.0 };
        Some(Self {
            n: u32::try_from(n).unwrap_or(u32::MAX),
            mean,
            standard_deviation: variance.sqrt(),
            min,
            p50: percentile(&sorted, 0.50),
            p90: percentile(&sorted, 0.90),
            p95: percentile(&sorted, 0.95),
            p99: percentile(&sorted, 0.99),
            max,
        })
    }
}

/// The `q`-quantile of ascending figures, at least one.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index below the slice's length"
)]
fn percentile(sorted: &[f64], q: f64) -> f64 {
    let rank = q * (sorted.len() - 1) as f64;
    let (below, above) = (rank.floor() as usize, rank.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (rank - rank.floor())
}

/// Speed of a case over its repetitions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CaseSpeed {
    /// Prompt tokens per second over the whole batch.
    pub prefill_tokens_per_second: Option<Distribution>,
    /// Generated tokens per second over the whole batch, after the first.
    pub decode_tokens_per_second: Option<Distribution>,
    /// TTFT in milliseconds.
    pub ttft_ms: Option<Distribution>,
    /// Latency of every further token in milliseconds, all repetitions together.
    pub token_ms: Option<Distribution>,
}

impl CaseSpeed {
    /// Of a case's samples; where it searched an edge, of the largest that fits.
    #[must_use]
    pub fn of(spec: &CaseSpec, measurement: &Measurement) -> Self {
        let spec = spec.measured(measurement);
        let batch = f64::from(spec.batch);
        let prompt = batch * spec.prompt_tokens.0 as f64;
        Self {
            prefill_tokens_per_second: Distribution::of(
                measurement.samples.iter().map(|s| prompt / (s.prefill_ms / 1e3)),
            ),
            decode_tokens_per_second: Distribution::of(
                measurement.samples.iter().filter(|s| !s.token_ms.is_empty()).map(|s| {
                    let seconds = s.token_ms.iter().sum::<f64>() / 1e3;
                    batch * s.token_ms.len() as f64 / seconds
                }),
            ),
            ttft_ms: Distribution::of(measurement.samples.iter().map(|s| s.ttft_ms)),
            token_ms: Distribution::of(measurement.samples.iter().flat_map(|s| s.token_ms.iter().copied())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Distribution;

    #[test]
    fn percentiles_interpolate_as_numpy_does() {
        // numpy.percentile([1, 2, 3, 4, 10], [50, 90, 95, 99]) = 3, 7.6, 8.8, 9.76
        let d = Distribution::of([10.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
        for (got, want) in [(d.p50, 3.0), (d.p90, 7.6), (d.p95, 8.8), (d.p99, 9.76), (d.mean, 4.0)] {
            assert!((got - want).abs() < 1e-9, "{got} is not {want}");
        }
        assert!((d.standard_deviation - 12.5f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn nothing_has_no_distribution() {
        assert_eq!(Distribution::of([]), None);
        assert_eq!(Distribution::of([f64::INFINITY]), None);
    }
}

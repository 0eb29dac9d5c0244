//! Interpretation of stored samples: rates and percentiles, computed in one place for CLI, API and pages.

mod difference;

use serde::{Deserialize, Serialize};

pub use difference::{DIFFERENCE_METHOD, Difference, Interval, MEAN_METHOD};

use crate::case::CaseSpec;
use crate::figure::Figure;
use crate::measurement::{Measurement, Phase};

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
    /// Trained tokens per second: those of all micro batches of a step by the whole step's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_tokens_per_second: Option<Distribution>,
}

impl CaseSpeed {
    /// Of a case's samples; where it searched an edge, of the largest that fits.
    #[must_use]
    pub fn of(spec: &CaseSpec, measurement: &Measurement) -> Self {
        let of = |figure: Figure| Distribution::of(figure.readings(spec, measurement));
        Self {
            prefill_tokens_per_second: of(Figure::Prefill),
            decode_tokens_per_second: of(Figure::Decode),
            ttft_ms: of(Figure::Ttft),
            token_ms: Distribution::of(measurement.samples.iter().flat_map(|s| s.token_ms.iter().copied())),
            training_tokens_per_second: of(Figure::Training),
        }
    }
}

/// Joules per token of a phase, over all sequences of the batch and all timed repetitions: of prompt tokens in prefill, of
/// generated tokens after the first in decode, of trained tokens in a training step; where an edge was searched, of the
/// largest that fits. None where the phase has no tokens or was not metered.
#[must_use]
pub fn joules_per_token(spec: &CaseSpec, measurement: &Measurement, phase: Phase) -> Option<f64> {
    let spec = spec.measured(measurement);
    let energy = measurement.energy(phase)?;
    let tokens = match phase {
        Phase::Decode => spec.generate_tokens.0.saturating_sub(1),
        // A pass of a training step is of one micro batch, an update of all.
        Phase::Prefill | Phase::Forward | Phase::Backward => spec.prompt_tokens.0,
        Phase::Optimizer => {
            let micro_batches = spec.training.as_ref().map_or(1, |training| training.gradient_accumulation);
            spec.prompt_tokens.0.saturating_mul(u64::from(micro_batches))
        }
        Phase::Load => 0,
    };
    let tokens = tokens as f64 * f64::from(spec.batch) * f64::from(energy.times);
    (tokens > 0.0).then(|| energy.joules / tokens)
}

#[cfg(test)]
mod tests {
    use planner::Tokens;
    use planner::document::plan::TrainMethod;

    use super::{CaseSpeed, Distribution, joules_per_token};
    use crate::case::CaseSpec;
    use crate::edge::{Edge, EdgeAxis, EdgeSpec};
    use crate::measurement::{Measurement, Phase, StepSample};
    use crate::telemetry::PhaseEnergy;
    use crate::training::Training;

    #[test]
    fn energy_is_shared_by_the_tokens_of_all_repetitions() {
        let spec = CaseSpec {
            batch: 2,
            prompt_tokens: Tokens(100),
            generate_tokens: Tokens(11),
            ..CaseSpec::default()
        };
        let energy = |phase, joules| PhaseEnergy { phase, joules, milliseconds: 1.0, times: 3 };
        let measurement = Measurement {
            energy: vec![
                energy(Phase::Load, 5.0),
                energy(Phase::Prefill, 60.0),
                energy(Phase::Decode, 120.0),
            ],
            ..Measurement::default()
        };
        let per_token = |phase| joules_per_token(&spec, &measurement, phase);
        assert_eq!(per_token(Phase::Prefill), Some(0.1), "60 J of 3 × 2 × 100 tokens");
        assert_eq!(per_token(Phase::Decode), Some(2.0), "120 J of 3 × 2 × 10 tokens");
        assert_eq!(per_token(Phase::Load), None);
        let edge = |axis, largest| Measurement {
            edge: Some(Edge { axis, largest, smallest_failed: None, predicted: None, probes: Vec::new() }),
            ..measurement.clone()
        };
        let search = CaseSpec { batch: 1, edge: Some(EdgeSpec::exact(EdgeAxis::Batch)), ..spec.clone() };
        let of_two = joules_per_token(&search, &edge(EdgeAxis::Batch, 2), Phase::Prefill);
        assert_eq!(of_two, Some(0.1), "of the largest that fits");
        let one = CaseSpec { generate_tokens: Tokens(1), ..spec.clone() };
        assert_eq!(joules_per_token(&one, &measurement, Phase::Decode), None);
        assert_eq!(joules_per_token(&spec, &Measurement::default(), Phase::Decode), None);
    }

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

    #[test]
    fn a_training_step_has_a_rate_of_its_own_and_no_other() {
        let mut training = Training::of(TrainMethod::Full, None);
        training.gradient_accumulation = 2;
        let spec = CaseSpec {
            batch: 3,
            prompt_tokens: Tokens(100),
            training: Some(training),
            ..CaseSpec::default()
        };
        let step = StepSample { forward_ms: 100.0, backward_ms: 180.0, optimizer_ms: 20.0, loss: 1.0 };
        let speed = CaseSpeed::of(&spec, &Measurement { steps: vec![step, step], ..Measurement::default() });
        assert_eq!(speed.training_tokens_per_second.map(|d| (d.n, d.mean.round())), Some((2, 2000.0)));
        assert_eq!((speed.prefill_tokens_per_second, speed.decode_tokens_per_second), (None, None));
        assert_eq!((speed.ttft_ms, speed.token_ms), (None, None));
    }
}

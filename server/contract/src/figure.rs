//! The figures that results of the same case are held against each other by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::case::CaseSpec;
use crate::explore::names;
use crate::measurement::{Measurement, Phase};
use crate::statistics::{Difference, Distribution, joules_per_token};

names! {
    /// A figure of a result.
    Figure {
        /// Prompt tokens per second over the whole batch.
        Prefill = "prefill",
        /// Generated tokens per second over the whole batch, after the first.
        Decode = "decode",
        /// Time to the first token in milliseconds.
        Ttft = "ttft",
        /// Trained tokens per second.
        Training = "training",
        /// Most bytes alive at once.
        Peak = "peak",
        /// Joules per generated token.
        Energy = "energy",
    }
}

impl Figure {
    /// Whether less of it is better.
    #[must_use]
    pub const fn less_is_better(self) -> bool {
        matches!(self, Self::Ttft | Self::Peak | Self::Energy)
    }

    /// Every reading of it: one a repetition, or one where it is read once; none where it was not measured.
    #[must_use]
    pub fn readings(self, spec: &CaseSpec, measurement: &Measurement) -> Vec<f64> {
        let spec = spec.measured(measurement);
        let prompt = f64::from(spec.batch) * spec.prompt_tokens.0 as f64;
        let samples = measurement.samples.iter();
        match self {
            Self::Prefill => samples.map(|s| prompt / (s.prefill_ms / 1e3)).collect(),
            Self::Decode => samples
                .filter(|s| !s.token_ms.is_empty())
                .map(|s| {
                    let seconds = s.token_ms.iter().sum::<f64>() / 1e3;
                    f64::from(spec.batch) * s.token_ms.len() as f64 / seconds
                })
                .collect(),
            Self::Ttft => samples.map(|s| s.ttft_ms).collect(),
            Self::Training => spec.training.as_ref().map_or_else(Vec::new, |training| {
                let tokens = prompt * f64::from(training.gradient_accumulation);
                measurement.steps.iter().map(|s| tokens / (s.step_ms() / 1e3)).collect()
            }),
            Self::Peak => measurement.peak_allocated().map(|b| b.0 as f64).into_iter().collect(),
            Self::Energy => joules_per_token(&spec, measurement, Phase::Decode).into_iter().collect(),
        }
    }
}

/// Readings of every figure that a result has.
pub(crate) type Readings = BTreeMap<Figure, Vec<f64>>;

/// Every figure of a result; one that was not measured is left out.
pub(crate) fn readings(spec: &CaseSpec, measurement: Option<&Measurement>) -> Readings {
    let Some(measurement) = measurement else { return Readings::new() };
    Figure::ALL
        .iter()
        .map(|figure| (*figure, figure.readings(spec, measurement)))
        .filter(|(_, readings)| !readings.is_empty())
        .collect()
}

/// The distribution of each figure's readings.
pub(crate) fn distributions(readings: &Readings) -> BTreeMap<Figure, Distribution> {
    readings
        .iter()
        .filter_map(|(figure, readings)| Some((*figure, Distribution::of(readings.iter().copied())?)))
        .collect()
}

/// How far each figure that both have is from the one before.
pub(crate) fn differences(before: &Readings, after: &Readings) -> BTreeMap<Figure, Difference> {
    after
        .iter()
        .filter_map(|(figure, readings)| Some((*figure, Difference::between(before.get(figure)?, readings)?)))
        .collect()
}

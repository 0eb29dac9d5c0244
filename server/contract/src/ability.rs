//! What keeps a runner from executing a sweep: one rule for the form, the REST interface and the queue.

use planner::Tokens;

use crate::case::Device;
use crate::protocol::{AdvertisedModel, Registration};
use crate::sweep::{Sweep, SweepError};

/// Something that a runner lacks for a sweep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    /// A model.
    #[error("{runner} has no model \"{model}\"")]
    Model {
        /// The runner.
        runner: String,
        /// The model.
        model: String,
    },
    /// The device.
    #[error("{runner} has no device {device}")]
    Device {
        /// The runner.
        runner: String,
        /// The device.
        device: Device,
    },
    /// A precision of a model.
    #[error("{model} does not run in precision \"{precision}\" on {runner}; accepted: {accepted}")]
    Precision {
        /// The runner.
        runner: String,
        /// The model.
        model: String,
        /// The precision.
        precision: String,
        /// Those it runs in.
        accepted: String,
    },
    /// Sequences as long as a case's.
    #[error("prompt and generated tokens are {length} together; {model} takes at most {most} on {runner}")]
    Length {
        /// The runner.
        runner: String,
        /// The model.
        model: String,
        /// Tokens of the longest case.
        length: u64,
        /// Most that it takes.
        most: u64,
    },
    /// What one of the models does not do.
    #[error(transparent)]
    Kind(#[from] SweepError),
}

impl Lack {
    /// How far the runner is from executing the sweep, for choosing the one that is nearest: the larger, the nearer.
    #[must_use]
    pub const fn nearness(&self) -> u8 {
        match self {
            Self::Model { .. } => 0,
            Self::Device { .. } => 1,
            Self::Precision { .. } => 2,
            Self::Length { .. } => 3,
            Self::Kind(_) => 4,
        }
    }

    /// The axis of the sweep that it is about.
    #[must_use]
    pub const fn axis(&self) -> &'static str {
        match self {
            Self::Model { .. } => "models",
            Self::Device { .. } => "device",
            Self::Precision { .. } => "precisions",
            Self::Length { .. } => "prompts",
            Self::Kind(error) => error.axis(),
        }
    }
}

impl Registration {
    /// Everything that keeps the runner from executing the whole sweep; empty where nothing does. Without a model, only
    /// that; without the device, only that.
    #[must_use]
    pub fn lacks(&self, sweep: &Sweep) -> Vec<Lack> {
        let runner = || self.name.clone();
        let found: Vec<(&String, Option<&AdvertisedModel>)> =
            sweep.models.iter().map(|name| (name, self.model(name))).collect();
        let missing: Vec<Lack> = found
            .iter()
            .filter(|(_, model)| model.is_none())
            .map(|(name, _)| Lack::Model { runner: runner(), model: (*name).clone() })
            .collect();
        if !missing.is_empty() {
            return missing;
        }
        if !self.devices.contains(&sweep.device) {
            return vec![Lack::Device { runner: runner(), device: sweep.device }];
        }
        let longest = |axis: &[Tokens]| axis.iter().map(|t| t.0).max().unwrap_or(0);
        let length = longest(&sweep.prompts).saturating_add(longest(&sweep.generates));
        let mut lacks = Vec::new();
        for model in found.iter().filter_map(|(_, model)| *model) {
            let name = || model.name.clone();
            for precision in sweep.precisions.iter().filter(|p| !model.precisions.contains(p)) {
                lacks.push(Lack::Precision {
                    runner: runner(),
                    model: name(),
                    precision: precision.clone(),
                    accepted: model.precisions.join(", "),
                });
            }
            if length > model.max_tokens {
                lacks.push(Lack::Length { runner: runner(), model: name(), length, most: model.max_tokens });
            }
            lacks.extend(sweep.check_models(&[model]).err().map(Lack::Kind));
        }
        lacks.sort_by_key(Lack::nearness);
        lacks
    }

    /// A model that it advertises.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&AdvertisedModel> {
        self.models.iter().find(|model| model.name == name)
    }
}

/// What the runner lacks that lacks least; none where one can execute the whole sweep, or where there is none at all.
pub fn lacks_of_the_nearest<'r>(
    runners: impl IntoIterator<Item = &'r Registration>,
    sweep: &Sweep,
) -> Vec<Lack> {
    let distance = |lacks: &Vec<Lack>| {
        let nearness = lacks.first().map_or(u8::MAX, Lack::nearness);
        (std::cmp::Reverse(nearness), lacks.len())
    };
    runners.into_iter().map(|runner| runner.lacks(sweep)).min_by_key(distance).unwrap_or_default()
}

#[cfg(test)]
mod tests;

//! A case that trains: one step of forward passes, backward passes and the optimizer.

use planner::document::plan::{Checkpointing, Lora, Optimizer, TrainMethod};
use serde::{Deserialize, Serialize};

use crate::command::quoted;

/// Modules that have an adapter where a case does not choose: every linear one of a layer, as its authors found best with qlora
/// (arXiv 2305.14314, section 4).
pub const ALL_TARGETS: [&str; 7] =
    ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// What a training step does, in the words of a plan's workload `train`. A case's batch is the micro batch, its prompt the
/// sequence; it generates nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// What is trained.
    pub method: TrainMethod,
    /// The optimizer.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// Activation checkpointing.
    #[serde(default)]
    pub checkpointing: Checkpointing,
    /// Forward and backward passes to one step.
    #[serde(default = "one")]
    pub gradient_accumulation: u32,
    /// Whether what is trained has fp32 masters beside the 16 bit that are computed in.
    #[serde(default)]
    pub mixed_precision: bool,
    /// Adapters; for lora and qlora.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
}

impl Training {
    /// A step of `method` with every other choice as it is where nothing is said.
    #[must_use]
    pub fn of(method: TrainMethod, lora: Option<Lora>) -> Self {
        Self {
            method,
            optimizer: Optimizer::default(),
            checkpointing: Checkpointing::default(),
            gradient_accumulation: 1,
            mixed_precision: false,
            lora,
        }
    }

    /// A readable name: `train:lora8:adamw:mixed:acc2:ckpt`; what is as usual is left out, but for the optimizer.
    #[must_use]
    pub fn name(&self) -> String {
        let mut name = format!("train:{}", word(&self.method));
        if let Some(lora) = &self.lora {
            name = format!("{name}{}", lora.rank);
            if lora.targets != ALL_TARGETS {
                name = format!("{name}({})", lora.targets.join("+"));
            }
            if lora.train_embeddings {
                name.push_str("+embeddings");
            }
        }
        name = format!("{name}:{}", word(&self.optimizer));
        if self.mixed_precision {
            name.push_str(":mixed");
        }
        if self.gradient_accumulation != 1 {
            name = format!("{name}:acc{}", self.gradient_accumulation);
        }
        match self.checkpointing {
            Checkpointing::None => {}
            Checkpointing::Selective => name.push_str(":selective"),
            Checkpointing::Full => name.push_str(":ckpt"),
        }
        name
    }
}

/// How many steps [`product`] makes of axes of these lengths; an empty list of optimizers or checkpointings counts as one.
#[must_use]
pub fn combinations(methods: usize, optimizers: usize, checkpointings: usize, accumulations: usize) -> usize {
    [optimizers.max(1), checkpointings.max(1), accumulations].into_iter().fold(methods, usize::saturating_mul)
}

/// Every combination of what training steps can be, in this order, the last varying fastest; an empty list of optimizers or
/// checkpointings is its default.
#[must_use]
pub fn product(
    methods: &[(TrainMethod, Option<Lora>)],
    optimizers: &[Optimizer],
    checkpointings: &[Checkpointing],
    gradient_accumulations: &[u32],
    mixed_precision: bool,
) -> Vec<Training> {
    fn or_default<T: Default + Copy>(values: &[T]) -> Vec<T> {
        if values.is_empty() { vec![T::default()] } else { values.to_vec() }
    }
    let mut all = Vec::new();
    for (method, lora) in methods {
        for optimizer in or_default(optimizers) {
            for checkpointing in or_default(checkpointings) {
                for &gradient_accumulation in gradient_accumulations {
                    all.push(Training {
                        optimizer,
                        checkpointing,
                        gradient_accumulation,
                        mixed_precision,
                        ..Training::of(*method, lora.clone())
                    });
                }
            }
        }
    }
    all
}

/// The options of `bench-runner run` that ask for these steps; none where no one command does, because they are no product of
/// methods, optimizers, checkpointings and accumulations.
#[must_use]
pub fn options(trainings: &[Training]) -> Option<String> {
    let methods = distinct(trainings, |t| (t.method, t.lora.clone()));
    let optimizers = distinct(trainings, |t| t.optimizer);
    let checkpointings = distinct(trainings, |t| t.checkpointing);
    let accumulations = distinct(trainings, |t| t.gradient_accumulation);
    let mixed = trainings.first()?.mixed_precision;
    let count = combinations(methods.len(), optimizers.len(), checkpointings.len(), accumulations.len());
    if count != trainings.len()
        || product(&methods, &optimizers, &checkpointings, &accumulations, mixed) != trainings
    {
        return None;
    }
    let methods: Vec<String> = methods.iter().map(method_word).collect();
    let accumulations: Vec<String> = accumulations.iter().map(ToString::to_string).collect();
    Some(format!(
        "--train {} --optimizer {} --checkpointing {} --accumulate {}{}",
        quoted(&methods.join(",")),
        optimizers.iter().map(word).collect::<Vec<_>>().join(","),
        checkpointings.iter().map(word).collect::<Vec<_>>().join(","),
        accumulations.join(","),
        if mixed { " --mixed" } else { "" }
    ))
}

/// A method as `bench-runner run --train` takes it.
fn method_word((method, lora): &(TrainMethod, Option<Lora>)) -> String {
    match lora {
        None => word(method),
        Some(lora) if lora.targets == ALL_TARGETS => format!("{}:{}", word(method), lora.rank),
        Some(lora) => format!("{}:{}:{}", word(method), lora.rank, lora.targets.join("+")),
    }
}

/// The values of one of the axes, each once, in the order in which they come first.
fn distinct<T: PartialEq>(trainings: &[Training], axis: impl Fn(&Training) -> T) -> Vec<T> {
    let mut values = Vec::new();
    for value in trainings.iter().map(axis) {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

/// A value by the word that the contract spells it with.
pub(crate) fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn one() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use planner::document::plan::{Checkpointing, Lora, Optimizer, TrainMethod};

    use super::{ALL_TARGETS, Training, options, product};

    #[test]
    fn names_say_what_is_chosen() {
        let full = Training::of(TrainMethod::Full, None);
        assert_eq!(full.name(), "train:full:adamw");
        let targets = ALL_TARGETS.map(str::to_owned).to_vec();
        let lora = Lora { rank: 8, targets, train_embeddings: false };
        let mut chosen = Training::of(TrainMethod::Lora, Some(lora));
        chosen.mixed_precision = true;
        chosen.gradient_accumulation = 2;
        chosen.checkpointing = Checkpointing::Full;
        assert_eq!(chosen.name(), "train:lora8:adamw:mixed:acc2:ckpt");
        chosen.method = TrainMethod::Qlora;
        chosen.optimizer = Optimizer::Sgd;
        if let Some(lora) = &mut chosen.lora {
            lora.targets = vec!["q_proj".to_owned(), "v_proj".to_owned()];
        }
        assert_eq!(chosen.name(), "train:qlora8(q_proj+v_proj):sgd:mixed:acc2:ckpt");
        assert_eq!(
            options(std::slice::from_ref(&chosen)).unwrap(),
            "--train qlora:8:q_proj+v_proj --optimizer sgd --checkpointing full --accumulate 2 --mixed"
        );
        // What a shell would execute stays a word.
        if let Some(lora) = &mut chosen.lora {
            lora.targets = vec!["$(reboot)".to_owned()];
        }
        let command = options(std::slice::from_ref(&chosen)).unwrap();
        assert!(command.starts_with("--train 'qlora:8:$(reboot)' --optimizer"), "{command}");
        let read: Training = serde_json::from_str(r#"{"method":"full"}"#).unwrap();
        assert_eq!(read, full);
    }

    #[test]
    fn many_steps_that_are_no_product_are_not_multiplied_out() {
        let steps: Vec<Training> = (1..=4096)
            .map(|n| Training { gradient_accumulation: n, ..Training::of(TrainMethod::Full, None) })
            .enumerate()
            .map(|(n, step)| {
                let rank = u32::try_from(n).unwrap() + 1;
                let lora = Lora { rank, targets: vec!["q_proj".to_owned()], train_embeddings: false };
                Training { method: TrainMethod::Lora, lora: Some(lora), ..step }
            })
            .collect();
        assert_eq!(options(&steps), None);
    }

    #[test]
    fn steps_are_options_where_they_are_a_product() {
        let targets = ALL_TARGETS.map(str::to_owned).to_vec();
        let lora = Lora { rank: 8, targets, train_embeddings: false };
        let steps = product(
            &[(TrainMethod::Full, None), (TrainMethod::Lora, Some(lora))],
            &[Optimizer::Sgd, Optimizer::Adamw],
            &[],
            &[1, 4],
            false,
        );
        assert_eq!(steps.len(), 8);
        assert_eq!(
            options(&steps).unwrap(),
            "--train full,lora:8 --optimizer sgd,adamw --checkpointing none --accumulate 1,4"
        );
        assert_eq!(options(&steps[..7]), None, "a combination is missing");
        let mut two = steps[..2].to_vec();
        two[1].mixed_precision = true;
        assert_eq!(options(&two), None, "one command is mixed, or is not");
        assert_eq!(options(&[]), None);
    }
}

//! A case that trains: one step of forward passes, backward passes and the optimizer.

use planner::document::plan::{Checkpointing, Lora, Optimizer, TrainMethod};
use serde::{Deserialize, Serialize};

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

impl Training {
    /// The options of `bench-runner run` that ask for it.
    #[must_use]
    pub fn options(&self) -> String {
        let mut options = format!("--train {}", word(&self.method));
        if let Some(lora) = &self.lora {
            options = format!("{options}:{}", lora.rank);
            if lora.targets != ALL_TARGETS {
                options = format!("{options}:{}", lora.targets.join("+"));
            }
        }
        options = format!(
            "{options} --optimizer {} --checkpointing {} --accumulate {}",
            word(&self.optimizer),
            word(&self.checkpointing),
            self.gradient_accumulation
        );
        if self.mixed_precision {
            options.push_str(" --mixed");
        }
        options
    }
}

/// A value by the word that the contract spells it with.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn one() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use planner::document::plan::{Checkpointing, Lora, Optimizer, TrainMethod};

    use super::{ALL_TARGETS, Training};

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
            chosen.options(),
            "--train qlora:8:q_proj+v_proj --optimizer sgd --checkpointing full --accumulate 2 --mixed"
        );
        assert_eq!(full.options(), "--train full --optimizer adamw --checkpointing none --accumulate 1");
        let read: Training = serde_json::from_str(r#"{"method":"full"}"#).unwrap();
        assert_eq!(read, full);
    }
}

//! What no runner computes of a sweep, told before it is stored as a job.
//!
//! `bench-runner run` refuses these case by case, and its rows say so. Of a job it is known before it waits for a runner.

use planner::document::plan::{Attention, TrainMethod};
use planner::{Tokens, catalogue};

use super::{Sweep, SweepError};
use crate::axis::Name;
use crate::case::{Device, Variant};
use crate::protocol::{AdvertisedModel, WeightSource};
use crate::training::{Training, word};

/// Whether a model is an encoder, by its shape in the catalogue: a runner's own files it does not know.
#[must_use]
pub fn is_encoder(name: &str) -> bool {
    catalogue::model(name).and_then(|entry| entry.model().ok()).is_some_and(|model| !model.is_decoder())
}

impl Sweep {
    /// Checks the axes against each other: whether every value has a case that some decoder computes.
    ///
    /// # Errors
    /// Names the first axis with a value that none does.
    pub fn check_combinations(&self) -> Result<(), SweepError> {
        self.check_settings()?;
        self.check_decoders()?;
        self.check_training()
    }

    /// Settings of a CUDA device, asked of a processor.
    fn check_settings(&self) -> Result<(), SweepError> {
        if self.device != Device::Cpu {
            return Ok(());
        }
        let why = "a setting of a CUDA device, and this sweep computes on the cpu; leave it out, or choose a CUDA device";
        let settings = [
            ("release_thresholds", self.release_thresholds.is_empty()),
            ("event_tracking", self.event_tracking.is_empty()),
        ];
        match settings.iter().find(|(_, empty)| !empty) {
            Some((axis, _)) => at(axis, Err(why.to_owned())),
            None => Ok(()),
        }
    }

    /// What only our decoder has, asked of the stock one alone, and what neither has.
    fn check_decoders(&self) -> Result<(), SweepError> {
        let stock_alone = !self.variants.is_empty() && self.variants.iter().all(|v| *v == Variant::Stock);
        let ours = || {
            Err("the stock decoder has its own cache; leave this out, or have the variant plimsoll too"
                .to_owned())
        };
        if stock_alone && !self.caches.is_empty() {
            return at("caches", ours());
        }
        if stock_alone && !self.kv_caches.is_empty() {
            return at("kv_caches", ours());
        }
        at("caches", known(&self.caches))?;
        at("kv_caches", known(&self.kv_caches))
    }

    /// Steps that no trainer of the runner makes, and what a step has no use for.
    fn check_training(&self) -> Result<(), SweepError> {
        if self.trainings.is_empty() {
            return Ok(());
        }
        let refuse = |axis, why: &str| at(axis, Err(why.to_owned()));
        if self.generates.iter().any(|tokens| *tokens != Tokens(0)) {
            return refuse("generates", "a training step generates nothing; give 0");
        }
        if self.variants.contains(&Variant::Stock) {
            return refuse(
                "variants",
                "the stock decoder has no backward pass; leave it out, or give plimsoll alone",
            );
        }
        if self.attentions.iter().any(|attention| *attention != Attention::Eager) {
            return refuse("attentions", "only eager attention is trained; give eager, or leave it out");
        }
        if !self.caches.is_empty() {
            return refuse("caches", "a training step has no cache; leave it out");
        }
        if !self.kv_caches.is_empty() {
            return refuse("kv_caches", "a training step has no cache; leave it out");
        }
        for step in &self.trainings {
            if step.method == TrainMethod::Distill {
                return refuse("trainings", "distill is not trained here; accepted: full, lora, qlora");
            }
            if step.lora.is_some() == (step.method == TrainMethod::Full) {
                return refuse("trainings", "lora and qlora need adapters (lora), and full has none");
            }
            if step.lora.as_ref().is_some_and(|lora| lora.train_embeddings) {
                return refuse(
                    "trainings",
                    "embeddings are not trained beside adapters here; leave them out",
                );
            }
            at("trainings", known(&[step.optimizer]))?;
            at("trainings", known(&[step.checkpointing]))?;
            if !self.precisions.iter().any(|precision| trains(step, precision)) {
                let why = format!("{} is trained in none of these precisions; {TRAINED}", step.name());
                return at("trainings", Err(why));
            }
        }
        match self.precisions.iter().find(|p| !self.trainings.iter().any(|step| trains(step, p))) {
            Some(precision) => {
                at("precisions", Err(format!("none of these steps trains in {precision}; {TRAINED}")))
            }
            None => Ok(()),
        }
    }

    /// Checks the sweep against what a runner says of its models.
    ///
    /// # Errors
    /// Names the axis that one of the models has no case of, and the model.
    pub fn check_models(&self, models: &[&AdvertisedModel]) -> Result<(), SweepError> {
        for model in models {
            let name = &model.name;
            let refuse = |axis, why: String| at(axis, Err(format!("{name} {why}")));
            if is_encoder(name) {
                if self.generates.iter().any(|tokens| *tokens != Tokens(0)) {
                    return refuse(
                        "generates",
                        "is an encoder, which generates nothing; give 0, or run it apart".to_owned(),
                    );
                }
                if !self.trainings.is_empty() {
                    return refuse(
                        "trainings",
                        "is an encoder, which is not trained here; leave it out".to_owned(),
                    );
                }
                if self.quality.is_some() {
                    return refuse(
                        "quality",
                        "is an encoder, which predicts no tokens; leave quality out".to_owned(),
                    );
                }
            }
            if self.quality.is_some() && model.weights == WeightSource::Synthetic {
                return refuse(
                    "quality",
                    "has random weights on this runner, which have no quality; leave it out, or give the runner a file of \
                     the model"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }
}

/// What trains in what.
const TRAINED: &str =
    "full and lora train in fp32, in bf16, and mixed in bf16 or fp16; qlora in gguf:q8_0, gguf:q4_0, …";

/// Whether a step may train in a precision; what is native, only the runner knows.
fn trains(step: &Training, precision: &str) -> bool {
    match (step.method, precision) {
        (_, "native") => true,
        (TrainMethod::Qlora, _) => precision.starts_with("gguf:"),
        (_, "fp32" | "tf32") => !step.mixed_precision,
        (_, "fp16") => step.mixed_precision,
        (_, precision) => precision == "bf16",
    }
}

/// Whether the runner has every value.
fn known<T: Name + PartialEq + serde::Serialize>(values: &[T]) -> Result<(), String> {
    let all = T::all();
    match values.iter().find(|value| !all.iter().any(|(_, known)| known == *value)) {
        None => Ok(()),
        Some(unknown) => {
            let accepted: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
            Err(format!("no {} {} here; accepted: {}", T::WHAT, word(unknown), accepted.join(", ")))
        }
    }
}

fn at(axis: &'static str, checked: Result<(), String>) -> Result<(), SweepError> {
    checked.map_err(|why| SweepError::Refused { axis, why })
}

#[cfg(test)]
mod tests {
    use planner::document::plan::{CacheKind, Checkpointing, Lora, Optimizer};
    use planner::document::precision::CachePrecision;

    use super::*;
    use crate::cuda::{EventTracking, ReleaseThreshold};
    use crate::sweep::first_benchmark;

    const ENCODER: &str = "sentence-transformers/all-MiniLM-L6-v2";

    fn full() -> Training {
        Training::of(TrainMethod::Full, None)
    }

    fn trained() -> Sweep {
        Sweep { trainings: vec![full()], generates: vec![Tokens(0)], ..first_benchmark() }
    }

    fn axis_of(checked: &Result<(), SweepError>) -> Option<&'static str> {
        match checked {
            Err(SweepError::Refused { axis, .. }) => Some(axis),
            _ => None,
        }
    }

    #[test]
    fn what_nothing_computes_is_told() {
        let (plain, trained) = (first_benchmark(), trained());
        let stock = vec![Variant::Stock];
        let both = vec![Variant::Stock, Variant::Plimsoll];
        let lora = || Lora { rank: 8, targets: vec!["q_proj".to_owned()], train_embeddings: false };
        let step = |step: Training| Sweep { trainings: vec![step], ..trained.clone() };
        let table = [
            (None, plain.clone()),
            (None, trained.clone()),
            (None, Sweep { variants: both.clone(), caches: vec![CacheKind::Slab], ..plain.clone() }),
            (
                Some("caches"),
                Sweep { variants: stock.clone(), caches: vec![CacheKind::Slab], ..plain.clone() },
            ),
            (Some("caches"), Sweep { caches: vec![CacheKind::Paged], ..plain.clone() }),
            (
                Some("kv_caches"),
                Sweep { variants: stock, kv_caches: vec![CachePrecision::Fp8], ..plain.clone() },
            ),
            (Some("kv_caches"), Sweep { kv_caches: vec![CachePrecision::Q4_0], ..plain.clone() }),
            (
                Some("release_thresholds"),
                Sweep { release_thresholds: vec![ReleaseThreshold::Max], ..plain.clone() },
            ),
            (Some("event_tracking"), Sweep { event_tracking: vec![EventTracking::Off], ..plain.clone() }),
            (
                None,
                Sweep { event_tracking: vec![EventTracking::Off], device: Device::Cuda(0), ..plain.clone() },
            ),
            (Some("generates"), Sweep { generates: vec![Tokens(0), Tokens(8)], ..trained.clone() }),
            (Some("variants"), Sweep { variants: both, ..trained.clone() }),
            (Some("attentions"), Sweep { attentions: vec![Attention::Flash], ..trained.clone() }),
            (None, Sweep { attentions: vec![Attention::Eager], ..trained.clone() }),
            (Some("caches"), Sweep { caches: vec![CacheKind::Slab], ..trained.clone() }),
            (Some("kv_caches"), Sweep { kv_caches: vec![CachePrecision::Bf16], ..trained.clone() }),
            (Some("trainings"), step(Training { optimizer: Optimizer::Lion, ..full() })),
            (Some("trainings"), step(Training { checkpointing: Checkpointing::Selective, ..full() })),
            (Some("trainings"), step(Training::of(TrainMethod::Distill, None))),
            (Some("trainings"), step(Training::of(TrainMethod::Lora, None))),
            (Some("trainings"), step(Training::of(TrainMethod::Full, Some(lora())))),
            (
                Some("trainings"),
                step(Training::of(TrainMethod::Qlora, Some(Lora { train_embeddings: true, ..lora() }))),
            ),
            (Some("trainings"), step(Training::of(TrainMethod::Qlora, Some(lora())))),
            (
                None,
                Sweep {
                    precisions: vec!["gguf:q4_0".to_owned(), "native".to_owned()],
                    ..step(Training::of(TrainMethod::Qlora, Some(lora())))
                },
            ),
            (Some("precisions"), step(Training { mixed_precision: true, ..full() })),
            (
                None,
                Sweep {
                    precisions: vec!["bf16".to_owned(), "fp16".to_owned()],
                    ..step(Training { mixed_precision: true, ..full() })
                },
            ),
            (
                Some("precisions"),
                Sweep { precisions: vec!["bf16".to_owned(), "fp16".to_owned()], ..trained.clone() },
            ),
            (
                None,
                Sweep {
                    precisions: vec!["bf16".to_owned(), "gguf:q4_0".to_owned()],
                    trainings: vec![full(), Training::of(TrainMethod::Qlora, Some(lora()))],
                    ..trained.clone()
                },
            ),
        ];
        for (axis, sweep) in table {
            assert_eq!(axis_of(&sweep.check_combinations()), axis, "{sweep:?}");
        }
    }

    #[test]
    fn what_a_model_cannot_is_told() {
        let model = |name: &str, weights| AdvertisedModel {
            name: name.to_owned(),
            weights,
            precisions: vec!["fp32".to_owned()],
            parameters: 1,
            max_tokens: 512,
        };
        let decoder = model("HuggingFaceTB/SmolLM2-135M", WeightSource::Synthetic);
        let (file, encoder) =
            (model("a file", WeightSource::Gguf), model(ENCODER, WeightSource::Safetensors));
        let plain = first_benchmark();
        let embeds = Sweep { generates: vec![Tokens(0)], ..plain.clone() };
        let judged = |sweep: &Sweep| Sweep { quality: Some(Tokens(64)), ..sweep.clone() };
        for (axis, sweep, model) in [
            (None, plain.clone(), &decoder),
            (None, embeds.clone(), &encoder),
            (Some("generates"), plain.clone(), &encoder),
            (Some("trainings"), trained(), &encoder),
            (None, trained(), &decoder),
            (Some("quality"), judged(&embeds), &encoder),
            (Some("quality"), judged(&plain), &decoder),
            (None, judged(&plain), &file),
        ] {
            let checked = sweep.check_models(&[model]);
            assert_eq!(axis_of(&checked), axis, "{}: {checked:?}", model.name);
        }
        assert!(is_encoder(ENCODER) && !is_encoder("a file") && !is_encoder(&decoder.name));
    }
}

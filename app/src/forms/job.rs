//! The form that submits a sweep.

mod table;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use contract::ability::{Lack, lacks_of_the_nearest};
use contract::axis::{Attentions, Batches, Methods, Name, Named, Numbers, Words, parse_size};
use contract::case::Device;
use contract::edge::{EdgeAxis, EdgeSpec};
use contract::job::NewJob;
use contract::protocol::Runner;
use contract::sweep::{MAX_CASES, Sweep, SweepError, is_encoder};
use contract::training::{combinations, product};
use planner::Tokens;

pub use table::{CUDA, Field, GROUPS, Group, Kind};

/// A sweep as the form holds it: text, so that what was typed stays when it is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobForm {
    /// Names of models.
    pub models: Vec<String>,
    /// What is typed, chosen or ticked, by the field's name; what is empty is not there.
    texts: BTreeMap<&'static str, String>,
}

/// A field that was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The field's name in the form.
    pub field: &'static str,
    /// A sentence: what was wrong and what is accepted.
    pub message: String,
}

impl FieldError {
    fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self { field, message: message.into() }
    }
}

impl JobForm {
    /// The text of a field; empty where nothing is said.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.texts.get(field).map_or("", String::as_str)
    }

    /// The same with a text in a field.
    #[must_use]
    pub fn with(mut self, field: &'static str, text: impl Into<String>) -> Self {
        self.add(field, &text.into());
        self
    }

    /// Ticked words come one by one, and are kept with commas between them.
    fn add(&mut self, field: &'static str, text: &str) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        let held = self.texts.entry(field).or_default();
        if !held.is_empty() {
            held.push(',');
        }
        held.push_str(text);
    }

    /// Reads the body of a form or a query (`application/x-www-form-urlencoded`); unknown fields are left aside.
    #[must_use]
    pub fn parse(encoded: &str) -> Self {
        let mut form = Self::default();
        for (key, value) in form_urlencoded::parse(encoded.trim_start_matches('?').as_bytes()) {
            if key == "models" {
                form.models.push(value.trim().to_owned());
            } else if let Some(field) = table::all().find(|field| field.name == key) {
                form.add(field.name, &value);
            }
        }
        form
    }

    /// The form as a query that [`JobForm::parse`] reads back.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for model in &self.models {
            query.append_pair("models", model);
        }
        // By this one the page knows a form that was filled.
        query.append_pair("batches", self.text("batches"));
        for (field, text) in self.texts.iter().filter(|(field, _)| **field != "batches") {
            query.append_pair(field, text);
        }
        query.finish()
    }

    /// The job that the form asks for, checked against what `runners` can execute.
    ///
    /// # Errors
    /// Every field that is wrong, with a sentence each.
    pub fn to_job(&self, runners: &[Runner]) -> Result<NewJob, Vec<FieldError>> {
        let mut reader = Reader { form: self, errors: Vec::new() };
        let sweep = reader.sweep();
        let mut errors = reader.errors;
        let runner_id = match self.text("runner_id") {
            "" => None,
            id => {
                let named = runners.iter().find(|runner| runner.id.to_string() == id);
                if named.is_none() {
                    let message = "this runner is not online; choose another, or any";
                    errors.push(FieldError::new("runner_id", message));
                }
                named.map(|runner| runner.id)
            }
        };
        let able: Vec<&Runner> = runners.iter().filter(|r| runner_id.is_none_or(|id| r.id == id)).collect();
        errors.extend(check_against_runners(&sweep, &able));
        if errors.is_empty()
            && let Err(error) = sweep.check().and_then(|()| sweep.check_combinations())
        {
            errors.push(FieldError::new(field_of(&error), error.to_string()));
        }
        if errors.is_empty() {
            let name = Some(self.text("name").to_owned()).filter(|name| !name.is_empty());
            Ok(NewJob { name, sweep, runner_id })
        } else {
            Err(errors)
        }
    }
}

/// Reads fields, and keeps what was wrong.
struct Reader<'f> {
    form: &'f JobForm,
    errors: Vec<FieldError>,
}

impl Reader<'_> {
    fn refuse(&mut self, field: &'static str, message: impl Into<String>) {
        self.errors.push(FieldError::new(field, message));
    }

    /// What a text says; none where it is empty or wrong.
    fn read<T, E: Display>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.form.text(field);
        if text.is_empty() {
            return None;
        }
        parse(text).map_err(|error| self.refuse(field, error.to_string())).ok()
    }

    /// Numbers; `empty` where none are given.
    fn numbers<T: FromStr<Err: Display>>(&mut self, field: &'static str) -> Option<T> {
        self.read(field, str::parse)
    }

    /// Words with commas or blanks between them.
    fn words<T: FromStr<Err: Display>>(&mut self, field: &'static str) -> Option<T> {
        self.read(field, |text| text.replace([' ', ';', '\t'], ",").parse())
    }

    fn named<T: Name>(&mut self, field: &'static str) -> Vec<T> {
        self.words::<Named<T>>(field).map(|named| named.0).unwrap_or_default()
    }

    fn tokens(&mut self, field: &'static str, empty: u64) -> Vec<Tokens> {
        let given: Option<Numbers> = self.numbers(field);
        given.map_or_else(|| vec![Tokens(empty)], |numbers| numbers.tokens())
    }

    fn whole(&mut self, field: &'static str) -> Option<u64> {
        self.read(field, |text| {
            ungrouped(text).parse().map_err(|_| format!("\"{text}\" is not a whole number"))
        })
    }

    /// Sequences, or passes of a step; 1 where none are given.
    fn batches(&mut self, field: &'static str) -> Vec<u32> {
        self.numbers::<Batches>(field).map_or_else(|| vec![1], |batches| batches.0)
    }

    fn sweep(&mut self) -> Sweep {
        let edge = self.edge();
        let trainings = self.trainings();
        let in_context = edge.is_some_and(|edge| edge.axis == EdgeAxis::Context);
        let models = self.form.models.clone();
        let generates_nothing =
            !trainings.is_empty() || !models.is_empty() && models.iter().all(|name| is_encoder(name));
        Sweep {
            models,
            precisions: self.words("precisions").map(|words: Words| words.0).unwrap_or_default(),
            variants: self.named("variants"),
            attentions: self.words("attentions").map(|read: Attentions| read.0).unwrap_or_default(),
            caches: self.named("caches"),
            kv_caches: self.named("kv_caches"),
            release_thresholds: self.named("release_thresholds"),
            event_tracking: self.named("event_tracking"),
            trainings,
            batches: self.batches("batches"),
            prompts: self.tokens("prompts", if in_context { 1 } else { 128 }),
            generates: self.tokens("generates", if generates_nothing { 0 } else { 32 }),
            device: self.read("device", str::parse::<Device>).unwrap_or_default(),
            repetitions: self
                .read("repetitions", |text| {
                    text.parse().map_err(|_| "give a whole number from 1 to 1000".to_owned())
                })
                .unwrap_or(3),
            quality: self.whole("quality").map(Tokens),
            shard: None,
            memory_limit: self.read("memory_limit", parse_size),
            seed: self.whole("seed").unwrap_or_default(),
            edge,
        }
    }

    fn edge(&mut self) -> Option<EdgeSpec> {
        let axis: Option<EdgeAxis> = self.read("edge", str::parse);
        let limit = self.whole("edge_limit");
        let resolution = self.whole("edge_resolution");
        if self.form.text("edge").is_empty() {
            for (field, given) in [("edge_limit", limit), ("edge_resolution", resolution)] {
                if given.is_some() {
                    self.refuse(field, "a search's; choose what to search, or leave this empty");
                }
            }
        }
        let exact = EdgeSpec::exact(axis?);
        Some(EdgeSpec { limit, resolution: resolution.unwrap_or(exact.resolution), ..exact })
    }

    fn trainings(&mut self) -> Vec<contract::training::Training> {
        let methods: Option<Methods> = self.words("trainings");
        let (optimizers, checkpointings) = (self.named("optimizers"), self.named("checkpointings"));
        let accumulations = self.batches("accumulations");
        if self.form.text("trainings").is_empty() {
            for field in ["optimizers", "checkpointings", "accumulations", "mixed"] {
                if !self.form.text(field).is_empty() {
                    self.refuse(field, "a training step's; say what to train, or leave this empty");
                }
            }
        }
        let mixed = !self.form.text("mixed").is_empty();
        let methods = methods.map(|methods| methods.0).unwrap_or_default();
        let steps = combinations(methods.len(), optimizers.len(), checkpointings.len(), accumulations.len());
        if steps > MAX_CASES {
            self.refuse(
                "trainings",
                "more training steps than a sweep may have cases; shorten an axis of theirs",
            );
            return Vec::new();
        }
        product(&methods, &optimizers, &checkpointings, &accumulations, mixed)
    }
}

/// A number without what groups its digits: underscores, and commas before every three.
fn ungrouped(text: &str) -> String {
    let mut groups = text.split(',');
    let grouped =
        (1..=3).contains(&groups.next().map_or(0, str::len)) && groups.all(|group| group.len() == 3);
    if grouped { text.replace(['_', ','], "") } else { text.replace('_', "") }
}

/// The form's field that a sweep's error is about.
fn field_of(error: &SweepError) -> &'static str {
    match error {
        SweepError::OutOfRange { axis: "trainings", .. } => "accumulations",
        error => match error.axis() {
            "edge.limit" => "edge_limit",
            "edge.resolution" => "edge_resolution",
            "sweep" => "batches",
            axis => axis,
        },
    }
}

/// What no runner that is online can do of a sweep.
fn check_against_runners(sweep: &Sweep, runners: &[&Runner]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if sweep.models.is_empty() {
        errors.push(FieldError::new("models", "choose at least one model"));
    }
    if sweep.precisions.is_empty() {
        errors.push(FieldError::new(
            "precisions",
            "give at least one precision, for example native or fp32,bf16",
        ));
    }
    // A job is one runner's.
    let registrations = || runners.iter().map(|runner| &runner.registration);
    let known = |name: &String| registrations().any(|runner| runner.model(name).is_some());
    if let Some(name) = sweep.models.iter().find(|name| !known(name)) {
        errors.push(FieldError::new("models", format!("no runner that is online has the model \"{name}\"")));
    } else {
        errors.extend(lacks_of_the_nearest(registrations(), sweep).iter().map(|lack| {
            let field = match lack {
                Lack::Kind(error) => field_of(error),
                lack => lack.axis(),
            };
            let message = match lack {
                Lack::Model { .. } => {
                    "no one runner that is online has all these models; choose fewer".to_owned()
                }
                Lack::Device { device, .. } => {
                    format!("no runner that is online has these models on {device}; choose another device")
                }
                lack => lack.to_string(),
            };
            FieldError { field, message }
        }));
    }
    errors
}

#[cfg(test)]
mod tests;

//! The form that submits a sweep.

use contract::case::Device;
use contract::job::NewJob;
use contract::protocol::{AdvertisedModel, Runner};
use contract::sweep::{Sweep, SweepError};
use planner::Tokens;

use super::axis::parse_axis;

/// A sweep as the form holds it: text, so that what was typed stays when it is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobForm {
    /// What people call it; empty: made from the sweep.
    pub name: String,
    /// Names of models.
    pub models: Vec<String>,
    /// Precisions, with commas between them.
    pub precisions: String,
    /// Sequences at once, as an axis.
    pub batches: String,
    /// Tokens of each prompt, as an axis.
    pub prompts: String,
    /// Tokens generated, as an axis.
    pub generates: String,
    /// Timed repetitions.
    pub repetitions: String,
    /// `cpu`, `cuda:0`, …
    pub device: String,
    /// The runner that must execute it; empty: any.
    pub runner_id: String,
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

impl Default for JobForm {
    fn default() -> Self {
        Self {
            name: String::new(),
            models: Vec::new(),
            precisions: String::new(),
            batches: "1".to_owned(),
            prompts: "128".to_owned(),
            generates: "32".to_owned(),
            repetitions: "3".to_owned(),
            device: "cpu".to_owned(),
            runner_id: String::new(),
        }
    }
}

impl JobForm {
    /// Reads the body of a form or a query (`application/x-www-form-urlencoded`); unknown fields are left aside.
    #[must_use]
    pub fn parse(encoded: &str) -> Self {
        let mut form = Self::default();
        for (key, value) in form_urlencoded::parse(encoded.trim_start_matches('?').as_bytes()) {
            let value = value.trim().to_owned();
            match key.as_ref() {
                "name" => form.name = value,
                "models" => form.models.push(value),
                "precisions" => form.precisions = value,
                "batches" => form.batches = value,
                "prompts" => form.prompts = value,
                "generates" => form.generates = value,
                "repetitions" => form.repetitions = value,
                "device" => form.device = value,
                "runner_id" => form.runner_id = value,
                _ => {}
            }
        }
        form
    }

    /// The form as a query that [`JobForm::parse`] reads back.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("name", &self.name);
        for model in &self.models {
            query.append_pair("models", model);
        }
        query
            .append_pair("precisions", &self.precisions)
            .append_pair("batches", &self.batches)
            .append_pair("prompts", &self.prompts)
            .append_pair("generates", &self.generates)
            .append_pair("repetitions", &self.repetitions)
            .append_pair("device", &self.device)
            .append_pair("runner_id", &self.runner_id);
        query.finish()
    }

    /// The job that the form asks for, checked against what `runners` can execute.
    ///
    /// # Errors
    /// Every field that is wrong, with a sentence each.
    pub fn to_job(&self, runners: &[Runner]) -> Result<NewJob, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut axis = |field: &'static str, text: &str| match parse_axis(text) {
            Ok(values) => values,
            Err(error) => {
                errors.push(FieldError::new(field, error.to_string()));
                Vec::new()
            }
        };
        let batches = axis("batches", &self.batches);
        let prompts = axis("prompts", &self.prompts);
        let generates = axis("generates", &self.generates);
        let repetitions = self.repetitions.parse::<u32>().unwrap_or_else(|_| {
            errors.push(FieldError::new("repetitions", "give a whole number from 1 to 1000"));
            1
        });
        let device = self.device.parse::<Device>().unwrap_or_else(|error| {
            errors.push(FieldError::new("device", error.to_string()));
            Device::Cpu
        });
        let mut sequences = Vec::new();
        for given in batches {
            match u32::try_from(given) {
                Ok(batch) => sequences.push(batch),
                Err(_) => errors.push(FieldError::new(
                    "batches",
                    format!("{given} is out of range; accepted: 1 to 65536"),
                )),
            }
        }
        let tokens = |values: Vec<u64>| values.into_iter().map(Tokens).collect::<Vec<_>>();
        let sweep = Sweep {
            models: self.models.clone(),
            precisions: words(&self.precisions),
            batches: sequences,
            prompts: tokens(prompts),
            generates: tokens(generates),
            device,
            repetitions,
            ..Sweep::default()
        };
        let runner_id = if self.runner_id.is_empty() {
            None
        } else {
            let named = runners.iter().find(|runner| runner.id.to_string() == self.runner_id);
            if named.is_none() {
                errors
                    .push(FieldError::new("runner_id", "this runner is not online; choose another, or any"));
            }
            named.map(|runner| runner.id)
        };
        let able: Vec<&Runner> = runners.iter().filter(|r| runner_id.is_none_or(|id| r.id == id)).collect();
        errors.extend(check_against_runners(&sweep, &able));
        if errors.is_empty()
            && let Err(error) = sweep.check()
        {
            errors.push(FieldError::new(field_of(&error), error.to_string()));
        }
        if errors.is_empty() {
            let name = (!self.name.is_empty()).then(|| self.name.clone());
            Ok(NewJob { name, sweep, runner_id })
        } else {
            Err(errors)
        }
    }
}

/// The form's field that a sweep's error is about.
fn field_of(error: &SweepError) -> &'static str {
    match error {
        SweepError::EmptyAxis { axis } | SweepError::OutOfRange { axis, .. } => axis,
        // The form asks for no edge.
        SweepError::TooManyCases { .. } | SweepError::EdgeWithoutLimit => "batches",
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
    for name in &sweep.models {
        let Some(model) = advertised(runners, name) else {
            errors.push(FieldError::new(
                "models",
                format!("no runner that is online has the model \"{name}\""),
            ));
            continue;
        };
        for precision in sweep.precisions.iter().filter(|p| !model.precisions.contains(p)) {
            let accepted = model.precisions.join(", ");
            errors.push(FieldError::new(
                "precisions",
                format!("{name} does not run in {precision}; accepted: {accepted}"),
            ));
        }
        let longest = |axis: &[Tokens]| axis.iter().map(|t| t.0).max().unwrap_or(0);
        let length = longest(&sweep.prompts).saturating_add(longest(&sweep.generates));
        if length > model.max_tokens {
            errors.push(FieldError::new(
                "prompts",
                format!(
                    "prompt and generated tokens are {length} together; {name} takes at most {}",
                    model.max_tokens
                ),
            ));
        }
    }
    let able = runners.iter().any(|runner| {
        runner.registration.devices.contains(&sweep.device)
            && sweep.models.iter().all(|name| runner.registration.models.iter().any(|m| m.name == *name))
    });
    if errors.is_empty() && !able {
        let message =
            format!("no runner that is online has these models on {}; choose another device", sweep.device);
        errors.push(FieldError::new("device", message));
    }
    errors
}

fn advertised<'a>(runners: &[&'a Runner], name: &str) -> Option<&'a AdvertisedModel> {
    runners.iter().flat_map(|runner| &runner.registration.models).find(|model| model.name == name)
}

/// Words with commas or spaces between them.
fn words(text: &str) -> Vec<String> {
    text.split([',', ' ', ';']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;

//! The models that a sweep names, and what they leave of its axes.

use std::path::Path;

use contract::axis::Numbers;
use planner::Tokens;

use super::super::CliError;
use crate::engine::Precision;
use crate::model::Model;
use crate::sweep::Models;

/// Models in the order asked, and by name.
pub(super) struct Resolved {
    pub(super) keys_in_order: Vec<String>,
    pub(super) by_name: Models,
}

pub(super) fn resolve(names: &[String], models_dir: Option<&Path>) -> Result<Resolved, CliError> {
    let mut resolved = Resolved { keys_in_order: Vec::new(), by_name: Models::new() };
    for text in names {
        let model = Model::resolve(text, models_dir).map_err(|e| CliError::Input(format!("--model: {e}")))?;
        match resolved.by_name.get(&model.name) {
            Some(other) if other.source == model.source => continue,
            Some(_) => {
                return Err(CliError::Input(format!(
                    "--model: two models are named {}; rename one of the files",
                    model.name
                )));
            }
            None => {}
        }
        resolved.keys_in_order.push(model.name.clone());
        resolved.by_name.insert(model.name.clone(), model);
    }
    Ok(resolved)
}

/// The axis of generated tokens: what generates takes any, what embeds takes 0, and one sweep has one axis for all.
pub(super) fn generates(given: Option<&Numbers>, models: &Resolved) -> Result<Vec<Tokens>, CliError> {
    let encoders: Vec<&Model> =
        models.by_name.values().filter(|m| m.shape.architecture.is_encoder()).collect();
    let Some(encoder) = encoders.first() else {
        return Ok(given.map_or_else(|| vec![Tokens(32)], Numbers::tokens));
    };
    let what = format!("{} is an encoder ({}), which generates nothing", encoder.name, encoder.family);
    match given {
        Some(numbers) if numbers.0.iter().any(|n| *n > 0) => {
            Err(CliError::Input(format!("--generate: {what}; give 0, or leave it out")))
        }
        None if encoders.len() < models.by_name.len() => Err(CliError::Input(format!(
            "--generate: {what}, and other models of this sweep do; give 0, or run them apart"
        ))),
        _ => Ok(vec![Tokens(0)]),
    }
}

/// The axis of generated tokens of training steps: none.
pub(super) fn trained(given: Option<&Numbers>) -> Result<Vec<Tokens>, CliError> {
    match given {
        Some(numbers) if numbers.0.iter().any(|n| *n > 0) => Err(CliError::Input(
            "--generate: a training step generates nothing; give 0, or leave it out".into(),
        )),
        _ => Ok(vec![Tokens(0)]),
    }
}

/// A precision that none of the models has is a slip; one that some have is refused for the others, case by case.
pub(super) fn check_precisions(precisions: &[String], models: &Resolved) -> Result<(), CliError> {
    for precision in precisions {
        let mut refusal = None;
        let usable = models.by_name.values().any(|m| match Precision::parse(precision, m) {
            Ok(_) => true,
            Err(e) => {
                refusal = Some(e);
                false
            }
        });
        if let (false, Some(refusal)) = (usable, refusal) {
            return Err(CliError::Input(format!("--precision: {refusal}")));
        }
    }
    Ok(())
}

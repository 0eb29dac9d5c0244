//! `bench-runner plan`: the planner at the prompt.

mod describe;
mod flags;

use std::io::BufRead;
use std::path::Path;

use contract::error::{ApiError, ErrorBody};
use planner::document::plan::ModelRef;
use planner::{Estimate, Plan, PlanErrorKind};

use super::CliError;
use super::input::Input;
use super::output;
use crate::model::{LoadError, gguf_reference, safetensors_reference};
use describe::describe;
pub(super) use flags::{PlanArgs, PlanOptions};

pub(super) fn plan(args: &PlanArgs) -> Result<(), CliError> {
    if let Some(path) = &args.jsonl {
        return answer_lines(&Input::open(path, "--jsonl")?);
    }
    if let Some(path) = args.json() {
        let text = Input::open(path, "--json")?.text()?;
        let estimate = answer(&text).map_err(|e| CliError::Input(in_file(path, &e)))?;
        output::json(&estimate)?;
        return Ok(());
    }
    let plan = args.plan()?;
    let estimate = planner::estimate(&plan).map_err(CliError::input)?;
    if args.wants_document() { output::json(&estimate) } else { output::line(describe(&estimate)) }
}

pub(super) fn in_file(path: &Path, error: &ErrorBody) -> String {
    format!("{}: {}", path.display(), error.message)
}

fn answer_lines(input: &Input) -> Result<(), CliError> {
    for line in input.reader().lines() {
        let line = line.map_err(|e| input.broken(&e))?;
        if line.trim().is_empty() {
            continue;
        }
        let text = match answer(&line) {
            Ok(estimate) => serde_json::to_string(&estimate),
            Err(error) => serde_json::to_string(&ApiError { error }),
        };
        output::line(text.map_err(CliError::work)?)?;
    }
    Ok(())
}

/// The estimate of a plan document, paths in it read here.
fn answer(text: &str) -> Result<Estimate, ErrorBody> {
    let plan = parse(text)?;
    planner::estimate(&plan).map_err(|error| {
        let code = match error.kind {
            PlanErrorKind::Invalid => "bad-plan",
            PlanErrorKind::NotPlannedYet => "not-planned-yet",
            PlanErrorKind::Unsupported => "unsupported-plan",
        };
        ApiError::new(code, error.to_string()).at(error.field).error
    })
}

/// A plan document, with the model's file read where it names one.
pub(super) fn parse(text: &str) -> Result<Plan, ErrorBody> {
    let mut plan: Plan = serde_json::from_str(text)
        .map_err(|e| ApiError::new("bad-plan", format!("not a plan: {e}")).error)?;
    read_model(&mut plan.model)?;
    Ok(plan)
}

/// Replaces the path of a file by what its header says.
pub(super) fn read_model(model: &mut ModelRef) -> Result<(), ErrorBody> {
    let wrong = |field: &str, e: LoadError| ApiError::new("bad-model", e.to_string()).at(field).error;
    let name = model.name.clone();
    if let Some(path) = model.gguf.take() {
        *model = gguf_reference(Path::new(&path)).map_err(|e| wrong("model.gguf", e))?;
    } else if let Some(path) = model.safetensors.take() {
        *model = safetensors_reference(Path::new(&path)).map_err(|e| wrong("model.safetensors", e))?;
    } else {
        return Ok(());
    }
    if name.is_some() {
        model.name = name;
    }
    Ok(())
}

//! Plans from JSON, with errors that say where.

use serde_json::Value;

use super::plan::Plan;
use crate::error::PlanError;

impl Plan {
    /// Reads a plan from JSON text.
    ///
    /// # Errors
    /// Where the text is no JSON, or says what the contract does not know: the field is named.
    pub fn from_json(text: &str) -> Result<Self, PlanError> {
        serde_json::from_str(text).map_err(|e| of_serde(&e))
    }

    /// Reads a plan from a JSON value.
    ///
    /// # Errors
    /// As [`Plan::from_json`].
    pub fn from_value(value: Value) -> Result<Self, PlanError> {
        serde_json::from_value(value).map_err(|e| of_serde(&e))
    }
}

fn of_serde(error: &serde_json::Error) -> PlanError {
    let text = error.to_string();
    // serde names the field between backticks for what is unknown or missing.
    let named = ["unknown field `", "missing field `"].iter().find_map(|start| {
        let (_, rest) = text.split_once(start)?;
        rest.split_once('`').map(|(field, _)| field.to_owned())
    });
    PlanError::invalid(
        named.unwrap_or_else(|| "plan".to_owned()),
        text,
        "correct the document; the plan contract, version 1, lists its fields",
    )
}

//! What can be wrong with a plan.

use serde::{Deserialize, Serialize};

/// Why a plan has no estimate: where, what is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[error("{field}: {problem}; {remedy}")]
pub struct PlanError {
    /// Dotted path of the field in the plan, for example `workload.concurrent_sequences`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
    /// What kind of error it is.
    pub kind: PlanErrorKind,
}

/// What kind of error a plan has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PlanErrorKind {
    /// The plan contradicts the contract, the model or the catalogue.
    Invalid,
    /// The contract has it and this version does not plan it yet.
    NotPlannedYet,
    /// The engine cannot do it.
    Unsupported,
}

impl PlanError {
    /// A plan that contradicts the contract, the model or the catalogue.
    #[must_use]
    pub fn invalid(field: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
            remedy: remedy.into(),
            kind: PlanErrorKind::Invalid,
        }
    }

    /// Something of the contract that this version does not plan yet.
    #[must_use]
    pub fn not_planned_yet(
        field: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            problem: format!("{} is not planned yet", what.into()),
            remedy: remedy.into(),
            kind: PlanErrorKind::NotPlannedYet,
        }
    }

    /// Something that the engine cannot do.
    #[must_use]
    pub fn unsupported(
        field: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
            remedy: remedy.into(),
            kind: PlanErrorKind::Unsupported,
        }
    }
}

//! What can be wrong with a model's configuration.

/// Why a configuration is not a model. `field` is relative to the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The configuration is no JSON object.
    #[error("the configuration is {found}, not a JSON object; give the content of the model's config.json")]
    NotAnObject {
        /// What it is.
        found: &'static str,
    },
    /// No field says which family it is.
    #[error("the configuration has neither model_type nor architectures; add model_type, one of: {known}")]
    NoArchitecture {
        /// The families that are known.
        known: String,
    },
    /// A family that the planner does not know.
    #[error("{field}: \"{given}\" is not planned yet; known: {known}")]
    UnknownArchitecture {
        /// The field that says so.
        field: &'static str,
        /// The family.
        given: String,
        /// The families that are known.
        known: String,
    },
    /// A required field is not there.
    #[error("{field}: missing; give a whole number from {min} to {max}")]
    Missing {
        /// The field.
        field: &'static str,
        /// Smallest accepted value.
        min: u64,
        /// Largest accepted value.
        max: u64,
    },
    /// A number outside its range, fractional, or not a number.
    #[error("{field}: {given} is out of range; give a whole number from {min} to {max}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// What was given, as JSON.
        given: String,
        /// Smallest accepted value.
        min: u64,
        /// Largest accepted value.
        max: u64,
    },
    /// Fields that contradict each other, or a value of the wrong kind.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// Metadata of a file's header that describe no model.
    #[error("{key}: {problem}")]
    Metadata {
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl ModelError {
    /// The field that is at fault, relative to the configuration; none where it is the whole.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::NotAnObject { .. } => None,
            Self::NoArchitecture { .. } => Some("model_type"),
            Self::Metadata { key, .. } => Some(key),
            Self::UnknownArchitecture { field, .. }
            | Self::Missing { field, .. }
            | Self::OutOfRange { field, .. }
            | Self::Invalid { field, .. } => Some(field),
        }
    }
}

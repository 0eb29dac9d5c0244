//! The one error envelope of the REST interface.

use serde::{Deserialize, Serialize};

/// `{"error":{"code":"…","message":"…","field":"…"}}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ApiError {
    /// The error.
    pub error: ErrorBody,
}

/// What was wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ErrorBody {
    /// A stable name in kebab case: `unknown-model`, `lease-lost`, `not-found`, …
    pub code: String,
    /// A sentence for a person.
    pub message: String,
    /// The field that was wrong, as a dotted path, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl ApiError {
    /// An error without a field.
    #[must_use]
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { error: ErrorBody { code: code.into(), message: message.into(), field: None } }
    }

    /// The same, naming the field.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.error.field = Some(field.into());
        self
    }
}

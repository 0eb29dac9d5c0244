//! Lists of cases that people keep by a name.

use serde::{Deserialize, Serialize};

use crate::ids::UnixMillis;

/// The most characters of a view's name.
pub const MAX_NAME: usize = 80;
/// The most characters of a view's query.
pub const MAX_QUERY: usize = 4000;
/// The most views that are kept.
pub const MOST: usize = 100;

/// A list of cases by a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedView {
    /// What people call it.
    pub name: String,
    /// The pairs of the list's address: filters, order, columns.
    pub query: String,
    /// When it was saved.
    pub saved_at: UnixMillis,
}

//! What the list of runs can be filtered by.

/// Values that occur, each once, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facets {
    /// Models of the stored cases.
    pub models: Vec<String>,
    /// Names of the machines that have runs.
    pub machines: Vec<String>,
    /// Precisions of the stored cases.
    pub precisions: Vec<String>,
}

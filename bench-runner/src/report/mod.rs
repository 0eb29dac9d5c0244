//! What a person sees of a run: progress while it goes, a table at its end.

mod progress;
mod table;

pub use progress::Reporter;
pub use table::{Align, Column, cases_table, counts, render};

//! Plots as SVG, drawn on the server. Colours are CSS variables, so that one drawing serves light and dark.

mod chart;
mod run;
mod ticks;

pub use chart::{Axis, Chart, ChartError, Line, MOST_SERIES, Mark, Scale, Series};
pub use run::{decode_rate, peak_memory, prefill_rate};

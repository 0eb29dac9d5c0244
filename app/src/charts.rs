//! Plots as SVG, drawn on the server. On a page colours are CSS variables, so that one drawing serves light and dark; a
//! picture to download has them fixed.

mod chart;
mod clip;
mod palette;
mod picture;
pub mod plots;
mod run;
mod ticks;
mod window;

pub(crate) use chart::escape;
pub use chart::{
    Area, Axis, Chart, ChartError, Entry, Line, MOST_SERIES, Mark, Marks, Point, Scale, Series, Tile,
};
pub use palette::{Colour, Theme};
pub use run::{decode_rate, peak_memory, prefill_rate};
pub use window::{Span, Window};

//! The engines: how each holds weights and cache, and what is alive at its peaks.

pub mod candle;
mod request;
pub mod tape;

pub use request::{CandlePeaks, CandleRequest, Device, Peak, PhaseOfPeak, WeightStorage};

//! Runs Candle models across precisions, batches and lengths, and records memory and speed by phase.
//!
//! The binary is a thin shell around this library: [`cli`] reads the command line, [`sweep`] executes a run, [`case`]
//! runs each case in a process of its own, [`engine`] computes with candle's
//! models or our own [`decoder`], [`memory`] measures, [`telemetry`] records what stands beside, [`quality`] holds
//! predictions against an unquantised model's, [`daemon`] pulls jobs of a server.

pub mod build_info;
pub mod case;
pub mod catalogue;
pub mod cli;
pub mod clock;
pub mod daemon;
pub mod decoder;
pub mod engine;
pub mod export;
pub mod kernels;
pub mod machine;
pub mod memory;
pub mod merge;
pub mod model;
pub mod monitor;
pub mod plan;
pub mod quality;
pub mod report;
pub mod stop;
pub mod sweep;
pub mod telemetry;
pub mod validate;

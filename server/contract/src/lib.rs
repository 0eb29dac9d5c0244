//! The wire types that server, runner and browser share: serde only, native and wasm32.
//!
//! Words as in ARCHITECTURE.md: a *sweep* is a grid of *cases*, a *run* one execution of a sweep on one *machine*, a
//! *job* a sweep asked of the fleet, a *lease* a runner's hold on it.

pub mod ability;
pub mod axis;
pub mod case;
pub mod command;
pub mod compare;
pub mod cuda;
pub mod edge;
pub mod error;
pub mod explore;
pub mod export;
pub mod figure;
pub mod history;
pub mod ids;
pub mod job;
pub mod link;
pub mod machine;
pub mod measurement;
pub mod outcome;
pub mod points;
pub mod protocol;
pub mod run;
pub mod shard;
pub mod statistics;
pub mod sweep;
pub mod telemetry;
pub mod training;
pub mod view;

/// Version of the REST interface, as in `/api/v1`.
pub const API_VERSION: u32 = 1;

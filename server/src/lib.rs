//! Plimsoll's web server: pages, REST interface, job queue.
//!
//! [`options`] says how it is started, [`build_router`] is everything it answers, [`serve`] keeps it running
//! and stops it in good order. The pages are the `app` crate's; the database is the `store` crate's.

// As in `app`: the pages' views are laid out here too.
#![recursion_limit = "512"]

pub mod access;
mod api;
mod attempts;
mod backend;
mod beside;
mod compare;
mod events;
mod examples;
mod extract;
mod forms;
mod guard;
mod jobs;
mod links;
pub mod options;
mod pages;
mod plan_files;
mod problem;
mod questions;
pub mod raster;
mod router;
pub mod runner_process;
mod secret;
pub mod serve;
mod site;
mod state;
mod today;

pub use api::openapi;
pub use router::build_router;
pub use state::{AppState, Clock, system_clock};

#[cfg(test)]
mod testing;

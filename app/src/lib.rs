//! What people see. See ARCHITECTURE.md.
//!
//! Pages are rendered on the server (feature `ssr`); the few interactive parts are islands, compiled to WASM with the
//! feature `hydrate`. Every page and form works without JavaScript.

// The types of the pages' views nest deeper than rustc's default lets it look when it lays them out in a release build.
#![recursion_limit = "512"]
#![allow(
    clippy::must_use_candidate,
    reason = "components are called by `view!`, which uses what they return"
)]
#![allow(clippy::needless_pass_by_value, reason = "the properties of a component are its own")]

// Views of one kind end in other markers than those of the other: where server and browser differ, no page comes to life.
#[cfg(all(any(feature = "ssr", feature = "hydrate"), not(erase_components)))]
compile_error!(
    "build with `--cfg erase_components`: .cargo/config.toml says so, but RUSTFLAGS in the environment stand in its place; add it there"
);

#[cfg(feature = "ssr")]
pub mod address;
#[cfg(feature = "ssr")]
pub mod backend;
#[cfg(feature = "ssr")]
pub mod charts;
#[cfg(any(feature = "ssr", feature = "hydrate"))]
pub mod components;
#[cfg(feature = "ssr")]
pub mod embed;
pub mod engine;
#[cfg(feature = "ssr")]
pub mod export;
pub mod fields;
pub mod format;
#[cfg(feature = "ssr")]
pub mod forms;
pub mod import;
#[cfg(any(feature = "ssr", feature = "hydrate"))]
pub mod islands;
#[cfg(feature = "ssr")]
pub mod kept;
pub mod link;
#[cfg(feature = "ssr")]
pub mod pages;
#[cfg(feature = "ssr")]
pub mod preview;
#[cfg(feature = "ssr")]
mod shell;
#[cfg(any(feature = "ssr", feature = "hydrate"))]
mod words;

#[cfg(feature = "ssr")]
pub use shell::{App, shell};

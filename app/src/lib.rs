//! What people see. See ARCHITECTURE.md.

#[cfg(feature = "ssr")]
pub mod backend;

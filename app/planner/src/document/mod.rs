//! The two documents of the plan contract: what is to run where, and what it takes.

pub mod estimate;
pub mod plan;
pub mod precision;
mod read;
pub mod row;
mod serving;
mod strict;

#[cfg(test)]
mod tests;

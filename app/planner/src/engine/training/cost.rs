//! Bytes as a function of the numbers of a plan.

use std::ops::{Add, AddAssign};

use crate::engine::policy::Numbers;

/// Bytes that grow with what one micro-batch of one GPU holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::engine) struct Cost {
    /// Whatever the numbers are.
    pub(in crate::engine) fixed: u64,
    /// For each token of the micro-batch (of this GPU's part of the sequence under context parallelism).
    pub(in crate::engine) token: u64,
    /// For each pair of a query and a key of one sequence, where scores are materialised.
    pub(in crate::engine) pair: u64,
}

/// What a micro-batch is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Microbatch {
    /// Tokens on one GPU: sequences times their length, divided over context parallel ranks.
    pub(in crate::engine) tokens: u64,
    /// Pairs of queries and keys on one GPU.
    pub(in crate::engine) pairs: u64,
}

/// The micro-batch of numbers, whole sequences on one GPU.
impl From<&Numbers> for Microbatch {
    fn from(numbers: &Numbers) -> Self {
        let tokens = numbers.micro_batch.saturating_mul(numbers.sequence.0);
        Self { tokens, pairs: tokens.saturating_mul(numbers.sequence.0) }
    }
}

impl Cost {
    /// Nothing.
    pub(in crate::engine) const ZERO: Self = Self { fixed: 0, token: 0, pair: 0 };

    /// So many bytes, whatever the numbers are.
    pub(in crate::engine) const fn fixed(fixed: u64) -> Self {
        Self { fixed, token: 0, pair: 0 }
    }

    /// So many bytes a token.
    pub(in crate::engine) const fn token(token: u64) -> Self {
        Self { fixed: 0, token, pair: 0 }
    }

    /// So many bytes a pair of query and key.
    pub(in crate::engine) const fn pair(pair: u64) -> Self {
        Self { fixed: 0, token: 0, pair }
    }

    /// `times` as much.
    pub(in crate::engine) const fn times(self, times: u64) -> Self {
        Self {
            fixed: self.fixed.saturating_mul(times),
            token: self.token.saturating_mul(times),
            pair: self.pair.saturating_mul(times),
        }
    }

    /// The larger of each term: at least as much as either at any numbers.
    pub(in crate::engine) fn max(self, other: Self) -> Self {
        Self {
            fixed: self.fixed.max(other.fixed),
            token: self.token.max(other.token),
            pair: self.pair.max(other.pair),
        }
    }

    /// Bytes for one micro-batch.
    pub(in crate::engine) fn at(self, batch: impl Into<Microbatch>) -> u64 {
        let batch = batch.into();
        self.fixed
            .saturating_add(self.token.saturating_mul(batch.tokens))
            .saturating_add(self.pair.saturating_mul(batch.pairs))
    }
}

impl Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            fixed: self.fixed.saturating_add(other.fixed),
            token: self.token.saturating_add(other.token),
            pair: self.pair.saturating_add(other.pair),
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

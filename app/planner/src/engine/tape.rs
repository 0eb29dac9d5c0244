//! A ledger of allocations: what is alive, and what was alive at the fullest moment.
//!
//! An engine's forward pass is walked with [`Block`]s in the place of its buffers. A block is freed where Rust drops it,
//! so a walk that keeps the source's statements and ownership has the source's peaks.

use std::cell::Cell;
use std::rc::Rc;

use crate::bytes::Bytes;

/// What a block holds; only for taking a peak apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Parameters, rotary tables: what stays from loading on.
    Weights,
    /// Keys and values that are kept.
    Cache,
    /// Results of the model's operations.
    Activation,
    /// Copies, masks, upcasts and the kernels' own workspaces.
    Temporary,
    /// Gradients of what is trained.
    Gradients,
    /// The optimizer's states, and masters.
    Optimizer,
}

/// Bytes by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Alive {
    /// [`Kind::Weights`].
    pub weights: Bytes,
    /// [`Kind::Cache`].
    pub cache: Bytes,
    /// [`Kind::Activation`].
    pub activations: Bytes,
    /// [`Kind::Temporary`].
    pub temporary: Bytes,
    /// [`Kind::Gradients`].
    pub gradients: Bytes,
    /// [`Kind::Optimizer`].
    pub optimizer: Bytes,
}

impl Alive {
    /// All kinds together.
    #[must_use]
    pub fn total(&self) -> Bytes {
        self.weights + self.cache + self.activations + self.temporary + self.gradients + self.optimizer
    }

    fn of(&mut self, kind: Kind) -> &mut Bytes {
        match kind {
            Kind::Weights => &mut self.weights,
            Kind::Cache => &mut self.cache,
            Kind::Activation => &mut self.activations,
            Kind::Temporary => &mut self.temporary,
            Kind::Gradients => &mut self.gradients,
            Kind::Optimizer => &mut self.optimizer,
        }
    }
}

/// The ledger. Clones are the same ledger.
#[derive(Debug, Clone, Default)]
pub struct Tape(Rc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    alive: Cell<Alive>,
    peak: Cell<Alive>,
}

impl Counters {
    fn grow(&self, kind: Kind, bytes: Bytes) {
        let mut alive = self.alive.get();
        let part = alive.of(kind);
        *part += bytes;
        self.alive.set(alive);
        if alive.total() > self.peak.get().total() {
            self.peak.set(alive);
        }
    }

    fn shrink(&self, kind: Kind, bytes: Bytes) {
        let mut alive = self.alive.get();
        let part = alive.of(kind);
        *part = *part - bytes;
        self.alive.set(alive);
    }
}

impl Tape {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Allocates.
    #[must_use]
    pub fn alloc(&self, kind: Kind, bytes: Bytes) -> Block {
        self.0.grow(kind, bytes);
        Block { counters: Rc::clone(&self.0), kind: Cell::new(kind), bytes: Cell::new(bytes) }
    }

    /// What is alive now.
    #[must_use]
    pub fn alive(&self) -> Alive {
        self.0.alive.get()
    }

    /// What was alive at the fullest moment since the start or the latest [`Tape::reset_peak`]; the first such moment.
    #[must_use]
    pub fn peak(&self) -> Alive {
        self.0.peak.get()
    }

    /// Begins a new peak at what is alive now.
    pub fn reset_peak(&self) {
        self.0.peak.set(self.0.alive.get());
    }
}

/// An allocation; freed when dropped.
#[derive(Debug)]
pub struct Block {
    counters: Rc<Counters>,
    kind: Cell<Kind>,
    bytes: Cell<Bytes>,
}

impl Block {
    /// Its size.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.bytes.get()
    }

    /// Counts it as another kind from now on.
    pub fn retag(&self, kind: Kind) {
        // Out and in again at once: no moment in between, so no peak of it.
        let mut alive = self.counters.alive.get();
        let bytes = self.bytes.get();
        let from = alive.of(self.kind.get());
        *from = *from - bytes;
        let to = alive.of(kind);
        *to += bytes;
        self.counters.alive.set(alive);
        self.kind.set(kind);
    }

    /// Changes its size in place, as `realloc` does where the system counts a moved block once.
    pub fn resize(&self, bytes: Bytes) {
        let before = self.bytes.replace(bytes);
        if bytes >= before {
            self.counters.grow(self.kind.get(), bytes - before);
        } else {
            self.counters.shrink(self.kind.get(), before - bytes);
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.counters.shrink(self.kind.get(), self.bytes.get());
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Tape};
    use crate::bytes::Bytes;

    #[test]
    fn the_peak_is_the_fullest_moment_with_its_parts() {
        let tape = Tape::new();
        let weights = tape.alloc(Kind::Weights, Bytes(100));
        let early = tape.alloc(Kind::Activation, Bytes(30));
        drop(early);
        let cache = tape.alloc(Kind::Temporary, Bytes(20));
        assert_eq!(tape.alive().total(), Bytes(120));
        assert_eq!(tape.peak().total(), Bytes(130));
        assert_eq!(tape.peak().activations, Bytes(30));
        cache.retag(Kind::Cache);
        assert_eq!((tape.alive().cache, tape.alive().temporary), (Bytes(20), Bytes(0)));
        drop(weights);
        drop(cache);
        assert_eq!(tape.alive().total(), Bytes(0));
        assert_eq!(tape.peak().total(), Bytes(130));
    }

    #[test]
    fn a_new_peak_begins_at_what_is_alive() {
        let tape = Tape::new();
        drop(tape.alloc(Kind::Temporary, Bytes(500)));
        let kept = tape.alloc(Kind::Activation, Bytes(7));
        tape.reset_peak();
        assert_eq!(tape.peak().total(), Bytes(7));
        drop(kept);
        assert_eq!(tape.peak().total(), Bytes(7));
    }

    #[test]
    fn resizing_counts_the_difference() {
        let tape = Tape::new();
        let block = tape.alloc(Kind::Temporary, Bytes(10));
        block.resize(Bytes(25));
        assert_eq!(tape.peak().total(), Bytes(25));
        block.resize(Bytes(5));
        assert_eq!(tape.alive().total(), Bytes(5));
        assert_eq!(block.bytes(), Bytes(5));
        drop(block);
        assert_eq!(tape.alive().total(), Bytes(0));
    }

    #[test]
    fn shadowed_bindings_live_until_the_end_of_the_scope_and_temporaries_until_the_end_of_the_statement() {
        let tape = Tape::new();
        let size = |block: super::Block| block.bytes();
        {
            let x = tape.alloc(Kind::Activation, Bytes(1));
            let x = tape.alloc(Kind::Activation, x.bytes() + Bytes(1));
            assert_eq!(tape.alive().total(), Bytes(3));
            let n = size(tape.alloc(Kind::Activation, Bytes(4)));
            assert_eq!((n, tape.alive().total()), (Bytes(4), Bytes(3)));
            drop(x);
            assert_eq!(tape.alive().total(), Bytes(1));
        }
        assert_eq!(tape.peak().total(), Bytes(7));
        assert_eq!(tape.alive().total(), Bytes(0));
    }
}

//! A request to stop, shared between threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Why to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Ctrl-C or SIGTERM.
    Interrupted,
    /// Whoever asked for the work wants it no more.
    Cancelled,
    /// The server gave the work to someone else.
    LeaseLost,
    /// The time that was given for it is spent.
    OutOfTime,
}

/// A flag that is raised once; the first reason stays.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicU8>);

impl Stop {
    /// Raises it.
    pub fn ask(&self, reason: Reason) {
        let code = match reason {
            Reason::Interrupted => 1,
            Reason::Cancelled => 2,
            Reason::LeaseLost => 3,
            Reason::OutOfTime => 4,
        };
        // Raised already: the first reason stays.
        let _ = self.0.compare_exchange(0, code, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Whether it was raised.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.reason().is_some()
    }

    /// Why it was raised.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self.0.load(Ordering::SeqCst) {
            1 => Some(Reason::Interrupted),
            2 => Some(Reason::Cancelled),
            3 => Some(Reason::LeaseLost),
            4 => Some(Reason::OutOfTime),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Reason, Stop};

    #[test]
    fn the_first_reason_stays() {
        let stop = Stop::default();
        assert_eq!(stop.reason(), None);
        stop.clone().ask(Reason::Cancelled);
        stop.ask(Reason::Interrupted);
        assert_eq!(stop.reason(), Some(Reason::Cancelled));
    }
}

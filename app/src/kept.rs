//! Answers that were asked for last, a bounded number of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// The answers to the last questions; the one asked longest ago goes when there are too many.
#[derive(Debug)]
pub struct Kept<Q, A> {
    most: usize,
    answers: Mutex<VecDeque<(Q, Arc<A>)>>,
}

impl<Q: PartialEq, A> Kept<Q, A> {
    /// Of at most `most`.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self { most, answers: Mutex::new(VecDeque::new()) }
    }

    /// The answer to a question, if it is still known.
    pub fn get(&self, question: &Q) -> Option<Arc<A>> {
        let mut kept = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.iter().position(|(known, _)| known == question)?;
        let found = kept.remove(place)?;
        let answer = found.1.clone();
        kept.push_front(found);
        Some(answer)
    }

    /// Keeps an answer.
    pub fn keep(&self, question: Q, answer: Arc<A>) {
        let mut kept = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(known, _)| *known != question);
        kept.push_front((question, answer));
        kept.truncate(self.most);
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_longest_ago_goes() {
        let kept = Kept::new(2);
        for question in [1, 2] {
            kept.keep(question, Arc::new(question * 10));
        }
        assert_eq!(kept.get(&1).as_deref(), Some(&10));
        kept.keep(3, Arc::new(30));
        assert_eq!(kept.get(&2), None, "1 was asked after it");
        // Two who ask at the same time keep the same answer once.
        kept.keep(3, Arc::new(30));
        assert_eq!((kept.get(&1).as_deref(), kept.get(&3).as_deref()), (Some(&10), Some(&30)));
    }
}

//! Prompts: pseudo-random token ids, the same for the same case.

use super::random::Random;

/// A batch of prompts, one sequence after another: ids below `vocabulary`; every sequence differs from the others.
#[must_use]
pub fn prompt(batch: usize, tokens: usize, vocabulary: u32) -> Vec<u32> {
    let mut random = Random::seeded("prompt");
    (0..batch.saturating_mul(tokens)).map(|_| random.below(vocabulary.max(1))).collect()
}

#[cfg(test)]
mod tests {
    use super::prompt;

    #[test]
    fn the_same_prompts_again_and_below_the_vocabulary() {
        let first = prompt(3, 50, 100);
        assert_eq!(first, prompt(3, 50, 100));
        assert_eq!(first.len(), 150);
        assert!(first.iter().all(|id| *id < 100));
        assert_ne!(first[..50], first[50..100]);
        let distinct: std::collections::HashSet<_> = first.iter().collect();
        assert!(distinct.len() > 50, "only {} of 100 ids in 150 draws", distinct.len());
    }
}

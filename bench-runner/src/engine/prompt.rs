//! Prompts: pseudo-random token ids, the same for the same case.

use super::random::Random;

/// The prompts of the seed 0, those that every version made so far.
#[must_use]
pub fn prompt(batch: usize, tokens: usize, vocabulary: u32) -> Vec<u32> {
    seeded_prompt(batch, tokens, vocabulary, 0)
}

/// A batch of prompts, one sequence after another: ids below `vocabulary`; every sequence differs from the others, and all
/// from those of another seed.
#[must_use]
pub fn seeded_prompt(batch: usize, tokens: usize, vocabulary: u32, seed: u64) -> Vec<u32> {
    let mut random = Random::seeded("prompt", seed);
    (0..batch.saturating_mul(tokens)).map(|_| random.below(vocabulary.max(1))).collect()
}

#[cfg(test)]
mod tests {
    use super::{prompt, seeded_prompt};

    #[test]
    fn the_same_prompts_again_and_below_the_vocabulary() {
        let first = prompt(3, 50, 100);
        assert_eq!(first, seeded_prompt(3, 50, 100, 0));
        assert_ne!(first, seeded_prompt(3, 50, 100, 1));
        assert_eq!(first.len(), 150);
        assert!(first.iter().all(|id| *id < 100));
        assert_ne!(first[..50], first[50..100]);
        let distinct: std::collections::HashSet<_> = first.iter().collect();
        assert!(distinct.len() > 50, "only {} of 100 ids in 150 draws", distinct.len());
    }
}

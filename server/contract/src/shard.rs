//! A part of a sweep, for the tasks of an array job.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::case::CaseSpec;
use crate::sweep::MAX_CASES;

/// One of several parts of a sweep that have no case in common and are about as much work each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Which, from 1.
    pub index: u32,
    /// Of how many.
    pub of: u32,
}

/// A text that is no shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no shard; accepted: i/n with 1 ≤ i ≤ n ≤ {MAX_CASES}, for example 2/8")]
pub struct UnknownShard(pub String);

impl FromStr for Shard {
    type Err = UnknownShard;
    fn from_str(s: &str) -> Result<Self, UnknownShard> {
        s.split_once('/')
            .and_then(|(index, of)| Some(Self { index: index.parse().ok()?, of: of.parse().ok()? }))
            .filter(|shard| shard.is_possible())
            .ok_or_else(|| UnknownShard(s.to_owned()))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

/// Tokens of a prompt that take about as long as one step of decoding: SmolLM2-135M's `Q4_1` on two cores reads some
/// 200 tokens a second and writes 36. On a GPU a step costs more of them, for every sequence of the batch at once.
const PROMPT_TOKENS_OF_A_STEP: u64 = 6;

impl Shard {
    /// Whether there is such a part.
    #[must_use]
    pub fn is_possible(self) -> bool {
        (1..=self.of).contains(&self.index) && self.of as usize <= MAX_CASES
    }

    /// Those of `cases` that are this shard's, in their order.
    ///
    /// Cases are dealt like cards, there and back again (1, 2, 3, 3, 2, 1, 1, …): model by model, and within a model the
    /// most work first. So each shard has its part of every model and of the long cases as of the short ones. The split
    /// is the same whoever computes it.
    #[must_use]
    pub fn of(self, cases: Vec<CaseSpec>) -> Vec<CaseSpec> {
        let mut models: Vec<&str> = Vec::new();
        for case in &cases {
            if !models.contains(&case.model.as_str()) {
                models.push(&case.model);
            }
        }
        let model = |case: &CaseSpec| models.iter().position(|m| *m == case.model);
        let mut order: Vec<usize> = (0..cases.len()).collect();
        // Stable: cases of the same work stay in the order of the grid.
        order.sort_by_key(|&place| (model(&cases[place]), std::cmp::Reverse(work(&cases[place]))));
        let of = (self.of as usize).max(1);
        let mine: Vec<bool> = {
            let mut mine = vec![false; cases.len()];
            for (dealt, place) in order.into_iter().enumerate() {
                let (round, seat) = (dealt / of, dealt % of);
                let seat = if round % 2 == 0 { seat } else { of - 1 - seat };
                mine[place] = seat + 1 == self.index as usize;
            }
            mine
        };
        cases.into_iter().zip(mine).filter_map(|(case, mine)| mine.then_some(case)).collect()
    }
}

/// Work of a case in tokens of a prompt, for cases of one model: what it computes in a repetition, the warm-up counted as one.
fn work(case: &CaseSpec) -> u64 {
    let prompt = u64::from(case.batch).saturating_mul(case.prompt_tokens.0);
    let steps = case.generate_tokens.0.saturating_mul(PROMPT_TOKENS_OF_A_STEP);
    prompt.saturating_add(steps).saturating_mul(u64::from(case.repetitions) + 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use planner::Tokens;

    use super::{Shard, work};
    use crate::sweep::{Sweep, first_benchmark};

    fn sweep() -> Sweep {
        Sweep {
            models: vec!["small".into(), "large".into()],
            precisions: vec!["fp32".into(), "bf16".into(), "gguf:q4_k".into()],
            batches: vec![1, 2, 4, 8],
            prompts: vec![Tokens(128), Tokens(512), Tokens(2048)],
            generates: vec![Tokens(0), Tokens(64)],
            ..first_benchmark()
        }
    }

    #[test]
    fn shards_are_a_partition_in_the_order_of_the_grid() {
        let whole: Vec<String> = sweep().cases().iter().map(super::CaseSpec::key).collect();
        for of in [1, 2, 3, 7, 8, 143, 144, 145, 1000] {
            let mut seen = BTreeSet::new();
            for index in 1..=of {
                let part = Sweep { shard: Some(Shard { index, of }), ..sweep() };
                assert_eq!(part.check(), Ok(()));
                let keys: Vec<String> = part.cases().iter().map(super::CaseSpec::key).collect();
                let places: Vec<_> = keys.iter().map(|k| whole.iter().position(|w| w == k)).collect();
                assert!(places.is_sorted() && !places.contains(&None), "{index}/{of}");
                let (least, most) = (whole.len() / of as usize, whole.len().div_ceil(of as usize));
                assert!((least..=most).contains(&keys.len()), "{index}/{of}: {} cases", keys.len());
                for key in keys {
                    assert!(seen.insert(key.clone()), "{key} is in two shards of {of}");
                }
            }
            assert_eq!(seen.len(), whole.len(), "{of} shards");
        }
    }

    #[test]
    fn shards_are_about_as_much_work_each_and_of_every_model() {
        for of in [2, 3, 4, 8] {
            let parts: Vec<_> = (1..=of).map(|index| Shard { index, of }.of(sweep().cases())).collect();
            let works: Vec<u64> = parts.iter().map(|p| p.iter().map(work).sum()).collect();
            let (least, most) = (works.iter().min().unwrap(), works.iter().max().unwrap());
            assert!(*most as f64 / *least as f64 <= 1.15, "{of} shards: {works:?}");
            for part in parts {
                let small = part.iter().filter(|case| case.model == "small").count();
                assert!(
                    small.abs_diff(part.len() - small) <= 1,
                    "{small} of {} are of one model",
                    part.len()
                );
            }
        }
    }

    #[test]
    fn shards_are_written_as_a_fraction() {
        assert_eq!("2/8".parse(), Ok(Shard { index: 2, of: 8 }));
        assert_eq!(Shard { index: 2, of: 8 }.to_string(), "2/8");
        for wrong in ["0/8", "9/8", "1/0", "2", "a/b", "1/5000", "-1/2", "1/2/3", ""] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
        let text = "3/2".parse::<Shard>().unwrap_err().to_string();
        assert!(text.contains("i/n with 1 ≤ i ≤ n"), "{text}");
    }
}

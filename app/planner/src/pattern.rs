//! Which tokens see which: the patterns of attention that Plimsoll's decoder computes, of each the half that looks back.
//! Longformer and `BigBird` were made for encoders, which see both ways: there a window reaches as far behind a token as
//! before it, and global tokens see the whole sequence. Here a window is the last so many tokens, and a global token sees
//! what is before it.
//!
//! The decoder makes its masks of them, the planner counts what these take.

use crate::document::plan::Attention;
use crate::error::PlanError;

/// A pattern of attention. Positions count from 0; no token sees what comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// Everything before.
    Full,
    /// The last so many tokens, itself included.
    Window(u64),
    /// Longformer (arXiv 2004.05150): the last `window` tokens and the first `globals`, which see everything before them.
    Longformer {
        /// Tokens of the window.
        window: u64,
        /// Tokens at the beginning.
        globals: u64,
    },
    /// `BigBird` (arXiv 2007.14062), by blocks: the last of the window, its own included, the first ones, and some drawn from
    /// the rest.
    BigBird {
        /// Tokens of a block.
        block: u64,
        /// Blocks of the window.
        window: u64,
        /// Blocks at the beginning.
        globals: u64,
        /// Blocks drawn for each block of queries.
        random: u64,
    },
}

/// What a layer's tokens see: the pattern asked for and the model's own window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Visibility {
    /// The pattern asked for.
    pub pattern: Pattern,
    /// The model's own window.
    pub window: Option<u64>,
}

/// How much of a rectangle of queries and keys is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nothing of it.
    Nothing,
    /// Some of it.
    Part,
    /// All of it.
    All,
}

impl Seen {
    /// Of both: what each of two conditions lets through.
    const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, _) | (_, Self::Nothing) => Self::Nothing,
            (Self::All, Self::All) => Self::All,
            _ => Self::Part,
        }
    }

    /// Of either.
    const fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::Nothing, Self::Nothing) => Self::Nothing,
            _ => Self::Part,
        }
    }
}

/// First and last position of a stretch.
pub type Stretch = (u64, u64);

fn causal((q0, q1): Stretch, (k0, k1): Stretch) -> Seen {
    if k0 > q1 {
        Seen::Nothing
    } else if k1 <= q0 {
        Seen::All
    } else {
        Seen::Part
    }
}

fn within(window: u64, (q0, q1): Stretch, (k0, k1): Stretch) -> Seen {
    if k1.saturating_add(window) <= q0 {
        Seen::Nothing
    } else if k0.saturating_add(window) > q1 {
        Seen::All
    } else {
        Seen::Part
    }
}

fn among_first(count: u64, (k0, k1): Stretch) -> Seen {
    if k0 >= count {
        Seen::Nothing
    } else if k1 < count {
        Seen::All
    } else {
        Seen::Part
    }
}

/// The `index`th block drawn for a block of queries, of `count` blocks that can be drawn (`SplitMix64`'s finaliser; each
/// block of queries draws its own, the same every time).
fn drawn(query_block: u64, index: u64, count: u64) -> u64 {
    let mut z = query_block << 20 ^ index;
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    z % count.max(1)
}

/// Blocks of keys that a block of queries sees, drawn once for all of them.
struct BigBirdRow {
    query: u64,
    window: u64,
    globals: u64,
    /// Drawn blocks, counted from the first that is not global, and how many; none: nothing is left unseen.
    drawn: Option<([u64; MOST_DRAWN], usize)>,
}

impl BigBirdRow {
    fn new(window: u64, globals: u64, random: u64, query: u64) -> Self {
        // Neither global nor in the window: what is left to draw from.
        let count = (query + 1).saturating_sub(window).saturating_sub(globals);
        if query < globals || count <= random {
            return Self { query, window, globals, drawn: None };
        }
        let mut all = [0; MOST_DRAWN];
        let mut taken = 0;
        for index in 0..random.min(MOST_DRAWN as u64) {
            let mut place = drawn(query, index, count);
            while all[..taken].contains(&place) {
                place = (place + 1) % count;
            }
            all[taken] = place;
            taken += 1;
        }
        Self { query, window, globals, drawn: Some((all, taken)) }
    }

    /// Whether it sees a block of keys. A global block sees everything before it, and is seen by all after it.
    fn sees(&self, key: u64) -> bool {
        if key > self.query {
            return false;
        }
        if key < self.globals || key.saturating_add(self.window) > self.query {
            return true;
        }
        self.drawn.is_none_or(|(all, taken)| all[..taken].contains(&(key - self.globals)))
    }
}

/// Most blocks that are drawn for a block of queries; the paper draws three.
const MOST_DRAWN: usize = 16;
/// Most blocks of a window, and at the beginning.
const MOST_BLOCKS: u32 = 64;
/// Tokens of the smallest block.
const LEAST_BLOCK: u64 = 8;

/// Whether a variant's numbers are ones that can be computed: a pattern by blocks is looked at block by block, so that tiny
/// blocks and many of them would take for ever.
///
/// # Errors
/// The number that is out of range, and what is accepted.
pub fn check(attention: &Attention) -> Result<(), PlanError> {
    let out = |field: &str, given: u64, accepted: &str| {
        Err(PlanError::invalid(field, format!("{given} is out of range"), format!("give {accepted}")))
    };
    match *attention {
        Attention::SlidingWindow { window } | Attention::Longformer { window, .. } if window.0 == 0 => {
            out("attention.window", 0, "at least 1")
        }
        Attention::BigBird { block, .. } if block.0 < LEAST_BLOCK => {
            out("attention.block", block.0, &format!("at least {LEAST_BLOCK} tokens"))
        }
        Attention::BigBird { window_blocks, .. } if !(1..=MOST_BLOCKS).contains(&window_blocks) => {
            out("attention.window_blocks", window_blocks.into(), &format!("1 to {MOST_BLOCKS}"))
        }
        Attention::BigBird { global_blocks, .. } if global_blocks > MOST_BLOCKS => {
            out("attention.global_blocks", global_blocks.into(), &format!("at most {MOST_BLOCKS}"))
        }
        Attention::BigBird { random_blocks, .. } if random_blocks as usize > MOST_DRAWN => {
            out("attention.random_blocks", random_blocks.into(), &format!("at most {MOST_DRAWN}"))
        }
        _ => Ok(()),
    }
}

impl Pattern {
    /// Whether the token at `query` sees the one at `key`.
    fn sees(self, query: u64, key: u64) -> bool {
        key <= query
            && match self {
                Self::Full => true,
                Self::Window(window) => key.saturating_add(window) > query,
                Self::Longformer { window, globals } => {
                    key.saturating_add(window) > query || key < globals || query < globals
                }
                Self::BigBird { block, window, globals, random } => {
                    BigBirdRow::new(window, globals, random, query / block).sees(key / block)
                }
            }
    }

    /// How much of a rectangle is seen; `Part` may be said of less than that.
    fn relation(self, queries: Stretch, keys: Stretch) -> Seen {
        let causal = causal(queries, keys);
        causal.and(match self {
            Self::Full => Seen::All,
            Self::Window(window) => within(window, queries, keys),
            Self::Longformer { window, globals } => {
                within(window, queries, keys).or(among_first(globals, keys)).or(among_first(globals, queries))
            }
            Self::BigBird { block, window, globals, random } => {
                let (mut any, mut all) = (false, true);
                for query in queries.0 / block..=queries.1 / block {
                    let row = BigBirdRow::new(window, globals, random, query);
                    for key in keys.0 / block..=(keys.1 / block).min(query) {
                        let seen = row.sees(key);
                        (any, all) = (any | seen, all & seen);
                        if any && !all {
                            return Seen::Part;
                        }
                    }
                }
                if any { Seen::All } else { Seen::Nothing }
            }
        })
    }
}

impl Pattern {
    /// That of an attention variant; everything where it is exact.
    #[must_use]
    pub fn of(asked: &Attention) -> Self {
        match asked {
            Attention::Eager | Attention::MemoryEfficient | Attention::Flash => Self::Full,
            Attention::SlidingWindow { window } => Self::Window(window.0),
            Attention::Longformer { window, global_tokens } => {
                Self::Longformer { window: window.0, globals: global_tokens.0 }
            }
            Attention::BigBird { block, window_blocks, global_blocks, random_blocks } => Self::BigBird {
                block: block.0.max(1),
                window: u64::from(*window_blocks),
                globals: u64::from(*global_blocks),
                random: u64::from(*random_blocks),
            },
        }
    }
}

/// Tokens that an expert of our decoder computes at once: an even share of what the router sends to the experts, and no fewer
/// than make a product worth its call. More are computed in pieces, so that memory does not hang on what a router chooses.
#[must_use]
pub fn expert_rows(tokens: u64, active: u64, experts: u64) -> u64 {
    tokens.saturating_mul(active).div_ceil(experts.max(1)).max(LEAST_EXPERT_ROWS)
}

/// Tokens of the smallest piece of an expert's.
const LEAST_EXPERT_ROWS: u64 = 32;

/// Queries of a block, where attention is computed in blocks.
pub const QUERIES: u64 = 128;
/// Keys of a block, where there are several queries.
pub const KEYS: u64 = 256;
/// Keys of a block of one query.
pub const KEYS_OF_ONE: u64 = 4096;
/// Patterns are looked at in stretches of so many keys.
const GRAIN: u64 = 64;

/// A stretch of keys that a block of queries sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its first key.
    pub first: u64,
    /// Its keys.
    pub len: u64,
    /// Whether each query sees each key.
    pub whole: bool,
}

/// What a block of queries sees of the keys from `from` to before `to`, in stretches that are seen alike. `seen` says of a
/// first key and a number of keys how much of them is seen; `one` whether there is one query only.
pub fn segments(from: u64, to: u64, one: bool, seen: impl Fn(u64, u64) -> Seen) -> Vec<Segment> {
    let longest = if one { KEYS_OF_ONE } else { KEYS };
    let mut segments: Vec<Segment> = Vec::new();
    let mut first = from / GRAIN * GRAIN;
    while first < to {
        let len = GRAIN.min(to - first);
        let seen = seen(first, len);
        let whole = seen == Seen::All;
        match segments.last_mut() {
            _ if seen == Seen::Nothing => {}
            Some(last)
                if last.whole == whole && last.first + last.len == first && last.len + len <= longest =>
            {
                last.len += len;
            }
            _ => segments.push(Segment { first, len, whole }),
        }
        first += len;
    }
    segments
}

impl Visibility {
    /// Whether the token at `query` sees the one at `key`.
    #[must_use]
    pub fn sees(self, query: u64, key: u64) -> bool {
        self.pattern.sees(query, key) && self.window.is_none_or(|w| key.saturating_add(w) > query)
    }

    /// How much of a rectangle is seen.
    #[must_use]
    pub fn relation(self, queries: Stretch, keys: Stretch) -> Seen {
        let own = self.window.map_or(Seen::All, |w| within(w, queries, keys));
        self.pattern.relation(queries, keys).and(own)
    }

    /// Tokens that a token can see at most, where the pattern is one of windows alone.
    #[must_use]
    pub fn reach(self) -> Option<u64> {
        let asked = match self.pattern {
            Pattern::Window(window) => Some(window),
            _ => None,
        };
        asked.into_iter().chain(self.window).min()
    }

    /// The first position that a token from `query` on may see.
    #[must_use]
    pub fn first(self, query: u64) -> u64 {
        match (self.pattern, self.reach()) {
            (Pattern::Full | Pattern::Window(_), Some(reach)) => (query + 1).saturating_sub(reach),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Pattern, Seen, Visibility, check};
    use crate::bytes::Tokens;
    use crate::document::plan::Attention;

    #[test]
    fn numbers_that_cannot_be_computed_are_refused_by_name() {
        let bird = |block, window_blocks, global_blocks, random_blocks| Attention::BigBird {
            block: Tokens(block),
            window_blocks,
            global_blocks,
            random_blocks,
        };
        for (attention, field) in [
            (Attention::SlidingWindow { window: Tokens(0) }, "attention.window"),
            (Attention::Longformer { window: Tokens(0), global_tokens: Tokens(1) }, "attention.window"),
            (bird(1, 3, 2, 3), "attention.block"),
            (bird(64, 0, 2, 3), "attention.window_blocks"),
            (bird(64, 3, 1000, 3), "attention.global_blocks"),
            (bird(64, 3, 2, 1000), "attention.random_blocks"),
        ] {
            assert_eq!(check(&attention).unwrap_err().field, field);
        }
        for attention in [Attention::Flash, bird(8, 1, 0, 0), bird(64, 64, 64, 16)] {
            assert_eq!(check(&attention), Ok(()));
        }
        // A window beyond all numbers sees everything, and wraps nowhere.
        let v = Visibility { pattern: Pattern::Window(u64::MAX), window: Some(u64::MAX) };
        assert!(v.sees(9, 0));
        assert_eq!(v.relation((4, 9), (0, 3)), Seen::All);
    }

    fn count(visibility: Visibility, query: u64) -> u64 {
        (0..=query).filter(|key| visibility.sees(query, *key)).count() as u64
    }

    #[test]
    fn each_pattern_sees_as_many_as_its_paper_says() {
        let of = |pattern| Visibility { pattern, window: None };
        let big_bird = Pattern::BigBird { block: 4, window: 3, globals: 2, random: 3 };
        for (pattern, query, seen) in [
            (Pattern::Full, 99, 100),
            (Pattern::Window(16), 99, 16),
            (Pattern::Window(16), 7, 8),
            (Pattern::Longformer { window: 16, globals: 5 }, 99, 21),
            // Its window reaches the global tokens.
            (Pattern::Longformer { window: 16, globals: 5 }, 17, 18),
            // The last token of a block sees 3 + 2 + 3 blocks of 4.
            (big_bird, 99, 32),
            (big_bird, 31, 32),
        ] {
            assert_eq!(count(of(pattern), query), seen, "{pattern:?} at {query}");
        }
        let both = Visibility { pattern: Pattern::Longformer { window: 16, globals: 5 }, window: Some(8) };
        assert_eq!(count(both, 99), 8);
    }

    #[test]
    fn rectangles_are_what_their_tokens_say() {
        let patterns = [
            Pattern::Full,
            Pattern::Window(9),
            Pattern::Longformer { window: 7, globals: 3 },
            Pattern::BigBird { block: 4, window: 2, globals: 1, random: 2 },
        ];
        for pattern in patterns {
            for window in [None, Some(11)] {
                let v = Visibility { pattern, window };
                for (q0, q1) in [(0, 0), (0, 7), (5, 12), (40, 40), (40, 47)] {
                    for k0 in (0..48).step_by(5) {
                        let k1 = k0 + 4;
                        let pairs = (q0..=q1).flat_map(|q| (k0..=k1).map(move |k| v.sees(q, k)));
                        let (all, any) =
                            pairs.fold((true, false), |(all, any), seen| (all & seen, any | seen));
                        match v.relation((q0, q1), (k0, k1)) {
                            Seen::Nothing => assert!(!any, "{v:?} {q0}..{q1} {k0}..{k1}"),
                            Seen::All => assert!(all, "{v:?} {q0}..{q1} {k0}..{k1}"),
                            Seen::Part => {}
                        }
                        // A single pair is never in part, but where two windows overlap by halves.
                        let one = v.relation((q1, q1), (k0, k0));
                        assert_eq!(one == Seen::All, v.sees(q1, k0), "{v:?} {q1} {k0}: {one:?}");
                    }
                    assert!((v.first(q0)..=q0).any(|k| v.sees(q0, k)));
                    assert!((0..v.first(q0)).all(|k| !v.sees(q0, k)));
                }
            }
        }
    }
}

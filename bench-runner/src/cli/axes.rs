//! Values of options that name an axis of a sweep.

use std::str::FromStr;

use contract::case::Variant;
use contract::sweep::Sweep;
use planner::Tokens;
use planner::document::plan::{Attention, CacheKind};
use planner::document::precision::CachePrecision;

use crate::sweep::{GridError, parse_list, parse_numbers};

/// Numbers of an axis: `1,2,4`, `1..8`, `128..512+128`, `1..16*2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Numbers(pub(super) Vec<u64>);

impl FromStr for Numbers {
    type Err = GridError;
    fn from_str(text: &str) -> Result<Self, GridError> {
        parse_numbers(text).map(Self)
    }
}

impl Numbers {
    pub(super) fn tokens(&self) -> Vec<Tokens> {
        self.0.iter().copied().map(Tokens).collect()
    }
}

/// Numbers of an axis that are sequences: 1 to the most that a sweep admits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batches(pub(super) Vec<u32>);

impl FromStr for Batches {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = parse_numbers(text).map_err(|e| e.to_string())?;
        numbers
            .into_iter()
            .map(|n| u32::try_from(n).map_err(|_| format!("{n} is out of range; accepted: 1 to 65536")))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Words of an axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words(pub(super) Vec<String>);

impl FromStr for Words {
    type Err = GridError;
    fn from_str(text: &str) -> Result<Self, GridError> {
        parse_list(text).map(Self)
    }
}

/// Attention variants; `default` is none.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Attentions(pub(super) Vec<Attention>);

impl FromStr for Attentions {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let words = parse_list(text).map_err(|e| e.to_string())?;
        if words == ["default"] {
            return Ok(Self(Vec::new()));
        }
        words.iter().map(|word| attention(word)).collect::<Result<_, _>>().map(Self)
    }
}

fn attention(word: &str) -> Result<Attention, String> {
    match word {
        "eager" => return Ok(Attention::Eager),
        "memory-efficient" => return Ok(Attention::MemoryEfficient),
        "flash" => return Ok(Attention::Flash),
        "default" => {
            return Err("default stands alone: it is the variant that the engine takes by itself".into());
        }
        _ => {}
    }
    let (kind, numbers) = word.split_once(':').unwrap_or((word, ""));
    let numbers: Option<Vec<u32>> = numbers.split(':').map(|n| n.parse().ok()).collect();
    let tokens = |n: u32| Tokens(u64::from(n));
    match (kind, numbers.as_deref()) {
        ("sliding-window", Some(&[window])) if window > 0 => {
            Ok(Attention::SlidingWindow { window: tokens(window) })
        }
        ("longformer", Some(&[window, globals])) if window > 0 => {
            Ok(Attention::Longformer { window: tokens(window), global_tokens: tokens(globals) })
        }
        ("big-bird", Some(&[block, window_blocks, global_blocks, random_blocks]))
            if block > 0 && window_blocks > 0 =>
        {
            Ok(Attention::BigBird { block: tokens(block), window_blocks, global_blocks, random_blocks })
        }
        _ => Err(format!(
            "unknown attention \"{word}\"; accepted: default, eager, memory-efficient, flash, sliding-window:TOKENS, \
             longformer:WINDOW:GLOBALS, big-bird:BLOCK:WINDOW:GLOBALS:RANDOM (the last three in blocks)"
        )),
    }
}

/// Values of an axis that are named in the contract; `default` is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named<T>(pub(super) Vec<T>);

/// A value of an axis by its name.
pub(super) trait Name: Sized + Copy + 'static {
    /// What the axis is.
    const WHAT: &'static str;
    /// Every value, with its name.
    fn all() -> Vec<(&'static str, Self)>;
}

impl Name for Variant {
    const WHAT: &'static str = "variant";
    fn all() -> Vec<(&'static str, Self)> {
        [Self::Stock, Self::Plimsoll].map(|v| (v.as_str(), v)).to_vec()
    }
}

impl Name for CacheKind {
    const WHAT: &'static str = "cache";
    fn all() -> Vec<(&'static str, Self)> {
        // No engine of this runner has pages.
        Self::ALL.iter().filter(|kind| **kind != Self::Paged).map(|kind| (kind.as_str(), *kind)).collect()
    }
}

impl Name for CachePrecision {
    const WHAT: &'static str = "cache precision";
    fn all() -> Vec<(&'static str, Self)> {
        Self::ALL.iter().map(|precision| (precision.as_str(), *precision)).collect()
    }
}

impl<T: Name> FromStr for Named<T> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let words = parse_list(text).map_err(|e| e.to_string())?;
        if words == ["default"] {
            return Ok(Self(Vec::new()));
        }
        let all = T::all();
        let value = |word: &String| {
            all.iter().find_map(|(name, value)| (name == word).then_some(*value)).ok_or_else(|| {
                let accepted: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
                format!("unknown {} \"{word}\"; accepted: default, {}", T::WHAT, accepted.join(", "))
            })
        };
        words.iter().map(value).collect::<Result<_, _>>().map(Self)
    }
}

/// The option of a field of [`Sweep`], for messages.
pub(super) fn option_of(message: &str) -> String {
    let names = [
        ("models:", "--model:"),
        ("precisions:", "--precision:"),
        ("batches:", "--batch:"),
        ("prompts:", "--prompt:"),
        ("generates:", "--generate:"),
        ("repetitions:", "--repetitions:"),
        ("memory_limit:", "--memory-limit:"),
        ("edge.limit:", "--edge-limit:"),
        ("edge.resolution:", "--edge-resolution:"),
    ];
    names.iter().fold(message.to_owned(), |text, (field, option)| text.replacen(field, option, 1))
}

/// A name for a run of `sweep`.
pub(super) fn default_name(sweep: &Sweep) -> String {
    let models = match sweep.models.as_slice() {
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        [] => "nothing".to_owned(),
    };
    format!("{models} on {}", sweep.device)
}

#[cfg(test)]
mod tests {
    use contract::case::Variant;
    use planner::Tokens;
    use planner::document::plan::{Attention, CacheKind};

    use super::{Attentions, Batches, Named};

    #[test]
    fn attention_variants() {
        assert_eq!("default".parse(), Ok(Attentions(vec![])));
        let want = vec![Attention::Eager, Attention::SlidingWindow { window: Tokens(512) }];
        assert_eq!("eager,sliding-window:512,eager".parse(), Ok(Attentions(want)));
        let want = vec![
            Attention::Longformer { window: Tokens(64), global_tokens: Tokens(0) },
            Attention::BigBird { block: Tokens(64), window_blocks: 3, global_blocks: 2, random_blocks: 1 },
        ];
        assert_eq!("longformer:64:0,big-bird:64:3:2:1".parse(), Ok(Attentions(want)));
        for (text, part) in [
            ("default,eager", "default stands alone"),
            ("paged", "accepted: default, eager"),
            ("sliding-window:0", "accepted: default, eager"),
            ("longformer:64", "longformer:WINDOW:GLOBALS"),
            ("big-bird:64:0:1:1", "big-bird:BLOCK"),
        ] {
            let error = text.parse::<Attentions>().unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn named_values() {
        assert_eq!("stock,plimsoll".parse(), Ok(Named(vec![Variant::Stock, Variant::Plimsoll])));
        assert_eq!("default".parse(), Ok(Named::<CacheKind>(vec![])));
        let error = "paged".parse::<Named<CacheKind>>().unwrap_err();
        assert!(error.contains("accepted: default, growing, slab, rotating"), "{error}");
    }

    #[test]
    fn batches_fit_their_type() {
        assert_eq!("1..8*2".parse(), Ok(Batches(vec![1, 2, 4, 8])));
        assert!("4294967296".parse::<Batches>().unwrap_err().contains("out of range"));
    }
}

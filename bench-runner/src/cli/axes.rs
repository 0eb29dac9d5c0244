//! Values of options that name an axis of a sweep.

use std::str::FromStr;

use contract::sweep::Sweep;
use planner::Tokens;
use planner::document::plan::Attention;

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
    let window = word.strip_prefix("sliding-window:").and_then(|n| n.parse().ok());
    match window {
        Some(n @ 1u64..) => Ok(Attention::SlidingWindow { window: Tokens(n) }),
        _ => Err(format!(
            "unknown attention \"{word}\"; accepted: default, eager, memory-efficient, flash, sliding-window:TOKENS"
        )),
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
    use planner::Tokens;
    use planner::document::plan::Attention;

    use super::{Attentions, Batches};

    #[test]
    fn attention_variants() {
        assert_eq!("default".parse(), Ok(Attentions(vec![])));
        let want = vec![Attention::Eager, Attention::SlidingWindow { window: Tokens(512) }];
        assert_eq!("eager,sliding-window:512,eager".parse(), Ok(Attentions(want)));
        for (text, part) in [
            ("default,eager", "default stands alone"),
            ("paged", "accepted: default, eager"),
            ("sliding-window:0", "accepted: default, eager"),
        ] {
            let error = text.parse::<Attentions>().unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn batches_fit_their_type() {
        assert_eq!("1..8*2".parse(), Ok(Batches(vec![1, 2, 4, 8])));
        assert!("4294967296".parse::<Batches>().unwrap_err().contains("out of range"));
    }
}

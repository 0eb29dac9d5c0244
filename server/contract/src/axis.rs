//! Axes of a sweep as people write them, on a command line and in a form alike: `1,2,4`, `1..8`, `128..512+128`, `1..16*2`,
//! and the words for what is not a number.

mod words;

pub use words::{Attentions, Methods, Name, Named};

use std::collections::HashSet;
use std::str::FromStr;

use planner::{Bytes, Tokens};

use crate::sweep::MAX_CASES;

/// An axis that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GridError {
    /// An element is neither a number nor a range.
    #[error(
        "\"{given}\" is neither a number nor a range; accepted: 4, a list 1,2,4, a range 1..8, a range with a step \
         128..512+128, a range with a factor 1..16*2"
    )]
    NotANumber {
        /// The element.
        given: String,
    },
    /// A range that would hold nothing or never end.
    #[error("\"{given}\": {problem}")]
    Range {
        /// The element.
        given: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// More values than a sweep may have cases.
    #[error("\"{given}\" has more than {limit} values; give a step (128..4096+128) or a factor (1..4096*2)")]
    TooMany {
        /// The element.
        given: String,
        /// The most.
        limit: usize,
    },
    /// Nothing at all.
    #[error("empty; give at least one value")]
    Empty,
}

/// Numbers of an axis in the order given, without repetitions, with commas, semicolons or blanks between them. `a..b` holds
/// both ends, step 1; `a..b+s` steps by s; `a..b*f` (or `a..bxf`) multiplies by f; the last value is the last that does not
/// pass b.
///
/// # Errors
/// Names the element that is wrong and the forms that are accepted.
pub fn parse_numbers(text: &str) -> Result<Vec<u64>, GridError> {
    let (mut numbers, mut known) = (Vec::new(), HashSet::new());
    let separators = |c: char| matches!(c, ',' | ';') || c.is_whitespace();
    for element in text.split(separators).filter(|e| !e.is_empty()) {
        numbers.extend(parse_element(element)?.into_iter().filter(|number| known.insert(*number)));
        if numbers.len() > MAX_CASES {
            return Err(GridError::TooMany { given: element.to_owned(), limit: MAX_CASES });
        }
    }
    if numbers.is_empty() { Err(GridError::Empty) } else { Ok(numbers) }
}

/// Words of an axis in the order given, without repetitions.
///
/// # Errors
/// Where there are none.
pub fn parse_list(text: &str) -> Result<Vec<String>, GridError> {
    let mut words: Vec<String> = Vec::new();
    // A blank is no separator: files have them in their names.
    for word in text.split(',').map(str::trim).filter(|e| !e.is_empty()) {
        if !words.iter().any(|w| w == word) {
            words.push(word.to_owned());
        }
    }
    if words.is_empty() { Err(GridError::Empty) } else { Ok(words) }
}

/// Numbers of an axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbers(pub Vec<u64>);

impl FromStr for Numbers {
    type Err = GridError;
    fn from_str(text: &str) -> Result<Self, GridError> {
        parse_numbers(text).map(Self)
    }
}

impl Numbers {
    /// The numbers as tokens.
    #[must_use]
    pub fn tokens(&self) -> Vec<Tokens> {
        self.0.iter().copied().map(Tokens).collect()
    }
}

/// Numbers of an axis that are sequences, or passes of a step: 1 to the most that a sweep admits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batches(pub Vec<u32>);

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
pub struct Words(pub Vec<String>);

impl FromStr for Words {
    type Err = GridError;
    fn from_str(text: &str) -> Result<Self, GridError> {
        parse_list(text).map(Self)
    }
}

/// A size with its unit.
///
/// # Errors
/// Says what is accepted.
pub fn parse_size(text: &str) -> Result<Bytes, String> {
    parse_size::parse_size(text).map(Bytes).map_err(|e| {
        format!("{e}; accepted: 600MiB or 2GiB (2^20 and 2^30 bytes), 600MB or 2GB (10^6 and 10^9 bytes)")
    })
}

/// What follows each value of a range.
#[derive(Clone, Copy)]
enum Advance {
    Step(u64),
    Factor(u64),
}

fn parse_element(element: &str) -> Result<Vec<u64>, GridError> {
    let number = |text: &str| {
        text.trim()
            .replace('_', "")
            .parse::<u64>()
            .map_err(|_| GridError::NotANumber { given: element.to_owned() })
    };
    let wrong = |problem| Err(GridError::Range { given: element.to_owned(), problem });
    let Some((first, rest)) = element.split_once("..") else { return Ok(vec![number(element)?]) };
    let (last, advance) = match (rest.split_once('+'), rest.split_once(['*', 'x', '×'])) {
        (Some((last, step)), None) => (last, Advance::Step(number(step)?)),
        (None, Some((last, factor))) => (last, Advance::Factor(number(factor)?)),
        (None, None) => (rest, Advance::Step(1)),
        (Some(_), Some(_)) => return Err(GridError::NotANumber { given: element.to_owned() }),
    };
    let (first, last) = (number(first)?, number(last)?);
    match advance {
        _ if first > last => return wrong("its first value is above its last"),
        Advance::Step(0) => return wrong("a step of 0 never ends; give 1 or more"),
        Advance::Factor(0 | 1) => return wrong("a factor below 2 never ends; give 2 or more"),
        Advance::Factor(_) if first == 0 => return wrong("a factor never leaves 0; begin with 1 or more"),
        _ => {}
    }
    let next = |n: u64| match advance {
        Advance::Step(step) => n.checked_add(step),
        Advance::Factor(factor) => n.checked_mul(factor),
    };
    let limit = MAX_CASES;
    let values: Vec<u64> =
        std::iter::successors(Some(first), |n| next(*n)).take_while(|n| *n <= last).take(limit + 1).collect();
    if values.len() > limit {
        return Err(GridError::TooMany { given: element.to_owned(), limit });
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use planner::Bytes;

    use super::{Batches, GridError, parse_list, parse_numbers, parse_size};

    #[test]
    fn numbers_lists_and_ranges() {
        let table: [(&str, &[u64]); 15] = [
            ("4", &[4]),
            ("1,2,4", &[1, 2, 4]),
            (" 1 , 2 ", &[1, 2]),
            ("1..4", &[1, 2, 3, 4]),
            ("128..512+128", &[128, 256, 384, 512]),
            ("128..500+128", &[128, 256, 384]),
            ("1..16*2", &[1, 2, 4, 8, 16]),
            ("1..20*4", &[1, 4, 16]),
            ("3..3", &[3]),
            ("1,1..2,2,8", &[1, 2, 8]),
            ("0,64", &[0, 64]),
            ("1_024", &[1024]),
            ("1 2; 4", &[1, 2, 4]),
            ("128..1000x2", &[128, 256, 512]),
            ("0..64+16,512", &[0, 16, 32, 48, 64, 512]),
        ];
        for (text, want) in table {
            assert_eq!(parse_numbers(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_axis_says_so() {
        for (text, part) in [
            ("x", "neither a number nor a range"),
            ("-1", "neither a number nor a range"),
            ("1.5", "neither a number nor a range"),
            ("1..8+2*2", "neither a number nor a range"),
            ("1...8", "neither a number nor a range"),
            ("8..1", "first value is above its last"),
            ("1..8+0", "step of 0"),
            ("1..8*1", "factor below 2"),
            ("0..8*2", "never leaves 0"),
            ("1..99999", "more than 4096 values"),
            ("1..4096,4097..8192", "more than 4096 values"),
            ("", "empty"),
            (",", "empty"),
            ("18446744073709551616", "neither a number nor a range"),
        ] {
            let error = parse_numbers(text).unwrap_err();
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
        assert_eq!(parse_numbers("18446744073709551614..18446744073709551615*2").map(|v| v.len()), Ok(1));
    }

    #[test]
    fn words_are_not_repeated() {
        assert_eq!(parse_list("native, fp32,native"), Ok(vec!["native".into(), "fp32".into()]));
        assert_eq!(parse_list(" , "), Err(GridError::Empty));
    }

    #[test]
    fn batches_fit_their_type() {
        assert_eq!("1..8*2".parse(), Ok(Batches(vec![1, 2, 4, 8])));
        assert!("4294967296".parse::<Batches>().unwrap_err().contains("out of range"));
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in
            [("2GiB", 2 << 30), ("600 MiB", 600 << 20), ("2GB", 2_000_000_000), ("1048576B", 1 << 20)]
        {
            assert_eq!(parse_size(text), Ok(Bytes(bytes)), "{text}");
        }
        assert!(parse_size("much").unwrap_err().contains("accepted: 600MiB or 2GiB"));
    }
}

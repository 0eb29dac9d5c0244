//! An axis of a sweep as people write it.

/// Why an axis cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AxisError {
    /// Nothing was given.
    #[error("give at least one value, for example 1,2,4")]
    Empty,
    /// A part is neither a number nor a range.
    #[error(
        "\"{0}\" is neither a whole number nor a range; accepted: 1,2,4 or 1..8 or 128..4096*2 or 0..64+16"
    )]
    Malformed(String),
    /// A range that ends before it begins, or never ends.
    #[error("the range \"{0}\" has no end; write the smaller number first, and a step of at least *2 or +1")]
    Endless(String),
    /// More values than a grid may have.
    #[error("more than {MOST} values; give fewer or a larger step")]
    TooMany,
}

/// The most values of one axis.
const MOST: usize = contract::sweep::MAX_CASES;

/// Reads an axis: numbers and ranges with commas between them. `1..8` counts every number, `128..4096*2` multiplies,
/// `0..64+16` adds; a range includes its end where a step meets it.
///
/// # Errors
/// Says which part cannot be read, and what is accepted.
pub fn parse_axis(text: &str) -> Result<Vec<u64>, AxisError> {
    let mut values = Vec::new();
    for part in text.split([',', ' ', '\t', '\n', ';']).filter(|part| !part.is_empty()) {
        extend(&mut values, part)?;
        if values.len() > MOST {
            return Err(AxisError::TooMany);
        }
    }
    if values.is_empty() { Err(AxisError::Empty) } else { Ok(values) }
}

fn extend(values: &mut Vec<u64>, part: &str) -> Result<(), AxisError> {
    let malformed = || AxisError::Malformed(part.to_owned());
    let number = |digits: &str| digits.replace('_', "").parse::<u64>().map_err(|_| malformed());
    let Some((from, rest)) = part.split_once("..") else {
        values.push(number(part)?);
        return Ok(());
    };
    let (to, step) = if let Some((to, factor)) = rest.split_once(['x', '*', '×']) {
        (to, Step::Times(number(factor)?))
    } else if let Some((to, summand)) = rest.split_once('+') {
        (to, Step::Plus(number(summand)?))
    } else {
        (rest, Step::Plus(1))
    };
    let (from, to) = (number(from)?, number(to.trim_start_matches('='))?);
    let endless = match step {
        Step::Times(factor) => factor < 2 || from == 0,
        Step::Plus(summand) => summand == 0,
    };
    if endless || from > to {
        return Err(AxisError::Endless(part.to_owned()));
    }
    let mut value = Some(from);
    while let Some(v) = value.filter(|v| *v <= to) {
        values.push(v);
        if values.len() > MOST {
            return Err(AxisError::TooMany);
        }
        value = match step {
            Step::Times(factor) => v.checked_mul(factor),
            Step::Plus(summand) => v.checked_add(summand),
        };
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Step {
    Times(u64),
    Plus(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges() {
        for (text, values) in [
            ("1", vec![1]),
            ("1, 2,4", vec![1, 2, 4]),
            ("1..4", vec![1, 2, 3, 4]),
            ("128..1024x2", vec![128, 256, 512, 1024]),
            ("128..1000x2", vec![128, 256, 512]),
            ("0..64+16,512", vec![0, 16, 32, 48, 64, 512]),
        ] {
            assert_eq!(parse_axis(text), Ok(values), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let malformed = |part: &str| AxisError::Malformed(part.to_owned());
        let endless = |part: &str| AxisError::Endless(part.to_owned());
        for (text, error) in [
            ("", AxisError::Empty),
            (" , ", AxisError::Empty),
            ("1,two", malformed("two")),
            ("-1", malformed("-1")),
            ("1.5", malformed("1.5")),
            ("99999999999999999999", malformed("99999999999999999999")),
            ("8..1", endless("8..1")),
            ("0..8x2", endless("0..8x2")),
            ("1..8x1", endless("1..8x1")),
            ("1..8+0", endless("1..8+0")),
            ("1..18446744073709551615", AxisError::TooMany),
        ] {
            assert_eq!(parse_axis(text), Err(error), "{text}");
        }
    }
}

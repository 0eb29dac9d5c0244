//! The part of a plot that is shown: a range of one axis or of both.

use contract::explore::QueryError;

/// Nearest that the ends of a range may be, as a share of the larger one: what the drawing still tells apart.
const NEAREST: f64 = 1e-6;
/// Furthest that an end may be from zero.
const FURTHEST: f64 = 1e15;

/// A range of an axis in the units of its label, both ends within it; an end that is open is where the data ends.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Span {
    /// The least value.
    pub from: Option<f64>,
    /// The largest value.
    pub to: Option<f64>,
}

impl Span {
    /// Whether a value lies within it.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        self.from.is_none_or(|from| value >= from) && self.to.is_none_or(|to| value <= to)
    }

    /// Whether it is the whole axis.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }
}

/// What of a plot is shown.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Window {
    /// Of the horizontal axis.
    pub x: Span,
    /// Of the vertical axis.
    pub y: Span,
}

impl Window {
    /// The pairs of an address that say it.
    pub const NAMES: [&str; 4] = ["x_from", "x_to", "y_from", "y_to"];

    /// Whether it is the whole plot.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.x.is_whole() && self.y.is_whole()
    }

    /// Whether a point lies within it.
    #[must_use]
    pub fn contains(&self, x: f64, y: f64) -> bool {
        self.x.contains(x) && self.y.contains(y)
    }

    /// Its ends, in the order of [`Self::NAMES`].
    #[must_use]
    pub const fn ends(&self) -> [Option<f64>; 4] {
        [self.x.from, self.x.to, self.y.from, self.y.to]
    }

    /// Its pairs of an address.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let named = Self::NAMES.into_iter().zip(self.ends());
        named.filter_map(|(name, end)| Some((name, end?.to_string()))).collect()
    }

    /// Reads the ends as an address gives them, in the order of [`Self::NAMES`]; what is empty is open. What is no range is
    /// left out and told.
    #[must_use]
    pub fn read(texts: [&str; 4]) -> (Self, Vec<QueryError>) {
        let mut errors = Vec::new();
        let mut axis = |place: usize| {
            let mut end = |place: usize| match number(texts[place]) {
                Ok(end) => end,
                Err(reason) => {
                    errors.push(wrong(Self::NAMES[place], texts[place], reason));
                    None
                }
            };
            let span = Span { from: end(place), to: end(place + 1) };
            match apart(span, Self::NAMES[place]) {
                Ok(()) => span,
                Err(reason) => {
                    errors.push(wrong(Self::NAMES[place + 1], texts[place + 1], reason));
                    Span::default()
                }
            }
        };
        let window = Self { x: axis(0), y: axis(2) };
        (window, errors)
    }
}

fn wrong(name: &str, value: &str, reason: String) -> QueryError {
    QueryError { name: name.to_owned(), value: value.to_owned(), reason }
}

/// An end of a range; none where the text is empty.
fn number(text: &str) -> Result<Option<f64>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<f64>() {
        // Minus zero is written like zero.
        Ok(end) if end.abs() <= FURTHEST => Ok(Some(end + 0.0)),
        _ => {
            Err(format!("\"{text}\" is no number from -1e15 to 1e15; write one like 12.5, or leave it empty"))
        }
    }
}

/// Says what is wrong with a range whose ends are not in their order, or too near each other.
fn apart(span: Span, name: &str) -> Result<(), String> {
    let Span { from: Some(from), to: Some(to) } = span else { return Ok(()) };
    if from >= to {
        Err(format!("\"{to}\" is not above {name}, which is {from}; write a larger number"))
    } else if to - from < NEAREST * from.abs().max(to.abs()).max(1.0) {
        Err(format!("\"{to}\" is too near {name}, which is {from}; write a larger number"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn span(from: Option<f64>, to: Option<f64>) -> Span {
        Span { from, to }
    }

    #[test]
    fn ranges_are_read_and_written_back() {
        let open = span(None, None);
        for (texts, x, y, written) in [
            (["", "", "", ""], open, open, ""),
            (["1", "8", "", " "], span(Some(1.0), Some(8.0)), open, "x_from=1 x_to=8"),
            (["", "", "-2.5", "1e3"], open, span(Some(-2.5), Some(1000.0)), "y_from=-2.5 y_to=1000"),
            (
                ["", "64", "0.125", ""],
                span(None, Some(64.0)),
                span(Some(0.125), None),
                "x_to=64 y_from=0.125",
            ),
            (["-0", " 2 ", "", ""], span(Some(0.0), Some(2.0)), open, "x_from=0 x_to=2"),
        ] {
            let (window, errors) = Window::read(texts);
            assert_eq!((window, errors), (Window { x, y }, vec![]), "{texts:?}");
            let pairs: Vec<String> = window.pairs().iter().map(|(n, v)| format!("{n}={v}")).collect();
            assert_eq!(pairs.join(" "), written, "{texts:?}");
            assert_eq!(window.is_whole(), written.is_empty(), "{texts:?}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused_with_the_field_and_what_to_write() {
        for (texts, left, field, reason) in [
            (["one", "8", "", ""], "x_to=8", "x_from", "\"one\" is no number from -1e15 to 1e15; write one"),
            (["1", "inf", "", ""], "x_from=1", "x_to", "\"inf\" is no number"),
            (["NaN", "", "", ""], "", "x_from", "\"NaN\" is no number"),
            (["", "", "-1e16", "2"], "y_to=2", "y_from", "\"-1e16\" is no number"),
            (
                ["8", "1", "2", "3"],
                "y_from=2 y_to=3",
                "x_to",
                "\"1\" is not above x_from, which is 8; write a larger",
            ),
            (["", "", "4", "4"], "", "y_to", "\"4\" is not above y_from, which is 4; write a larger number"),
            (
                ["", "", "1000000", "1000000.5"],
                "",
                "y_to",
                "\"1000000.5\" is too near y_from, which is 1000000",
            ),
        ] {
            let (window, errors) = Window::read(texts);
            let pairs: Vec<String> = window.pairs().iter().map(|(n, v)| format!("{n}={v}")).collect();
            assert_eq!(pairs.join(" "), left, "{texts:?}");
            let told: Vec<&str> = errors.iter().map(|error| error.name.as_str()).collect();
            assert_eq!(told, [field], "{texts:?}");
            assert!(errors[0].reason.starts_with(reason), "{texts:?}: {}", errors[0].reason);
        }
    }

    #[test]
    fn ends_are_within() {
        let window = Window { x: span(Some(1.0), Some(2.0)), y: span(None, Some(0.0)) };
        for (x, y, within) in
            [(1.0, 0.0, true), (2.0, -9.0, true), (0.999, 0.0, false), (2.001, 0.0, false), (1.5, 0.1, false)]
        {
            assert_eq!(window.contains(x, y), within, "{x}, {y}");
        }
    }
}

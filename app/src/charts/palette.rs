//! The colours of drawings: variables of the style sheet on a page, fixed ones in a picture.

use plotters::style::RGBColor;

/// A colour of the style sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Colour(usize);

/// Which of the two sets of colours a picture is drawn in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// Ink on paper.
    Light,
    /// The reverse.
    Dark,
}

impl Theme {
    /// By its name in an address.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "light" => Some(Self::Light),
            "dark" => Some(Self::Dark),
            _ => None,
        }
    }
}

/// The variable, its value in the light theme and in the dark one; a test holds them against the style sheet.
const TABLE: [(&str, &str, &str); 28] = [
    ("--panel", "#ffffff", "#161e27"),
    ("--ink", "#16202c", "#e9edf1"),
    ("--ink-2", "#4b5866", "#a9b4c0"),
    ("--ink-3", "#7a8692", "#75818d"),
    ("--rule", "#e2dfd7", "#263240"),
    ("--rule-2", "#cfcbc0", "#34424f"),
    ("--line", "#d4380d", "#ff7a45"),
    ("--ok", "#1f7a4d", "#57c68a"),
    ("--warn", "#8f5600", "#e5b454"),
    ("--bad", "#a3262a", "#ff8f88"),
    ("--series-1", "#33475b", "#b9c7d6"),
    ("--series-2", "#7b4f9d", "#c3a0e8"),
    ("--series-3", "#a3632a", "#e3a56c"),
    ("--series-4", "#3d7a3f", "#86c888"),
    ("--series-5", "#9a3b68", "#ea8fbc"),
    ("--series-6", "#57680f", "#bccb62"),
    ("--weights", "#2f5d9b", "#6d9be0"),
    ("--cache", "#2a9d8f", "#4cc4b4"),
    ("--pool", "#9fd0ca", "#2c6660"),
    ("--state", "#1c6f76", "#2f8f97"),
    ("--activations", "#e0a030", "#f0be62"),
    ("--temporary", "#8a94a0", "#9aa5b1"),
    ("--gradients", "#8d6ab8", "#b393e0"),
    ("--optimizer", "#c0568b", "#e283b2"),
    ("--auxiliary", "#7d4a2d", "#b98262"),
    ("--graphs", "#b4bcc6", "#5f6b78"),
    ("--runtime", "#5b6673", "#7f8b98"),
    ("--context", "#a89c86", "#8d7f68"),
];
/// Where the colours of series begin, and how many there are.
const SERIES: (usize, usize) = (10, 6);

impl Colour {
    /// The ground that drawings stand on.
    pub const PANEL: Self = Self(0);
    /// Text that leads.
    pub const INK: Self = Self(1);
    /// Text beside it.
    pub const INK_2: Self = Self(2);
    /// What is hardly meant to be seen.
    pub const INK_3: Self = Self(3);
    /// Lines of a grid.
    pub const RULE: Self = Self(4);
    /// Axes.
    pub const RULE_2: Self = Self(5);
    /// The load line, and nothing else.
    pub const LINE: Self = Self(6);
    /// What fits.
    pub const OK: Self = Self(7);
    /// What is near a limit.
    pub const WARN: Self = Self(8);
    /// What does not fit.
    pub const BAD: Self = Self(9);

    /// Of the series of a number, from 0; after the last comes the first.
    #[must_use]
    pub const fn series(number: usize) -> Self {
        Self(SERIES.0 + number % SERIES.1)
    }

    /// By its variable.
    #[must_use]
    pub fn named(variable: &str) -> Option<Self> {
        TABLE.iter().position(|(name, ..)| *name == variable).map(Self)
    }

    /// As a page writes it.
    #[must_use]
    pub fn css(self) -> String {
        format!("var({})", TABLE[self.0].0)
    }

    /// As a picture of a theme writes it.
    #[must_use]
    pub const fn fixed(self, theme: Theme) -> &'static str {
        match theme {
            Theme::Light => TABLE[self.0].1,
            Theme::Dark => TABLE[self.0].2,
        }
    }

    /// What stands for it while plotters draws, which knows no variables.
    #[allow(clippy::cast_possible_truncation, reason = "an index of the table")]
    pub(super) const fn stand_in(self) -> RGBColor {
        RGBColor(0xB0, 0, self.0 as u8)
    }
}

/// Exchanges the stand-ins of what plotters drew for variables.
pub(super) fn with_variables(svg: &str) -> String {
    let mut dressed = svg.to_owned();
    for place in 0..TABLE.len() {
        let RGBColor(red, green, blue) = Colour(place).stand_in();
        dressed = dressed.replace(&format!("#{red:02X}{green:02X}{blue:02X}"), &Colour(place).css());
    }
    dressed
}

/// Exchanges variables for the colours of a theme.
pub(super) fn with_fixed(svg: &str, theme: Theme) -> String {
    let mut fixed = svg.to_owned();
    for place in 0..TABLE.len() {
        fixed = fixed.replace(&Colour(place).css(), Colour(place).fixed(theme));
    }
    fixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_style_sheets() {
        let style = include_str!("../../style/plimsoll.css");
        let dark = style.find("prefers-color-scheme: dark").unwrap();
        for (variable, light_value, dark_value) in TABLE {
            let value = |from: usize| {
                let rest = &style[from..];
                let at = rest.find(&format!("{variable}: ")).unwrap() + variable.len() + 2;
                rest[at..].split(';').next().unwrap().to_owned()
            };
            assert_eq!((value(0).as_str(), value(dark).as_str()), (light_value, dark_value), "{variable}");
        }
        assert_eq!(Colour::named("--bad"), Some(Colour::BAD));
        assert_eq!(Colour::series(7).css(), "var(--series-2)");
    }
}

//! A chart that stands alone: with its heading, legend and colours, for slides and READMEs.

use std::fmt::Write;

use super::chart::{Chart, ChartError, Entry, escape};
use super::palette::{self, Colour, Theme};

/// Space around what is drawn, in the chart's own units.
const EDGE: u32 = 16;
/// Height of a line of the legend.
const LINE: u32 = 20;
/// Width of a letter of 12 px, on average: what legends are broken by.
const LETTER: u32 = 7;

impl Chart {
    /// The chart as an SVG document of `width` pixels, its colours fixed, with `note` below its title.
    ///
    /// # Errors
    /// The drawing backend refused.
    pub fn picture(&self, note: &str, theme: Theme, width: u32) -> Result<String, ChartError> {
        let legend = self.legend();
        let note = wrapped(note, self.size.0);
        let head = EDGE + LINE + LINE * u32::try_from(note.len()).unwrap_or(1);
        let across = self.size.0 + EDGE;
        let (legend, legend_height) = laid_out(&legend, self.size.0);
        let down = head + self.size.1 + legend_height + EDGE;
        let height = u64::from(width) * u64::from(down) / u64::from(across.max(1));
        let title = escape(&self.title);
        let note: Vec<String> = (0u32..)
            .zip(&note)
            .map(|(line, text)| {
                format!("<text x=\"{EDGE}\" y=\"{}\">{}</text>\n", EDGE + LINE * (line + 2) - 4, escape(text))
            })
            .collect();
        let note = note.concat();
        let (panel, ink, ink_2) = (Colour::PANEL.css(), Colour::INK.css(), Colour::INK_2.css());
        let body = unlinked(&self.body()?.0).replace("font-size=\"9.67741935483871\"", "font-size=\"12\"");
        let below = head + self.size.1;
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {across} {down}\" role=\"img\" aria-label=\"{title}\">\n\
             <rect width=\"{across}\" height=\"{down}\" fill=\"{panel}\"/>\n\
             <g font-family=\"sans-serif\">\n\
             <text x=\"{EDGE}\" y=\"28\" font-size=\"15\" font-weight=\"600\" fill=\"{ink}\">{title}</text>\n\
             <g font-size=\"12\" fill=\"{ink_2}\">\n{note}</g>\n\
             <g transform=\"translate({} {head})\">\n{body}</g>\n\
             <g transform=\"translate({EDGE} {below})\" font-size=\"12\" fill=\"{ink_2}\">\n{legend}</g>\n</g>\n</svg>\n",
            EDGE / 2
        );
        Ok(palette::with_fixed(&svg, theme).replace("\"sans-serif\"", "\"Inter, system-ui, sans-serif\""))
    }
}

/// The text in lines no wider than `width`.
fn wrapped(text: &str, width: u32) -> Vec<String> {
    let most = usize::try_from(width / LETTER).unwrap_or(usize::MAX);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The entries in lines no wider than `width`, and how high they are.
fn laid_out(legend: &[Entry], width: u32) -> (String, u32) {
    let (mut markup, mut x, mut y) = (String::new(), 0, LINE);
    for Entry { name, sample, .. } in legend {
        let letters = u32::try_from(name.chars().count()).unwrap_or(u32::MAX);
        let wide = letters.saturating_mul(LETTER).saturating_add(46);
        if x > 0 && x + wide > width {
            (x, y) = (0, y + LINE);
        }
        let (top, text, name) = (y - 10, x + 28, escape(name));
        // Writing to a string does not fail.
        let _ = writeln!(
            markup,
            "<g transform=\"translate({x} {top})\">{sample}</g><text x=\"{text}\" y=\"{y}\">{name}</text>"
        );
        x += wide;
    }
    (markup, if legend.is_empty() { 0 } else { y })
}

/// Without links, which lead nowhere from a file.
fn unlinked(svg: &str) -> String {
    let mut plain = String::with_capacity(svg.len());
    let mut rest = svg;
    while let Some((before, link)) = rest.split_once("<a class=\"mark\"") {
        plain.push_str(before);
        plain.push_str("<g>");
        let Some((_, after)) = link.split_once('>') else { break };
        let Some((inner, after)) = after.split_once("</a>") else { break };
        plain.push_str(inner);
        plain.push_str("</g>");
        rest = after;
    }
    plain.push_str(rest);
    plain
}

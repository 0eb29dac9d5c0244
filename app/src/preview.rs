//! The picture of a plan that sites show beside its link: what it is, the verdict, the bar.

use std::fmt::Write;

use planner::{Bytes, Estimate, Plan};

use crate::charts::escape;
use crate::components::answer::{self, Verdict};
use crate::{format, words};

/// Size in pixels, as link previews are shown.
pub const WIDTH: u32 = 1200;
/// Height in pixels.
pub const HEIGHT: u32 = 630;

const LEFT: f64 = 64.0;
/// Pixels between the margins.
const INNER: f64 = 1072.0;
const BAR_TOP: f64 = 340.0;
const BAR_HEIGHT: f64 = 92.0;
/// Components named below the bar; the rest stands together.
const NAMED: usize = 7;

/// The pages' own colours: a picture has no style sheet, and no dark theme.
const STYLE: &str = include_str!("../style/plimsoll.css");

/// The colour of the light theme by its name in the style sheet.
fn colour(name: &str) -> &'static str {
    let rest = STYLE.split_once(&format!("{name}: ")).map_or("", |(_, rest)| rest);
    rest.split(';').next().unwrap_or_default()
}

/// The drawing, an SVG of [`WIDTH`] by [`HEIGHT`] with its colours in it.
#[must_use]
pub fn svg(plan: &Plan, estimate: &Estimate) -> String {
    let [paper, ink, muted, line] = ["--paper", "--ink", "--ink-2", "--line"].map(colour);
    let total = estimate.per_gpu.total;
    let (class, verdict) = Verdict::of(estimate).words();
    let verdict_colour = if class.is_empty() { ink } else { colour(&format!("--{class}")) };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"Inter\" fill=\"{ink}\">\n\
         <defs><pattern id=\"hatch\" width=\"9\" height=\"9\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
         <rect width=\"3\" height=\"9\" fill=\"{ink}\" fill-opacity=\"0.5\"/></pattern></defs>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"{paper}\"/>\n\
         <g transform=\"translate({LEFT} 48) scale(1.5)\"><circle cx=\"13\" cy=\"13\" r=\"8\" fill=\"none\" stroke=\"{ink}\" \
         stroke-width=\"2.4\"/><path d=\"M1 13h24\" stroke=\"{line}\" stroke-width=\"2.8\"/></g>\n"
    );
    text(&mut svg, (116.0, 77.0), 28.0, "font-weight=\"600\"", "Plimsoll");
    let (model, place) = (crate::link::model_name(&plan.model), words::place(plan));
    text(&mut svg, (LEFT, 164.0), fitting(&model, 54.0), "font-weight=\"600\"", &model);
    let about = format!("{place} · {} · {}", answer::engine_told(&estimate.engine), words::settings(plan));
    text(&mut svg, (LEFT, 210.0), fitting(&about, 27.0), &format!("fill=\"{muted}\""), &about);
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"298\" font-size=\"50\" font-weight=\"600\"><tspan fill=\"{verdict_colour}\">{verdict}</tspan>\
         <tspan dx=\"18\">{}</tspan><tspan dx=\"18\" font-size=\"27\" font-weight=\"400\" fill=\"{muted}\">{} · {}</tspan></text>",
        answer::sized(total, total),
        answer::usable(estimate),
        answer::between(estimate),
    );
    bar(&mut svg, estimate);
    legend(&mut svg, estimate);
    svg.push_str("</svg>\n");
    svg
}

/// The components, the band over their end, and the load line.
fn bar(svg: &mut String, estimate: &Estimate) {
    let reach = answer::reach(estimate);
    let along = |bytes: Bytes| INNER * bytes.0 as f64 / reach;
    let (sunk, line) = (colour("--sunk"), colour("--line"));
    let _ = writeln!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{BAR_TOP}\" width=\"{INNER}\" height=\"{BAR_HEIGHT}\" fill=\"{sunk}\" stroke=\"{}\"/>",
        colour("--rule-2")
    );
    let mut x = LEFT;
    for (_, name, bytes) in answer::components(estimate) {
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{BAR_TOP}\" width=\"{:.1}\" height=\"{BAR_HEIGHT}\" fill=\"{}\"/>",
            along(bytes),
            colour(name)
        );
        x += along(bytes);
    }
    let band = &estimate.error_band;
    let _ = writeln!(
        svg,
        "<rect x=\"{:.1}\" y=\"{BAR_TOP}\" width=\"{:.1}\" height=\"{BAR_HEIGHT}\" fill=\"url(#hatch)\"/>",
        LEFT + along(band.low),
        (along(band.high) - along(band.low)).max(2.0)
    );
    if estimate.capacity_bytes > Bytes::ZERO {
        let at = LEFT + along(estimate.capacity_bytes);
        let (top, bottom) = (BAR_TOP - 12.0, BAR_TOP + BAR_HEIGHT + 12.0);
        let _ = writeln!(svg, "<path d=\"M{at:.1} {top}V{bottom}\" stroke=\"{line}\" stroke-width=\"4\"/>");
        let anchor = if at < 500.0 { "start" } else { "end" };
        let attributes = format!("fill=\"{line}\" font-weight=\"600\" text-anchor=\"{anchor}\"");
        let label = format!("load line {}", format::gib(estimate.capacity_bytes));
        text(svg, (at, bottom + 26.0), 22.0, &attributes, &label);
    }
}

/// What the colours are, with sizes.
fn legend(svg: &mut String, estimate: &Estimate) {
    let total = estimate.per_gpu.total;
    let mut shown = answer::components(estimate);
    if shown.len() > NAMED {
        // The largest are named, in the order of the bar.
        let mut sizes: Vec<Bytes> = shown.iter().map(|(_, _, bytes)| *bytes).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let least = sizes.get(NAMED - 1).copied().unwrap_or_default();
        shown.retain(|(_, _, bytes)| *bytes >= least);
    }
    let named = shown.iter().fold(Bytes::ZERO, |sum, (_, _, bytes)| sum + *bytes);
    let (ink, muted) = (colour("--ink"), colour("--ink-2"));
    let mut entries: Vec<(String, &str, Bytes)> = shown
        .into_iter()
        .map(|(name, colour_name, bytes)| (name.to_owned(), colour(colour_name), bytes))
        .collect();
    let rest = total.saturating_sub(named);
    if rest > Bytes::ZERO {
        entries.push(("The rest".to_owned(), muted, rest));
    }
    for (at, (name, fill, bytes)) in entries.into_iter().enumerate() {
        let (column, row) = ((at % 3) as f64, (at / 3) as f64);
        let (x, y) = (LEFT + column * INNER / 3.0, 520.0 + row * 37.0);
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"16\" height=\"16\" rx=\"3\" fill=\"{fill}\"/>\
             <text x=\"{:.1}\" y=\"{y:.1}\" font-size=\"21\" fill=\"{muted}\">{name} <tspan fill=\"{ink}\" \
             font-weight=\"600\">{}</tspan></text>",
            y - 15.0,
            x + 26.0,
            answer::sized(bytes, total),
        );
    }
}

/// The font's size at which a line keeps within the margins: letters of Inter are about half as wide as high.
fn fitting(text: &str, most: f64) -> f64 {
    most.min(INNER / (0.53 * text.chars().count().max(1) as f64))
}

fn text(svg: &mut String, (x, y): (f64, f64), size: f64, attributes: &str, words: &str) {
    let words = escape(words);
    let _ =
        writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size:.1}\" {attributes}>{words}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link;

    fn drawn(query: &str) -> String {
        let plan = link::read(query).unwrap();
        svg(&plan, &planner::estimate(&plan).unwrap())
    }

    #[test]
    fn a_plan_is_drawn() {
        insta::assert_snapshot!(drawn(""));
    }

    #[test]
    fn every_colour_is_the_style_sheets() {
        for (name, value) in
            [("--weights", "#2f5d9b"), ("--line", "#d4380d"), ("--ok", "#1f7a4d"), ("--none", "")]
        {
            assert_eq!(colour(name), value);
        }
        for query in ["", "gpu=l4-24gb&batch=64", "gpu=cpu&engine=candle", "engine=vllm&gpu=h100-sxm-80gb"] {
            let svg = drawn(query);
            assert!(!svg.contains("=\"\"") && !svg.contains("NaN") && !svg.contains("var("), "{svg}");
        }
    }

    #[test]
    fn a_models_own_name_is_text_and_fits() {
        let mut plan = link::first_plan().unwrap();
        let config = planner::catalogue::model("Qwen/Qwen3-0.6B").unwrap().config.clone();
        plan.model.id = None;
        plan.model.config = Some(config);
        plan.model.name = Some("<a> & b\u{7} ".repeat(12));
        let svg = svg(&plan, &planner::estimate(&plan).unwrap());
        assert!(svg.contains("&lt;a&gt; &amp; b\u{fffd}") && !svg.contains("<a>"), "{svg}");
        assert!(fitting(&"x".repeat(96), 54.0) * 0.53 * 96.0 <= INNER + 0.1);
    }
}

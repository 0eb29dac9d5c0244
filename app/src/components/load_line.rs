//! The load line: the largest batch × context that fits, as a drawing.

use leptos::prelude::*;
use planner::solve::LoadPoint;
use serde::{Deserialize, Serialize};

use crate::format;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 466.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 250.0;

/// A measured case that fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Measured {
    /// Sequences at once.
    pub batch: u64,
    /// Prompt and output tokens of each.
    pub tokens: u64,
}

/// Batches along the plot: powers of two to 64, or to twice the plan's own.
#[must_use]
pub fn batches(own: u64) -> Vec<u64> {
    let most = own.clamp(1, 1 << 15).next_power_of_two().saturating_mul(2).max(64);
    std::iter::successors(Some(1u64), |b| Some(b * 2)).take_while(|b| *b <= most).collect()
}

impl Measured {
    fn circle(&self, x: f64, y: f64) -> impl IntoView + use<> {
        let told = format!(
            "measured, fitted: {} sequences of {} tokens",
            format::count(self.batch),
            format::count(self.tokens)
        );
        view! {
            <circle class="measured" cx=format!("{x:.1}") cy=format!("{y:.1}") r="3.6">
                <title>{told}</title>
            </circle>
        }
    }
}

/// The line, the plan's own point, and the ground below the line that fits.
#[component]
pub fn LoadLine(
    /// The line, by batch.
    points: Vec<LoadPoint>,
    /// The plan's sequences at once.
    batch: u64,
    /// The plan's prompt and output tokens of a sequence.
    context: u64,
    /// Cases like it that were measured; those beyond the plot's ends are left out.
    #[prop(optional)]
    measured: Vec<Measured>,
) -> impl IntoView {
    let largest_batch = points.last().map_or(64, |p| p.batch).max(batch).max(2);
    let longest = points.iter().map(|p| p.context.0).max().unwrap_or(0).max(context).max(1024);
    let top = (longest as f64).log2().ceil();
    let shortest =
        points.iter().map(|p| p.context.0).filter(|c| *c > 0).min().unwrap_or(256).min(context).max(16);
    let floor = (shortest as f64).log2().floor().min(top - 3.0);
    let x = move |batch: u64| {
        LEFT + (batch.max(1) as f64).log2() / (largest_batch as f64).log2() * (RIGHT - LEFT)
    };
    let y = move |context: u64| {
        let along = ((context.max(1) as f64).log2() - floor) / (top - floor);
        (BOTTOM - along * (BOTTOM - TOP)).clamp(TOP, BOTTOM)
    };
    let line: Vec<String> = points
        .iter()
        .filter(|p| p.context.0 > 0)
        .map(|p| format!("{:.1},{:.1}", x(p.batch), y(p.context.0)))
        .collect();
    let ground = points.iter().rfind(|p| p.context.0 > 0).map(|last| {
        let area = format!("{LEFT},{BOTTOM} {} {:.1},{BOTTOM}", line.join(" "), x(last.batch));
        view! { <polygon points=area fill="color-mix(in srgb, var(--ok) 12%, transparent)"></polygon> }
    });
    let batch_marks = points
        .iter()
        .map(|p| {
            view! {
                <text x=format!("{:.1}", x(p.batch)) y="268" text-anchor="middle">
                    {format::count(p.batch)}
                </text>
            }
        })
        .collect_view();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "powers of two between 2^0 and 2^40")]
    let context_marks = ((floor as u32)..=(top as u32))
        .filter(|power| (top as u32 - power).is_multiple_of(if top - floor > 8.0 { 2 } else { 1 }))
        .map(|power| {
            let at = y(1 << power);
            view! {
                <line x1=LEFT.to_string() x2=RIGHT.to_string() y1=format!("{at:.1}") y2=format!("{at:.1}") stroke="var(--rule)"></line>
                <text x="52" y=format!("{:.1}", at + 4.0) text-anchor="end">
                    {short(1 << power)}
                </text>
            }
        })
        .collect_view();
    let on_plot = |case: &&Measured| {
        case.batch <= largest_batch && (floor..=top).contains(&(case.tokens.max(1) as f64).log2())
    };
    let circles =
        measured.iter().filter(on_plot).map(|case| case.circle(x(case.batch), y(case.tokens))).collect_view();
    let (own_x, own_y) = (x(batch), y(context));
    let left = own_x > f64::midpoint(LEFT, RIGHT);
    let summary = format!(
        "Load line: the longest context that fits, by sequences at once. {}",
        points
            .iter()
            .map(|p| format!("{} sequences: {} tokens", p.batch, format::count(p.context.0)))
            .collect::<Vec<_>>()
            .join("; ")
    );
    view! {
        <div class="plot">
            <svg viewBox=format!("0 0 {WIDTH} {HEIGHT}") role="img" aria-label=summary>
                <rect
                    x=LEFT.to_string()
                    y=TOP.to_string()
                    width=(RIGHT - LEFT).to_string()
                    height=(BOTTOM - TOP).to_string()
                    fill="var(--sunk)"
                ></rect>
                {context_marks} {ground}
                <polyline points=line.join(" ") fill="none" stroke="var(--line)" stroke-width="2.4"></polyline>
                {circles} {batch_marks}
                <text x=f64::midpoint(LEFT, RIGHT).to_string() y="290" text-anchor="middle">
                    "sequences at once"
                </text>
                <text x="12" y=f64::midpoint(TOP, BOTTOM).to_string() text-anchor="middle" transform=format!("rotate(-90 12 {})", f64::midpoint(TOP, BOTTOM))>
                    "tokens of each"
                </text>
                <circle cx=format!("{own_x:.1}") cy=format!("{own_y:.1}") r="6" fill="var(--ink)" stroke="var(--panel)" stroke-width="2"></circle>
                <text
                    class="strong"
                    x=format!("{:.1}", if left { own_x - 11.0 } else { own_x + 11.0 })
                    y=format!("{:.1}", (own_y - 9.0).max(TOP + 12.0))
                    text-anchor=if left { "end" } else { "start" }
                >
                    "this plan"
                </text>
            </svg>
        </div>
    }
}

/// A power of two as people write it: `512`, `32k`, `1M`.
fn short(tokens: u64) -> String {
    match tokens {
        0..1024 => tokens.to_string(),
        1024..1_048_576 => format!("{}k", tokens >> 10),
        _ => format!("{}M", tokens >> 20),
    }
}

#[cfg(test)]
mod tests {
    use planner::Tokens;

    use super::*;

    #[test]
    fn batches_reach_beyond_the_plans_own() {
        assert_eq!(batches(1), [1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(batches(100).last(), Some(&256));
        assert_eq!(batches(u64::MAX).last(), Some(&65_536));
        assert_eq!(batches(0).first(), Some(&1));
    }

    #[test]
    fn powers_are_short() {
        for (tokens, text) in [(512, "512"), (1024, "1k"), (131_072, "128k"), (1 << 20, "1M")] {
            assert_eq!(short(tokens), text);
        }
    }

    #[cfg(feature = "ssr")]
    #[test]
    fn the_line_is_drawn() {
        let points = [(1, 65_536), (2, 32_768), (4, 16_384), (8, 8192), (16, 4096), (32, 0), (64, 0)]
            .map(|(batch, context)| LoadPoint { batch, context: Tokens(context) });
        let html = view! { <LoadLine points=points.to_vec() batch=4 context=2560 /> }.to_html();
        insta::assert_snapshot!(html);
    }

    #[cfg(feature = "ssr")]
    #[test]
    fn measured_cases_stand_where_they_were() {
        let points = vec![(1, 65_536), (64, 1024)]
            .into_iter()
            .map(|(batch, context)| LoadPoint { batch, context: Tokens(context) })
            .collect::<Vec<_>>();
        let case = |batch, tokens| Measured { batch, tokens };
        let measured = vec![case(4, 2560), case(8, 4096), case(128, 2048), case(4, 4), case(4, 1 << 30)];
        let html = view! { <LoadLine points batch=4 context=2560 measured /> }.to_html();
        assert_eq!(html.matches("class=\"measured\"").count(), 2, "those within the plot: {html}");
        assert!(html.contains("8 sequences of 4,096 tokens"), "{html}");
        // The height is written before both.
        let height =
            |of: &str| html.split(of).next().unwrap().rsplit("cy=\"").next().unwrap()[..5].to_owned();
        assert_eq!(
            height("class=\"measured\""),
            height("r=\"6\""),
            "the plan's point lies on the case like it"
        );
    }

    #[cfg(feature = "ssr")]
    #[test]
    fn a_line_of_nothing_is_drawn_too() {
        let points = vec![LoadPoint { batch: 1, context: Tokens(0) }];
        let html = view! { <LoadLine points batch=1 context=2560 /> }.to_html();
        assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
    }
}

//! An agent's memory over the turns of its conversation.

use leptos::prelude::*;
use planner::{Bytes, Estimate};

use crate::format;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 466.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 136.0;

/// Tokens held after each turn, the turn at which memory runs out, what forgetting costs.
#[component]
pub fn Agent(
    /// What was answered.
    estimate: Estimate,
) -> impl IntoView {
    let Some(agent) = estimate.agent else { return ().into_any() };
    let tokens = agent.tokens_after_turn;
    let exhausted = agent.exhausted_turn.map(u64::from);
    let ends = match exhausted {
        Some(turn) => view! { <span class="state bad">{format!("no memory left at turn {}", format::count(turn))}</span> }.into_any(),
        None => view! { <span class="state ok">{format!("holds for all {} turns", format::count(tokens.len() as u64))}</span> }.into_any(),
    };
    let counted = |n: u64| format!("{} tokens", format::count(n));
    let size = |bytes: Bytes| (bytes > Bytes::ZERO).then(|| bytes.to_string());
    let pairs = [
        ("Held after the last turn", tokens.last().map(|n| counted(*n))),
        ("Held at most", tokens.iter().max().map(|n| counted(*n))),
        ("Read again, because what is before them changed", Some(counted(agent.reprefill_tokens))),
        ("Embedding model", size(agent.embedding_bytes)),
        ("Vector index", size(agent.index_bytes)),
    ];
    let pairs = pairs
        .into_iter()
        .filter_map(|(name, value)| Some(view! { <dt>{name}</dt><dd class="num">{value?}</dd> }))
        .collect_view();
    view! {
        <section class="card">
            <header>
                <h2>"Agent memory"</h2>
                <small>{ends}</small>
            </header>
            {drawn(&tokens, exhausted)}
            <dl class="sizes">{pairs}</dl>
        </section>
    }
    .into_any()
}

/// Tokens by turn. The signal colour marks where memory ends.
fn drawn(tokens: &[u64], exhausted: Option<u64>) -> Option<AnyView> {
    let most = tokens.iter().max().copied().filter(|most| *most > 0)?;
    let turns = tokens.len();
    let x = |turn: usize| LEFT + (RIGHT - LEFT) * turn as f64 / turns.max(1) as f64;
    let y = |tokens: u64| BOTTOM - (BOTTOM - TOP) * tokens as f64 / most as f64;
    // No more points than the drawing has pixels.
    let every = turns.div_ceil(400).max(1);
    let points: Vec<String> = tokens
        .iter()
        .enumerate()
        .filter(|(at, _)| at % every == 0 || at + 1 == turns)
        .map(|(at, tokens)| format!("{:.1},{:.1}", x(at + 1), y(*tokens)))
        .collect();
    let area = format!("{:.1},{BOTTOM} {} {RIGHT},{BOTTOM}", x(1), points.join(" "));
    let mark = exhausted.and_then(|turn| usize::try_from(turn).ok()).filter(|turn| *turn <= turns).map(|turn| {
        let at = x(turn);
        let (anchor, by) = if at > 300.0 { ("end", -6.0) } else { ("start", 6.0) };
        view! {
            <line x1=format!("{at:.1}") x2=format!("{at:.1}") y1=TOP.to_string() y2=BOTTOM.to_string() stroke="var(--line)" stroke-width="2"></line>
            <text class="strong" x=format!("{:.1}", at + by) y="24" text-anchor=anchor>
                {format!("turn {}", format::count(turn as u64))}
            </text>
        }
    });
    let label = format!(
        "Tokens held by turn: {} after the first, {} after turn {}, {} at most",
        format::count(tokens.first().copied().unwrap_or(0)),
        format::count(tokens.last().copied().unwrap_or(0)),
        format::count(turns as u64),
        format::count(most)
    );
    Some(view! {
        <div class="plot">
            <svg viewBox=format!("0 0 {WIDTH} {HEIGHT}") role="img" aria-label=label>
                <rect x=LEFT.to_string() y=TOP.to_string() width=(RIGHT - LEFT).to_string() height=(BOTTOM - TOP).to_string() fill="var(--sunk)"></rect>
                <polygon points=area fill="color-mix(in srgb, var(--cache) 22%, transparent)"></polygon>
                <polyline points=points.join(" ") fill="none" stroke="var(--cache)" stroke-width="2"></polyline>
                {mark}
                <text x="52" y=(TOP + 10.0).to_string() text-anchor="end">{format::count(most)}</text>
                <text x="52" y=BOTTOM.to_string() text-anchor="end">"0"</text>
                <text x=LEFT.to_string() y="152">"1"</text>
                <text x=RIGHT.to_string() y="152" text-anchor="end">{format::count(turns as u64)}</text>
                <text x=f64::midpoint(LEFT, RIGHT).to_string() y="164" text-anchor="middle">"tokens held, by turn"</text>
            </svg>
        </div>
    }
    .into_any())
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "ssr")]
    #[test]
    fn turns_are_drawn_to_where_memory_ends() {
        use super::*;

        let tokens: Vec<u64> = (1..=1000).map(|turn| 800 + 350 * turn).collect();
        let html = drawn(&tokens, Some(300)).unwrap().to_html();
        assert!(html.contains("turn 300") && html.contains("350,800"), "{html}");
        assert!(html.matches(',').count() < 1200, "no point for each of many turns");
        assert!(drawn(&[], None).is_none() && drawn(&[0, 0], None).is_none());
    }
}

//! Figures of results and how far they are apart, in words.

use contract::figure::Figure;
use contract::statistics::{Difference, Distribution};
use leptos::prelude::*;
use planner::Bytes;

use crate::format;

/// What a figure is called, with its unit where that is the same for every value.
pub(super) const fn title(figure: Figure) -> &'static str {
    match figure {
        Figure::Prefill => "Prefill, tok/s",
        Figure::Decode => "Decode, tok/s",
        Figure::Ttft => "First token",
        Figure::Training => "Trained, tok/s",
        Figure::Peak => "Peak, GiB",
        Figure::Energy => "Energy, J a token",
    }
}

/// A value as its column shows it.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of bytes")]
pub(super) fn value(figure: Figure, value: f64) -> String {
    match figure {
        Figure::Ttft => format::millis(value),
        Figure::Peak => {
            let bytes = Bytes(value as u64);
            // Small models differ in the digits that two places of a GiB hide.
            if bytes.gib() < 1.0 { format!("{:.4}", bytes.gib()) } else { format!("{:.3}", bytes.gib()) }
        }
        Figure::Prefill | Figure::Decode | Figure::Training | Figure::Energy => format::figure(value),
    }
}

/// A value with its scatter as its title.
pub(super) fn mean(figure: Figure, spread: &Distribution) -> AnyView {
    let scatter = if spread.n > 1 {
        format!("mean of {} ± {}", spread.n, value(figure, spread.standard_deviation))
    } else {
        "one reading".to_owned()
    };
    view! { <span title=scatter>{value(figure, spread.mean)}</span> }.into_any()
}

/// A difference with its sign, and the word noise where it may as well be none; its interval is its title.
pub(super) fn change(figure: Figure, difference: &Difference) -> AnyView {
    let percent = format::signed_percent(difference.percent);
    let title = interval(difference)
        .map_or_else(|| "too few readings for an interval".to_owned(), |i| format!("95 %: {i}"));
    let is_better = (difference.percent < 0.0) == figure.less_is_better();
    // A figure that does not scatter needs no interval to be believed; any other does.
    let is_sure = difference.interval.is_some() || figure == Figure::Peak;
    let (class, said) = match (difference.is_noise(), difference.percent == 0.0, is_better) {
        (_, true, _) => ("change", "the same".to_owned()),
        (true, _, _) => ("change", format!("{percent}, noise")),
        _ if !is_sure => ("change", percent),
        (_, _, true) => ("change better", percent),
        (_, _, false) => ("change worse", percent),
    };
    view! { <small class=class title=title>{said}</small> }.into_any()
}

fn interval(difference: &Difference) -> Option<String> {
    let percent = format::signed_percent;
    difference.interval.map(|i| format!("{} to {}", percent(i.low), percent(i.high)))
}

/// The same with its interval written out.
pub(super) fn change_with_interval(figure: Figure, difference: &Difference) -> AnyView {
    view! {
        {change(figure, difference)}
        <small>{interval(difference)}</small>
    }
    .into_any()
}

//! What the planner said of a case when it was measured, and what it says today.

use contract::case::Case;
use leptos::prelude::*;
use planner::{Bytes, Estimate};

use crate::backend::Today;
use crate::components::{Basis, WhereItGoes, components};
use crate::format;

/// The estimate by component as it was stored, and today's beside it where that is another.
pub(super) fn cards(case: &Case, today: Option<&Today>) -> AnyView {
    let stored = case.estimate.clone().map(|estimate| {
        view! {
            <WhereItGoes estimate=estimate.clone() />
            <Basis estimate />
        }
    });
    view! {
        {stored}
        {then_and_today(case, today)}
    }
    .into_any()
}

fn then_and_today(case: &Case, today: Option<&Today>) -> Option<AnyView> {
    case.plan.as_ref()?;
    let Some(answer) = today else {
        let said = "Today's planner is still being asked; load the page again to see whether it says something else.";
        return Some(view! { <p class="muted basis" data-test="asked">{said}</p> }.into_any());
    };
    let (stored, today) = match (case.estimate.as_ref(), answer.as_ref()) {
        (Some(stored), Ok(today)) if stored.per_gpu == today.per_gpu && stored.totals == today.totals => {
            return None;
        }
        (stored, Ok(today)) => (stored, today),
        (None, Err(_)) => return None,
        (Some(_), Err(error)) => {
            let said = format!("Planner {} has no answer to this plan any more: {error}.", planner::VERSION);
            return Some(view! { <p class="notice warn" data-test="today">{said}</p> }.into_any());
        }
    };
    let rows: Vec<_> = sides(stored, today)
        .into_iter()
        .map(|(name, then, now)| {
            view! {
                <tr>
                    <th scope="row">{name}</th>
                    <td class="n">{then.map_or_else(|| "–".to_owned(), size)}</td>
                    <td class="n">{size(now)}</td>
                    <td class="n">{changed(then, now)}</td>
                </tr>
            }
        })
        .collect();
    let view = view! {
        <section class="card" data-test="today">
            <header>
                <h2>"Estimate then and today"</h2>
                <small>{format!("MiB · today is planner {}", planner::VERSION)}</small>
            </header>
            <table>
                <thead>
                    <tr>
                        <th scope="col">"Component"</th>
                        <th scope="col" class="n">"Then"</th>
                        <th scope="col" class="n">"Today"</th>
                        <th scope="col" class="n">"Change"</th>
                    </tr>
                </thead>
                <tbody class="num">{rows}</tbody>
            </table>
            <p class="muted basis">
                "Residuals on this page are against the estimate of then, which was made before the case ran."
            </p>
        </section>
    };
    Some(view.into_any())
}

/// Each component's size then, where anything was stored, and today; the peak of tensors last.
fn sides(stored: Option<&Estimate>, today: &Estimate) -> Vec<(&'static str, Option<Bytes>, Bytes)> {
    let now = components(today);
    let then = stored.map(components).unwrap_or_default();
    let of = |parts: &[(&'static str, &'static str, Bytes)], name: &str| {
        parts.iter().find(|part| part.0 == name).map(|part| part.2)
    };
    let mut names: Vec<&'static str> = now.iter().map(|part| part.0).collect();
    names.extend(then.iter().map(|part| part.0).filter(|name| of(&now, name).is_none()));
    let mut sides: Vec<_> = names
        .into_iter()
        .map(|name| {
            let before = stored.map(|_| of(&then, name).unwrap_or(Bytes::ZERO));
            (name, before, of(&now, name).unwrap_or(Bytes::ZERO))
        })
        .collect();
    sides.push(("Total", stored.map(|e| e.per_gpu.total), today.per_gpu.total));
    sides.push(("Tensors at the peak", stored.map(|e| e.totals.allocated), today.totals.allocated));
    sides
}

fn size(bytes: Bytes) -> String {
    super::figures::mib(bytes)
}

fn changed(then: Option<Bytes>, now: Bytes) -> String {
    match then {
        Some(then) if then == now => "none".to_owned(),
        Some(then) if then > Bytes::ZERO => {
            format::signed_percent(100.0 * (now.0 as f64 - then.0 as f64) / then.0 as f64)
        }
        _ => "new".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_of_both_sides_are_listed() {
        let plan = crate::link::first_plan().unwrap();
        let today = planner::estimate(&plan).unwrap();
        let mut then = today.clone();
        then.per_gpu.cuda_graphs = Bytes(7);
        then.per_gpu.activations = Bytes::ZERO;
        let sides = sides(Some(&then), &today);
        let of = |name: &str| sides.iter().find(|side| side.0 == name).copied();
        assert_eq!(of("CUDA graphs"), Some(("CUDA graphs", Some(Bytes(7)), Bytes::ZERO)), "gone today");
        let activations = ("Activations", Some(Bytes::ZERO), today.per_gpu.activations);
        assert_eq!(of("Activations"), Some(activations), "new today");
        assert_eq!(changed(activations.1, activations.2), "new");
        assert_eq!(changed(Some(Bytes(100)), Bytes(110)), "+10.0 %");
        assert_eq!(changed(Some(Bytes(100)), Bytes(100)), "none");
        assert_eq!(of("Total").unwrap().1, Some(today.per_gpu.total));
    }
}

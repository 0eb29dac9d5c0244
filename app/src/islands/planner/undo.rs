//! Steps back and forward through the changes of the plan.

use ::planner::Plan;
use leptos::prelude::*;

/// Changes that follow each other faster are one: a slider on its way, a number as it is typed.
const TOGETHER_MS: f64 = 600.0;
/// Steps that are kept.
const MOST: usize = 100;

/// The plans that were there before the one shown, and those that were gone back from.
#[derive(Debug, Clone)]
struct Steps {
    past: Vec<Plan>,
    now: Plan,
    future: Vec<Plan>,
    changed_ms: f64,
}

impl Steps {
    const fn new(now: Plan) -> Self {
        Self { past: Vec::new(), now, future: Vec::new(), changed_ms: f64::NEG_INFINITY }
    }

    /// Takes note of the plan that is shown at a moment.
    fn follow(&mut self, plan: &Plan, at_ms: f64) {
        if *plan == self.now {
            return;
        }
        let before = std::mem::replace(&mut self.now, plan.clone());
        if at_ms - self.changed_ms > TOGETHER_MS {
            self.past.push(before);
            let spare = self.past.len().saturating_sub(MOST);
            self.past.drain(..spare);
        }
        self.future.clear();
        self.changed_ms = at_ms;
    }

    /// The plan before the last change, which is then shown.
    fn back(&mut self) -> Option<Plan> {
        let before = self.past.pop()?;
        Some(Self::step(&mut self.now, before, &mut self.future, &mut self.changed_ms))
    }

    /// The plan that was last gone back from, which is then shown.
    fn forward(&mut self) -> Option<Plan> {
        let after = self.future.pop()?;
        Some(Self::step(&mut self.now, after, &mut self.past, &mut self.changed_ms))
    }

    /// Shows a plan and keeps the one that was shown; what is changed next is a step of its own.
    fn step(now: &mut Plan, to: Plan, kept: &mut Vec<Plan>, changed_ms: &mut f64) -> Plan {
        kept.push(std::mem::replace(now, to.clone()));
        *changed_ms = f64::NEG_INFINITY;
        to
    }
}

/// Two buttons, and the keys that every editor has.
#[component]
pub(super) fn Undo(plan: RwSignal<Plan>) -> impl IntoView {
    let steps = RwSignal::new(Steps::new(plan.get_untracked()));
    Effect::new(move |_| plan.with(|plan| steps.update(|steps| steps.follow(plan, now_ms()))));
    let back = move || {
        if let Some(before) = steps.try_update(Steps::back).flatten() {
            plan.set(before);
        }
    };
    let forward = move || {
        if let Some(after) = steps.try_update(Steps::forward).flatten() {
            plan.set(after);
        }
    };
    #[cfg(feature = "hydrate")]
    Effect::new(move |_| {
        let _ = window_event_listener(leptos::ev::keydown, move |event| {
            if !(event.ctrl_key() || event.meta_key()) || event.alt_key() || is_text(&event) {
                return;
            }
            match (event.key().as_str(), event.shift_key()) {
                ("z", false) => back(),
                ("y", false) | ("z" | "Z", true) => forward(),
                _ => return,
            }
            event.prevent_default();
        });
    });
    view! {
        <button
            type="button"
            class="button small"
            data-test="undo"
            aria-keyshortcuts="Control+Z"
            title="Takes the last change back (Ctrl Z)"
            disabled=move || steps.with(|steps| steps.past.is_empty())
            on:click=move |_| back()
        >
            "Undo"
        </button>
        <button
            type="button"
            class="button small"
            data-test="redo"
            aria-keyshortcuts="Control+Shift+Z"
            title="Makes it again (Ctrl Shift Z)"
            disabled=move || steps.with(|steps| steps.future.is_empty())
            on:click=move |_| forward()
        >
            "Redo"
        </button>
    }
}

/// Whether a key was pressed in a text, whose own changes the browser takes back.
#[cfg(feature = "hydrate")]
fn is_text(event: &web_sys::KeyboardEvent) -> bool {
    use wasm_bindgen::JsCast;

    let Some(element) = event.target().and_then(|target| target.dyn_into::<web_sys::Element>().ok()) else {
        return false;
    };
    match element.tag_name().as_str() {
        "TEXTAREA" => true,
        "INPUT" => matches!(element.get_attribute("type").as_deref(), Some("text" | "number" | "file")),
        _ => false,
    }
}

/// Milliseconds of the browser's clock.
fn now_ms() -> f64 {
    #[cfg(feature = "hydrate")]
    let now = web_sys::js_sys::Date::now();
    #[cfg(not(feature = "hydrate"))]
    let now = 0.0;
    now
}

#[cfg(test)]
mod tests {
    use ::planner::document::plan::Workload;

    use super::*;
    use crate::link;

    fn of(batch: u64) -> Plan {
        link::read(&format!("batch={batch}")).unwrap()
    }

    fn batch(plan: Option<Plan>) -> Option<u64> {
        match plan?.workload {
            Workload::Serve(serve) => Some(serve.concurrent_sequences),
            _ => None,
        }
    }

    #[test]
    fn changes_are_taken_back_and_made_again() {
        let mut steps = Steps::new(of(1));
        for (value, at) in [(2, 1000.0), (3, 2000.0), (3, 2100.0), (4, 3000.0)] {
            steps.follow(&of(value), at);
        }
        assert_eq!([batch(steps.back()), batch(steps.back())], [Some(3), Some(2)]);
        // What the page shows then is no change.
        steps.follow(&of(2), 3100.0);
        assert_eq!(batch(steps.forward()), Some(3));
        steps.follow(&of(9), 3200.0);
        assert_eq!(batch(steps.forward()), None, "a change ends what could be made again");
        assert_eq!(
            [batch(steps.back()), batch(steps.back()), batch(steps.back()), batch(steps.back())],
            [Some(3), Some(2), Some(1), None]
        );
    }

    #[test]
    fn a_slider_on_its_way_is_one_change() {
        let mut steps = Steps::new(of(1));
        for value in 2..40 {
            steps.follow(&of(value), 1000.0 + 50.0 * f64::from(u32::try_from(value).unwrap()));
        }
        assert_eq!((batch(steps.back()), steps.past.len()), (Some(1), 0));
        for value in 0..2 * MOST as u64 {
            steps.follow(&of(value + 100), 1e6 * value as f64 + 1e6);
        }
        assert_eq!(steps.past.len(), MOST);
    }
}

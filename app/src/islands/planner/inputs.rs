//! One input for each kind of field.

use leptos::prelude::*;
use serde_json::Value;

use super::controls::Board;
use crate::fields::{Choice, Field, Kind, Most, offers, text_at};
use crate::format;

/// The control of a field.
pub(super) fn input(field: &'static Field, board: Board) -> AnyView {
    match field.kind {
        Kind::Amount { unit, most } => amount(field, board, unit, most),
        Kind::Whole | Kind::Optional => number(field, board, "1"),
        Kind::Decimal | Kind::OptionalDecimal => number(field, board, "any"),
        Kind::Few(list) => select(field, board, "field half", "engine.name", move |e| named(field, list, e)),
        Kind::OneOf(list) => select(field, board, "field", "engine.name", move |e| named(field, list, e)),
        Kind::Choice { by, from } => select(field, board, "field", by, from),
        Kind::Switch | Kind::Part => switch(field, board),
        Kind::Words | Kind::OptionalWords => words(field, board, "field"),
        Kind::Text => words(field, board, "field half"),
    }
}

/// The field's text in the plan.
fn text(field: &'static Field, board: Board) -> Memo<String> {
    Memo::new(move |_| board.document.with(|document| field.text(document)))
}

/// What is below an input: what is wrong with it, or else its hint.
fn below(field: &'static Field, wrong: Memo<Option<String>>) -> AnyView {
    (move || match wrong.get() {
        Some(problem) => view! { <span class="error">{problem}</span> }.into_any(),
        None if field.hint.is_empty() => ().into_any(),
        None => view! { <span class="hint">{field.hint}</span> }.into_any(),
    })
    .into_any()
}

/// A number with a slider by factors beside it; the slider needs JavaScript, the number does not.
fn amount(field: &'static Field, board: Board, unit: &'static str, most: Most) -> AnyView {
    let text = text(field, board);
    let value = Memo::new(move |_| text.with(|text| text.parse::<u64>().unwrap_or(0)));
    let most = move || match most {
        Most::Model => board.longest.get(),
        Most::Fixed(most) => most,
    };
    let told = move || {
        let one = value.get() == 1;
        let unit = if one { unit.replace("sequences", "sequence") } else { unit.to_owned() };
        format!("{} {unit}", format::count(value.get()))
    };
    let wrong = board.wrong(field);
    let slid = move |event| {
        if let Ok(step) = event_target_value(&event).parse::<u32>() {
            board.set(field, Value::from(of_step(step).min(untrack(most))));
        }
    };
    view! {
        <div class="field">
            <label for=field.name()>
                {field.label} <output class="num">{told}</output>
            </label>
            <input
                type="number"
                id=field.name()
                name=field.name()
                min="0"
                step="1"
                inputmode="numeric"
                value=text.get_untracked()
                prop:value=move || text.get()
                aria-invalid=move || wrong.with(Option::is_some).then_some("true")
                on:input=move |event| board.type_in(field, &event_target_value(&event))
            />
            <input
                class="needs-script"
                type="range"
                min="0"
                max=move || steps(most()).to_string()
                aria-label=format!("{}, by factors", field.label)
                aria-valuetext=told
                prop:value=move || step_of(value.get()).to_string()
                on:input=slid
            />
            {below(field, wrong)}
        </div>
    }
    .into_any()
}

/// A number; one with a fraction counts when it is left, because "0." is on the way to "0.9".
fn number(field: &'static Field, board: Board, step: &'static str) -> AnyView {
    let text = text(field, board);
    let wrong = board.wrong(field);
    let whole = step == "1";
    let typed = move |event| {
        if whole {
            board.type_in(field, &event_target_value(&event));
        }
    };
    let left = move |event| board.type_in(field, &event_target_value(&event));
    view! {
        <label class="field half">
            <span>{field.label}</span>
            <input
                type="number"
                name=field.name()
                min="0"
                step=step
                inputmode=if whole { "numeric" } else { "decimal" }
                value=text.get_untracked()
                prop:value=move || text.get()
                aria-invalid=move || wrong.with(Option::is_some).then_some("true")
                on:input=typed
                on:change=left
            />
            {below(field, wrong)}
        </label>
    }
    .into_any()
}

/// Words, which count when they are left.
fn words(field: &'static Field, board: Board, class: &'static str) -> AnyView {
    let text = text(field, board);
    let wrong = board.wrong(field);
    view! {
        <label class=class>
            <span>{field.label}</span>
            <input
                type="text"
                name=field.name()
                spellcheck="false"
                autocomplete="off"
                value=text.get_untracked()
                prop:value=move || text.get()
                aria-invalid=move || wrong.with(Option::is_some).then_some("true")
                on:change=move |event| board.type_in(field, &event_target_value(&event))
            />
            {below(field, wrong)}
        </label>
    }
    .into_any()
}

/// One of a list, which may depend on the text of another field.
fn select(
    field: &'static Field,
    board: Board,
    class: &'static str,
    by: &'static str,
    from: impl Fn(&str) -> Vec<Choice> + Send + Sync + 'static,
) -> AnyView {
    let text = text(field, board);
    let wrong = board.wrong(field);
    let by = Memo::new(move |_| board.document.with(|document| text_at(document, by)));
    let list = Memo::new(move |_| by.with(|by| from(by)));
    // What an advice or a link has chosen and the list lacks is offered too, so that it is seen.
    let other = Memo::new(move |_| {
        let text = text.get();
        list.with(|list| list.iter().all(|choice| choice.value != text)).then(|| match text.as_str() {
            "" if field.path == "model.id" => {
                (String::new(), board.document.with(|document| text_at(document, "model.name")))
            }
            "" => (String::new(), "not said".to_owned()),
            _ => (text.clone(), text),
        })
    });
    let hook = (field.key == "weights").then_some("weights");
    view! {
        <label class=class>
            <span>{field.label}</span>
            <select
                name=field.name()
                data-test=hook
                aria-invalid=move || wrong.with(Option::is_some).then_some("true")
                prop:value=move || text.get()
                on:change=move |event| board.type_in(field, &event_target_value(&event))
            >
                {move || other.get().map(|(value, label)| view! { <option value=value selected>{label}</option> })}
                {move || list.with(|list| options(list, &text.get_untracked()))}
            </select>
            {below(field, wrong)}
        </label>
    }
    .into_any()
}

/// Options, under a heading where they have one.
pub(crate) fn options(list: &[Choice], chosen: &str) -> Vec<AnyView> {
    list.chunk_by(|a, b| a.group == b.group)
        .map(|together| {
            let options: Vec<AnyView> = together
                .iter()
                .map(|choice| {
                    let selected = choice.value == chosen;
                    view! {
                        <option value=choice.value.clone() selected=selected>
                            {choice.label.clone()}
                        </option>
                    }
                    .into_any()
                })
                .collect();
            match together.first().map(|choice| choice.group.clone()).filter(|group| !group.is_empty()) {
                Some(group) => view! { <optgroup label=group>{options}</optgroup> }.into_any(),
                None => options.into_any(),
            }
        })
        .collect()
}

/// Those of a list that an engine has a use for.
fn named(field: &Field, list: &[(&str, &str)], engine: &str) -> Vec<Choice> {
    list.iter()
        .filter(|(value, _)| offers(engine, field.path, value))
        .map(|(value, label)| Choice {
            value: (*value).to_owned(),
            label: (*label).to_owned(),
            group: String::new(),
        })
        .collect()
}

/// Yes or no. Without JavaScript the hidden field says no where the box is not ticked.
fn switch(field: &'static Field, board: Board) -> AnyView {
    let text = text(field, board);
    let wrong = board.wrong(field);
    let on = move || text.with(|text| text == "true");
    view! {
        <div class="field switch">
            <input type="hidden" name=field.name() value="false" />
            <label>
                <input
                    type="checkbox"
                    name=field.name()
                    value="true"
                    checked=untrack(on)
                    prop:checked=on
                    aria-invalid=move || wrong.with(Option::is_some).then_some("true")
                    on:change=move |event| board.set(field, Value::Bool(event_target_checked(&event)))
                />
                <span>{field.label}</span>
            </label>
            {below(field, wrong)}
        </div>
    }
    .into_any()
}

/// Steps of a slider: two to each factor of two.
fn of_step(step: u32) -> u64 {
    let power = 1u64 << (step / 2).min(40);
    if step.is_multiple_of(2) { power } else { power + power / 2 }
}

/// The step nearest below a value.
fn step_of(value: u64) -> u32 {
    let power = value.max(1).ilog2();
    power * 2 + u32::from(value >= (1 << power) + (1 << power) / 2 && power > 0)
}

/// The last step of a slider that reaches `most`.
fn steps(most: u64) -> u32 {
    let step = step_of(most);
    if of_step(step) < most { step + 1 } else { step }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slider_goes_by_factors() {
        for (step, value) in [(0, 1), (2, 2), (3, 3), (4, 4), (5, 6), (6, 8), (22, 2048), (23, 3072)] {
            assert_eq!((of_step(step), step_of(value)), (value, step));
        }
        assert_eq!(step_of(2500), 22);
        assert_eq!((steps(2048), steps(131_072), steps(5000)), (22, 34, 25));
    }
}

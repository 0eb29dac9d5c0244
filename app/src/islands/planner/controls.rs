//! The controls: a plain GET form over the table of fields, live in the browser.

use ::planner::agent::presets::{PRESETS, Preset, PresetKind};
use ::planner::{Plan, PlanError};
use leptos::prelude::*;
use serde_json::Value;

use super::engine::{self, Engine};
use super::inputs::input;
use super::own_model::OwnModel;
use super::starts::starts;
use crate::engine::Answer;
use crate::fields::{Field, GROUPS, Group, document};
use crate::{fields, link};

/// The plan as the controls see and change it.
#[derive(Clone, Copy)]
pub(super) struct Board {
    /// The plan.
    pub(super) plan: RwSignal<Plan>,
    /// Its document.
    pub(super) document: Memo<Value>,
    /// What is wrong with it.
    pub(super) error: Memo<Option<PlanError>>,
    /// The plan that it is compared with.
    pub(super) against: StoredValue<Option<Plan>>,
    /// The longest sequence that its model takes.
    pub(super) longest: Memo<u64>,
    /// What changes it.
    pub(super) engine: Engine,
    /// What was typed last and is no plan.
    refused: RwSignal<Option<PlanError>>,
}

impl Board {
    /// The board of a plan, of the one it is compared with, and of its answer.
    pub(super) fn new(
        plan: RwSignal<Plan>,
        against: StoredValue<Option<Plan>>,
        answer: Memo<Answer>,
        engine: Engine,
    ) -> Self {
        let refused = RwSignal::new(None::<PlanError>);
        let document = Memo::new(move |_| plan.with(document::of));
        let error = Memo::new(move |_| {
            refused.get().or_else(|| answer.with(|answer| answer.estimate.as_ref().err().cloned()))
        });
        let longest = Memo::new(move |_| answer.with(|answer| answer.longest));
        Self { plan, document, error, against, longest, engine, refused }
    }

    /// Sets a field to what was typed or chosen.
    pub(super) fn type_in(self, field: &'static Field, text: &str) {
        match field.parse(text) {
            Ok(value) => self.set(field, value),
            Err((problem, remedy)) => self.refused.set(Some(PlanError::invalid(field.path, problem, remedy))),
        }
    }

    /// Sets a field.
    pub(super) fn set(self, field: &'static Field, value: Value) {
        self.engine.then(move || {
            match self.plan.with_untracked(|plan| engine::set(plan, field.path, value)) {
                Ok(plan) => {
                    self.refused.set(None);
                    self.plan.set(plan);
                }
                Err(error) => self.refused.set(Some(error)),
            }
        });
    }

    /// What is wrong with a field.
    pub(super) fn wrong(self, field: &'static Field) -> Memo<Option<String>> {
        Memo::new(move |_| {
            self.error.with(|error| {
                let error = error.as_ref().filter(|error| field.is_at(&error.field))?;
                Some(format!("{} – {}.", error.problem, error.remedy.trim_end_matches('.')))
            })
        })
    }
}

/// A control for every field of the plan: those of the first screen, and the rest in folds that say what they are set to.
#[component]
pub(super) fn Controls(board: Board) -> impl IntoView {
    let first = GROUPS[0].fields.iter().map(|field| shown(field, board)).collect_view();
    let folds = GROUPS[1..].iter().map(|group| fold(group, board)).collect_view();
    view! {
        <form method="get" action="/planner" on:submit=|event| event.prevent_default()>
            <input type="hidden" name="base" value=move || board.plan.with(link::base) />
            {board
                .against
                .with_value(|against| against.as_ref().map(::planner::link::to_query))
                .map(|query| view! { <input type="hidden" name="b" value=query /> })}
            {first} <button class="button primary no-script">"Apply"</button> {folds} <OwnModel board />
            <button class="button primary no-script" style="margin-top:16px">"Apply"</button>
        </form>
        {starts()}
    }
    .into_any()
}

/// A field, while it means something.
fn shown(field: &'static Field, board: Board) -> AnyView {
    let shown = Memo::new(move |_| board.document.with(|document| field.is_shown(document)));
    (move || shown.get().then(|| input(field, board))).into_any()
}

/// The fields of a group, folded away behind what they are set to.
fn fold(group: &'static Group, board: Board) -> AnyView {
    let told = Memo::new(move |_| board.document.with(group.told));
    let wrong = Memo::new(move |_| {
        board.error.with(|error| {
            error.as_ref().is_some_and(|error| group.fields.iter().any(|field| field.is_at(&error.field)))
        })
    });
    let any =
        Memo::new(move |_| board.document.with(|document| group.fields.iter().any(|f| f.is_shown(document))));
    let fields = group.fields.iter().map(|field| shown(field, board)).collect_view();
    view! {
        <details
            class="fold"
            class:wrong=move || wrong.get()
            data-group=group.id
            open=wrong.get_untracked()
            hidden=move || !any.get()
        >
            <summary>
                <span>{group.title}</span>
                <small class="num">{move || told.get()}</small>
            </summary>
            <div class="grid">{fields} {group.presets.map(|(kind, workload)| presets(kind, workload, board))}</div>
        </details>
    }
    .into_any()
}

/// What a known system does, where that is written, and what is assumed.
fn told_of(preset: &Preset) -> String {
    let assumed = preset.assumed.map(|text| format!(" Assumed: {text}.")).unwrap_or_default();
    format!("{}: {}. {}.{assumed}", preset.name, preset.behaviour, preset.source)
}

/// Settings of known systems, by their names; choosing one sets the fields it stands for.
fn presets(kind: PresetKind, workload: &'static str, board: Board) -> AnyView {
    let shown = Memo::new(move |_| {
        board.document.with(|document| fields::text_at(document, "workload.kind") == workload)
    });
    let chosen = RwSignal::new(None::<&'static Preset>);
    let choose = move |event| {
        let name = event_target_value(&event);
        chosen.set(PRESETS.iter().find(|preset| preset.name == name));
        board.engine.then(move || {
            if let Ok(plan) = board.plan.with_untracked(|plan| engine::preset(plan, &name)) {
                board.plan.set(plan);
            }
        });
    };
    let options = move || {
        let of_kind = PRESETS.iter().filter(|preset| preset.kind == kind);
        of_kind.map(|preset| view! { <option value=preset.name>{preset.name}</option> }).collect_view()
    };
    (move || {
        shown.get().then(|| {
            view! {
                <label class="field">
                    <span>"As a known system does"</span>
                    <select name="preset" on:change=choose>
                        <option value="">"choose …"</option>
                        {options()}
                    </select>
                    <span class="hint">
                        {move || match chosen.get() {
                            Some(preset) => told_of(preset),
                            None => "sets the fields that its name stands for".to_owned(),
                        }}
                    </span>
                </label>
            }
        })
    })
    .into_any()
}

//! The planner as the board asks it: on the server the crate itself, in the browser its module, which is loaded when the reader
//! turns to the controls.

use ::planner::document::estimate::Advice;
use ::planner::solve::LoadPoint;
use ::planner::{Plan, PlanError};
use leptos::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::engine::{Answer, Question, Solved};

/// How far the module is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "hydrate"), allow(dead_code, reason = "the server loads none"))]
enum Module {
    /// Nobody has needed it.
    Away,
    /// It is on its way.
    Loading,
    /// It answers.
    Ready,
    /// It did not come.
    Failed,
}

/// A change that waits for the module.
type Change = Box<dyn FnOnce() + Send + Sync>;

/// The planner's module, and the changes that wait for it.
#[derive(Clone, Copy)]
pub(super) struct Engine {
    module: RwSignal<Module>,
    waiting: StoredValue<Vec<Change>>,
    /// Whether anything waits.
    asked: RwSignal<bool>,
}

impl Engine {
    pub(super) fn new() -> Self {
        Self {
            module: RwSignal::new(Module::Away),
            waiting: StoredValue::new(Vec::new()),
            asked: RwSignal::new(false),
        }
    }

    /// Loads the module, where nobody has asked for it. One that did not come is the reader's to ask for again.
    pub(super) fn load(self) {
        if self.module.get_untracked() == Module::Away {
            self.fetch();
        }
    }

    /// Loads the module, also again.
    fn fetch(self) {
        if matches!(self.module.get_untracked(), Module::Loading | Module::Ready) {
            return;
        }
        self.module.set(Module::Loading);
        #[cfg(feature = "hydrate")]
        leptos::task::spawn_local(async move {
            if module::load().await.is_err() {
                return self.module.set(Module::Failed);
            }
            self.module.set(Module::Ready);
            let changes = self.waiting.try_update_value(std::mem::take).unwrap_or_default();
            self.asked.set(false);
            for change in changes {
                change();
            }
        });
    }

    /// Makes a change that asks the planner: at once, or when its module is there.
    pub(super) fn then(self, change: impl FnOnce() + Send + Sync + 'static) {
        if self.module.get_untracked() == Module::Ready {
            return change();
        }
        self.waiting.update_value(|waiting| waiting.push(Box::new(change)));
        self.asked.set(true);
        self.load();
    }

    /// What a reader who waits is told.
    pub(super) fn told(self) -> AnyView {
        (move || match (self.asked.get(), self.module.get()) {
            (true, Module::Loading) => view! {
                <p class="notice" role="status">
                    "Loading the planner …"
                </p>
            }
            .into_any(),
            (true, Module::Failed) => view! {
                <div class="notice bad" role="alert" data-test="no-planner">
                    <p>
                        "The planner could not be loaded: the answer is still that of the plan before. Your change is kept \
                         and made when it is there."
                    </p>
                    <button type="button" class="button small" data-test="again" on:click=move |_| self.fetch()>
                        "Try again"
                    </button>
                </div>
            }
            .into_any(),
            _ => ().into_any(),
        })
        .into_any()
    }
}

/// What a plan takes.
pub(super) fn answer(plan: &Plan) -> Answer {
    asked(&Question::Answer(plan.clone())).unwrap_or_else(|| Answer {
        plan: plan.clone(),
        estimate: Err(silent()),
        parameters: 0,
        longest: 131_072,
    })
}

/// The most that fits of a plan whose estimates are quick; nothing where the module gives no answer.
pub(super) fn solve(plan: &Plan) -> Solved {
    asked(&Question::Solve(plan.clone())).unwrap_or_else(|| Solved::nothing(plan))
}

/// The load line of a plan whose estimates are quick.
pub(super) fn load_line(plan: &Plan, batches: &[u64]) -> Option<Vec<LoadPoint>> {
    asked(&Question::LoadLine(plan.clone(), batches.to_vec())).flatten()
}

/// As [`solve`], in a worker.
pub(super) async fn solve_aside(plan: &Plan) -> Solved {
    worked(&Question::Solve(plan.clone())).await.unwrap_or_else(|| Solved::nothing(plan))
}

/// Single changes that help a plan, of a worker; none where the module gives no answer.
pub(super) async fn advice_aside(plan: &Plan) -> Vec<Advice> {
    worked(&Question::Advice(plan.clone())).await.unwrap_or_default()
}

/// The point of a plan's load line at a batch, of a worker.
pub(super) async fn load_point_aside(plan: &Plan, batch: u64) -> Option<LoadPoint> {
    let points: Option<Vec<LoadPoint>> = worked(&Question::LoadLine(plan.clone(), vec![batch])).await?;
    points?.pop()
}

/// The plan with a field set.
pub(super) fn set(plan: &Plan, path: &str, value: Value) -> Result<Plan, PlanError> {
    planned(&Question::Set(plan.clone(), path.to_owned(), value))
}

/// The plan with the settings of a known system.
pub(super) fn preset(plan: &Plan, name: &str) -> Result<Plan, PlanError> {
    planned(&Question::Preset(plan.clone(), name.to_owned()))
}

/// The plan for the model of a `config.json`.
pub(super) fn configured(plan: &Plan, config: &str) -> Result<Plan, PlanError> {
    planned(&Question::Configured(plan.clone(), config.to_owned()))
}

fn planned(question: &Question) -> Result<Plan, PlanError> {
    asked(question).unwrap_or_else(|| Err(silent()))
}

#[cfg(feature = "hydrate")]
fn asked<T: DeserializeOwned>(question: &Question) -> Option<T> {
    module::asked(question)
}

/// On the server the planner is at hand.
#[cfg(not(feature = "hydrate"))]
fn asked<T: DeserializeOwned>(question: &Question) -> Option<T> {
    serde_json::from_value(crate::engine::reply(question.clone())).ok()
}

/// What takes long is asked of the module in a worker.
#[cfg(feature = "hydrate")]
async fn worked<T: DeserializeOwned>(question: &Question) -> Option<T> {
    module::worked(question).await
}

#[cfg(not(feature = "hydrate"))]
fn worked<T: DeserializeOwned>(question: &Question) -> impl Future<Output = Option<T>> {
    std::future::ready(asked(question))
}

/// The plan for the model of files that a reader has; the error is a sentence.
#[cfg(feature = "hydrate")]
pub(super) async fn files(plan: &Plan, files: &web_sys::js_sys::Array) -> Result<Plan, String> {
    if module::load().await.is_err() {
        return Err("The planner, which reads them, could not be loaded: choose the files again.".to_owned());
    }
    let plan = serde_json::to_value(plan).unwrap_or_default().to_string();
    let reply = module::files(&plan, files).await.ok().and_then(|reply| reply.as_string());
    reply.and_then(|reply| module::read(&reply)).unwrap_or_else(|| Err(crate::import::told(&silent())))
}

/// A module that answers nothing is of another version than the page, or has stopped at a fault of its own.
fn silent() -> PlanError {
    PlanError::invalid("plan", "The planner's module gave no answer", "reload the page")
}

/// The module, through the script that loads it.
#[cfg(feature = "hydrate")]
mod module {
    use serde::de::DeserializeOwned;
    use wasm_bindgen::prelude::*;
    use web_sys::js_sys::Array;

    use crate::engine::Question;

    #[wasm_bindgen(raw_module = "/planner.js")]
    extern "C" {
        #[wasm_bindgen(catch)]
        pub(super) async fn load() -> Result<JsValue, JsValue>;
        #[wasm_bindgen(catch)]
        fn ask(question: &str) -> Result<String, JsValue>;
        #[wasm_bindgen(catch)]
        async fn work(question: &str) -> Result<JsValue, JsValue>;
        #[wasm_bindgen(catch)]
        pub(super) async fn files(plan: &str, files: &Array) -> Result<JsValue, JsValue>;
    }

    /// What the module answers.
    pub(super) fn asked<T: DeserializeOwned>(question: &Question) -> Option<T> {
        read(&ask(&written(question)?).ok()?)
    }

    /// What the module answers in a worker.
    pub(super) async fn worked<T: DeserializeOwned>(question: &Question) -> Option<T> {
        read(&work(&written(question)?).await.ok()?.as_string()?)
    }

    fn written(question: &Question) -> Option<String> {
        Some(serde_json::to_value(question).ok()?.to_string())
    }

    /// A document through a `Value`, so that there is one reader of every type.
    pub(super) fn read<T: DeserializeOwned>(text: &str) -> Option<T> {
        serde_json::from_value(serde_json::from_str(text).ok()?).ok()
    }
}

//! What the planner's board asks of the planner: documents in, documents out. The server calls these functions; in the browser
//! they are a module of their own (`app/hydrate/src/bin/planner.rs`), which is loaded when a reader turns to the controls.

use planner::agent::presets;
use planner::document::estimate::Advice;
use planner::document::plan::{EngineName, ModelRef, Plan};
use planner::solve::{self, LoadPoint};
use planner::{Compiled, Estimate, Model, PlanError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fields::{self, document};
use crate::link;

/// A plan with what the board shows of it at each change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The plan.
    pub plan: Plan,
    /// Its estimate, without advice, or why it has none.
    pub estimate: Result<Estimate, PlanError>,
    /// Parameters of its model; 0 where its configuration is not known.
    pub parameters: u64,
    /// The longest sequence that its model takes.
    pub longest: u64,
}

impl Answer {
    /// Of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let model = Model::from_ref(&plan.model);
        Self {
            parameters: model.as_ref().map_or(0, |model| model.parameters().total),
            longest: model.map_or(131_072, |model| model.max_tokens.0),
            plan: plan.clone(),
            estimate: Compiled::new(plan).and_then(|compiled| compiled.estimate()),
        }
    }

    /// The plan with its estimate, where it has one.
    #[must_use]
    pub fn whole(&self) -> Option<(Plan, Estimate)> {
        Some((self.plan.clone(), self.estimate.clone().ok()?))
    }

    /// Whether it is known not to fit, so that advice is worth asking for.
    #[must_use]
    pub fn short(&self) -> bool {
        self.estimate.as_ref().is_ok_and(|estimate| !estimate.fits)
    }
}

/// The most that fits of a plan, which takes tens of estimates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Solved {
    /// The plan.
    pub plan: Plan,
    /// The most sequences at once that fit.
    pub most_sequences: Option<u64>,
    /// The longest sequences that fit, in tokens.
    pub longest_context: Option<u64>,
}

impl Solved {
    /// Of a plan of which nothing is known.
    #[must_use]
    pub fn nothing(plan: &Plan) -> Self {
        Self { plan: plan.clone(), most_sequences: None, longest_context: None }
    }

    /// Of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let nothing = Self::nothing(plan);
        let Ok(compiled) = Compiled::new(plan) else { return nothing };
        if compiled.breakdown(&compiled.numbers()).is_err() {
            return nothing;
        }
        Self {
            most_sequences: solve::largest_batch_of(&compiled).ok(),
            longest_context: solve::longest_context_of(&compiled).ok().map(|tokens| tokens.0),
            ..nothing
        }
    }
}

/// Single changes that help a plan that does not fit; none where it fits.
#[must_use]
pub fn advice(plan: &Plan) -> Vec<Advice> {
    let advice = |compiled: &Compiled| {
        let fits = compiled.breakdown(&compiled.numbers())?.fits;
        Ok(if fits { Vec::new() } else { compiled.advice() })
    };
    Compiled::new(plan).and_then(|compiled| advice(&compiled)).unwrap_or_default()
}

/// Whether tens of estimates of a plan are nothing beside drawing its answer: formulas are (0.1 ms in a browser), the walk of
/// Candle's allocations is not (100 ms for a model of 8B).
#[must_use]
pub fn quick(plan: &Plan) -> bool {
    plan.engine.name != EngineName::Candle
}

/// Parameters of a model; 0 where its configuration is not known.
#[must_use]
pub fn parameters(model: &ModelRef) -> u64 {
    Model::from_ref(model).map_or(0, |model| model.parameters().total)
}

/// The load line of a plan at some batches, where it has one.
#[must_use]
pub fn load_line(plan: &Plan, batches: &[u64]) -> Option<Vec<LoadPoint>> {
    line(plan, batches).ok()
}

/// Load lines that are kept, some kB each with their plans.
#[cfg(feature = "ssr")]
const KEPT: usize = 256;

/// The load line of a plan at some batches. On a server the last ones are kept: the planner is pure and the same until the
/// server starts anew, and a line is a hundred estimates.
///
/// # Errors
/// Those of [`solve::load_line`].
#[cfg(feature = "ssr")]
pub fn line(plan: &Plan, batches: &[u64]) -> Result<Vec<LoadPoint>, PlanError> {
    use crate::kept::Kept;

    static LINES: Kept<(Plan, Vec<u64>), Vec<LoadPoint>> = Kept::new(KEPT);

    let asked = (plan.clone(), batches.to_vec());
    if let Some(known) = LINES.get(&asked) {
        return Ok(known.to_vec());
    }
    let found = solve::load_line(plan, batches)?;
    LINES.keep(asked, std::sync::Arc::new(found.clone()));
    Ok(found)
}

#[cfg(not(feature = "ssr"))]
fn line(plan: &Plan, batches: &[u64]) -> Result<Vec<LoadPoint>, PlanError> {
    solve::load_line(plan, batches)
}

/// The plan for another model, asked only what that model can do.
#[must_use]
pub fn with_model(plan: &Plan, model: ModelRef) -> Plan {
    document::with_model(plan, model)
}

/// What the board asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// What a plan takes: an [`Answer`].
    Answer(Plan),
    /// The most that fits of a plan: [`Solved`].
    Solve(Plan),
    /// Single changes that help a plan: a `Vec<Advice>`.
    Advice(Plan),
    /// The load line of a plan at some batches: an `Option<Vec<LoadPoint>>`.
    LoadLine(Plan, Vec<u64>),
    /// The plan with the field at a path set, and with it whatever depends on it: a `Result<Plan, PlanError>`.
    Set(Plan, String, Value),
    /// The plan with the settings of a known system: a `Result<Plan, PlanError>`.
    Preset(Plan, String),
    /// The plan for the model of a `config.json`: a `Result<Plan, PlanError>`.
    Configured(Plan, String),
}

/// The answer to a question.
#[must_use]
pub fn reply(question: Question) -> Value {
    match question {
        Question::Answer(plan) => serde_json::to_value(Answer::of(&plan)),
        Question::Solve(plan) => serde_json::to_value(Solved::of(&plan)),
        Question::Advice(plan) => serde_json::to_value(advice(&plan)),
        Question::LoadLine(plan, batches) => serde_json::to_value(load_line(&plan, &batches)),
        Question::Set(plan, path, value) => serde_json::to_value(set(&plan, &path, value)),
        Question::Preset(plan, name) => serde_json::to_value(preset(&plan, &name)),
        Question::Configured(plan, config) => {
            serde_json::to_value(link::pasted(&config).map(|model| with_model(&plan, model)))
        }
    }
    .unwrap_or_default()
}

fn set(plan: &Plan, path: &str, value: Value) -> Result<Plan, PlanError> {
    let field = fields::all()
        .find(|field| field.path == path)
        .ok_or_else(|| PlanError::invalid(path, "is no field of a plan", "reload the page"))?;
    document::changed(plan, field, value)
}

fn preset(plan: &Plan, name: &str) -> Result<Plan, PlanError> {
    presets::fields(name)
        .and_then(|change| document::applied(plan, &change))
        .ok_or_else(|| PlanError::invalid("preset", "does not go with this plan", "choose another"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As the browser's module is asked.
    fn asked<T: serde::de::DeserializeOwned>(question: &Question) -> T {
        let question = serde_json::to_string(question).unwrap();
        serde_json::from_value(reply(serde_json::from_str(&question).unwrap())).unwrap()
    }

    fn plan(query: &str) -> Plan {
        link::read(query).unwrap()
    }

    #[test]
    fn a_question_is_answered_as_the_planner_answers_it() {
        for query in [
            "batch=4",
            "engine=vllm&context=3072",
            "engine=vllm&batch=500",
            "gpu=cpu&model=HuggingFaceTB/SmolLM2-135M",
            "engine=deepspeed&workload.kind=train&workload.method=full",
            "batch=0",
        ] {
            let plan = plan(query);
            let answer: Answer = asked(&Question::Answer(plan.clone()));
            let solved: Solved = asked(&Question::Solve(plan.clone()));
            let advised: Vec<Advice> = asked(&Question::Advice(plan.clone()));
            let whole = planner::estimate(&plan);
            let advice = whole.as_ref().map_or(Vec::new(), |estimate| estimate.advice.clone());
            assert_eq!(advised, advice, "{query}");
            let with_advice = answer.estimate.clone().map(|estimate| Estimate { advice, ..estimate });
            assert_eq!(with_advice, whole, "{query}");
            assert_eq!(answer, Answer::of(&plan), "{query}");
            let fits = |found: Option<u64>| whole.is_ok().then_some(found).flatten();
            let expected = Solved {
                plan: plan.clone(),
                most_sequences: fits(solve::largest_batch(&plan).ok()),
                longest_context: fits(solve::longest_context(&plan).ok().map(|tokens| tokens.0)),
            };
            assert_eq!(solved, expected, "{query}");
            let line: Option<Vec<LoadPoint>> = asked(&Question::LoadLine(plan.clone(), vec![1, 2, 64]));
            assert_eq!(line, solve::load_line(&plan, &[1, 2, 64]).ok(), "{query}");
        }
    }

    #[test]
    fn a_change_keeps_the_plan_whole() {
        let before = plan("batch=4");
        let set = |path: &str, value: Value| -> Result<Plan, PlanError> {
            asked(&Question::Set(before.clone(), path.to_owned(), value))
        };
        assert_eq!(set("workload.concurrent_sequences", json!(8)).unwrap(), plan("batch=8"));
        assert_eq!(
            set("workload.concurrent_sequences", json!("x")).unwrap_err().field,
            "workload.concurrent_sequences"
        );
        assert_eq!(set("no.field", json!(1)).unwrap_err().field, "no.field");
        let preset: Result<Plan, PlanError> = asked(&Question::Preset(before.clone(), "nobody's".to_owned()));
        assert_eq!(preset.unwrap_err().field, "preset");
        let config = planner::catalogue::model("Qwen/Qwen3-0.6B").unwrap().config.to_string();
        let own: Result<Plan, PlanError> = asked(&Question::Configured(before.clone(), config));
        assert_eq!(own.unwrap().model.id, None);
        let own: Result<Plan, PlanError> = asked(&Question::Configured(before.clone(), "{".to_owned()));
        assert_eq!(own.unwrap_err().field, "model.config");
    }
}

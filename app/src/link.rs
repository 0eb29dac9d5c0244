//! Links to the planner's page, and the plans that its form asks for.

use planner::agent::presets;
use planner::catalogue;
use planner::document::merge;
use planner::document::plan::ModelRef;
use planner::{Plan, PlanError};
use serde_json::Value;

use crate::fields::{self, Field, Kind, document};
use crate::import;

/// What the form sends beside the fields of a plan: the plan that it was drawn from, whole, and a pasted configuration.
const BASE: &str = "base";
const CONFIG: &str = "config";
const PRESET: &str = "preset";
/// The plan that the page compares its own with: that plan's link.
const AGAINST: &str = "b";
/// As the form of the first version carried a model that the catalogue lacks.
const MODEL_JSON: &str = "model_json";
const REST: &str = "plan";

/// What the page plans when it is asked nothing.
const FIRST: &str =
    "model=meta-llama/Llama-3.1-8B&gpu=h100-sxm-80gb&weights=bf16&context=2048&output=512&batch=4";

/// The planner's page with this plan.
#[must_use]
pub fn planner_href(plan: &Plan) -> String {
    format!("/planner?{}", planner::link::to_query(plan))
}

/// The planner's page with this plan, compared with another where one is given.
#[must_use]
pub fn compare_href(plan: &Plan, against: Option<&Plan>) -> String {
    let Some(against) = against else { return planner_href(plan) };
    let pinned = form_urlencoded::Serializer::new(String::new())
        .append_pair(AGAINST, &planner::link::to_query(against))
        .finish();
    format!("{}&{pinned}", planner_href(plan))
}

/// The page that shows how two plans differ.
#[must_use]
pub fn diff_href(a: &Plan, b: &Plan) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("a", &planner::link::to_query(a))
        .append_pair(AGAINST, &planner::link::to_query(b))
        .finish();
    format!("/planner/diff?{query}")
}

/// The plan that a query compares its own with.
///
/// # Errors
/// Those of [`read`]; the field begins with `b.`.
pub fn against(query: &str) -> Result<Option<Plan>, PlanError> {
    match value(query, AGAINST) {
        None => Ok(None),
        Some(text) => match read(&text) {
            Ok(plan) => Ok(Some(plan)),
            Err(error) => Err(PlanError { field: format!("{AGAINST}.{}", error.field), ..error }),
        },
    }
}

/// The first value of a query's key that is not empty.
#[must_use]
pub fn value(query: &str, key: &str) -> Option<String> {
    let query = query.trim_start_matches('?');
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, value)| name == key && !value.is_empty()).map(|(_, value)| value.into_owned())
}

/// The plan that the page starts with.
///
/// # Errors
/// Those of [`planner::link::from_query`]; none, as its test shows.
pub fn first_plan() -> Result<Plan, PlanError> {
    planner::link::from_query(FIRST)
}

/// Whether a query is what the form sends without JavaScript, rather than a plan's link.
#[must_use]
pub fn is_form(query: &str) -> bool {
    base_of(query).is_some()
}

/// The plan that the form was drawn from; none where the query is a link.
#[must_use]
pub fn base_of(query: &str) -> Option<Plan> {
    Plan::from_json(&value(query, BASE)?).ok()
}

/// The plan of the page's query: a plan's link, or what the form sends without JavaScript. Fields that have no key in links
/// are named by their path in the plan's document (`workload.memory_fraction=0.9`); an empty one is left out. What is left
/// out of model, GPU and lengths is filled from [`first_plan`].
///
/// # Errors
/// Names the field that cannot be read or does not go with the others, and what would be right.
pub fn read(query: &str) -> Result<Plan, PlanError> {
    let query = query.trim_start_matches('?');
    let mut given = Given::default();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        given.add(&key, value.trim())?;
    }
    let drawn_from = match &given.base {
        Some(base) => Some(Plan::from_json(base)?),
        None => None,
    };
    let start = match &drawn_from {
        Some(plan) => plan.clone(),
        None => given.link(query)?,
    };
    let mut plan = given.set_on(start, drawn_from.is_some())?;
    if let Some(name) = &given.preset {
        let applied = presets::fields(name).and_then(|change| document::applied(&plan, &change));
        plan = applied.ok_or_else(|| {
            let known: Vec<&str> = presets::PRESETS.iter().map(|preset| preset.name).collect();
            PlanError::invalid(
                PRESET,
                "is unknown, or for another workload",
                format!("give one of {}", known.join(", ")),
            )
        })?;
    }
    if let Some(config) = &given.config {
        plan = document::with_model(&plan, pasted(config)?);
    } else if let Some(json) =
        given.model_json.as_ref().filter(|_| !given.said.iter().any(|key| key == "model"))
    {
        plan.model = serde_json::from_str(json).map_err(|error| {
            PlanError::invalid("model", format!("cannot be read: {error}"), "paste its config.json")
        })?;
    }
    Ok(plan)
}

/// What a query gives.
#[derive(Default)]
struct Given {
    base: Option<String>,
    config: Option<String>,
    model_json: Option<String>,
    preset: Option<String>,
    /// Pairs that make a link.
    pairs: Vec<(String, String)>,
    /// Keys of them that are not empty.
    said: Vec<String>,
    /// Fields by path, in the order given.
    fields: Vec<(&'static Field, String)>,
}

impl Given {
    fn add(&mut self, key: &str, value: &str) -> Result<(), PlanError> {
        let given = (!value.is_empty()).then(|| value.to_owned());
        match key {
            BASE => self.base = given,
            CONFIG => self.config = given,
            PRESET => self.preset = given.or(self.preset.take()),
            MODEL_JSON => self.model_json = given,
            AGAINST => {}
            _ => match fields::find(key) {
                // A checkbox sends "false" from a hidden field, and its own "true" after it.
                Some(field) if key == field.path && !self.repeats(field, value) => {
                    if let Some((_, there)) =
                        self.fields.iter().find(|(other, _)| std::ptr::eq(*other, field))
                    {
                        if there != value {
                            return Err(PlanError::invalid(
                                field.path,
                                format!("is given as \"{there}\" and as \"{value}\""),
                                "leave one of the two out",
                            ));
                        }
                    } else {
                        self.fields.push((field, value.to_owned()));
                    }
                }
                Some(field) if key == field.path => {}
                Some(field) if field.key.is_empty() => self.fields.push((field, value.to_owned())),
                _ => {
                    self.said.extend(given.is_some().then(|| key.to_owned()));
                    self.pairs.push((key.to_owned(), value.to_owned()));
                }
            },
        }
        Ok(())
    }

    /// Whether this is the second half of a checkbox, which then is taken.
    fn repeats(&mut self, field: &'static Field, value: &str) -> bool {
        let first =
            self.fields.iter_mut().find(|(other, text)| std::ptr::eq(*other, field) && text == "false");
        match first {
            Some((_, text)) if matches!(field.kind, Kind::Switch | Kind::Part) && value == "true" => {
                "true".clone_into(text);
                true
            }
            _ => false,
        }
    }

    /// The plan of the keys that make a link.
    fn link(&self, query: &str) -> Result<Plan, PlanError> {
        let mut link = form_urlencoded::Serializer::new(String::new());
        link.extend_pairs(&self.pairs);
        let has = |key: &str| self.said.iter().any(|s| s == key);
        let has_path =
            |path: &str| self.fields.iter().any(|(field, text)| field.path == path && !text.is_empty());
        let own_model = self.config.is_some() || (self.model_json.is_some() && !has("model"));
        let in_rest = |part: &str| has(REST) && query.contains(&format!("%22{part}%22"));
        let workload = in_rest("workload");
        for (key, value) in form_urlencoded::parse(FIRST.as_bytes()) {
            let filled = match key.as_ref() {
                "model" => !has("model") && !in_rest("model"),
                "gpu" => !has("gpu"),
                "context" => !has("context") && !workload,
                // Only a page that is asked nothing gets the whole example.
                "weights" | "batch" => self.said.is_empty() && self.fields.is_empty() && !own_model,
                _ => !has("context") && !has(&key) && !workload && !has_path("workload.prompt_tokens"),
            };
            if filled {
                link.append_pair(&key, &value);
            }
        }
        planner::link::from_query(&link.finish())
    }

    /// The plan with the fields set on it. A form sends all of its fields, so that there only those count that differ from
    /// what it was drawn from.
    fn set_on(&self, start: Plan, form: bool) -> Result<Plan, PlanError> {
        let before = document::of(&start);
        let mut fields = self.fields.clone();
        if form {
            for (key, value) in &self.pairs {
                let field = fields::find(key).ok_or_else(|| {
                    PlanError::invalid(
                        key.chars().take(60).collect::<String>(),
                        "is no field of a plan",
                        "leave it out",
                    )
                })?;
                fields.push((field, value.clone()));
            }
            fields.retain(|(field, text)| field.text(&before) != *text);
        } else {
            for (field, text) in &fields {
                if !field.key.is_empty()
                    && self.said.iter().any(|key| key == field.key)
                    && field.text(&before) != *text
                {
                    return Err(PlanError::invalid(
                        field.path,
                        format!(
                            "{}={} and {}={text} say different things",
                            field.key,
                            field.text(&before),
                            field.path
                        ),
                        "leave one of the two out",
                    ));
                }
            }
        }
        if fields.is_empty() {
            return Ok(start);
        }
        // Another workload brings an engine of its own, unless the link names one that does it.
        if let Some(engine) = fields::find("engine").filter(|_| !form)
            && let Some((_, workload)) = fields.iter().find(|(field, _)| field.path == "workload.kind")
            && let Kind::Choice { from, .. } = engine.kind
            && self.said.iter().any(|key| key == engine.key)
            && from(workload).iter().any(|choice| choice.value == engine.text(&before))
        {
            fields.push((engine, engine.text(&before)));
        }
        fields.sort_by_key(|(field, _)| document::rank(field));
        let mut changed = before.clone();
        for (field, text) in &fields {
            let value = field
                .parse(text)
                .map_err(|(problem, remedy)| PlanError::invalid(field.path, problem, remedy))?;
            if !field.is_possible(&changed) && !value.is_null() {
                let needs: Vec<String> =
                    field.when.iter().map(|c| format!("{} = {}", c.path, c.any.join(" or "))).collect();
                return Err(PlanError::invalid(
                    field.path,
                    "does not go with the rest of the plan",
                    format!("leave it out; it needs {}", needs.join(", ")),
                ));
            }
            document::set(&mut changed, field, value);
        }
        let plan = Plan::from_value(changed)?;
        // A link's own fields that another choice has swept away were given in vain.
        let after = document::of(&plan);
        let lost = self
            .said
            .iter()
            .filter_map(|key| fields::find(key))
            .find(|field| !form && field.is_possible(&before) && !field.is_possible(&after));
        match lost {
            Some(field) => Err(PlanError::invalid(
                field.path,
                format!("{} does not go with {}", field.key, fields[0].0.path),
                "leave one of the two out",
            )),
            None => Ok(plan),
        }
    }
}

/// The model of a pasted `config.json`.
///
/// # Errors
/// The text is no JSON object, or describes no model that is known.
pub fn pasted(config: &str) -> Result<ModelRef, PlanError> {
    let config: Value = serde_json::from_str(config).map_err(|error| {
        PlanError::invalid("model.config", format!("is no JSON: {error}"), "paste the whole config.json")
    })?;
    let model = import::configured(config);
    planner::Model::from_ref(&model)?;
    Ok(model)
}

/// What the form carries along unseen: the whole plan that it is drawn from.
#[must_use]
pub fn base(plan: &Plan) -> String {
    // Through a value, of which there is a writer in the browser already.
    serde_json::to_value(plan).unwrap_or_default().to_string()
}

/// The plan with the fields of an advice merged into it (RFC 7396); none where the result is no plan.
#[must_use]
pub fn advised(plan: &Plan, change: &Value) -> Option<Plan> {
    let mut whole = serde_json::to_value(plan).ok()?;
    merge(&mut whole, change);
    serde_json::from_value(whole).ok()
}

/// The name of a plan's model, as people know it.
#[must_use]
pub fn model_name(model: &ModelRef) -> String {
    model.id.clone().or_else(|| model.name.clone()).unwrap_or_else(|| "a model".to_owned())
}

/// The name of a GPU's id.
#[must_use]
pub fn gpu_name(id: &str) -> String {
    match catalogue::gpu(id) {
        Some(gpu) => gpu.name.clone(),
        None if id == catalogue::CPU => "Processor, in host memory".to_owned(),
        None => id.to_owned(),
    }
}

#[cfg(test)]
mod tests;

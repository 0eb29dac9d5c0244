//! Links to the planner's page, and the plans that its form asks for.

use planner::catalogue;
use planner::document::plan::ModelRef;
use planner::{Plan, PlanError};
use serde_json::Value;

/// Fields of the page's form that are no keys of a plan's link, because the link writes them as JSON.
const ISA: &str = "isa";
const THREADS: &str = "threads";
const CONFIG: &str = "config";
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

/// The plan that the page starts with.
///
/// # Errors
/// Those of [`planner::link::from_query`]; none, as its test shows.
pub fn first_plan() -> Result<Plan, PlanError> {
    planner::link::from_query(FIRST)
}

/// The plan of the page's query: a plan's link, or what the form sends without JavaScript. What is left out of model,
/// GPU and lengths is filled from [`first_plan`].
///
/// # Errors
/// Names the key that cannot be read, and what would be right.
pub fn read(query: &str) -> Result<Plan, PlanError> {
    let query = query.trim_start_matches('?');
    let mut link = form_urlencoded::Serializer::new(String::new());
    let mut extra = Extra::default();
    let (mut said, mut workload) = (Vec::new(), false);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        let given = (!value.trim().is_empty()).then(|| value.trim().to_owned());
        match key.as_ref() {
            ISA => extra.isa = given,
            THREADS => extra.threads = given,
            CONFIG => extra.config = given,
            MODEL_JSON => extra.model_json = given,
            _ => {
                workload |= key == REST && value.contains("\"workload\"");
                said.extend(given.is_some().then(|| key.to_string()));
                link.append_pair(&key, &value);
            }
        }
    }
    let has = |key: &str| said.iter().any(|s| s == key);
    let own_model = extra.config.is_some() || (extra.model_json.is_some() && !has("model"));
    let rest_has_model = said.iter().any(|s| s == REST) && query.contains("%22model%22");
    for (key, value) in form_urlencoded::parse(FIRST.as_bytes()) {
        let filled = match key.as_ref() {
            "model" => !has("model") && !rest_has_model,
            "gpu" => !has("gpu"),
            "context" => !has("context") && !workload,
            // Only a page that is asked nothing gets the whole example.
            "weights" | "batch" => said.is_empty() && !own_model,
            _ => !has("context") && !has(&key) && !workload,
        };
        if filled {
            link.append_pair(&key, &value);
        }
    }
    let mut plan = planner::link::from_query(&link.finish())?;
    extra.apply(&mut plan, own_model)?;
    Ok(plan)
}

/// What the form sends beside the keys of a link.
#[derive(Default)]
struct Extra {
    isa: Option<String>,
    threads: Option<String>,
    config: Option<String>,
    model_json: Option<String>,
}

impl Extra {
    fn apply(self, plan: &mut Plan, own_model: bool) -> Result<(), PlanError> {
        if self.isa.is_some() {
            plan.host.isa = self.isa;
        }
        if let Some(threads) = self.threads {
            let threads = threads.parse().map_err(|_| {
                PlanError::invalid(
                    "host.threads",
                    format!("\"{threads}\" is not a whole number"),
                    "give at least 1",
                )
            })?;
            plan.host.threads = Some(threads);
        }
        if let Some(config) = self.config {
            plan.model = pasted(&config)?;
        } else if let Some(json) = self.model_json.filter(|_| own_model) {
            plan.model = serde_json::from_str(&json).map_err(|error| {
                PlanError::invalid("model", format!("cannot be read: {error}"), "paste its config.json")
            })?;
        }
        Ok(())
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
    let name = config
        .get("_name_or_path")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty())
        .unwrap_or("pasted model")
        .to_owned();
    let model = ModelRef { name: Some(name), config: Some(config), ..ModelRef::default() };
    planner::Model::from_ref(&model)?;
    Ok(model)
}

/// What the form must carry along unseen: the JSON of everything in the plan that has neither a key nor a field.
#[must_use]
pub fn rest(plan: &Plan) -> Option<String> {
    let mut seen = plan.clone();
    seen.model = ModelRef::catalogue("-");
    seen.host = planner::document::plan::Host::default();
    let query = planner::link::to_query(&seen);
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == REST).map(|(_, value)| value.into_owned())
}

/// The plan with the fields of an advice merged into it (RFC 7396); none where the result is no plan.
#[must_use]
pub fn advised(plan: &Plan, change: &Value) -> Option<Plan> {
    let mut whole = serde_json::to_value(plan).ok()?;
    merge(&mut whole, change);
    serde_json::from_value(whole).ok()
}

fn merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                if value.is_null() {
                    into.remove(key);
                } else {
                    merge(into.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (into, change) => *into = change.clone(),
    }
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

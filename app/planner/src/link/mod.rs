//! A plan as a readable query: `model=meta-llama/Llama-3.1-8B&gpu=h100-sxm-80gb&weights=bf16&context=2048&batch=4`.
//!
//! The common fields have a key of their own; whatever else a plan says is one more key, `plan`, with the rest as compact
//! JSON. A link therefore carries every plan, and an old link keeps its meaning: keys are only ever added.

mod percent;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use crate::document::plan::{Plan, SCHEMA};
use crate::document::precision::{ActivationPrecision, CachePrecision, WeightPrecision};
use crate::error::PlanError;

/// Key of the rest.
const REST: &str = "plan";
/// A query longer than this is refused before it is decoded.
const MAX_QUERY: usize = 1 << 20;

/// A key of a link, and where it stands in a plan.
struct Key {
    name: &'static str,
    /// Parent and field.
    path: (&'static str, &'static str),
    check: fn(&str) -> Result<Value, String>,
    /// Whether it belongs to a workload that serves.
    serve: bool,
}

/// The readable keys, in the order in which they are written.
const KEYS: &[Key] = &[
    Key { name: "model", path: ("model", "id"), check: text, serve: false },
    Key { name: "gpu", path: ("gpu", "id"), check: text, serve: false },
    Key { name: "memory_mib", path: ("gpu", "memory_mib"), check: number, serve: false },
    Key { name: "in_use_mib", path: ("gpu", "in_use_mib"), check: number, serve: false },
    Key { name: "engine", path: ("engine", "name"), check: text, serve: false },
    Key { name: "variant", path: ("engine", "variant"), check: text, serve: false },
    Key {
        name: "weights",
        path: ("precision", "weights"),
        check: precision::<WeightPrecision>,
        serve: false,
    },
    Key { name: "kv", path: ("precision", "kv_cache"), check: precision::<CachePrecision>, serve: false },
    Key {
        name: "activations",
        path: ("precision", "activations"),
        check: precision::<ActivationPrecision>,
        serve: false,
    },
    Key { name: "context", path: ("workload", "prompt_tokens"), check: number, serve: true },
    Key { name: "output", path: ("workload", "output_tokens"), check: number, serve: true },
    Key { name: "batch", path: ("workload", "concurrent_sequences"), check: number, serve: true },
    Key { name: "max_len", path: ("workload", "max_model_len"), check: number, serve: true },
];

#[allow(clippy::unnecessary_wraps, reason = "the signature of every check")]
fn text(given: &str) -> Result<Value, String> {
    Ok(json!(given))
}

fn number(given: &str) -> Result<Value, String> {
    let n: Option<u64> = given.bytes().all(|b| b.is_ascii_digit()).then(|| given.parse().ok()).flatten();
    n.map(Value::from).ok_or_else(|| format!("\"{}\" is not a whole number of at least 0", cut(given)))
}

fn precision<T: FromStr<Err: Display>>(given: &str) -> Result<Value, String> {
    given.parse::<T>().map(|_| json!(given)).map_err(|e| e.to_string())
}

fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}

/// What a document that leaves everything out looks like when it is written.
fn defaults() -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("schema".into(), json!(SCHEMA));
    map.insert("engine".into(), json!({ "name": "candle" }));
    map.insert("precision".into(), json!({}));
    map
}

/// The query of a plan, without a leading `?`. [`from_query`] gives the same plan back.
#[must_use]
pub fn to_query(plan: &Plan) -> String {
    let Ok(Value::Object(whole)) = serde_json::to_value(plan) else { return String::new() };
    let serves = whole.get("workload").and_then(|w| w.get("kind")).and_then(Value::as_str) == Some("serve");
    let mut said = defaults();
    if serves {
        said.insert(
            "workload".into(),
            json!({ "kind": "serve", "output_tokens": 0, "concurrent_sequences": 1 }),
        );
    }
    let mut query = String::new();
    for key in KEYS.iter().filter(|k| serves || !k.serve) {
        let (parent, field) = key.path;
        let Some(value) = whole.get(parent).and_then(|p| p.get(field)) else { continue };
        let shown = match value {
            // An empty value means "left out" in a query.
            Value::String(s) if !s.is_empty() => s.clone(),
            Value::Number(n) => n.to_string(),
            _ => continue,
        };
        if said.get(parent).and_then(|p| p.get(field)) == Some(value) {
            continue;
        }
        push(&mut query, key.name, &shown);
        set(&mut said, key.path, value.clone());
    }
    let rest = difference(&said, &whole);
    if !rest.is_empty() {
        push(&mut query, REST, &Value::Object(rest).to_string());
    }
    query
}

fn push(query: &mut String, name: &str, value: &str) {
    if !query.is_empty() {
        query.push('&');
    }
    query.push_str(name);
    query.push('=');
    percent::encode_into(query, value);
}

fn set(map: &mut Map<String, Value>, (parent, field): (&str, &str), value: Value) {
    let entry = map.entry(parent).or_insert_with(|| json!({}));
    if let Value::Object(inner) = entry {
        inner.insert(field.to_owned(), value);
    }
}

/// The plan of a query, with or without a leading `?`. An empty value is a field left out, as forms send it.
///
/// # Errors
/// Names the key that is unknown, twice there, or not readable, and what would be right.
pub fn from_query(query: &str) -> Result<Plan, PlanError> {
    let query = query.strip_prefix('?').unwrap_or(query);
    if query.len() > MAX_QUERY {
        return Err(PlanError::invalid(
            REST,
            format!("the link has {} bytes", query.len()),
            format!("a plan takes at most {MAX_QUERY}: send it as JSON"),
        ));
    }
    let mut pairs = pairs(query)?;
    let mut map = defaults();
    let rest = match pairs.remove(REST) {
        None => Map::new(),
        Some(text) => match serde_json::from_str(&text) {
            Ok(Value::Object(rest)) => rest,
            Ok(_) => return Err(PlanError::invalid(REST, "is no JSON object", "copy the whole link")),
            Err(e) => {
                return Err(PlanError::invalid(
                    REST,
                    format!("is no valid JSON: {e}"),
                    "copy the whole link",
                ));
            }
        },
    };
    let serves = KEYS.iter().any(|k| k.serve && pairs.contains_key(k.name));
    if serves || !rest.contains_key("workload") {
        map.insert("workload".into(), json!({ "kind": "serve" }));
    }
    for key in KEYS {
        let Some(given) = pairs.remove(key.name) else { continue };
        let value = (key.check)(&given).map_err(|problem| {
            let (parent, field) = key.path;
            PlanError::invalid(
                format!("{parent}.{field}"),
                problem,
                format!("correct {} in the link", key.name),
            )
        })?;
        set(&mut map, key.path, value);
    }
    if let Some(unknown) = pairs.keys().next() {
        let known = KEYS.iter().map(|k| k.name).chain([REST]).collect::<Vec<_>>().join(", ");
        return Err(PlanError::invalid(
            cut(unknown),
            "is no key of a plan's link",
            format!("known: {known}"),
        ));
    }
    merge(&mut map, rest);
    require(&map)?;
    Plan::from_value(Value::Object(map))
}

/// What every plan must say, by the keys that a person would add.
fn require(map: &Map<String, Value>) -> Result<(), PlanError> {
    let has = |parent: &str, field: &str| map.get(parent).and_then(|p| p.get(field)).is_some();
    if !map.contains_key("model") {
        return Err(PlanError::invalid(
            "model",
            "missing",
            "add model, for example model=meta-llama/Llama-3.1-8B",
        ));
    }
    if !has("gpu", "id") {
        return Err(PlanError::invalid("gpu.id", "missing", "add gpu, for example gpu=h100-sxm-80gb"));
    }
    let serves = map.get("workload").and_then(|w| w.get("kind")).and_then(Value::as_str) == Some("serve");
    if serves && !has("workload", "prompt_tokens") {
        return Err(PlanError::invalid(
            "workload.prompt_tokens",
            "missing",
            "add context, for example context=2048",
        ));
    }
    Ok(())
}

/// The pairs of a query; values that are empty are left out.
fn pairs(query: &str) -> Result<BTreeMap<String, String>, PlanError> {
    let mut pairs = BTreeMap::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let broken = |problem| PlanError::invalid(cut(name), problem, "copy the whole link");
        let name = percent::decode(name).map_err(broken)?;
        let value = percent::decode(value).map_err(broken)?;
        if value.is_empty() {
            continue;
        }
        if pairs.contains_key(&name) {
            return Err(PlanError::invalid(cut(&name), "is twice in the link", "leave one of the two out"));
        }
        pairs.insert(name, value);
    }
    Ok(pairs)
}

/// What `whole` says beyond `said`.
fn difference(said: &Map<String, Value>, whole: &Map<String, Value>) -> Map<String, Value> {
    let mut rest = Map::new();
    for (key, value) in whole {
        match (said.get(key), value) {
            (Some(there), value) if there == value => {}
            (Some(Value::Object(there)), Value::Object(value)) => {
                let inner = difference(there, value);
                if !inner.is_empty() {
                    rest.insert(key.clone(), Value::Object(inner));
                }
            }
            _ => {
                rest.insert(key.clone(), value.clone());
            }
        }
    }
    rest
}

/// Adds `rest` to `map`, objects field by field.
fn merge(map: &mut Map<String, Value>, rest: Map<String, Value>) {
    for (key, value) in rest {
        match (map.get_mut(&key), value) {
            (Some(Value::Object(there)), Value::Object(value)) => merge(there, value),
            (_, value) => {
                map.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests;

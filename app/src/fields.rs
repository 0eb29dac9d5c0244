//! The fields of a plan as people set them: one table, from which the planner's form is drawn and its answers are read.
//!
//! A field is a place in the plan's document ([`Field::path`]), and nothing else about the plan is known to the form. What
//! hangs together (a kind and its numbers) is in [`document`].

mod choices;
pub mod document;
mod table;

pub use choices::{Choice, Offered, engine_name, gpus, models, offer, offered, offers};
pub use table::{GROUPS, Group};

use serde_json::Value;

/// A field of the plan.
#[derive(Debug)]
pub struct Field {
    /// Its dotted path in the plan's document.
    pub path: &'static str,
    /// Its key in links where it has one, as [`planner::link`] spells it; else empty.
    pub key: &'static str,
    /// Its name on the page.
    pub label: &'static str,
    /// Its unit, or what leaving it empty means; may be empty.
    pub hint: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// When it means something: every condition must hold.
    pub when: &'static [Condition],
}

/// What a field holds, and so how it is set.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A whole number that matters so much that it has a slider too.
    Amount {
        /// What is counted.
        unit: &'static str,
        /// Where the slider ends.
        most: Most,
    },
    /// A whole number.
    Whole,
    /// A whole number that may be left out.
    Optional,
    /// A number with a fraction.
    Decimal,
    /// A number with a fraction that may be left out.
    OptionalDecimal,
    /// One of a few short words; an empty one is left out.
    Few(&'static [(&'static str, &'static str)]),
    /// One of a few sentences; an empty one is left out.
    OneOf(&'static [(&'static str, &'static str)]),
    /// One of a list that depends on the text of another field.
    Choice {
        /// The field it depends on; empty: on none.
        by: &'static str,
        /// The list for that field's text.
        from: fn(&str) -> Vec<Choice>,
    },
    /// Yes or no.
    Switch,
    /// Words with commas between them.
    Words,
    /// The same, which may be left out.
    OptionalWords,
    /// A word that may be left out.
    Text,
    /// A part of the document that is there or not.
    Part,
}

/// Where a slider ends.
#[derive(Debug, Clone, Copy)]
pub enum Most {
    /// At the longest sequence of the model.
    Model,
    /// At a number that people rarely pass.
    Fixed(u64),
}

/// A field must have one of some texts.
#[derive(Debug, Clone, Copy)]
pub struct Condition {
    /// The field.
    pub path: &'static str,
    /// Its texts; none: any text but the empty one.
    pub any: &'static [&'static str],
}

impl Condition {
    fn holds(&self, document: &Value) -> bool {
        let text = text_at(document, self.path);
        if self.any.is_empty() { !text.is_empty() } else { self.any.contains(&text.as_str()) }
    }

    /// Whether the document has no place for the field otherwise, rather than an engine no use.
    fn is_structural(&self) -> bool {
        self.path != ENGINE && self.path != GPU
    }
}

const ENGINE: &str = "engine.name";
const GPU: &str = "gpu.id";

impl Field {
    /// Its name in the form: its key in links, or else its path.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        if self.key.is_empty() { self.path } else { self.key }
    }

    /// Its text in a document; empty where it is left out.
    #[must_use]
    pub fn text(&self, document: &Value) -> String {
        match self.kind {
            Kind::Part => at(document, self.path).is_some_and(|part| !part.is_null()).to_string(),
            _ => text_at(document, self.path),
        }
    }

    /// Whether the document has a place for it.
    #[must_use]
    pub fn is_possible(&self, document: &Value) -> bool {
        self.when.iter().filter(|c| c.is_structural()).all(|c| c.holds(document))
    }

    /// Whether the document's engine and GPU have a use for it.
    #[must_use]
    pub fn is_useful(&self, document: &Value) -> bool {
        self.when.iter().filter(|c| !c.is_structural()).all(|c| c.holds(document))
    }

    /// Whether it is worth a place on the page: it means something, or it is set and should be seen to be.
    #[must_use]
    pub fn is_shown(&self, document: &Value) -> bool {
        let text = || self.text(document);
        let said = || match self.kind {
            Kind::Optional | Kind::OptionalDecimal | Kind::OptionalWords | Kind::Text => !text().is_empty(),
            // The first of a list is what holds where nothing is said.
            Kind::Few(list) | Kind::OneOf(list) => list.first().is_some_and(|(first, _)| text() != *first),
            Kind::Whole => !matches!(text().as_str(), "" | "0" | "1"),
            _ => false,
        };
        self.is_possible(document) && (self.is_useful(document) || said())
    }

    /// Whether an error about `field` is about this one.
    #[must_use]
    pub fn is_at(&self, field: &str) -> bool {
        let within = |outer: &str, inner: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with(['.', '[']))
        };
        if field == self.path || within(self.path, field) {
            return true;
        }
        // What names a part of the document is shown at what chooses that part.
        let chooses =
            [".kind", ".id", ".name", ".weights"].iter().find_map(|end| self.path.strip_suffix(end));
        chooses.is_some_and(|part| part == field) || (self.path == "model.id" && within("model", field))
    }

    /// The value of a text that someone gave; null: left out.
    ///
    /// # Errors
    /// What is wrong with it, and what to give.
    pub fn parse(&self, text: &str) -> Result<Value, (String, &'static str)> {
        let text = text.trim();
        let whole = || {
            let digits: String = text.chars().filter(|c| !matches!(c, ',' | '_' | ' ')).collect();
            digits.parse::<u64>().map(Value::from).map_err(|_| {
                (format!("\"{}\" is not a whole number", cut(text)), "give a whole number of at least 0")
            })
        };
        let decimal = || match text.parse::<f64>() {
            Ok(n) if n.is_finite() => Ok(Value::from(n)),
            _ => Err((format!("\"{}\" is not a number", cut(text)), "give a number such as 0.9")),
        };
        match self.kind {
            _ if text.is_empty() => match self.kind {
                Kind::Amount { .. } | Kind::Whole | Kind::Decimal | Kind::Words => {
                    Err(("is missing".to_owned(), "give it a value"))
                }
                _ => Ok(Value::Null),
            },
            Kind::Amount { .. } | Kind::Whole | Kind::Optional => whole(),
            Kind::Decimal | Kind::OptionalDecimal => decimal(),
            Kind::Few(_) | Kind::OneOf(_) | Kind::Choice { .. } | Kind::Text => match self.path {
                "parallelism.zero_stage" => whole(),
                _ => Ok(Value::from(text)),
            },
            Kind::Switch | Kind::Part => match text {
                "true" | "on" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err((format!("\"{}\" is neither true nor false", cut(text)), "give true or false")),
            },
            Kind::Words | Kind::OptionalWords => Ok(text
                .split([',', ' '])
                .map(str::trim)
                .filter(|word| !word.is_empty())
                .map(Value::from)
                .collect()),
        }
    }
}

/// Every field.
pub fn all() -> impl Iterator<Item = &'static Field> {
    GROUPS.iter().flat_map(|group| group.fields)
}

/// The field of a path or of a link's key.
#[must_use]
pub fn find(name: &str) -> Option<&'static Field> {
    let path = match name {
        // As the form of the first version called them.
        "isa" => "host.isa",
        "threads" => "host.threads",
        name => name,
    };
    all().find(|field| field.path == path || (!field.key.is_empty() && field.key == path))
}

/// The value at a dotted path.
fn at<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(document, |value, segment| value.get(segment))
}

/// The text of the value at a dotted path; empty where there is none.
#[must_use]
pub fn text_at(document: &Value, path: &str) -> String {
    match at(document, path) {
        None | Some(Value::Null | Value::Object(_)) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        Some(other) => other.to_string(),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests;

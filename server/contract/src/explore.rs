//! Cases of all runs by what they are: filters with their counts, an order, and a place in it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use planner::document::plan::Workload;
use planner::{Bytes, Tokens};
use serde::{Deserialize, Serialize};

use crate::case::{Case, CaseStatus};
use crate::ids::{CaseId, MachineId, RunId, UnixMillis};

/// Names of a closed set, as the contract spells them.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant),*
        }

        impl $name {
            /// All of them, in the order of the pages.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// As an address and the contract spell it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),*
                }
            }

            /// By its name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == name)
            }
        }
    };
}

pub(crate) use names;

names! {
    /// What cases are told apart by. Every value of it is a text; what a case leaves to the engine is `default`.
    Facet {
        /// The model's name.
        Model = "model",
        /// What was asked of it: a [`Task`].
        Task = "task",
        /// How it is trained; `none` where it is not ([`method`]).
        Method = "method",
        /// How weights are stored.
        Precision = "precision",
        /// The attention variant, as the command line spells it.
        Attention = "attention",
        /// Which decoder.
        Variant = "variant",
        /// How the cache is allocated.
        Cache = "cache",
        /// How the cache holds its numbers.
        KvCache = "kv_cache",
        /// The engine that ran, with its version.
        Engine = "engine",
        /// The processor or GPU by its product name.
        Device = "device",
        /// The machine's id.
        Machine = "machine",
        /// How the case ended.
        Status = "status",
        /// Sequences at once.
        Batch = "batch",
        /// Tokens of each prompt.
        Prompt = "prompt",
        /// Tokens generated after the prompt.
        Generate = "generate",
    }
}

names! {
    /// What is asked of a model.
    Task {
        /// Prompts and what follows them.
        Inference = "inference",
        /// Training steps.
        Training = "training",
        /// Vectors of whole sequences.
        Embedding = "embedding",
    }
}

impl Task {
    /// That of a case.
    #[must_use]
    pub fn of(case: &Case) -> Self {
        match case.plan.as_ref().map(|plan| &plan.workload) {
            _ if case.spec.training.is_some() => Self::Training,
            Some(Workload::Embed { .. }) => Self::Embedding,
            _ => Self::Inference,
        }
    }
}

/// What a training step trains, by its name ([`crate::training::Training::name`]): `full`, `lora`, `qlora`; `none` where there
/// is no training.
#[must_use]
pub fn method(training: Option<&str>) -> &str {
    let Some(name) = training.and_then(|name| name.strip_prefix("train:")) else { return "none" };
    name.find(|c: char| !c.is_ascii_alphabetic()).map_or(name, |end| &name[..end])
}

impl Facet {
    /// Whether its values are numbers, and so stand in their order.
    #[must_use]
    pub const fn is_number(self) -> bool {
        matches!(self, Self::Batch | Self::Prompt | Self::Generate)
    }
}

names! {
    /// What cases are ordered by. Cases without the figure come last, either way.
    Order {
        /// When they ended.
        Finished = "finished",
        /// Median decode rate of the whole batch in tokens per second.
        Decode = "decode",
        /// Median prefill rate of the whole batch in tokens per second.
        Prefill = "prefill",
        /// Median time to the first token.
        Ttft = "ttft",
        /// Most bytes alive at once.
        Peak = "peak",
        /// What the planner said of that peak, less it, as a share of it, whatever the sign.
        Error = "error",
    }
}

/// A place in an order: the figure of a case there and its number, which no other case has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// The figure; none: among those that have none.
    pub figure: Option<f64>,
    /// The case's number.
    pub number: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.figure {
            Some(figure) => write!(f, "{figure}_{}", self.number),
            None => write!(f, "_{}", self.number),
        }
    }
}

/// A text that is no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no place in the list; take one from `next` or `previous` of an answer")]
pub struct NoPlace(pub String);

impl FromStr for Place {
    type Err = NoPlace;
    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let none = || NoPlace(text.to_owned());
        let (figure, number) = text.split_once('_').ok_or_else(none)?;
        let figure = match figure {
            "" => None,
            figure => Some(figure.parse::<f64>().ok().filter(|n| n.is_finite()).ok_or_else(none)?),
        };
        Ok(Self { figure, number: number.parse().map_err(|_| none())? })
    }
}

/// Rows of a page where none are asked for.
pub const PER_PAGE: usize = 100;
/// Most rows of a page.
pub const MAX_PER_PAGE: usize = 1000;

/// Which cases are asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseQuery {
    /// Values that are admitted, by what they are of; a facet left out admits all.
    pub facets: BTreeMap<Facet, Vec<String>>,
    /// Those of a run.
    pub run: Option<RunId>,
    /// A part of the model's name, letters of either case.
    pub search: Option<String>,
    /// Not before.
    pub since: Option<UnixMillis>,
    /// Before.
    pub until: Option<UnixMillis>,
    /// The order.
    pub order: Order,
    /// Whether the largest or latest come first.
    pub descending: bool,
    /// Those after this place.
    pub after: Option<Place>,
    /// Those before this place, the nearest of them; [`Self::after`] goes before it.
    pub before: Option<Place>,
    /// Most rows, 1 to [`MAX_PER_PAGE`].
    pub limit: usize,
}

impl Default for CaseQuery {
    fn default() -> Self {
        Self {
            facets: BTreeMap::new(),
            run: None,
            search: None,
            since: None,
            until: None,
            order: Order::Finished,
            descending: true,
            after: None,
            before: None,
            limit: PER_PAGE,
        }
    }
}

/// Something of an address that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {reason}")]
pub struct QueryError {
    /// The parameter.
    pub name: String,
    /// Its value.
    pub value: String,
    /// What is wrong with it, and what is accepted.
    pub reason: String,
}

impl CaseQuery {
    /// Reads the pairs of an address: a facet's name as often as it has values; `run`, `q`, `since` and `until` (milliseconds
    /// since 1970), `order` and `direction` (`ascending`, `descending`), `after`, `before`, `limit`. Empty values say
    /// nothing. What means nothing is left out and told.
    pub fn read<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> (Self, Vec<QueryError>) {
        let (mut query, mut errors) = (Self::default(), Vec::new());
        for (name, value) in pairs {
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            if let Err(reason) = query.take(name, value) {
                errors.push(QueryError { name: name.to_owned(), value: value.to_owned(), reason });
            }
        }
        (query, errors)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        if let Some(facet) = Facet::named(name) {
            let values = self.facets.entry(facet).or_default();
            if !values.iter().any(|v| v == value) {
                values.push(value.to_owned());
            }
            return Ok(());
        }
        match name {
            "run" => {
                let none = |_| format!("\"{value}\" is no run's id; take one from the list of runs");
                self.run = Some(value.parse().map_err(none)?);
            }
            "q" => self.search = Some(value.to_owned()),
            "since" => self.since = Some(time(value)?),
            "until" => self.until = Some(time(value)?),
            "order" => {
                self.order = Order::named(value).ok_or_else(|| unknown(value, Order::ALL, Order::as_str))?;
            }
            "direction" => {
                self.descending = match value {
                    "descending" => true,
                    "ascending" => false,
                    _ => return Err(format!("\"{value}\" is unknown; accepted: ascending, descending")),
                }
            }
            "after" => self.after = Some(value.parse().map_err(|e: NoPlace| e.to_string())?),
            "before" => self.before = Some(value.parse().map_err(|e: NoPlace| e.to_string())?),
            "limit" => {
                self.limit =
                    value.parse().ok().filter(|n| (1..=MAX_PER_PAGE).contains(n)).ok_or_else(|| {
                        format!("\"{value}\" is out of range; accepted: 1 to {MAX_PER_PAGE}")
                    })?;
            }
            _ => {
                let facets: Vec<&str> = Facet::ALL.iter().map(|f| f.as_str()).collect();
                return Err(format!(
                    "there is no such filter; accepted: {}, run, q, since, until, order, direction, after, before, limit",
                    facets.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// The pairs that [`Self::read`] reads, without the place: what differs from the default only, in one order, so that
    /// equal queries have equal addresses.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let standard = Self::default();
        let mut pairs = Vec::new();
        for (facet, values) in &self.facets {
            pairs.extend(values.iter().map(|value| (facet.as_str(), value.clone())));
        }
        pairs.extend(self.run.map(|run| ("run", run.to_string())));
        pairs.extend(self.search.clone().map(|q| ("q", q)));
        pairs.extend(self.since.map(|t| ("since", t.0.to_string())));
        pairs.extend(self.until.map(|t| ("until", t.0.to_string())));
        if self.order != standard.order {
            pairs.push(("order", self.order.as_str().to_owned()));
        }
        if self.descending != standard.descending {
            pairs.push(("direction", "ascending".to_owned()));
        }
        if self.limit != standard.limit {
            pairs.push(("limit", self.limit.to_string()));
        }
        pairs
    }

    /// Whether every case is admitted.
    #[must_use]
    pub fn admits_all(&self) -> bool {
        self.facets.values().all(Vec::is_empty)
            && self.run.is_none()
            && self.search.is_none()
            && self.since.is_none()
            && self.until.is_none()
    }
}

fn time(value: &str) -> Result<UnixMillis, String> {
    value
        .parse()
        .map(UnixMillis)
        .map_err(|_| format!("\"{value}\" is no time; accepted: milliseconds since 1970-01-01T00:00:00Z"))
}

fn unknown<T: Copy>(value: &str, all: &[T], name: impl Fn(T) -> &'static str) -> String {
    let all: Vec<&str> = all.iter().map(|one| name(*one)).collect();
    format!("\"{value}\" is unknown; accepted: {}", all.join(", "))
}

/// A case on one line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CaseLine {
    /// The case.
    pub id: CaseId,
    /// Its run.
    pub run_id: RunId,
    /// Where it ran.
    pub machine_id: MachineId,
    /// The model's name.
    pub model: String,
    /// What was asked of it.
    pub task: Task,
    /// What is trained and how: `train:lora8:adamw`; null where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<String>,
    /// How weights are stored.
    pub precision: String,
    /// Which decoder; `default` where the case left it to the engine.
    pub variant: String,
    /// The attention variant, likewise.
    pub attention: String,
    /// How the cache is allocated, likewise.
    pub cache: String,
    /// How the cache holds its numbers, likewise.
    pub kv_cache: String,
    /// The engine that ran, with its version.
    pub engine: String,
    /// The processor or GPU by its product name.
    pub device: String,
    /// How it ended.
    pub status: CaseStatus,
    /// Sequences at once.
    pub batch: u32,
    /// Tokens of each prompt.
    pub prompt_tokens: Tokens,
    /// Tokens generated after it.
    pub generate_tokens: Tokens,
    /// Median over the repetitions, of the whole batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode_tokens_per_second: Option<f64>,
    /// Median over the repetitions, of the whole batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill_tokens_per_second: Option<f64>,
    /// Median time to the first token in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<f64>,
    /// Most bytes alive at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_allocated: Option<Bytes>,
    /// What the planner said of it before the case ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated: Option<Bytes>,
    /// When it ended.
    pub finished_at: UnixMillis,
}

impl CaseLine {
    /// What a facet tells it apart by.
    #[must_use]
    pub fn value(&self, facet: Facet) -> String {
        match facet {
            Facet::Model => self.model.clone(),
            Facet::Task => self.task.as_str().to_owned(),
            Facet::Method => method(self.training.as_deref()).to_owned(),
            Facet::Precision => self.precision.clone(),
            Facet::Attention => self.attention.clone(),
            Facet::Variant => self.variant.clone(),
            Facet::Cache => self.cache.clone(),
            Facet::KvCache => self.kv_cache.clone(),
            Facet::Engine => self.engine.clone(),
            Facet::Device => self.device.clone(),
            Facet::Machine => self.machine_id.to_string(),
            Facet::Status => self.status.as_str().to_owned(),
            Facet::Batch => self.batch.to_string(),
            Facet::Prompt => self.prompt_tokens.to_string(),
            Facet::Generate => self.generate_tokens.to_string(),
        }
    }
}

/// A value of a facet and how many cases have it, under the other filters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FacetValue {
    /// The value.
    pub value: String,
    /// Cases that have it and pass the filters of every other facet.
    pub cases: u64,
}

/// A page of cases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CaseListing {
    /// The cases, in order.
    pub items: Vec<CaseLine>,
    /// Cases that pass, on all pages.
    pub total: u64,
    /// The values of every facet with their counts: numbers in their order, others by count.
    pub facets: BTreeMap<Facet, Vec<FacetValue>>,
    /// The `after` of the next page; none on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The `before` of the page before; none on the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::{CaseQuery, Facet, Order, Place};

    #[test]
    fn an_address_says_what_it_was_made_of() {
        let pairs = [
            ("model", "a b"),
            ("model", "c"),
            ("batch", "8"),
            ("q", "smol"),
            ("since", "12"),
            ("order", "peak"),
            ("direction", "ascending"),
            ("limit", "20"),
        ];
        let (query, errors) = CaseQuery::read(pairs);
        assert_eq!(errors, []);
        assert_eq!(query.facets[&Facet::Model], ["a b", "c"]);
        assert_eq!((query.order, query.descending, query.limit), (Order::Peak, false, 20));
        let said = query.pairs();
        let again = CaseQuery::read(said.iter().map(|(k, v)| (*k, v.as_str()))).0;
        assert_eq!(again, query);
        assert_eq!(CaseQuery::default().pairs(), []);
        assert!(!query.admits_all() && CaseQuery::default().admits_all());
    }

    #[test]
    fn what_means_nothing_is_told_and_left_out() {
        for (name, value, part) in [
            ("colour", "red", "no such filter; accepted: model, task, method, precision"),
            ("order", "size", "accepted: finished, decode"),
            ("direction", "up", "accepted: ascending, descending"),
            ("since", "yesterday", "milliseconds since 1970"),
            ("limit", "0", "1 to 1000"),
            ("after", "x", "no place"),
            ("after", "NaN_3", "no place"),
        ] {
            let (query, errors) = CaseQuery::read([(name, value)]);
            assert_eq!(query, CaseQuery::default());
            assert!(errors[0].to_string().contains(part), "{}", errors[0]);
        }
        assert_eq!(CaseQuery::read([("model", " ")]), (CaseQuery::default(), vec![]));
    }

    #[test]
    fn places_read_back_exactly() {
        for place in [
            Place { figure: Some(0.1 + 0.2), number: 7 },
            Place { figure: Some(-3e-9), number: 0 },
            Place { figure: None, number: 1 << 40 },
        ] {
            assert_eq!(place.to_string().parse(), Ok(place));
        }
    }
}

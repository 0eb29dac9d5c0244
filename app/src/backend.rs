//! What the pages ask of whoever serves them. The server implements it with the store and provides it as context
//! (`Arc<dyn Backend>`), so that no page knows a database.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use contract::case::Case;
use contract::compare::{CompareQuery, Comparison};
use contract::explore::{CaseListing, CaseQuery};
use contract::history::{Before, CaseHistory};
use contract::ids::{CaseId, JobId, RunId, UnixMillis};
use contract::job::Job;
use contract::link::StoredPlan;
use contract::machine::Machine;
use contract::points::CasePoints;
use contract::protocol::Runner;
use contract::run::{Page, Run, RunFilter, RunPage, RunSummary};
use contract::view::SavedView;
use planner::answers::{Reader, Reply, Topic};
use planner::{Estimate, Plan, PlanError};

/// The answer of a [`Backend`], when it is there.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

/// What a page could not be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// There is no such thing: the page answers 404.
    #[error("there is no {what} {id}")]
    NotFound {
        /// `run`, `job`, `plan`.
        what: &'static str,
        /// The id that was asked.
        id: String,
    },
    /// The store failed: the page answers 500; the cause is in the server's log.
    #[error("the server could not read its database; its log says why")]
    Unavailable,
}

/// Facts that every page may need.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "facts independent of each other")]
pub struct Site {
    /// Whether writes need a token (the server is not on loopback).
    pub writes_need_token: bool,
    /// Whether there is no run yet.
    pub is_empty: bool,
    /// Whether the example results have been imported.
    pub has_examples: bool,
    /// Whether there are example results to import.
    pub examples_available: bool,
    /// Whether this visitor may write: always on loopback, else where the cookie of a login came with the request.
    pub may_write: bool,
    /// The moment of the request, for relative times.
    pub now: UnixMillis,
}

/// What the pages ask.
pub trait Backend: Send + Sync + 'static {
    /// Facts that every page may need.
    fn site(&self) -> Answer<'_, Site>;
    /// A page of runs, newest first.
    fn runs(&self, filter: RunFilter) -> Answer<'_, Page<RunSummary>>;
    /// A run with its cases from a position on.
    fn run(&self, id: RunId, from: u32) -> Answer<'_, RunPage>;
    /// A page of cases of all runs, with the counts of every filter.
    fn cases(&self, query: CaseQuery) -> Answer<'_, CaseListing>;
    /// What plots of cases of all runs are drawn from; where `detailed`, with what is not in the cases' lines.
    fn points(&self, query: CaseQuery, detailed: bool) -> Answer<'_, CasePoints>;
    /// A case with its run and machine.
    fn case(&self, id: CaseId) -> Answer<'_, CaseDetail>;
    /// What today's planner says of plans, as far as it is known or found out in a moment; asked again it is known of more.
    fn today(&self, plans: Vec<(CaseId, Plan)>) -> Answer<'_, HashMap<CaseId, Today>>;
    /// What newcomers ask, answered for a reader's model and card.
    fn ask(&self, topic: Topic, reader: Reader) -> Answer<'_, Arc<Asked>>;
    /// A page of results with the key of a case, the newest first, from a place on.
    fn history(&self, id: CaseId, before: Option<Before>) -> Answer<'_, CaseHistory>;
    /// Results side by side; the query must be whole ([`CompareQuery::is_whole`]).
    fn compare(&self, query: CompareQuery) -> Answer<'_, Comparison>;
    /// The lists of cases that are kept, by name.
    fn views(&self) -> Answer<'_, Vec<SavedView>>;
    /// Every machine, by name.
    fn machines(&self) -> Answer<'_, Vec<Machine>>;
    /// Every distinct model, machine and precision among the stored cases, for the filters.
    fn facets(&self) -> Answer<'_, Facets>;
    /// A page of jobs, newest first.
    fn jobs(&self, page: u32) -> Answer<'_, Page<Job>>;
    /// A job.
    fn job(&self, id: JobId) -> Answer<'_, Job>;
    /// The runners, those heard last first.
    fn runners(&self) -> Answer<'_, Vec<Runner>>;
    /// A stored plan by the id of its short link.
    fn plan(&self, id: String) -> Answer<'_, StoredPlan>;
}

/// What today's planner says of a case's plan, without advice.
pub type Today = Arc<Result<Estimate, PlanError>>;

/// The answer to a reader's question, or why there is none.
pub type Asked = Result<Reply, PlanError>;

/// A case with where it was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseDetail {
    /// The case.
    pub case: Case,
    /// Its run.
    pub run: Run,
    /// Where it ran.
    pub machine: Machine,
}

/// Values that the list of runs can be filtered by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facets {
    /// Models.
    pub models: Vec<String>,
    /// Machines.
    pub machines: Vec<String>,
    /// Precisions.
    pub precisions: Vec<String>,
}

/// The backend as pages find it in their context.
pub type SharedBackend = Arc<dyn Backend>;

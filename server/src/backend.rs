//! What the pages ask, answered from the store.

use std::collections::HashMap;
use std::sync::Arc;

use app::backend::{Answer, Asked, Backend, BackendError, CaseDetail, Facets, Site, Today};
use contract::compare::{CompareQuery, Comparison};
use contract::explore::{CaseListing, CaseQuery};
use contract::history::{self, Before, CaseHistory};
use contract::ids::{CaseId, JobId, RunId};
use contract::job::Job;
use contract::link::StoredPlan;
use contract::machine::Machine;
use contract::points::CasePoints;
use contract::protocol::Runner;
use contract::run::{Page, RunFilter, RunPage, RunSummary};
use contract::view::SavedView;
use planner::Plan;
use planner::answers::{Reader, Topic};
use store::StoreError;

use crate::state::AppState;
use crate::{compare, examples};

/// The store as the pages of one request see it.
pub(crate) struct PageBackend {
    pub state: AppState,
    /// Whether whoever sent the request may write.
    pub may_write: bool,
}

/// The cause goes to the log, the page gets what a visitor can use.
#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err calls")]
fn unavailable(error: StoreError) -> BackendError {
    tracing::error!(error = &error as &dyn std::error::Error, "a page could not read the store");
    BackendError::Unavailable
}

fn found<T>(what: &'static str, id: &impl ToString, thing: Option<T>) -> Result<T, BackendError> {
    thing.ok_or_else(|| BackendError::NotFound { what, id: id.to_string() })
}

impl Backend for PageBackend {
    fn site(&self) -> Answer<'_, Site> {
        Box::pin(async {
            Ok(Site {
                writes_need_token: self.state.access.admin.is_some(),
                is_empty: self.state.store.is_empty().await.map_err(unavailable)?,
                has_examples: self.state.store.has_examples().await.map_err(unavailable)?,
                examples_available: examples::available(),
                may_write: self.may_write,
                now: self.state.now(),
            })
        })
    }

    fn runs(&self, filter: RunFilter) -> Answer<'_, Page<RunSummary>> {
        Box::pin(async move { self.state.store.runs(&filter).await.map_err(unavailable) })
    }

    fn run(&self, id: RunId, from: u32) -> Answer<'_, RunPage> {
        Box::pin(async move {
            let page = self.state.store.run_page(id, from).await.map_err(unavailable)?;
            found("run", &id, page)
        })
    }

    fn cases(&self, query: CaseQuery) -> Answer<'_, CaseListing> {
        Box::pin(async move { self.state.store.explore(&query).await.map_err(unavailable) })
    }

    fn points(&self, query: CaseQuery, detailed: bool) -> Answer<'_, CasePoints> {
        Box::pin(async move { self.state.store.points(&query, detailed).await.map_err(unavailable) })
    }

    fn case(&self, id: CaseId) -> Answer<'_, CaseDetail> {
        Box::pin(async move {
            let found_case = self.state.store.case_with_run(id).await.map_err(unavailable)?;
            let (case, run, machine) = found("case", &id, found_case)?;
            Ok(CaseDetail { case, run, machine })
        })
    }

    fn today(&self, plans: Vec<(CaseId, Plan)>) -> Answer<'_, HashMap<CaseId, Today>> {
        Box::pin(async move { Ok(self.state.today.of(plans).await) })
    }

    fn ask(&self, topic: Topic, reader: Reader) -> Answer<'_, Arc<Asked>> {
        // The cause is in the log.
        Box::pin(async move {
            self.state.questions.ask(topic, reader).await.map_err(|_| BackendError::Unavailable)
        })
    }

    fn history(&self, id: CaseId, before: Option<Before>) -> Answer<'_, CaseHistory> {
        Box::pin(async move {
            let history = self.state.store.history(id, before, history::PER_PAGE).await;
            found("case", &id, history.map_err(unavailable)?)
        })
    }

    fn compare(&self, query: CompareQuery) -> Answer<'_, Comparison> {
        Box::pin(async move {
            // The cause is in the log.
            let compared =
                compare::compare(&self.state, &query).await.map_err(|_| BackendError::Unavailable)?;
            let compared =
                compared.map_err(|run| BackendError::NotFound { what: "run", id: run.to_string() })?;
            Ok(Comparison::clone(&compared))
        })
    }

    fn views(&self) -> Answer<'_, Vec<SavedView>> {
        Box::pin(async { self.state.store.views().await.map_err(unavailable) })
    }

    fn machines(&self) -> Answer<'_, Vec<Machine>> {
        Box::pin(async { self.state.store.machines().await.map_err(unavailable) })
    }

    fn facets(&self) -> Answer<'_, Facets> {
        Box::pin(async {
            let store::Facets { models, machines, precisions } =
                self.state.store.facets().await.map_err(unavailable)?;
            Ok(Facets { models, machines, precisions })
        })
    }

    fn jobs(&self, page: u32) -> Answer<'_, Page<Job>> {
        Box::pin(async move { self.state.store.jobs(Some(page), None).await.map_err(unavailable) })
    }

    fn job(&self, id: JobId) -> Answer<'_, Job> {
        Box::pin(async move { found("job", &id, self.state.store.job(id).await.map_err(unavailable)?) })
    }

    fn runners(&self) -> Answer<'_, Vec<Runner>> {
        Box::pin(async { self.state.store.runners(self.state.now()).await.map_err(unavailable) })
    }

    fn plan(&self, id: String) -> Answer<'_, StoredPlan> {
        Box::pin(async move { found("plan", &id, self.state.store.plan(&id).await.map_err(unavailable)?) })
    }
}

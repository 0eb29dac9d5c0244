//! Results side by side, for the pages and the REST interface.

use std::sync::Arc;

use app::kept::Kept;
use contract::compare::{CompareQuery, Comparison};
use contract::explore::{CaseQuery, Order};
use contract::ids::RunId;

use crate::beside::beside;
use crate::problem::Problem;
use crate::state::AppState;

/// Cases whose documents are read for a comparison by an axis, and of each run at most, so that it stays a matter of
/// milliseconds.
const MOST_CASES: usize = 500;
/// Of each run.
const MOST_OF_RUN: usize = 1000;
/// Comparisons that are kept, some megabytes each.
pub(crate) const KEPT: usize = 32;

/// Comparisons that were asked for last. Results never change, so one is right until there are others,
/// or a machine is registered anew, which may have another name or driver then.
pub(crate) type Compared = Kept<Asked, Comparison>;

/// What was asked, and the numbers of the newest results that there were.
pub(crate) type Asked = (CompareQuery, Vec<i64>);

/// Answers a query that is whole ([`CompareQuery::is_whole`]). The inner error is a run that is not there.
///
/// # Errors
/// Where the store fails.
pub(crate) async fn compare(
    state: &AppState,
    query: &CompareQuery,
) -> Result<Result<Arc<Comparison>, RunId>, Problem> {
    let Some(axis) = query.by.filter(|_| query.runs.is_empty()) else { return of_runs(state, query).await };
    let asked = (query.clone(), vec![state.store.newest_result().await?]);
    if let Some(known) = state.compared.get(&asked) {
        return Ok(Ok(known));
    }
    let newest = CaseQuery {
        order: Order::Finished,
        descending: true,
        after: None,
        before: None,
        limit: MOST_CASES,
        ..query.cases.clone()
    };
    let listing = state.store.explore(&newest).await?;
    let ids: Vec<_> = listing.items.iter().map(|line| line.id).collect();
    let outcomes = state.store.outcomes(&ids).await?;
    let left_out = listing.total.saturating_sub(ids.len() as u64);
    let base = query.base.clone();
    let compare = move || Ok::<_, Problem>(Comparison::by(axis, base.as_deref(), outcomes, left_out));
    let compared = Arc::new(beside(compare).await?);
    state.compared.keep(asked, compared.clone());
    Ok(Ok(compared))
}

async fn of_runs(state: &AppState, query: &CompareQuery) -> Result<Result<Arc<Comparison>, RunId>, Problem> {
    let runs = query.runs.clone();
    let there = state.store.results_of_runs(&runs).await?;
    if let Some(missing) = runs.iter().find(|run| there.iter().all(|of| of.run != **run)) {
        return Ok(Err(*missing));
    }
    // What else the address says changes nothing of runs.
    let query = CompareQuery { runs: runs.clone(), ..CompareQuery::default() };
    let asked = (query, there.iter().map(|of| of.newest).collect());
    if let Some(known) = state.compared.get(&asked) {
        return Ok(Ok(known));
    }
    let outcomes = state.store.outcomes_of_runs(&runs, MOST_OF_RUN).await?;
    let all: u64 = there.iter().map(|of| of.results).sum();
    let left_out = all.saturating_sub(outcomes.len() as u64);
    let compare = move || Ok::<_, Problem>(Comparison { left_out, ..Comparison::of_runs(&runs, outcomes) });
    let compared = Arc::new(beside(compare).await?);
    state.compared.keep(asked, compared.clone());
    Ok(Ok(compared))
}

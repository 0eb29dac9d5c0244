//! Results side by side, for the pages and the REST interface.

use contract::compare::{CompareQuery, Comparison};
use contract::explore::{CaseQuery, Order};
use contract::ids::RunId;
use store::StoreError;

use crate::state::AppState;

/// Cases whose documents are read for a comparison by an axis, so that it stays a matter of milliseconds.
const MOST_CASES: usize = 500;

/// Answers a query that is whole ([`CompareQuery::is_whole`]). The inner error is a run that is not there.
///
/// # Errors
/// Where the store fails.
pub(crate) async fn compare(
    state: &AppState,
    query: &CompareQuery,
) -> Result<Result<Comparison, RunId>, StoreError> {
    let Some(axis) = query.by.filter(|_| query.runs.is_empty()) else {
        for run in &query.runs {
            if !state.store.has_run(*run).await? {
                return Ok(Err(*run));
            }
        }
        let outcomes = state.store.outcomes_of_runs(&query.runs).await?;
        return Ok(Ok(Comparison::of_runs(&query.runs, outcomes)));
    };
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
    Ok(Ok(Comparison::by(axis, query.base.as_deref(), outcomes, left_out)))
}

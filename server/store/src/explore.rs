//! Cases of all runs by what they are: filters, their counts, an order.
//!
//! A case is written once and never changed, so a program keeps the lines of all cases in memory, and reads from the database
//! only what is new: a column of each figure, for each value of a facet the set of the cases that have it (a compressed
//! bitmap), and the cases in every order. Counts are sizes of intersections of such sets, a page is a walk along an order.

mod columns;
mod details;
mod lines;

use contract::case::{Case, CaseFilter};
use contract::explore::{CaseListing, CaseQuery, Facet};
use contract::ids::RunId;
use contract::points::{CasePoint, CasePoints, MAX_POINTS};
use contract::run::{CASES_OF_PAGE, MAX_PLOTTED, Page, RunPage};

pub(crate) use columns::Columns;
pub(crate) use details::Details;
pub(crate) use lines::{device_name, insert};

use crate::row::Paging;
use crate::{Facets, Store, StoreError, beside, cases, machines, runs};

impl Store {
    /// The cases that `query` asks for, with the counts of every filter.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn explore(&self, query: &CaseQuery) -> Result<CaseListing, StoreError> {
        let query = query.clone();
        self.look(move |columns| columns.list(&query)).await
    }

    /// What plots of the cases that `query` asks for are drawn from: as many as a plot shows, whatever its place and limit.
    /// What is not in their lines is read where `detailed`.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn points(&self, query: &CaseQuery, detailed: bool) -> Result<CasePoints, StoreError> {
        let query = CaseQuery { after: None, before: None, limit: MAX_POINTS, ..query.clone() };
        let CaseListing { items, total, facets, .. } = self.explore(&query).await?;
        let details = if detailed { self.details(&items).await? } else { Vec::new() };
        let mut details = details.into_iter();
        let items =
            items.into_iter().map(|line| CasePoint { line, detail: details.next().unwrap_or_default() });
        Ok(CasePoints { items: items.collect(), total, facets })
    }

    /// A page of cases of all runs, newest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn cases(&self, filter: &CaseFilter) -> Result<Page<Case>, StoreError> {
        let paging = Paging::new(filter.page, filter.per_page);
        let (skip, limit) = (paging.offset().try_into().unwrap_or(usize::MAX), paging.limit());
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut query =
            CaseQuery { run: filter.run, search: filter.model.clone(), limit, ..CaseQuery::default() };
        let status = filter.status.map(|status| status.as_str().to_owned());
        for (facet, value) in [(Facet::Precision, filter.precision.clone()), (Facet::Status, status)] {
            query.facets.extend(value.map(|value| (facet, vec![value])));
        }
        let (ids, total) = self.look(move |columns| columns.ids(&query, skip)).await?;
        let items = cases::with_ids(&self.pool, &ids).await?;
        paging.page(items, i64::try_from(total).unwrap_or(i64::MAX))
    }

    /// A page of a run: its cases from a position on, and what all of them come to.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn run_page(&self, id: RunId, from: u32) -> Result<Option<RunPage>, StoreError> {
        let Some(run) = runs::find(&self.pool, id).await? else { return Ok(None) };
        // A foreign key holds the machine in place.
        let Some(machine) = machines::find(&self.pool, run.machine_id).await? else { return Ok(None) };
        let mut cases = cases::of_run_from(&self.pool, id, from, CASES_OF_PAGE + 1).await?;
        let next = cases.get(CASES_OF_PAGE as usize).map(|case| case.position);
        cases.truncate(CASES_OF_PAGE as usize);
        let previous = (from > 0).then(|| from.saturating_sub(CASES_OF_PAGE));
        let (figures, lines) = self.look(move |columns| columns.run(id, MAX_PLOTTED)).await?;
        Ok(Some(RunPage { run, machine, figures, lines, cases, previous, next }))
    }

    /// What the list of runs can be filtered by.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn facets(&self) -> Result<Facets, StoreError> {
        let machines = sqlx::query_scalar!(
            "SELECT DISTINCT name FROM machines WHERE id IN (SELECT machine_id FROM runs) ORDER BY name"
        );
        let machines = machines.fetch_all(&self.pool).await?;
        let values = |columns: &Columns| (columns.values(Facet::Model), columns.values(Facet::Precision));
        let (models, precisions) = self.look(values).await?;
        Ok(Facets { models, machines, precisions })
    }

    /// Reads the lines of all cases, which the first list would wait for: seconds for a million.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn warm_up(&self) -> Result<(), StoreError> {
        self.read_new_lines().await
    }

    /// Looks at the columns, what is new taken in.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Columns) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        self.read_new_lines().await?;
        let columns = self.columns.clone().read_owned().await;
        beside(move || Ok(look(&columns))).await
    }
}

#[cfg(test)]
mod tests;

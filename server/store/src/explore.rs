//! Cases of all runs by what they are: filters, their counts, an order.
//!
//! A case is written once and never changed, so a program keeps the lines of all cases in memory, column by column (about
//! 130 bytes a case), and reads from the database only what is new. A list is one pass over the columns that its
//! filters name; no index of the database could serve every filter with every order.

mod columns;
mod details;
mod lines;

use contract::explore::{CaseListing, CaseQuery};
use contract::points::{CasePoint, CasePoints, MAX_POINTS};

pub(crate) use columns::Columns;
pub(crate) use lines::{device_name, insert};

use crate::{Store, StoreError};

impl Store {
    /// The cases that `query` asks for, with the counts of every filter.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn explore(&self, query: &CaseQuery) -> Result<CaseListing, StoreError> {
        self.read_new_lines().await?;
        let (columns, query) = (self.columns.clone().read_owned().await, query.clone());
        // A pass over a million cases takes milliseconds of a core: not on a thread that serves others.
        let listed = tokio::task::spawn_blocking(move || columns.list(&query)).await;
        listed.map_err(|_| sqlx::Error::WorkerCrashed.into())
    }

    /// What plots of the cases that `query` asks for are drawn from: as many as a plot shows, whatever its place and limit.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn points(&self, query: &CaseQuery) -> Result<CasePoints, StoreError> {
        let query = CaseQuery { after: None, before: None, limit: MAX_POINTS, ..query.clone() };
        let CaseListing { items, total, facets, .. } = self.explore(&query).await?;
        let mut details = self.details(&items).await?;
        let items = items.into_iter().map(|line| {
            let detail = details.remove(&line.id).unwrap_or_default();
            CasePoint { line, detail }
        });
        Ok(CasePoints { items: items.collect(), total, facets })
    }
}

#[cfg(test)]
mod tests;

//! What the list of runs can be filtered by.

use crate::{Store, StoreError};

/// Values that occur, each once, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facets {
    /// Models of the stored cases.
    pub models: Vec<String>,
    /// Names of the machines that have runs.
    pub machines: Vec<String>,
    /// Precisions of the stored cases.
    pub precisions: Vec<String>,
}

impl Store {
    /// What the list of runs can be filtered by.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn facets(&self) -> Result<Facets, StoreError> {
        let mut read = self.pool.begin().await?;
        Ok(Facets {
            models: sqlx::query_scalar!("SELECT DISTINCT model FROM cases ORDER BY model")
                .fetch_all(&mut *read)
                .await?,
            machines: sqlx::query_scalar!(
                "SELECT DISTINCT m.name FROM machines m JOIN runs r ON r.machine_id = m.id ORDER BY m.name"
            )
            .fetch_all(&mut *read)
            .await?,
            precisions: sqlx::query_scalar!("SELECT DISTINCT precision FROM cases ORDER BY precision")
                .fetch_all(&mut *read)
                .await?,
        })
    }
}

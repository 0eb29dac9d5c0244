//! Plans behind short links, stored with the answer they had.

use contract::ids::UnixMillis;
use contract::link::StoredPlan;

use crate::{Store, StoreError, value};

struct PlanRow {
    id: String,
    plan: String,
    estimate: String,
    planner_version: String,
    created_at: i64,
}

impl TryFrom<PlanRow> for StoredPlan {
    type Error = StoreError;
    fn try_from(row: PlanRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            plan: value::json("plans.plan", &row.plan)?,
            estimate: value::json("plans.estimate", &row.estimate)?,
            planner_version: row.planner_version,
            created_at: UnixMillis(row.created_at),
        })
    }
}

impl Store {
    /// Stores a plan with its answer; false where the same is stored already, which leaves it as it is.
    ///
    /// # Errors
    /// Where other content has this id, or the database fails.
    pub async fn put_plan(&self, stored: &StoredPlan) -> Result<bool, StoreError> {
        let plan = value::to_json("the plan", &stored.plan)?;
        let estimate = value::to_json("the estimate", &stored.estimate)?;
        let mut write = self.write().await?;
        let inserted = sqlx::query!(
            "INSERT INTO plans (id, plan, estimate, planner_version, created_at) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (id) DO NOTHING",
            stored.id,
            plan,
            estimate,
            stored.planner_version,
            stored.created_at.0
        )
        .execute(&mut *write)
        .await?
        .rows_affected()
            == 1;
        if !inserted {
            let there = sqlx::query!("SELECT plan, estimate FROM plans WHERE id = ?", stored.id)
                .fetch_one(&mut *write)
                .await?;
            if there.plan != plan || there.estimate != estimate {
                return Err(StoreError::PlanTaken(stored.id.clone()));
            }
        }
        write.commit().await?;
        Ok(inserted)
    }

    /// A stored plan.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn plan(&self, id: &str) -> Result<Option<StoredPlan>, StoreError> {
        sqlx::query_as!(
            PlanRow,
            "SELECT id, plan, estimate, planner_version, created_at FROM plans WHERE id = ?",
            id
        )
        .fetch_optional(&self.pool)
        .await?
        .map(StoredPlan::try_from)
        .transpose()
    }
}

#[cfg(test)]
mod tests;

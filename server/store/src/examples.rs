//! Runs brought in whole: the examples shipped with the project, and runs measured elsewhere.

use contract::run::{RunDetail, RunOrigin};

use crate::{Store, StoreError, cases, machines, runs};

impl Store {
    /// Stores a run with its machine and cases as `origin`; what is stored already is left as it is, but for a case that
    /// had failed or was only predicted, and has ended well since: its result is the later one, as
    /// [`supersede_case`](Self::supersede_case) has it. The job it may have answered is not of this database, so its
    /// name is dropped.
    ///
    /// # Errors
    /// Where a case is not of the run, or the database fails; nothing is stored then.
    pub async fn import_run(&self, detail: &RunDetail, origin: RunOrigin) -> Result<(), StoreError> {
        let mut run = detail.run.clone();
        run.origin = origin;
        run.job_id = None;
        run.machine_id = detail.machine.id;
        let mut write = self.write().await?;
        // A machine known here is known better here.
        if machines::find(&mut *write, detail.machine.id).await?.is_none() {
            machines::upsert(&mut *write, &detail.machine).await?;
        }
        runs::insert(&mut *write, &run).await?;
        for case in &detail.cases {
            if case.run_id != run.id {
                let reason = format!("it is of run {}, not of run {}", case.run_id, run.id);
                return Err(StoreError::WrongCase { case: case.id, reason });
            }
            if case.status.is_final() {
                cases::supersede(&mut write, case, case.finished_at).await?;
            } else {
                cases::insert(&mut write, case).await?;
            }
        }
        write.commit().await?;
        Ok(())
    }

    /// Whether an example run is stored.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn has_examples(&self) -> Result<bool, StoreError> {
        let any = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM runs WHERE origin = 'example') AS "any!: bool""#
        );
        Ok(any.fetch_one(&self.pool).await?)
    }
}

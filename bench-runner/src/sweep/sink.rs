//! Where results go.

use std::collections::HashSet;
use std::path::Path;

use contract::case::Case;
use contract::ids::{MachineId, RunId};
use contract::machine::Machine;
use contract::run::{Run, RunDetail, RunFilter, RunStatus};
use store::{Store, StoreError};

use crate::clock;

/// A result could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The database failed.
    #[error("results cannot be stored: {0}; cases stored before are kept")]
    Store(#[from] StoreError),
    /// No runtime for the database could be made.
    #[error("results cannot be stored: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Takes results as they come.
pub trait Sink {
    /// A run begins, or goes on after a break.
    ///
    /// # Errors
    /// Where it cannot be kept.
    fn begin(&mut self, run: &Run, machine: &Machine) -> Result<(), SinkError>;

    /// A case ended.
    ///
    /// # Errors
    /// Where it cannot be kept.
    fn case(&mut self, case: &Case) -> Result<(), SinkError>;

    /// The run ended, or was stopped.
    ///
    /// # Errors
    /// Where it cannot be kept.
    fn end(&mut self, run: RunId, status: RunStatus) -> Result<(), SinkError>;
}

/// Keeps results in memory only (`--no-db`).
#[derive(Debug, Default)]
pub struct Collected {
    /// The cases, as they came.
    pub cases: Vec<Case>,
}

impl Sink for Collected {
    fn begin(&mut self, _: &Run, _: &Machine) -> Result<(), SinkError> {
        Ok(())
    }

    fn case(&mut self, case: &Case) -> Result<(), SinkError> {
        self.cases.push(case.clone());
        Ok(())
    }

    fn end(&mut self, _: RunId, _: RunStatus) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Keeps results in a SQLite database, each case committed before the next begins: no death of this program loses one (a
/// power cut may undo the latest commits, see `Store::open`).
pub struct SqliteSink {
    runtime: tokio::runtime::Runtime,
    store: Store,
    again: HashSet<String>,
}

impl SqliteSink {
    /// Opens or creates `path`.
    ///
    /// # Errors
    /// Where it cannot be opened, or belongs to a newer program or another one.
    pub fn open(path: &Path) -> Result<Self, SinkError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let store = runtime.block_on(Store::open(path))?;
        Ok(Self { runtime, store, again: HashSet::new() })
    }

    /// Closes the file, which a mere drop leaves to the connection's thread.
    pub fn close(self) {
        self.runtime.block_on(self.store.close());
    }

    /// A run whole.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn run(&self, id: RunId) -> Result<Option<RunDetail>, SinkError> {
        Ok(self.runtime.block_on(self.store.run(id))?)
    }

    /// The run that began last.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn newest(&self) -> Result<Option<RunId>, SinkError> {
        let filter = RunFilter { per_page: Some(1), ..RunFilter::default() };
        let page = self.runtime.block_on(self.store.runs(&filter))?;
        Ok(page.items.first().map(|summary| summary.run.id))
    }

    /// Every run whole, the newest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn runs(&self) -> Result<Vec<RunDetail>, SinkError> {
        self.runtime.block_on(async {
            let mut details = Vec::new();
            for page in 1.. {
                let filter = RunFilter { page: Some(page), per_page: Some(200), ..RunFilter::default() };
                let items = self.store.runs(&filter).await?.items;
                if items.is_empty() {
                    break;
                }
                for summary in items {
                    details.extend(self.store.run(summary.run.id).await?);
                }
            }
            Ok(details)
        })
    }

    /// Stores a run with its machine and cases, those that are there as they are; its status and its machine's name
    /// become those given.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn import(&self, detail: &RunDetail) -> Result<(), SinkError> {
        self.runtime.block_on(async {
            self.store.import_run(detail, detail.run.origin).await?;
            self.store.upsert_machine(&detail.machine).await?;
            self.store.set_run_status(detail.run.id, detail.run.status, detail.run.finished_at).await
        })?;
        Ok(())
    }

    /// The latest run of that grid on that machine that has not ended.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn unfinished(&self, fingerprint: &str, machine: MachineId) -> Result<Option<Run>, SinkError> {
        Ok(self.runtime.block_on(self.store.unfinished_run(fingerprint, machine))?)
    }

    /// The same, or a run of which cases failed, or where `predicted` were predicted to.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn unfinished_or_failed(
        &self,
        fingerprint: &str,
        machine: MachineId,
        predicted: bool,
    ) -> Result<Option<Run>, SinkError> {
        Ok(self.runtime.block_on(self.store.unfinished_or_failed_run(fingerprint, machine, predicted))?)
    }

    /// Attempts of a run's cases that later ones superseded.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn superseded(&self, id: RunId) -> Result<Vec<Case>, SinkError> {
        Ok(self.runtime.block_on(self.store.superseded_cases(id))?)
    }

    /// Cases with these keys are run again: their results take the place of those that are stored.
    pub fn supersede(&mut self, keys: HashSet<String>) {
        self.again = keys;
    }
}

impl Sink for SqliteSink {
    fn begin(&mut self, run: &Run, machine: &Machine) -> Result<(), SinkError> {
        self.runtime.block_on(async {
            self.store.upsert_machine(machine).await?;
            self.store.create_run(run).await?;
            // A run that is resumed may have been marked stopped.
            self.store.set_run_status(run.id, RunStatus::Running, None).await
        })?;
        Ok(())
    }

    fn case(&mut self, case: &Case) -> Result<(), SinkError> {
        // False: the case is there already, from an attempt before; what was stored first stays.
        let _new = if self.again.contains(&case.spec.key()) {
            self.runtime.block_on(self.store.supersede_case(case, clock::now()))?
        } else {
            self.runtime.block_on(self.store.insert_case(case))?
        };
        Ok(())
    }

    fn end(&mut self, run: RunId, status: RunStatus) -> Result<(), SinkError> {
        Ok(self.runtime.block_on(self.store.set_run_status(run, status, Some(clock::now())))?)
    }
}

impl Drop for SqliteSink {
    fn drop(&mut self) {
        self.runtime.block_on(self.store.close());
    }
}

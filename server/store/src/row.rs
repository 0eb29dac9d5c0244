//! Rows that several modules read, and the paging of lists.

use contract::ids::UnixMillis;
use contract::run::{Page, Run};

use crate::{StoreError, value};

/// Rows of a page where none are asked for.
const PER_PAGE: u32 = 50;
/// Most rows of a page.
const MAX_PER_PAGE: u32 = 200;

#[derive(sqlx::FromRow)]
pub(crate) struct RunRow {
    pub id: String,
    pub name: String,
    pub job_id: Option<String>,
    pub machine_id: String,
    pub sweep: String,
    pub runner: String,
    pub status: String,
    pub origin: String,
    pub started_at: i64,
    pub finished_at: Option<i64>,
}

impl TryFrom<RunRow> for Run {
    type Error = StoreError;
    fn try_from(row: RunRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: value::id("runs.id", &row.id)?,
            name: row.name,
            job_id: value::optional_id("runs.job_id", row.job_id.as_deref())?,
            machine_id: value::id("runs.machine_id", &row.machine_id)?,
            sweep: value::json("runs.sweep", &row.sweep)?,
            runner: value::json("runs.runner", &row.runner)?,
            status: value::name("runs.status", &row.status)?,
            origin: value::name("runs.origin", &row.origin)?,
            started_at: UnixMillis(row.started_at),
            finished_at: value::optional_time(row.finished_at),
        })
    }
}

/// Which rows of a list are asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paging {
    page: u32,
    per_page: u32,
}

impl Paging {
    /// Page from 1; what is out of range becomes the nearest that is in it.
    pub fn new(page: Option<u32>, per_page: Option<u32>) -> Self {
        Self { page: page.unwrap_or(1).max(1), per_page: per_page.unwrap_or(PER_PAGE).clamp(1, MAX_PER_PAGE) }
    }

    pub fn limit(self) -> i64 {
        i64::from(self.per_page)
    }

    pub fn offset(self) -> i64 {
        i64::from(self.page - 1) * i64::from(self.per_page)
    }

    pub fn page<T>(self, items: Vec<T>, total: i64) -> Result<Page<T>, StoreError> {
        Ok(Page { items, total: value::count("total", total)?, page: self.page, per_page: self.per_page })
    }
}

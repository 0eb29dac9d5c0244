//! The one place that reads the calendar.

use std::time::{SystemTime, UNIX_EPOCH};

use contract::ids::UnixMillis;

/// This moment; 0 on a clock before 1970.
#[must_use]
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

//! The one place that reads the calendar.

use std::time::{SystemTime, UNIX_EPOCH};

use contract::ids::UnixMillis;

/// This moment; 0 on a clock before 1970.
#[must_use]
pub fn now() -> UnixMillis {
    UnixMillis(now_us() / 1000)
}

/// The same in microseconds since 1970.
#[must_use]
pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

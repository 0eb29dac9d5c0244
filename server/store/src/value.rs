//! Between the contract's types and what a column holds.

use std::str::FromStr;

use contract::ids::UnixMillis;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::StoreError;

/// Reads an id from `column`.
pub(crate) fn id<T: FromStr<Err = uuid::Error>>(column: &'static str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|source| StoreError::Unreadable { column, source: Box::new(source) })
}

/// Reads an id from a column that may be null.
pub(crate) fn optional_id<T: FromStr<Err = uuid::Error>>(
    column: &'static str,
    text: Option<&str>,
) -> Result<Option<T>, StoreError> {
    text.map(|text| id(column, text)).transpose()
}

/// Reads a JSON document from `column`.
pub(crate) fn json<T: DeserializeOwned>(column: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|source| StoreError::Unreadable { column, source: Box::new(source) })
}

/// Reads an enum's name, as its `as_str` wrote it.
pub(crate) fn name<T: DeserializeOwned>(column: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_value(text.into())
        .map_err(|source| StoreError::Unreadable { column, source: Box::new(source) })
}

/// Reads a count or size from `column`.
pub(crate) fn count<T: TryFrom<i64>>(column: &'static str, n: i64) -> Result<T, StoreError>
where
    T::Error: std::error::Error + Send + Sync + 'static,
{
    T::try_from(n).map_err(|source| StoreError::Unreadable { column, source: Box::new(source) })
}

/// Reads a time from a column that may be null.
pub(crate) fn optional_time(ms: Option<i64>) -> Option<UnixMillis> {
    ms.map(UnixMillis)
}

/// A document as it is stored. A figure that JSON cannot hold (NaN, infinity) would be stored as null and
/// never be read again, so the document is read back first.
pub(crate) fn to_json<T: Serialize + DeserializeOwned>(
    what: &'static str,
    value: &T,
) -> Result<String, StoreError> {
    let unstorable = |e: serde_json::Error| StoreError::Unstorable { what, reason: e.to_string() };
    let text = serde_json::to_string(value).map_err(unstorable)?;
    serde_json::from_str::<T>(&text).map_err(unstorable)?;
    Ok(text)
}

/// A size as it is stored: SQLite's integers end at 2^63 - 1.
pub(crate) fn to_integer(what: &'static str, n: u64) -> Result<i64, StoreError> {
    i64::try_from(n).map_err(|_| StoreError::Unstorable { what, reason: format!("{n} is above 2^63 - 1") })
}

/// A pattern for `LIKE … ESCAPE '\'` that finds `part` anywhere, its own wildcards taken as letters.
pub(crate) fn containing(part: &str) -> String {
    let mut pattern = String::with_capacity(part.len() + 2);
    pattern.push('%');
    for c in part.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

//! Results side by side.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::IntoResponse;
use contract::compare::{CompareQuery, Comparison};
use contract::error::ApiError;
use contract::figure::Figure;

use super::json;
use crate::beside::beside;
use crate::compare::compare;
use crate::problem::Problem;
use crate::state::AppState;

/// Hold runs, or what a choice makes of the same cases, side by side.
///
/// Either two to six runs (`a`, `b`, …), or an axis (`by`) with the filters of /api/v1/case-lines; of the cases that pass the
/// newest 500 are taken, and of a run at most 1000 (those that another of the runs has too); `left_out` counts the others. Differences are from the first column, in percent, with a 95 % interval; `methods` says how.
#[utoipa::path(get, path = "/api/v1/compare", operation_id = "compare", tag = "cases",
    params(
        ("a" = Option<contract::ids::RunId>, Query, description = "The run that the others are held against"),
        ("b" = Option<contract::ids::RunId>, Query, description = "A run; more as c, d, e, f"),
        ("by" = Option<contract::compare::Axis>, Query, description = "What to tell columns apart by, instead of runs"),
        ("base" = Option<String>, Query, description = "The value of it that the others are held against; where left out the one that most cases have"),
        ("model" = Option<Vec<String>>, Query, description = "With `by`: models; the other filters of /api/v1/case-lines likewise")),
    responses((status = 200, body = Comparison, description = "They are"),
              (status = 400, body = ApiError, description = "A parameter that means nothing, or too few runs"),
              (status = 404, body = ApiError, description = "There is no such run")))]
pub(super) async fn one(
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, Problem> {
    let compared = asked(&state, query.as_deref()).await?;
    beside(move || json(&*compared)).await
}

/// The same as comma-separated values (RFC 4180): a line for each figure of each case in each column.
#[utoipa::path(get, path = "/api/v1/compare.csv", operation_id = "export_comparison", tag = "cases",
    params(("by" = Option<contract::compare::Axis>, Query, description = "As of /api/v1/compare, with every other parameter")),
    responses((status = 200, content_type = "text/csv", description = "A line each, after a line of names"),
              (status = 400, body = ApiError, description = "A parameter that means nothing, or too few runs"),
              (status = 404, body = ApiError, description = "There is no such run")))]
pub(super) async fn csv(
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, Problem> {
    let compared = asked(&state, query.as_deref()).await?;
    let text = beside(move || separated(&records(&compared))).await?;
    Ok(file(text, "plimsoll-comparison.csv"))
}

async fn asked(state: &AppState, query: Option<&str>) -> Result<Arc<Comparison>, Problem> {
    let bad = |said: String| Problem::new(StatusCode::BAD_REQUEST, "bad-field", said);
    let pairs: Vec<_> = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect();
    let (query, errors) = CompareQuery::read(pairs.iter().map(|(name, value)| (&**name, &**value)));
    if let Some(error) = errors.into_iter().next() {
        return Err(bad(error.reason).at(error.name));
    }
    if !query.is_whole() {
        return Err(
            bad("name two runs or more as a, b, …, or an axis as by, and not both".to_owned()).at("a")
        );
    }
    compare(state, &query).await?.map_err(|run| Problem::not_found("run", run))
}

/// The columns of the comma-separated values.
const NAMES: [&str; 13] = [
    "case",
    "figure",
    "column",
    "value",
    "case_id",
    "status",
    "mean",
    "standard_deviation",
    "n",
    "difference_percent",
    "low_percent",
    "high_percent",
    "noise",
];

fn records(compared: &Comparison) -> Vec<Vec<String>> {
    let mut records = vec![NAMES.map(str::to_owned).to_vec()];
    for row in &compared.rows {
        for figure in Figure::ALL {
            for (column, cell) in compared.columns.iter().zip(&row.cells) {
                let Some(cell) = cell else { continue };
                let Some(spread) = cell.figures.get(figure) else { continue };
                let difference = cell.differences.get(figure);
                let interval = difference.and_then(|d| d.interval);
                let text = |figure: Option<f64>| figure.map(|f| f.to_string()).unwrap_or_default();
                records.push(vec![
                    row.name.clone(),
                    figure.as_str().to_owned(),
                    column.name.clone(),
                    column.value.clone(),
                    cell.case_id.to_string(),
                    cell.status.to_string(),
                    spread.mean.to_string(),
                    spread.standard_deviation.to_string(),
                    spread.n.to_string(),
                    text(difference.map(|d| d.percent)),
                    text(interval.map(|i| i.low)),
                    text(interval.map(|i| i.high)),
                    difference.filter(|d| d.is_noise()).map_or("", |_| "noise").to_owned(),
                ]);
            }
        }
    }
    records
}

/// Comma-separated values. A text that a spreadsheet would take for a formula has an apostrophe before it
/// (OWASP, CSV injection).
///
/// # Errors
/// Where they cannot be written; not for want of space, they are in memory.
pub(super) fn separated(records: &[Vec<String>]) -> Result<Vec<u8>, Problem> {
    let unwritable = |error: &dyn std::fmt::Display| {
        let said = format!("the lines cannot be written: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", said)
    };
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    for record in records {
        writer
            .write_record(record.iter().map(|cell| guarded(cell).into_owned()))
            .map_err(|e| unwritable(&e))?;
    }
    writer.into_inner().map_err(|e| unwritable(&e))
}

/// A cell that no spreadsheet computes; numbers stay as they are.
fn guarded(cell: &str) -> Cow<'_, str> {
    let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && cell.parse::<f64>().is_err();
    if is_formula { Cow::Owned(format!("'{cell}")) } else { Cow::Borrowed(cell) }
}

/// Comma-separated values as a file of this name.
pub(super) fn file(text: Vec<u8>, name: &str) -> impl IntoResponse + use<> {
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    (headers, text)
}

#[cfg(test)]
mod tests {
    use super::separated;

    #[test]
    fn no_cell_is_a_formula() {
        let cells =
            ["=1+1", "+cmd", "-x", "@sum", "\tx", "-1.5", "+2e3", "a=b", ""].map(str::to_owned).to_vec();
        let text = String::from_utf8(separated(&[cells]).unwrap()).unwrap();
        assert_eq!(text, "'=1+1,'+cmd,'-x,'@sum,'\tx,-1.5,+2e3,a=b,\n");
    }
}

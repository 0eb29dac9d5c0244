//! Bodies, queries and ids of requests, with errors that name the field.

use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use contract::ids::{CaseId, JobId, RunId, RunnerId};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::problem::Problem;

/// A JSON body.
pub(crate) struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            let message = format!("the body is \"{kind}\"; send JSON with `Content-Type: application/json`");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", message));
        }
        parse(&read(request, state).await?).map(Self)
    }
}

/// The bytes of a body, within the route's limit.
pub(crate) async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "the body is larger than this address accepts",
        ),
        _ => Problem::new(StatusCode::BAD_REQUEST, "unreadable-body", "the body ended early"),
    })
}

/// Reads JSON; an error has the path of the field, an unknown field's own name included.
pub(crate) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let at = error.path().to_string();
        let inner = error.into_inner();
        let said = inner.to_string();
        if inner.classify() != Category::Data {
            return Problem::new(
                StatusCode::BAD_REQUEST,
                "malformed-json",
                format!("the body is not JSON: {said}"),
            );
        }
        let problem = Problem::new(StatusCode::BAD_REQUEST, "bad-field", said.clone());
        match field(&at, &said) {
            Some(field) => problem.at(field),
            None => problem,
        }
    })?;
    reader.end().map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "malformed-json", format!("more follows the document: {error}"))
    })?;
    Ok(value)
}

/// The dotted path of a field, from where serde was and what it said.
fn field(at: &str, said: &str) -> Option<String> {
    let at = at.trim_matches('.');
    let named = ["unknown field `", "missing field `"]
        .iter()
        .find_map(|start| said.strip_prefix(start)?.split_once('`'))
        .map(|(name, _)| name);
    match (at, named) {
        ("" | "?", None) => None,
        ("" | "?", Some(name)) => Some(name.to_owned()),
        // serde already stood on the field that it did not know.
        (at, Some(name)) if at == name || at.ends_with(&format!(".{name}")) => Some(at.to_owned()),
        (at, Some(name)) => Some(format!("{at}.{name}")),
        (at, None) => Some(at.to_owned()),
    }
}

/// The query of an address.
pub(crate) struct Filter<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Filter<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                let said = rejection.body_text();
                let said = said.strip_prefix("Failed to deserialize query string: ").unwrap_or(&said);
                let (at, said) = said.split_once(": ").unwrap_or(("", said));
                let problem = Problem::new(StatusCode::BAD_REQUEST, "bad-query", format!("{at}: {said}"));
                Err(match field(at, said) {
                    Some(field) => problem.at(field),
                    None => problem,
                })
            }
        }
    }
}

/// An id in a path: one that cannot be is one that is not there.
pub(crate) struct Id<T>(pub T);

impl<S: Send + Sync, T: Named> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Ok(Path(text)) = Path::<String>::from_request_parts(parts, state).await else {
            return Err(Problem::not_found(T::NAME, "of that name"));
        };
        text.parse().map(Self).map_err(|_| Problem::not_found(T::NAME, &text))
    }
}

/// What an id is the id of.
pub(crate) trait Named: FromStr {
    const NAME: &'static str;
}

impl Named for RunId {
    const NAME: &'static str = "run";
}
impl Named for CaseId {
    const NAME: &'static str = "case";
}
impl Named for JobId {
    const NAME: &'static str = "job";
}
impl Named for RunnerId {
    const NAME: &'static str = "runner";
}

#[cfg(test)]
mod tests {
    use contract::job::NewJob;

    use super::parse;

    #[test]
    fn an_error_names_its_field() {
        let sweep = r#""models":["m"],"precisions":["native"],"batches":[1],"prompts":[1],"generates":[1],"repetitions":1"#;
        let table = [
            ("{", "malformed-json", None),
            ("", "malformed-json", None),
            ("[]", "bad-field", None),
            ("{} {}", "bad-field", Some("sweep")),
            (r#"{"swep":{}}"#, "bad-field", Some("swep")),
            (r#"{"sweep":{"modles":[]}}"#, "bad-field", Some("sweep.modles")),
            (r#"{"sweep":{"models":"m"}}"#, "bad-field", Some("sweep.models")),
            (&format!(r#"{{"sweep":{{{sweep}}}}}"#), "bad-field", Some("sweep.device")),
            (&format!(r#"{{"sweep":{{{sweep},"device":"tpu"}}}}"#), "bad-field", Some("sweep.device")),
            (&format!(r#"{{"sweep":{{{sweep},"device":"cpu"}}}} x"#), "malformed-json", None),
            (r#"{"sweep":{"batches":[1,-1]}}"#, "bad-field", Some("sweep.batches[1]")),
        ];
        for (json, code, field) in table {
            let problem = parse::<NewJob>(json.as_bytes()).unwrap_err();
            let error = problem.body.error;
            assert_eq!(
                (error.code.as_str(), error.field.as_deref()),
                (code, field),
                "{json}: {}",
                error.message
            );
        }
    }
}

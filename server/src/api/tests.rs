mod bad_input;
mod compare;
mod lease;
mod plots;
mod reading;

use axum::http::{Method, StatusCode};
use serde_json::json;

use crate::testing::Server;

#[test]
fn the_description_is_as_reviewed() {
    insta::assert_json_snapshot!("openapi", super::openapi());
}

#[tokio::test]
async fn everything_described_is_served() {
    let server = Server::new().await;
    let document = serde_json::to_value(super::openapi()).unwrap();
    let mut seen = std::collections::HashSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let id = "00000000-0000-7000-8000-000000000000";
        let address = path.replace("{id}", id).replace("{case_id}", id).replace("{file}", "speed.svg");
        for (method, operation) in methods.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let answer = server.runner(method.clone(), &address, &json!({})).await;
            assert_ne!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert!(!answer.text.contains("there is nothing at"), "{method} {path}");
            assert!(!answer.status.is_server_error(), "{method} {path}: {answer:?}");
            let name = operation["operationId"].as_str().unwrap().to_owned();
            assert!(seen.insert(name), "{method} {path}: another operation has its name");
        }
    }
    assert_eq!(seen.len(), 34, "a new address is described in openapi()");
}

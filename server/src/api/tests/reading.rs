//! Lists and documents that are only read.

use contract::link::StoredPlan;
use serde_json::{Value, json};

use crate::testing::{ADMIN, RUNNER_ID, Server, plan};

#[tokio::test]
async fn an_empty_server_has_empty_lists() {
    let server = Server::new().await;
    for path in ["/api/v1/runs", "/api/v1/cases", "/api/v1/jobs"] {
        let page = server.get(path).await.json();
        assert_eq!(page, json!({ "items": [], "total": 0, "page": 1, "per_page": 50 }), "{path}");
    }
    for path in ["/api/v1/machines", "/api/v1/runners"] {
        assert_eq!(server.get(path).await.json(), json!([]), "{path}");
    }
    let health = server.get("/api/v1/health").await.json();
    assert_eq!((&health["status"], &health["api_version"]), (&json!("ok"), &json!(1)));
}

#[tokio::test]
async fn a_registered_runner_and_its_machine_are_listed() {
    let server = Server::new().await;
    server.register().await;
    let runners = server.get("/api/v1/runners").await.json();
    assert_eq!((&runners[0]["id"], &runners[0]["online"]), (&json!(RUNNER_ID), &json!(true)));
    assert_eq!(server.get("/api/v1/machines").await.json()[0]["name"], "desk");
    server.pass(contract::protocol::LEASE_MS + 1);
    assert_eq!(server.get("/api/v1/runners").await.json()[0]["online"], false);
}

#[tokio::test]
async fn the_catalogue_is_the_planners() {
    let server = Server::new().await;
    let ids = |list: Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect()
    };
    let models = ids(server.get("/api/v1/models").await.json());
    assert_eq!(models, planner::catalogue::models().iter().map(|m| m.id.clone()).collect::<Vec<_>>());
    let gpus = server.get("/api/v1/gpus").await.json();
    assert!(gpus.as_array().unwrap().iter().all(|g| g["visible_bytes"].as_u64() > Some(1 << 30)));
    assert_eq!(ids(gpus).len(), planner::catalogue::gpus().len());
    let presets = server.get("/api/v1/presets").await;
    assert_eq!(presets.text, serde_json::to_string(&planner::agent::presets::list()).unwrap());
    assert!(
        presets.json().as_array().unwrap().iter().all(|p| p["source"].is_string() && p["fields"].is_object())
    );
}

#[tokio::test]
async fn a_plan_is_answered_as_the_planner_answers_it() {
    let server = Server::new().await;
    let answer = server.post("/api/v1/plans/estimate", &plan()).await;
    let typed: planner::Plan = serde_json::from_value(plan()).unwrap();
    assert_eq!(answer.text, serde_json::to_string(&planner::estimate(&typed).unwrap()).unwrap());

    let question = json!({ "plan": plan(), "batches": [1, 8] });
    let limits = server.post("/api/v1/plans/solve", &question).await.json();
    assert_eq!(limits["largest_batch"], json!(planner::solve::largest_batch(&typed).unwrap()));
    assert_eq!(limits["longest_context"], json!(planner::solve::longest_context(&typed).unwrap()));
    assert_eq!(limits["load_line"].as_array().unwrap().len(), 2);
    assert_eq!(limits["fewest_gpus"]["count"], json!(1));
    let precisions = limits["precisions"].as_array().unwrap();
    let needed: Vec<u64> = precisions.iter().map(|p| p["needed_bytes"].as_u64().unwrap()).collect();
    assert!(!needed.is_empty() && needed.is_sorted(), "smallest first: {needed:?}");
}

/// Each question alone is answered as the planner answers it.
#[tokio::test]
async fn a_question_is_answered_as_the_planner_answers_it() {
    let server = Server::new().await;
    let prices = json!({ "h100-sxm-80gb": 2.5, "rtx-4090-24gb": 0.4 });
    let limits = json!({ "time_per_output_token_ms": 100.0 });
    for mut question in [
        json!({ "question": "largest-batch" }),
        json!({ "question": "longest-context" }),
        json!({ "question": "load-line", "batches": [1, 4] }),
        json!({ "question": "fewest-gpus", "limits": limits }),
        json!({ "question": "cheapest-gpu", "prices": prices }),
        json!({ "question": "cheapest-gpu" }),
        json!({ "question": "layouts", "gpus": 2 }),
        json!({ "question": "pareto" }),
    ] {
        question["plan"] = plan();
        let typed: planner::solve::Question = serde_json::from_value(question.clone()).unwrap();
        let answer = server.post("/api/v1/plans/solve", &question).await;
        assert_eq!(answer.text, serde_json::to_string(&typed.answer().unwrap()).unwrap(), "{question}");
        assert_eq!(answer.json()["question"], question["question"]);
    }
}

#[tokio::test]
async fn a_stored_plan_has_one_link_that_never_changes() {
    let server = Server::new().await;
    let first = server.post("/api/v1/plans", &plan()).await;
    assert_eq!(first.status, 201);
    server.pass(1000);
    let second = server.post("/api/v1/plans", &plan()).await;
    assert_eq!(second.status, 200);
    let (first, second): (StoredPlan, StoredPlan) = (first.read(), second.read());
    assert_eq!(first, second);
    assert_eq!(first.id.len(), 10);
    let mut other = plan();
    other["workload"]["output_tokens"] = json!(513);
    let other: StoredPlan = server.post("/api/v1/plans", &other).await.read();
    assert_ne!(other.id, first.id);
    let read: StoredPlan = server.get(&format!("/api/v1/plans/{}", first.id)).await.read();
    assert_eq!(read, first);
}

#[tokio::test]
async fn examples_are_imported_once() {
    let server = Server::with(Some(ADMIN)).await;
    let refused = server.post("/api/v1/examples", &json!({})).await;
    assert_eq!(refused.problem().0, 401);
    let server = Server::new().await;
    let answer = server.post("/api/v1/examples", &json!({})).await;
    if crate::examples::available() {
        let runs = answer.json()["runs"].clone();
        assert_eq!(server.get("/api/v1/runs").await.json()["total"], runs);
        server.post("/api/v1/examples", &json!({})).await;
        assert_eq!(server.get("/api/v1/runs").await.json()["total"], runs);
    } else {
        assert_eq!(answer.problem(), (404, "no-examples".into(), None));
    }
}

//! Bad input: the status, the code and the field, in tables.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use contract::protocol::LEASE_MS;
use serde_json::{Value, json};

use crate::testing::{RUNNER_ID, Server, plan, registration, sweep};

/// The document with one value replaced, by JSON pointer.
fn change(mut document: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).and_then(Value::as_object_mut);
    parent.unwrap_or_else(|| panic!("no place for {pointer}")).insert(field.to_owned(), value);
    document
}

#[tokio::test]
async fn a_job_that_cannot_run_says_what_of_it() {
    let server = Server::new().await;
    let good = json!({ "sweep": sweep() });
    let early = server.post("/api/v1/jobs", &good).await;
    assert_eq!(early.problem(), (422, "unknown-model".into(), Some("sweep.models".into())));
    assert!(early.text.contains("bench-runner daemon"), "it says what to do: {}", early.text);
    server.register().await;
    assert_eq!(server.post("/api/v1/jobs", &good).await.status, StatusCode::CREATED);

    let table: [(&str, Value, u16, &str, &str); 21] = [
        ("/sweep/models", json!(["large"]), 422, "unknown-model", "sweep.models"),
        ("/sweep/models", json!(["/etc/passwd"]), 422, "unknown-model", "sweep.models"),
        ("/sweep/models", json!([]), 422, "bad-sweep", "sweep.models"),
        ("/sweep/models", json!("tiny"), 400, "bad-field", "sweep.models"),
        ("/sweep/precisions", json!(["fp7"]), 422, "unknown-precision", "sweep.precisions"),
        ("/sweep/precisions", json!([]), 422, "bad-sweep", "sweep.precisions"),
        ("/sweep/batches", json!([0]), 422, "bad-sweep", "sweep.batches"),
        ("/sweep/batches", json!([-1]), 400, "bad-field", "sweep.batches[0]"),
        ("/sweep/batches", json!([1.5]), 400, "bad-field", "sweep.batches[0]"),
        ("/sweep/prompts", json!([0]), 422, "bad-sweep", "sweep.prompts"),
        ("/sweep/prompts", json!([2045]), 422, "too-long", "sweep.prompts"),
        ("/sweep/generates", json!([99_999_999]), 422, "bad-sweep", "sweep.generates"),
        ("/sweep/batches", json!((1..=4097).collect::<Vec<u32>>()), 422, "bad-sweep", "sweep"),
        ("/sweep/device", json!("cuda:0"), 422, "no-able-runner", "sweep.device"),
        ("/sweep/device", json!("tpu"), 400, "bad-field", "sweep.device"),
        ("/sweep/repetitions", json!(0), 422, "bad-sweep", "sweep.repetitions"),
        ("/sweep/caches", json!(["paged"]), 422, "bad-sweep", "sweep.caches"),
        ("/sweep/event_tracking", json!(["off"]), 422, "bad-sweep", "sweep.event_tracking"),
        ("/sweep/trainings", json!([{ "method": "full" }]), 422, "bad-sweep", "sweep.generates"),
        ("/sweep/quality", json!(64), 422, "bad-sweep", "sweep.quality"),
        ("/sweep/repetitions", Value::Null, 400, "bad-field", "sweep.repetitions"),
    ];
    for (pointer, value, status, code, field) in table {
        let body = change(good.clone(), pointer, value);
        let answer = server.post("/api/v1/jobs", &body).await;
        assert_eq!(
            answer.problem(),
            (status, code.to_owned(), Some(field.to_owned())),
            "{body}: {}",
            answer.text
        );
    }
    for (body, status, code, field) in [
        (json!({ "sweep": sweep(), "command": "rm" }), 400, "bad-field", "command"),
        (json!({ "sweep": sweep(), "name": " " }), 422, "bad-name", "name"),
        (json!({ "sweep": sweep(), "name": "x".repeat(201) }), 422, "bad-name", "name"),
        (
            json!({ "sweep": sweep(), "runner_id": "00000000-0000-0000-0000-000000000009" }),
            422,
            "unknown-runner",
            "runner_id",
        ),
        (json!({}), 400, "bad-field", "sweep"),
    ] {
        let answer = server.post("/api/v1/jobs", &body).await;
        assert_eq!(
            answer.problem(),
            (status, code.to_owned(), Some(field.to_owned())),
            "{body}: {}",
            answer.text
        );
    }
    let jobs = server.get("/api/v1/jobs").await.json();
    assert_eq!(jobs["total"], 1, "nothing refused was queued");
}

#[tokio::test]
async fn a_body_must_be_json_of_a_sane_size() {
    let server = Server::new().await;
    let send = |kind: &'static str, body: String| {
        let request =
            Request::post("/api/v1/jobs").header("content-type", kind).body(Body::from(body)).unwrap();
        server.send(request)
    };
    let large = format!("{{\"sweep\":\"{}\"}}", "x".repeat(2 << 20));
    for (kind, body, status, code) in [
        ("application/x-www-form-urlencoded", "a=b".to_owned(), 415, "not-json"),
        ("text/plain", "{}".to_owned(), 415, "not-json"),
        ("application/json", "{\"sweep\":".to_owned(), 400, "malformed-json"),
        ("application/json; charset=utf-8", String::new(), 400, "malformed-json"),
        ("application/json", "\u{0}".to_owned(), 400, "malformed-json"),
        ("application/json", large, 413, "too-large"),
    ] {
        let answer = send(kind, body).await;
        let (got, name, _) = answer.problem();
        assert_eq!((got, name.as_str()), (status, code), "{kind}: {}", answer.text);
    }
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_taken() {
    let server = Server::new().await;
    let none = "00000000-0000-7000-8000-000000000000";
    for path in [
        format!("/api/v1/runs/{none}"),
        format!("/api/v1/runs/{none}/rows"),
        format!("/api/v1/runs/{none}/cases"),
        "/api/v1/runs/not-an-id".to_owned(),
        "/api/v1/runs/%00".to_owned(),
        format!("/api/v1/cases/{none}"),
        format!("/api/v1/jobs/{none}"),
        format!("/api/v1/jobs/{none}/events"),
        "/api/v1/plans/0000000000".to_owned(),
        "/api/v1/nothing".to_owned(),
        "/api/v2/runs".to_owned(),
        "/api".to_owned(),
        "/api/".to_owned(),
    ] {
        let answer = server.get(&path).await;
        let (status, code, _) = answer.problem();
        assert_eq!((status, code.as_str()), (404, "not-found"), "{path}: {}", answer.text);
    }
    let answer = server.send(Request::delete("/api/v1/runs").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.problem().0, 405);
    assert!(answer.header("allow").contains("GET"), "{answer:?}");
}

#[tokio::test]
async fn a_filter_that_is_none_is_named() {
    let server = Server::new().await;
    for (path, field) in [
        ("/api/v1/runs?status=done", "status"),
        ("/api/v1/runs?page=first", "page"),
        ("/api/v1/runs?modle=x", "modle"),
        ("/api/v1/cases?status=good", "status"),
        ("/api/v1/cases?run=7", "run"),
        ("/api/v1/jobs?page=-1", "page"),
    ] {
        let answer = server.get(path).await;
        assert_eq!(
            answer.problem(),
            (400, "bad-query".into(), Some(field.into())),
            "{path}: {}",
            answer.text
        );
    }
}

#[tokio::test]
async fn a_plan_without_an_answer_says_where() {
    let server = Server::new().await;
    let unknown = |key: &str| change(plan(), "/model", json!({ key: "no/such" }));
    let table = [
        (change(plan(), "/workload/prompt_tokens", json!(-1)), 400, Some("workload")),
        (change(plan(), "/gpu", json!({ "id": "h100-sxm-80gb", "cuont": 2 })), 400, Some("gpu.cuont")),
        (change(plan(), "/schema", json!(2)), 422, Some("schema")),
        (unknown("id"), 422, Some("model.id")),
        (change(plan(), "/gpu/id", json!("h1000")), 422, Some("gpu.id")),
        (change(plan(), "/workload/prompt_tokens", json!(0)), 422, Some("workload.prompt_tokens")),
        // Files are for the command line: a server opens none for a stranger.
        (unknown("gguf"), 422, Some("model.gguf")),
        (json!({}), 400, Some("schema")),
    ];
    for (body, status, field) in table {
        for path in ["/api/v1/plans/estimate", "/api/v1/plans"] {
            let answer = server.post(path, &body).await;
            let (got, _, at) = answer.problem();
            assert_eq!((got, at.as_deref()), (status, field), "{path} {body}: {}", answer.text);
        }
    }
    // What does not serve has no load line.
    for workload in [
        json!({ "kind": "train", "method": "full", "sequence_tokens": 2048 }),
        json!({ "kind": "embed", "sequence_tokens": 512, "batch": 32 }),
    ] {
        let question = json!({ "plan": change(plan(), "/workload", workload) });
        let answer = server.post("/api/v1/plans/solve", &question).await;
        let (status, _, at) = answer.problem();
        assert_eq!((status, at.as_deref()), (422, Some("workload.kind")), "{}", answer.text);
    }
    for (mut question, status, field) in [
        (json!({ "batches": [0] }), 422, "batches"),
        (json!({ "question": "cheapest-gpu", "prices": { "h1000": 1.0 } }), 422, "prices"),
        (json!({ "question": "cheapest-gpu", "prices": { "t4-16gb": -1.0 } }), 422, "prices.t4-16gb"),
        (json!({ "question": "layouts", "gpus": 4096 }), 422, "gpus"),
        (json!({ "question": "pareto", "gpus": 2 }), 422, "gpus"),
        (json!({ "question": "smallest-batch" }), 400, "question"),
        (json!({ "prises": {} }), 400, "prises"),
    ] {
        question["plan"] = plan();
        let (got, _, at) = server.post("/api/v1/plans/solve", &question).await.problem();
        assert_eq!((got, at.as_deref()), (status, Some(field)), "{question}");
    }
    let typed = server.send(crate::testing::with_json(Method::POST, "/api/v1/plans/solve", &plan())).await;
    assert_eq!(typed.problem().0, 400, "{typed:?}");
}

#[tokio::test]
async fn a_job_is_not_queued_for_runners_that_are_gone() {
    let server = Server::new().await;
    server.register().await;
    server.pass(LEASE_MS + 1);
    for (body, field) in [
        (json!({ "sweep": sweep() }), "sweep.models"),
        (json!({ "sweep": sweep(), "runner_id": RUNNER_ID }), "runner_id"),
    ] {
        let answer = server.post("/api/v1/jobs", &body).await;
        assert_eq!(answer.problem(), (409, "runner-offline".into(), Some(field.into())), "{}", answer.text);
        assert!(answer.text.contains("bench-runner daemon"), "it says what to do: {}", answer.text);
    }
    assert_eq!(server.form("/first-benchmark", "").await.header("location"), "/?problem=no-runner");
    assert_eq!(server.get("/api/v1/jobs").await.json()["total"], 0);

    server.register().await;
    assert_eq!(server.post("/api/v1/jobs", &json!({ "sweep": sweep() })).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn one_runner_must_be_able_to_do_all_of_a_job() {
    let server = Server::new().await;
    server.register().await;
    // The second takes longer sequences of `tiny`, and other precisions.
    let mut second = registration();
    second.name = "shelf".to_owned();
    second.models[1].precisions = vec!["bf16".to_owned(), "native".to_owned()];
    second.models[1].max_tokens = 8192;
    second.models.remove(0);
    let path = "/api/v1/runners/00000000-0000-0000-0000-000000000009";
    let answer = server.runner(Method::PUT, path, &serde_json::to_value(second).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");

    let both = json!(["tiny", "HuggingFaceTB/SmolLM2-135M"]);
    let one = json!(["tiny"]);
    for (models, precisions, prompt, refused) in [
        (&one, json!(["bf16"]), 4000, None),
        (&one, json!(["native"]), 16, None),
        (&one, json!(["fp32"]), 16, None),
        (&both, json!(["fp32", "bf16"]), 16, None),
        (&one, json!(["fp32"]), 4000, Some(("too-long", "sweep.prompts"))),
        (&one, json!(["fp32", "native"]), 16, Some(("unknown-precision", "sweep.precisions"))),
        (&both, json!(["native"]), 16, Some(("unknown-precision", "sweep.precisions"))),
        (&both, json!(["bf16"]), 4000, Some(("too-long", "sweep.prompts"))),
    ] {
        let mut body = change(json!({ "sweep": sweep() }), "/sweep/precisions", precisions);
        body = change(body, "/sweep/models", models.clone());
        body = change(body, "/sweep/prompts", json!([prompt]));
        let answer = server.post("/api/v1/jobs", &body).await;
        match refused {
            None => assert_eq!(answer.status, StatusCode::CREATED, "{body}: {}", answer.text),
            Some((code, field)) => {
                assert_eq!(
                    answer.problem(),
                    (422, code.into(), Some(field.into())),
                    "{body}: {}",
                    answer.text
                );
            }
        }
    }
}

use axum::body::{Body, to_bytes};
use axum::http::Request;
use resvg::tiny_skia::Pixmap;
use serde_json::Value;

use crate::testing::{Server, plan};

const QUERY: &str =
    "model=meta-llama/Llama-3.1-8B&gpu=h100-sxm-80gb&weights=bf16&context=2048&output=512&batch=4";

/// A server with a stored plan, and its id.
async fn with_a_plan() -> (Server, String) {
    let server = Server::new().await;
    let stored = server.post("/api/v1/plans", &plan()).await.json();
    let id = stored["id"].as_str().unwrap().to_owned();
    (server, id)
}

#[tokio::test]
async fn a_link_has_a_picture() {
    let (server, id) = with_a_plan().await;
    for (path, cache) in [
        (format!("/planner/preview.png?{QUERY}"), "public, max-age=3600"),
        (format!("/p/{id}/preview.png"), "public, max-age=604800"),
    ] {
        let response = server.response(Request::get(&path).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(
            (&response.headers()["content-type"], &response.headers()["cache-control"]),
            (&"image/png".parse().unwrap(), &cache.parse().unwrap())
        );
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let picture = Pixmap::decode_png(&bytes).unwrap();
        assert_eq!((picture.width(), picture.height()), (1200, 630), "{path}");
        let colours: std::collections::BTreeSet<_> =
            picture.pixels().iter().map(|p| (p.red(), p.green(), p.blue())).collect();
        for colour in [(0x2f, 0x5d, 0x9b), (0xd4, 0x38, 0x0d), (0x16, 0x20, 0x2c)] {
            assert!(colours.contains(&colour), "{path} has no {colour:?}: weights, load line, ink");
        }
        assert!(bytes.len() < 100_000, "{} bytes", bytes.len());
    }
}

#[tokio::test]
async fn a_plan_is_text_and_a_document_too() {
    let (server, id) = with_a_plan().await;
    for path in [format!("/planner/plan.md?{QUERY}"), format!("/p/{id}/plan.md")] {
        let answer = server.get(&path).await;
        assert_eq!(answer.header("content-type"), "text/markdown; charset=utf-8");
        assert!(answer.text.starts_with("# meta-llama/Llama-3.1-8B on NVIDIA H100"), "{}", answer.text);
        assert!(answer.text.contains("| Weights |"), "{}", answer.text);
    }
    let document: Value = server.get(&format!("/planner/plan.json?{QUERY}")).await.json();
    let estimate = server.post("/api/v1/plans/estimate", &document["plan"]).await.json();
    assert_eq!(document["estimate"], estimate, "the plan of the document has its answer");
}

#[tokio::test]
async fn only_a_frame_may_stand_in_another_site() {
    let (server, id) = with_a_plan().await;
    for path in [format!("/embed?{QUERY}"), format!("/p/{id}/embed")] {
        let frame = server.get(&path).await;
        assert_eq!(frame.status, 200, "{path}");
        assert!(frame.header("content-security-policy").contains("frame-ancestors *"));
        assert_eq!(frame.header("x-frame-options"), "");
        assert!(frame.text.contains("class=\"hull\"") && !frame.text.contains("<script"), "{}", frame.text);
    }
    for path in ["/planner", "/runs", &format!("/p/{id}"), &format!("/p/{id}/plan.md")] {
        assert_eq!(server.get(path).await.header("x-frame-options"), "DENY", "{path}");
    }
    let page = server.get(&format!("/p/{id}")).await;
    assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"));
}

#[tokio::test]
async fn what_has_no_answer_says_so() {
    let (server, _) = with_a_plan().await;
    for (query, status, code, field) in [
        ("context=many", 400, "bad-plan", "workload.prompt_tokens"),
        ("modle=x", 400, "bad-plan", "modle"),
        ("context=999999999", 422, "bad-plan", "workload.prompt_tokens"),
    ] {
        for file in ["preview.png", "plan.md", "plan.json"] {
            let answer = server.get(&format!("/planner/{file}?{query}")).await;
            assert_eq!(answer.problem(), (status, code.to_owned(), Some(field.to_owned())), "{file}?{query}");
        }
        let frame = server.get(&format!("/embed?{query}")).await;
        assert_eq!(frame.status.as_u16(), status, "{query}");
        assert!(frame.text.contains("No answer"), "{}", frame.text);
    }
    for file in ["preview.png", "plan.md", "embed"] {
        assert_eq!(server.get(&format!("/p/none/{file}")).await.status, 404, "{file}");
    }
}

#[tokio::test]
async fn pages_name_their_picture() {
    let (server, id) = with_a_plan().await;
    let mut request = Request::get(format!("/p/{id}")).body(Body::empty()).unwrap();
    request.headers_mut().insert("host", "localhost:3000".parse().unwrap());
    let page = server.send(request).await.text;
    for meta in [
        "property=\"og:title\" content=\"meta-llama/Llama-3.1-8B on NVIDIA H100".to_owned(),
        format!("property=\"og:image\" content=\"http://localhost:3000/p/{id}/preview.png\""),
        "name=\"twitter:card\" content=\"summary_large_image\"".to_owned(),
    ] {
        assert!(page.contains(&meta), "no {meta}: {page}");
    }
    let page = server.get(&format!("/planner?{QUERY}")).await.text;
    assert!(
        page.contains("/planner/preview.png?model=meta-llama/Llama-3.1-8B&amp;gpu=h100-sxm-80gb"),
        "{page}"
    );
}

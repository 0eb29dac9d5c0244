//! Plots as pictures.

use app::charts::plots::Kind;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use resvg::tiny_skia::Pixmap;
use serde_json::json;

use crate::testing::Server;

async fn with_examples() -> Server {
    let server = Server::new().await;
    let imported = server.post("/api/v1/examples", &json!({})).await;
    assert!(imported.status.is_success(), "{imported:?}");
    server
}

async fn bytes(server: &Server, path: &str) -> (u16, Vec<u8>) {
    let response = server.response(Request::get(path).body(Body::empty()).unwrap()).await;
    let status = response.status().as_u16();
    (status, to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec())
}

#[tokio::test]
async fn every_plot_is_drawn_in_both_formats() {
    let server = with_examples().await;
    for kind in Kind::ALL {
        let kind = kind.as_str();
        let svg = server.get(&format!("/api/v1/plots/{kind}.svg?theme=dark&width=640")).await;
        assert_eq!(
            (svg.status.as_u16(), svg.header("content-type")),
            (200, "image/svg+xml"),
            "{kind}: {svg:?}"
        );
        assert!(svg.text.contains("width=\"640\"") && !svg.text.contains("var("), "{kind}");

        let (status, png) = bytes(&server, &format!("/api/v1/plots/{kind}.png?width=640")).await;
        assert_eq!(status, 200, "{kind}");
        let picture = Pixmap::decode_png(&png).unwrap();
        assert_eq!(picture.width(), 640, "{kind}");
        // Text, axes and marks: more than a few pixels are not of the ground.
        let ground = picture.pixels()[0];
        let drawn = picture.pixels().iter().filter(|pixel| **pixel != ground).count();
        assert!(drawn > 3000, "{kind} has {drawn} pixels that are not blank");
    }
}

#[tokio::test]
async fn a_plots_filters_choose_its_cases() {
    let server = with_examples().await;
    let all = server.get("/api/v1/plots/speed.svg").await.text;
    let one = server.get("/api/v1/plots/speed.svg?prompt=64&y=prefill").await.text;
    let total = server.get("/api/v1/case-lines?prompt=64").await.json()["total"].as_u64().unwrap();
    assert!(total > 0 && one.contains(&format!("n = {total} of {total} case")), "{one}");
    assert!(all != one && one.contains("Prefill"), "{one}");
}

#[tokio::test]
async fn a_range_is_drawn_by_itself() {
    let server = with_examples().await;
    let marks = |svg: &str| svg.matches("<title>").count();
    let all = server.get("/api/v1/plots/speed.svg?x=batch").await.text;
    let part = server.get("/api/v1/plots/speed.svg?x=batch&x_from=1.5&x_to=100").await.text;
    assert!(marks(&part) > 0 && marks(&part) < marks(&all), "{} of {}", marks(&part), marks(&all));
    let told = format!("{} of {} points are outside this range.", marks(&all) - marks(&part), marks(&all));
    // The note is broken into lines, each an element.
    let texts: Vec<&str> = part.split('<').filter_map(|part| Some(part.split_once('>')?.1)).collect();
    let text = texts.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains(&told), "{told:?} is not in {text}");
    let (status, png) = bytes(&server, "/api/v1/plots/speed.png?x=batch&x_from=1.5&x_to=100&width=640").await;
    assert_eq!((status, Pixmap::decode_png(&png).unwrap().width()), (200, 640));
    // What has no range is the same with one.
    let heat = server.get("/api/v1/plots/heat.svg?x_from=1&x_to=2").await.text;
    assert_eq!(heat, server.get("/api/v1/plots/heat.svg").await.text);
}

#[tokio::test]
async fn what_cannot_be_drawn_is_a_problem_that_says_where() {
    let server = with_examples().await;
    for (path, status, code, field) in [
        ("pie.svg", 404, "not-found", None),
        ("speed.gif", 404, "not-found", None),
        ("speed", 404, "not-found", None),
        ("speed.svg?width=10", 400, "bad-field", Some("width")),
        ("speed.svg?width=wide", 400, "bad-field", Some("width")),
        ("speed.png?theme=blue", 400, "bad-field", Some("theme")),
        ("speed.svg?x=moon", 400, "bad-field", Some("x")),
        ("speed.svg?colour=red", 400, "bad-field", Some("colour")),
        ("memory.svg?unit=MB", 400, "bad-field", Some("unit")),
        ("speed.svg?x_from=8&x_to=1", 400, "bad-field", Some("x_to")),
        ("speed.png?y_from=2&y_to=2", 400, "bad-field", Some("y_to")),
        ("pareto.svg?x_from=wide", 400, "bad-field", Some("x_from")),
        ("speed.svg?y_to=inf", 400, "bad-field", Some("y_to")),
        ("heat.svg?y_to=NaN", 400, "bad-field", Some("y_to")),
        ("speed.svg?y_from=1e12", 422, "nothing-to-plot", None),
        ("speed.svg?model=none", 422, "nothing-to-plot", None),
    ] {
        let problem = server.get(&format!("/api/v1/plots/{path}")).await.problem();
        assert_eq!(problem, (status, code.to_owned(), field.map(str::to_owned)), "{path}");
    }
}

//! Who may do what, and the forms and pages.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::testing::{ADMIN, RUNNER, Server, plan, sweep, with_json};

async fn send(
    server: &Server,
    method: Method,
    path: &str,
    headers: &[(&'static str, &str)],
    body: &Value,
) -> StatusCode {
    let mut request = with_json(method, path, body);
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    server.send(request).await.status
}

#[tokio::test]
async fn writes_need_the_token_where_there_is_one() {
    let locked = Server::with(Some(ADMIN)).await;
    let open = Server::new().await;
    let (bearer, wrong) = (format!("Bearer {ADMIN}"), format!("Bearer {ADMIN}x"));
    let runner = format!("Bearer {RUNNER}");
    for server in [&locked, &open] {
        server.register().await;
    }
    let job = json!({ "sweep": sweep() });
    let table: [(&[(&str, &str)], u16); 6] = [
        (&[], 401),
        (&[("authorization", &wrong)], 401),
        (&[("authorization", &runner)], 401),
        (&[("authorization", ADMIN)], 401),
        (&[("cookie", "plimsoll_session=admin-token")], 401),
        (&[("authorization", &bearer)], 201),
    ];
    for (headers, status) in table {
        assert_eq!(send(&locked, Method::POST, "/api/v1/jobs", headers, &job).await, status, "{headers:?}");
        assert_eq!(
            send(&open, Method::POST, "/api/v1/jobs", headers, &job).await,
            201,
            "loopback asks nothing"
        );
    }
    let none = "00000000-0000-7000-8000-000000000000";
    for (path, body) in [
        (format!("/api/v1/jobs/{none}/cancel"), json!({})),
        ("/api/v1/plans".to_owned(), plan()),
        ("/api/v1/examples".to_owned(), json!({})),
    ] {
        assert_eq!(send(&locked, Method::POST, &path, &[], &body).await, 401, "{path}");
    }
    for path in ["/api/v1/plans/estimate", "/api/v1/plans/solve"] {
        let body = if path.ends_with("solve") { json!({ "plan": plan() }) } else { plan() };
        assert_eq!(send(&locked, Method::POST, path, &[], &body).await, 200, "{path} writes nothing");
    }
    assert_eq!(locked.get("/api/v1/jobs").await.status, 200, "everyone reads");
}

#[tokio::test]
async fn runners_always_need_their_token() {
    let none = "00000000-0000-7000-8000-000000000000";
    for server in [Server::new().await, Server::with(Some(ADMIN)).await] {
        for (method, path) in [
            (Method::PUT, format!("/api/v1/runners/{none}")),
            (Method::POST, format!("/api/v1/runners/{none}/claim")),
            (Method::POST, format!("/api/v1/jobs/{none}/heartbeat")),
            (Method::PUT, format!("/api/v1/jobs/{none}/cases/{none}")),
            (Method::POST, format!("/api/v1/jobs/{none}/finish")),
        ] {
            for token in ["", "Bearer wrong", "Basic runner-token", &format!("Bearer {ADMIN}")] {
                let status =
                    send(&server, method.clone(), &path, &[("authorization", token)], &json!({})).await;
                assert_eq!(status, 401, "{method} {path} {token:?}");
            }
        }
    }
}

#[tokio::test]
async fn only_names_of_this_machine_are_answered_without_a_token() {
    let (open, locked) = (Server::new().await, Server::with(Some(ADMIN)).await);
    for (host, answered) in [
        ("localhost:3000", true),
        ("LOCALHOST", true),
        ("127.0.0.1:3000", true),
        ("127.8.8.8", true),
        ("[::1]:3000", true),
        ("plimsoll.example.com", false),
        ("127.0.0.1.example.com:3000", false),
        ("localhost.example.com", false),
        ("192.168.1.7:3000", false),
        ("[::2]:3000", false),
        ("", false),
    ] {
        for path in ["/api/v1/health", "/login"] {
            let status = send(&open, Method::GET, path, &[("host", host)], &json!({})).await;
            assert_eq!(status == StatusCode::FORBIDDEN, !answered, "{host:?} {path}");
        }
        let status = send(&locked, Method::GET, "/api/v1/health", &[("host", host)], &json!({})).await;
        assert_eq!(status, 200, "a token protects by itself: {host:?}");
    }
}

#[tokio::test]
async fn other_sites_cannot_write() {
    let server = Server::new().await;
    let host = ("host", "localhost:3000");
    let table: [(&[(&str, &str)], bool); 9] = [
        (&[host], true),
        (&[host, ("origin", "http://localhost:3000")], true),
        (&[host, ("origin", "http://localhost:4000")], false),
        (&[host, ("origin", "https://evil.example")], false),
        (&[host, ("origin", "null")], false),
        (&[host, ("sec-fetch-site", "same-origin"), ("origin", "http://localhost:3000")], true),
        (&[host, ("sec-fetch-site", "none")], true),
        (&[host, ("sec-fetch-site", "cross-site")], false),
        (&[host, ("sec-fetch-site", "same-site")], false),
    ];
    for (headers, taken) in table {
        for (path, body) in [("/api/v1/plans", plan()), ("/first-benchmark", json!({}))] {
            let status = send(&server, Method::POST, path, headers, &body).await;
            assert_eq!(status == StatusCode::FORBIDDEN, !taken, "{path} {headers:?}: {status}");
        }
        assert_eq!(
            send(&server, Method::GET, "/api/v1/health", headers, &json!({})).await,
            200,
            "reading is harmless"
        );
    }
}

#[tokio::test]
async fn forms_answer_with_redirections() {
    let server = Server::new().await;
    let problem = server.form("/first-benchmark", "").await;
    assert_eq!((problem.status, problem.header("location")), (StatusCode::SEE_OTHER, "/?problem=no-runner"));
    server.register().await;
    let fields = "models=tiny&precisions=fp32,bf16&batches=1,2&prompts=16&generates=4&repetitions=1&device=cpu&name=&runner_id=";
    let submitted = server.form("/jobs", fields).await;
    assert_eq!(submitted.status, StatusCode::SEE_OTHER, "{submitted:?}");
    let page = submitted.header("location").to_owned();
    let job = server.get(&format!("/api/v1{page}")).await.json();
    assert_eq!(
        (&job["progress"]["total"], &job["name"]),
        (&json!(4), &json!("tiny · fp32, bf16 · 4 cases on cpu"))
    );

    let cancelled = server.form(&format!("{page}/cancel"), "").await;
    assert_eq!((cancelled.status, cancelled.header("location")), (StatusCode::SEE_OTHER, page.as_str()));
    assert_eq!(server.get(&format!("/api/v1{page}")).await.json()["state"], "cancelled");

    let wrong = server.form("/jobs", &fields.replace("batches=1,2", "batches=0")).await;
    let again = wrong.header("location");
    assert!(
        again.starts_with("/jobs?") && again.contains("batches=0") && again.contains("check=1"),
        "{again}"
    );

    // What only the server refuses is said on the page too.
    let refused = server.form("/jobs", &fields.replace("name=", &format!("name={}", "x".repeat(201)))).await;
    let again = refused.header("location").to_owned();
    assert!(again.contains("check=1") && again.contains("refused=bad-name"), "{again}");
    let page = server.get(&again).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.text.contains("1 to 200 characters"), "{}", page.text);

    let first = server.form("/first-benchmark", "").await;
    assert!(first.header("location").starts_with("/jobs/"), "{first:?}");
    let jobs = server.get("/api/v1/jobs").await.json();
    assert_eq!((&jobs["total"], &jobs["items"][0]["name"]), (&json!(2), &json!("First benchmark")));

    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("query", &planner::link::to_query(&serde_json::from_value(plan()).unwrap()))
        .finish();
    let link = server.form("/planner/link", &query).await;
    let id = link.header("location").strip_prefix("/p/").unwrap_or_else(|| panic!("{link:?}")).to_owned();
    assert_eq!(server.get(&format!("/api/v1/plans/{id}")).await.json()["plan"]["gpu"]["id"], "h100-sxm-80gb");
    let refused = server.form("/planner/link", "query=gpu%3Dno-such-gpu").await;
    assert_eq!(refused.header("location"), "/planner?gpu=no-such-gpu");

    let typed = server.post("/jobs", &json!({})).await;
    assert_eq!(typed.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_login_cannot_be_tried_for_ever() {
    let server = Server::with(Some(ADMIN)).await;
    let tried = |address: &str, token: &str| {
        let mut request = Request::post("/login")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(format!("token={token}&next=/jobs")))
            .unwrap();
        let address: std::net::SocketAddr = format!("{address}:4000").parse().unwrap();
        request.extensions_mut().insert(axum::extract::ConnectInfo(address));
        server.send(request)
    };
    for n in 0..10 {
        let wrong = tried("192.0.2.1", "guess").await;
        assert_eq!(wrong.header("location"), "/login?wrong=1&next=%2Fjobs", "{n}: {wrong:?}");
    }
    // Not even the right one is looked at any more.
    for token in ["guess", ADMIN] {
        let refused = tried("192.0.2.1", token).await;
        assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "30"));
        assert!(refused.text.contains("Try again in 30 s") && refused.text.contains("name=\"token\""));
        assert!(refused.header("set-cookie").is_empty());
    }
    let other = tried("192.0.2.2", ADMIN).await;
    assert_eq!((other.status, other.header("location")), (StatusCode::SEE_OTHER, "/jobs"));
    server.pass(30_000);
    let again = tried("192.0.2.1", ADMIN).await;
    assert!(again.header("set-cookie").starts_with("plimsoll_session="), "{again:?}");
}

#[tokio::test]
async fn wrong_bearer_tokens_are_tries_too() {
    let server = Server::with(Some(ADMIN)).await;
    let show = |path: &str, token: &str| {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"))
            .extension(axum::extract::ConnectInfo(std::net::SocketAddr::from(([192, 0, 2, 1], 4000))))
            .body(Body::from(plan().to_string()))
            .unwrap();
        server.send(request)
    };
    let claim = "/api/v1/runners/00000000-0000-7000-8000-000000000000/claim";
    for n in 0..5 {
        for path in ["/api/v1/plans", claim] {
            assert_eq!(show(path, &format!("guess {n} {path}")).await.status, 401, "{n} {path}");
        }
    }
    for (path, token) in [("/api/v1/plans", ADMIN), (claim, RUNNER), (claim, "guess")] {
        let refused = show(path, token).await;
        assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "30"));
        assert_eq!(refused.problem().1, "too-many-attempts");
    }
    server.pass(30_000);
    assert_eq!(show("/api/v1/plans", ADMIN).await.status, 201);
}

#[tokio::test]
async fn a_login_lets_a_browser_write() {
    let server = Server::with(Some(ADMIN)).await;
    server.register().await;
    let request = |cookie: &str| {
        Request::post("/first-benchmark")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("cookie", cookie)
            .header("referer", "http://gpu-box:3000/jobs?page=2")
            .body(Body::empty())
            .unwrap()
    };
    let asked = server.send(request("")).await;
    assert_eq!(asked.header("location"), "/login?next=%2Fjobs%3Fpage%3D2");
    let wrong = server.form("/login", "token=guess&next=/jobs").await;
    assert_eq!(wrong.header("location"), "/login?wrong=1&next=%2Fjobs");
    assert!(wrong.header("set-cookie").is_empty());

    let right = server.form("/login", &format!("token={ADMIN}&next=/jobs")).await;
    assert_eq!(right.header("location"), "/jobs");
    let cookie = right.header("set-cookie").to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains(ADMIN), "the token itself is not handed out: {cookie}");
    let session = cookie.split(';').next().unwrap();
    let done = server.send(request(session)).await;
    assert!(done.header("location").starts_with("/jobs/"), "{done:?}");

    for next in ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", ""] {
        let fields = form_urlencoded::Serializer::new(String::new())
            .append_pair("token", ADMIN)
            .append_pair("next", next)
            .finish();
        assert_eq!(server.form("/login", &fields).await.header("location"), "/", "{next:?}");
    }
}

#[tokio::test]
async fn pages_are_rendered_with_a_strict_policy() {
    let server = Server::new().await;
    for (path, status) in
        [("/", 200), ("/runs", 200), ("/jobs", 200), ("/login", 200), ("/nothing/here", 404)]
    {
        let page = server.get(path).await;
        assert_eq!(page.status, status, "{path}");
        assert!(page.text.contains("<h1"), "{path}: {}", page.text);
        assert!(page.header("content-type").starts_with("text/html"), "{path}");
        let policy = page.header("content-security-policy");
        let nonce = policy.split("'nonce-").nth(1).and_then(|rest| rest.split('\'').next()).unwrap();
        assert!(nonce.len() >= 16, "{policy}");
        for script in page.text.split("<script").skip(1) {
            let tag = script.split('>').next().unwrap();
            assert!(tag.contains(nonce), "{path}: a script without the nonce: {tag}");
        }
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert!(!page.header("x-request-id").is_empty());
    }
    let answer = server.send(Request::put("/runs").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn views_of_cases_are_kept_and_let_go_by_forms() {
    let server = Server::new().await;
    let names = || async {
        let views = server.state.store.views().await.unwrap();
        views.into_iter().map(|view| (view.name, view.query)).collect::<Vec<_>>()
    };
    let saved =
        server.form("/cases/views", "name=+big+&query=%3Forder%3Dpeak%26model%3Da%2520b%26after%3D1_2").await;
    assert_eq!(
        (saved.status, saved.header("location")),
        (StatusCode::SEE_OTHER, "/cases?order=peak&model=a+b")
    );
    assert_eq!(names().await, [("big".to_owned(), "order=peak&model=a+b".to_owned())]);
    let long = format!("name={}&query=batch%3D1", "x".repeat(81));
    for (form, location) in [
        ("name=+&query=batch%3D1", "/cases?batch=1&problem=view-name"),
        (long.as_str(), "/cases?batch=1&problem=view-name"),
        ("query=a%0D%0Ab%3Dc", "/cases?a%0D%0Ab=c&problem=view-name"),
    ] {
        let answer = server.form("/cases/views", form).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (303, location), "{form}");
    }
    assert_eq!(names().await.len(), 1);
    let deleted = server.form("/cases/views/delete", "name=big").await;
    assert_eq!((deleted.status.as_u16(), deleted.header("location")), (303, "/cases"));
    assert_eq!(names().await, []);

    let locked = Server::with(Some(ADMIN)).await;
    for path in ["/cases/views", "/cases/views/delete"] {
        let answer = locked.form(path, "name=x&query=").await;
        assert!(answer.header("location").starts_with("/login?next="), "{path}: {answer:?}");
    }
}

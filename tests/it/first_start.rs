//! An empty database, and the ways a server refuses to start.

use tests::api::{Api, page};
use tests::process::{Server, run_to_end};
use tests::{HarnessError, Result};

fn temporary() -> Result<tempfile::TempDir> {
    tempfile::tempdir()
        .map_err(|source| HarnessError::Io { what: "make a temporary folder".to_owned(), source })
}

#[test]
fn an_empty_database_offers_a_way_on() -> Result<()> {
    let dir = temporary()?;
    let server = Server::start(dir.path(), &[])?;
    for path in ["/", "/runs", "/jobs", "/planner"] {
        let (status, body) = page(&format!("{}{path}", server.url))?;
        assert_eq!(status, 200, "{path}");
        assert!(body.contains("<h1"), "{path} is blank");
    }
    let (_, body) = page(&server.url)?;
    assert!(body.contains("data-test=\"import-examples\""), "the example results are offered");

    let api = Api::new(&server.url);
    let (status, _) = api.post("/examples", &serde_json::json!({}))?;
    assert!((200..300).contains(&status), "{status}");
    let (_, first) = api.get("/runs")?;
    let count = first["items"].as_array().map_or(0, Vec::len);
    assert!(count > 0, "the examples are listed");
    let (again, _) = api.post("/examples", &serde_json::json!({}))?;
    assert!((200..300).contains(&again), "importing twice is no error");
    let (_, second) = api.get("/runs")?;
    assert_eq!(second["items"].as_array().map_or(0, Vec::len), count, "and adds nothing");
    for run in first["items"].as_array().into_iter().flatten() {
        let id = run["run"]["id"].as_str().unwrap_or_default();
        let (status, _) = page(&format!("{}/runs/{id}", server.url))?;
        assert_eq!(status, 200, "run {id} has a page");
    }
    Ok(())
}

#[test]
fn what_is_not_there_is_404() -> Result<()> {
    let dir = temporary()?;
    let server = Server::start(dir.path(), &[])?;
    let none = "00000000-0000-7000-8000-000000000000";
    for path in [
        format!("/runs/{none}"),
        "/runs/not-an-id".to_owned(),
        format!("/jobs/{none}"),
        "/p/0000000000".to_owned(),
        "/docs/nothing".to_owned(),
        "/nothing".to_owned(),
    ] {
        let (status, body) = page(&format!("{}{path}", server.url))?;
        assert_eq!(status, 404, "{path}");
        assert!(body.contains("<h1"), "{path} says so on a page");
    }
    let (status, body) = Api::new(&server.url).get("/nothing")?;
    assert_eq!(status, 404);
    assert!(body["error"]["message"].is_string(), "{body}");
    Ok(())
}

#[test]
fn a_server_that_cannot_start_says_why_and_exits_with_2() -> Result<()> {
    let dir = temporary()?;
    let server = Server::start(dir.path(), &[])?;
    let taken = server.address().to_owned();
    let newer = dir.path().join("newer.db");
    let newer_text = newer.to_string_lossy().into_owned();
    let garbage = dir.path().join("garbage.db");
    std::fs::write(&garbage, b"this is no database, but it is long enough to look like one if nobody looks")
        .map_err(|source| HarnessError::Io { what: "write garbage.db".to_owned(), source })?;
    let garbage_text = garbage.to_string_lossy().into_owned();
    make_newer(&newer)?;

    let table: [(&str, &[&str], &str); 6] = [
        ("a port in use", &["--listen", &taken, "--db", "other.db"], "in use"),
        ("an address that is none", &["--listen", "nowhere", "--db", "other.db"], "--listen"),
        (
            "open to the network without a token",
            &["--listen", "0.0.0.0:0", "--db", "other.db"],
            "--admin-token",
        ),
        ("a database of a newer version", &["--listen", "127.0.0.1:0", "--db", &newer_text], "newer"),
        ("a file that is no database", &["--listen", "127.0.0.1:0", "--db", &garbage_text], "database"),
        ("an unknown option", &["--lisen", "127.0.0.1:0"], "--listen"),
    ];
    for (what, arguments, said) in table {
        let (code, _, err) = run_to_end("server", arguments, dir.path())?;
        assert_eq!(code, Some(2), "{what}: {err}");
        assert!(err.contains(said), "{what}: {err:?} does not say {said:?}");
        assert!(!err.contains("panicked"), "{what}: {err}");
    }
    Ok(())
}

/// A database as a later version would leave it: one migration more than this program knows.
fn make_newer(path: &std::path::Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| HarnessError::Io { what: "start a runtime".to_owned(), source })?;
    runtime.block_on(async {
        let _ = store::Store::open(path).await;
    });
    let script = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute(\"insert into _sqlx_migrations \
                  (version, description, success, checksum, execution_time) values (99991231235959,'later',1,x'00',0)\"); c.commit()";
    let io = |source| HarnessError::Io { what: "age the database".to_owned(), source };
    let status =
        std::process::Command::new("python3").arg("-c").arg(script).arg(path).status().map_err(io)?;
    assert!(status.success(), "the database could not be aged");
    Ok(())
}

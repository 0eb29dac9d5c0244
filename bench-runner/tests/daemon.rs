//! The daemon against a server made of a socket: the protocol, a failing server, cancelling, giving back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use common::{runner, weights};
use contract::case::{CaseStatus, Device, Variant};
use contract::ids::{JobId, LeaseId, RunId, UnixMillis};
use contract::job::{Job, JobState, Progress};
use contract::protocol::{CaseUpload, Claim, Finish, HeartbeatReply, Outcome, Registration};
use contract::sweep::Sweep;
use planner::Tokens;
use serde_json::json;
use uuid::Uuid;

/// Longer than any of it takes on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(2);
const TOKEN: &str = "not-a-secret";

/// What the daemon asked.
#[derive(Debug)]
struct Asked {
    method: String,
    path: String,
    token: String,
    body: String,
}

/// Answers requests by `answer` (status and body) and tells what was asked.
fn serve(mut answer: impl FnMut(&Asked) -> (u16, String) + Send + 'static) -> (String, Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            one(stream.unwrap(), &mut answer, &tell);
        }
    });
    (url, told)
}

/// One request a connection.
fn one(stream: TcpStream, answer: &mut impl FnMut(&Asked) -> (u16, String), tell: &Sender<Asked>) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let (mut length, mut token, mut chunked) = (0, String::new(), false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "authorization" => value.clone_into(&mut token),
            "transfer-encoding" => chunked = value == "chunked",
            _ => {}
        }
    }
    assert!(!chunked, "bodies have a length");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let asked = Asked { method, path, token, body: String::from_utf8(body).unwrap() };
    let (status, text) = answer(&asked);
    let reply = format!(
        "HTTP/1.1 {status} Whatever\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    // A daemon that was told to stop may have gone.
    let _ = reader.into_inner().write_all(reply.as_bytes());
    let _ = tell.send(asked);
}

fn claim(batches: &[u32], done: Vec<String>) -> Claim {
    let sweep = Sweep {
        models: vec!["tiny-weights".into()],
        precisions: vec!["native".into()],
        batches: batches.to_vec(),
        prompts: vec![Tokens(8)],
        generates: vec![Tokens(2)],
        device: Device::Cpu,
        repetitions: 1,
        ..Sweep::default()
    };
    let job = Job {
        id: JobId(Uuid::from_u128(1)),
        name: "a job".into(),
        sweep,
        runner_id: None,
        state: JobState::Running,
        held_by: None,
        run_id: None,
        progress: Progress::default(),
        cancel_requested: false,
        attempts: 1,
        error: None,
        created_at: UnixMillis(0),
        finished_at: None,
    };
    Claim {
        job,
        lease: LeaseId(Uuid::from_u128(2)),
        run_id: RunId(Uuid::from_u128(3)),
        done,
        expires_at: UnixMillis(i64::MAX),
    }
}

fn heartbeat(cancel: bool) -> String {
    serde_json::to_string(&HeartbeatReply { cancel, expires_at: UnixMillis(i64::MAX) }).unwrap()
}

fn start(dir: &std::path::Path, url: &str) -> Child {
    weights(&dir.join("models"));
    let mut command = runner(
        dir,
        &[
            "daemon",
            "--server",
            url,
            "--token",
            TOKEN,
            "--name",
            "t",
            "--models-dir",
            "models",
            "--state",
            "s",
        ],
    );
    command.stderr(Stdio::inherit()).spawn().unwrap()
}

fn terminate(mut daemon: Child) {
    let killed = Command::new("kill").args(["-TERM", &daemon.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(daemon.wait().unwrap().code(), Some(0), "a daemon that is told to stop ends well");
}

fn wait_for(told: &Receiver<Asked>, what: &str) -> Asked {
    loop {
        let asked = told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {what}"));
        if asked.path.contains(what) {
            return asked;
        }
    }
}

#[test]
fn a_job_is_registered_for_claimed_measured_uploaded_and_finished() {
    let dir = tempfile::tempdir().unwrap();
    let (mut claims, mut failures) = (0, 2);
    let (url, told) = serve(move |asked| {
        if asked.path.ends_with("/claim") {
            claims += 1;
            // The first claim has one case done already.
            // It has a name that the job left to the runner.
            let mut sweep = claim(&[1, 2, 3], vec![]).job.sweep;
            sweep.variants = vec![Variant::Plimsoll];
            let done = sweep.cases()[0].key();
            return if claims == 1 {
                (200, serde_json::to_string(&claim(&[1, 2, 3], vec![done])).unwrap())
            } else {
                (204, String::new())
            };
        }
        if asked.path.contains("/cases/") && failures > 0 {
            failures -= 1;
            return (503, r#"{"error":{"code":"busy","message":"not now"}}"#.into());
        }
        if asked.path.ends_with("/heartbeat") {
            return (200, heartbeat(false));
        }
        (200, "{}".into())
    });
    let daemon = start(dir.path(), &url);

    let registered = wait_for(&told, "/api/v1/runners/");
    assert_eq!((registered.method.as_str(), registered.token.as_str()), ("PUT", "Bearer not-a-secret"));
    let registration: Registration = serde_json::from_str(&registered.body).unwrap();
    assert_eq!(registration.name, "t");
    assert!(registration.models.iter().any(|m| m.name == "tiny-weights" && m.max_tokens == 128));
    assert!(registration.devices.contains(&Device::Cpu));

    let mut uploads: Vec<CaseUpload> = Vec::new();
    let finish: Finish = loop {
        let asked = told.recv_timeout(PATIENCE).expect("the job goes on");
        if asked.path.contains("/cases/") {
            uploads.push(serde_json::from_str(&asked.body).unwrap());
        } else if asked.path.ends_with("/finish") {
            break serde_json::from_str(&asked.body).unwrap();
        }
    };
    assert_eq!(finish.outcome, Outcome::Finished);
    assert_eq!(finish.lease, LeaseId(Uuid::from_u128(2)));
    // Two attempts failed and were repeated; what the server had is not measured again.
    let batches: std::collections::BTreeSet<u32> = uploads.iter().map(|u| u.case.spec.batch).collect();
    assert_eq!(batches, [2, 3].into());
    assert_eq!(uploads.len(), 4);
    for upload in &uploads {
        assert_eq!(upload.case.status, CaseStatus::Ok, "{:?}", upload.case.error);
        assert_eq!(upload.case.run_id, RunId(Uuid::from_u128(3)));
        assert_eq!(upload.case.spec.variant, Some(Variant::Plimsoll));
    }
    terminate(daemon);
}

#[test]
fn a_cancelled_job_stops_and_a_wrong_case_fails_it() {
    for (cancel, status, want) in [(true, 200, "cancelled"), (false, 422, "failed")] {
        let dir = tempfile::tempdir().unwrap();
        let mut claims = 0;
        let (url, told) = serve(move |asked| {
            if asked.path.ends_with("/claim") {
                claims += 1;
                let many: Vec<u32> = (1..=200).collect();
                return if claims == 1 {
                    (200, serde_json::to_string(&claim(&many, vec![])).unwrap())
                } else {
                    (204, String::new())
                };
            }
            if asked.path.ends_with("/heartbeat") {
                return (200, heartbeat(cancel));
            }
            if asked.path.contains("/cases/") {
                return (status, json!({"error": {"code": "c", "message": "not of this job"}}).to_string());
            }
            (200, "{}".into())
        });
        let daemon = start(dir.path(), &url);
        let finish = wait_for(&told, "/finish");
        let finish: Finish = serde_json::from_str(&finish.body).unwrap();
        match (&finish.outcome, want) {
            (Outcome::Cancelled, "cancelled") => {}
            (Outcome::Failed { message }, "failed") => {
                assert!(message.contains("not of this job"), "{message}");
            }
            (other, _) => panic!("{want}: {other:?}"),
        }
        terminate(daemon);
    }
}

#[test]
fn a_daemon_that_is_told_to_stop_gives_its_job_back() {
    let dir = tempfile::tempdir().unwrap();
    let (url, told) = serve(move |asked| {
        if asked.path.ends_with("/claim") {
            let many: Vec<u32> = (1..=200).collect();
            return (200, serde_json::to_string(&claim(&many, vec![])).unwrap());
        }
        if asked.path.ends_with("/heartbeat") {
            return (200, heartbeat(false));
        }
        (200, "{}".into())
    });
    let daemon = start(dir.path(), &url);
    wait_for(&told, "/cases/");
    terminate(daemon);
    let finish: Finish = serde_json::from_str(&wait_for(&told, "/finish").body).unwrap();
    assert_eq!(finish.outcome, Outcome::Released);
}

#[test]
fn what_the_server_did_not_get_is_sent_when_the_job_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    // A server that takes no case, and then dies with its daemon.
    let (url, told) = serve(|asked| {
        if asked.path.ends_with("/claim") {
            return (200, serde_json::to_string(&claim(&[1, 2], vec![])).unwrap());
        }
        if asked.path.ends_with("/heartbeat") {
            return (200, heartbeat(false));
        }
        if asked.path.contains("/cases/") { (500, String::new()) } else { (200, "{}".into()) }
    });
    let mut daemon = start(dir.path(), &url);
    let first: CaseUpload = serde_json::from_str(&wait_for(&told, "/cases/").body).unwrap();
    daemon.kill().unwrap();
    daemon.wait().unwrap();

    let (url, told) = serve(|asked| {
        if asked.path.ends_with("/claim") {
            return (200, serde_json::to_string(&claim(&[1, 2], vec![])).unwrap());
        }
        if asked.path.ends_with("/heartbeat") { (200, heartbeat(false)) } else { (200, "{}".into()) }
    });
    let daemon = start(dir.path(), &url);
    let again: CaseUpload = serde_json::from_str(&wait_for(&told, "/cases/").body).unwrap();
    // Measured before, not anew: the very same figures. The first daemon may have measured the second case too.
    let sent_again = if again.case.id == first.case.id {
        again
    } else {
        serde_json::from_str(&wait_for(&told, "/cases/").body).unwrap()
    };
    assert_eq!(sent_again.case, first.case);
    terminate(daemon);
}

#[test]
fn a_wrong_token_ends_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let (url, _told) = serve(|_| {
        (401, json!({"error": {"code": "unauthorized", "message": "the runner token is asked"}}).to_string())
    });
    let out = runner(dir.path(), &["daemon", "--server", &url, "--token", "wrong", "--state", "s"])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("the runner token is asked"), "{said}");
}

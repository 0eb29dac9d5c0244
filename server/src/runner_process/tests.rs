//! The supervisor, with a shell script in the runner's place that reports on a named pipe.

use std::fs::{Permissions, set_permissions, write};
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

use super::*;

/// Says its process id, waits, and says when it is asked to stop.
const PATIENT: &str = "trap 'kill $!; echo stopped; exit 0' TERM
echo $$
while :; do sleep 60 & wait $!; done";

/// A script under supervision.
struct Supervised {
    reports: Lines<BufReader<pipe::Receiver>>,
    stop: watch::Sender<bool>,
    supervisor: JoinHandle<()>,
    folder: TempDir,
}

impl Supervised {
    fn start(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reports");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        // Open for writing too, so that the pipe does not end between one runner and the next.
        let reports = pipe::OpenOptions::new().read_write(true).open_receiver(&path).unwrap();
        let program = folder.path().join("bench-runner");
        write(&program, format!("#!/bin/sh\nexec >'{}'\n{script}\n", path.display())).unwrap();
        set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let (stop, supervisor) = supervise(program, &folder);
        Self { reports: BufReader::new(reports).lines(), stop, supervisor, folder }
    }

    async fn report(&mut self) -> String {
        self.reports.next_line().await.unwrap().unwrap()
    }

    async fn pid(&mut self) -> Pid {
        Pid::from_raw(self.report().await.parse().unwrap())
    }

    /// Stops the supervisor and returns once it is over.
    async fn end(&mut self) {
        self.stop.send_replace(true);
        (&mut self.supervisor).await.unwrap();
    }
}

fn supervise(program: PathBuf, folder: &TempDir) -> (watch::Sender<bool>, JoinHandle<()>) {
    let (stop, stopping) = watch::channel(false);
    let process = RunnerProcess {
        program,
        server: "http://127.0.0.1:3000".to_owned(),
        token: Secret::new("a-secret"),
        state_dir: folder.path().join("state"),
        models_dir: Some(folder.path().join("models")),
    };
    (stop, tokio::spawn(process.supervise(stopping)))
}

#[tokio::test]
async fn a_runner_that_is_killed_is_started_again() {
    let mut supervised = Supervised::start(PATIENT);
    let first = supervised.pid().await;
    signal::killpg(first, Signal::SIGKILL).unwrap();
    let second = supervised.pid().await;
    assert_ne!(first, second);
    assert!(signal::kill(first, None).is_err(), "the first is gone and was waited for");
    supervised.end().await;
}

#[tokio::test]
async fn the_runner_is_asked_to_stop_and_waited_for() {
    let mut supervised = Supervised::start(PATIENT);
    let pid = supervised.pid().await;
    supervised.end().await;
    assert_eq!(supervised.report().await, "stopped", "it had the time to give its job back");
    assert!(signal::kill(pid, None).is_err(), "it is gone");
}

#[tokio::test]
async fn the_runner_learns_its_token_by_the_environment_alone() {
    let mut supervised = Supervised::start("echo \"$PLIMSOLL_RUNNER_TOKEN\"\necho \"$*\"");
    assert_eq!(supervised.report().await, "a-secret");
    let folder = supervised.folder.path().display().to_string();
    assert_eq!(
        supervised.report().await,
        format!("daemon --server http://127.0.0.1:3000 --state {folder}/state --models-dir {folder}/models")
    );
    supervised.end().await;
}

#[tokio::test]
async fn a_program_that_is_missing_does_not_hold_up_the_stop() {
    let folder = tempfile::tempdir().unwrap();
    let (stop, supervisor) = supervise(folder.path().join("no-such-program"), &folder);
    stop.send_replace(true);
    supervisor.await.unwrap();
}

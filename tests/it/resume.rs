//! `kill -9` of a runner in the middle of a sweep, and of the server: every finished case is there once, and the sweep
//! goes on.

use std::collections::HashSet;
use std::process::Command;

use contract::job::{JobState, NewJob};
use contract::run::{RunDetail, RunStatus};
use tests::api::Api;
use tests::process::{Process, Server, run_to_end, start_runner};
use tests::{HarnessError, Result, binary};

use crate::small_sweep;

fn temporary() -> Result<tempfile::TempDir> {
    tempfile::tempdir()
        .map_err(|source| HarnessError::Io { what: "make a temporary folder".to_owned(), source })
}

fn assert_each_case_once(run: &RunDetail, wanted: usize) {
    let keys: HashSet<String> = run.cases.iter().map(|c| c.spec.key()).collect();
    assert_eq!(run.cases.len(), wanted, "every case is there");
    assert_eq!(keys.len(), wanted, "and none twice");
}

#[test]
fn a_killed_runner_resumes_its_job() -> Result<()> {
    let dir = temporary()?;
    let server = Server::start(dir.path(), &[])?;
    let api = Api::new(&server.url);
    let mut runner = start_runner(dir.path(), &server.url, "mortal", None)?;
    api.wait_for_runner("mortal")?;
    let sweep = small_sweep(&[1, 2, 3], &[8, 16], 2);
    let job = api.submit(&NewJob { name: None, sweep, runner_id: None })?;

    api.follow(job.id, |job| job.progress.done >= 2)?;
    runner.kill();
    let kept = api.run(api.job(job.id)?.run_id.ok_or_else(|| lost("the job's run"))?)?;
    assert!(kept.cases.len() >= 2, "what ended before the kill is stored");

    let _runner = start_runner(dir.path(), &server.url, "mortal", None)?;
    let job = api.follow(job.id, |job| job.state.is_final())?;
    assert_eq!(job.state, JobState::Finished);
    let run = api.run(job.run_id.ok_or_else(|| lost("the job's run"))?)?;
    assert_each_case_once(&run, 6);
    for before in &kept.cases {
        assert!(run.cases.contains(before), "a stored case is never measured or written again");
    }
    Ok(())
}

#[test]
fn a_killed_server_loses_nothing() -> Result<()> {
    let dir = temporary()?;
    let mut server = Server::start(dir.path(), &[])?;
    let api = Api::new(&server.url);
    let _runner = start_runner(dir.path(), &server.url, "patient", None)?;
    api.wait_for_runner("patient")?;
    let job =
        api.submit(&NewJob { name: None, sweep: small_sweep(&[1, 2, 3], &[8, 16], 2), runner_id: None })?;
    api.follow(job.id, |job| job.progress.done >= 1)?;

    let address = server.address().to_owned();
    server.process.kill();
    let server = Server::start_at(dir.path(), &address, &[])?;
    let api = Api::new(&server.url);
    let job = api.follow(job.id, |job| job.state.is_final())?;
    assert_eq!(job.state, JobState::Finished);
    let run = api.run(job.run_id.ok_or_else(|| lost("the job's run"))?)?;
    assert_each_case_once(&run, 6);
    assert_eq!(run.run.status, RunStatus::Finished);
    Ok(())
}

const BY_HAND: [&str; 15] = [
    "run",
    "--model",
    "HuggingFaceTB/SmolLM2-135M",
    "--precision",
    "bf16",
    "--batch",
    "1,2,3",
    "--prompt",
    "8,16",
    "--generate",
    "4",
    "--repetitions",
    "2",
    "--db",
    "by-hand.db",
];

#[test]
fn a_sweep_by_hand_resumes_after_kill_9() -> Result<()> {
    let dir = temporary()?;
    let mut first =
        Process::start(Command::new(binary("bench-runner")?).args(BY_HAND).current_dir(dir.path()))?;
    // Plain lines on a pipe: one a case that ended.
    first.wait_for_line("[2/6]")?;
    first.kill();

    let mut again = BY_HAND.to_vec();
    again.extend(["--resume", "--json"]);
    let (code, out, err) = run_to_end("bench-runner", &again, dir.path())?;
    assert_eq!(code, Some(0), "{err}");
    let run: RunDetail = serde_json::from_str(&out).map_err(|e| HarnessError::Answer {
        url: "bench-runner run --json".to_owned(),
        status: 0,
        body: format!("{e}: {out}"),
    })?;
    assert_each_case_once(&run, 6);
    assert_eq!(run.run.status, RunStatus::Finished);
    let earlier = run.cases.iter().filter(|c| c.finished_at < run.cases[5].finished_at).count();
    assert!(earlier >= 2, "cases of the first attempt are kept");
    Ok(())
}

#[test]
fn an_interrupt_stores_what_is_finished() -> Result<()> {
    let dir = temporary()?;
    let mut run =
        Process::start(Command::new(binary("bench-runner")?).args(BY_HAND).current_dir(dir.path()))?;
    run.wait_for_line("[1/6]")?;
    let status = run.signal("INT")?;
    assert_eq!(status.code(), Some(130), "the shell's code for an interrupt");
    let (code, out, err) =
        run_to_end("bench-runner", &["export", "--db", "by-hand.db", "--format", "run"], dir.path())?;
    assert_eq!(code, Some(0), "{err}");
    let stopped: RunDetail = serde_json::from_str(&out).map_err(|e| HarnessError::Answer {
        url: "bench-runner export".to_owned(),
        status: 0,
        body: format!("{e}: {out}"),
    })?;
    assert!(!stopped.cases.is_empty(), "the finished cases are stored");
    assert_eq!(stopped.run.status, RunStatus::Cancelled);

    let mut again = BY_HAND.to_vec();
    again.extend(["--resume", "--json"]);
    let (code, out, err) = run_to_end("bench-runner", &again, dir.path())?;
    assert_eq!(code, Some(0), "{err}");
    let run: RunDetail = serde_json::from_str(&out).map_err(|e| HarnessError::Answer {
        url: "bench-runner run --json".to_owned(),
        status: 0,
        body: format!("{e}: {out}"),
    })?;
    assert_eq!((run.run.id, run.run.status), (stopped.run.id, RunStatus::Finished), "the same run goes on");
    assert_each_case_once(&run, 6);
    for before in &stopped.cases {
        assert!(run.cases.contains(before), "a stored case is never measured or written again");
    }
    Ok(())
}

fn lost(what: &str) -> HarnessError {
    HarnessError::Answer { url: what.to_owned(), status: 0, body: "is missing".to_owned() }
}

//! Array jobs: `slurm/sweep.sbatch` as Slurm runs it, task after task, and `bench-runner merge` of what they measured. A real
//! cluster runs it in `slurm/test.sh`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{detail, output, runner, shape};
use contract::run::{RunDetail, RunStatus};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/slurm/sweep.sbatch");

/// 12 cases.
const SWEEP: [&str; 12] = [
    "--model",
    "tiny/config.json",
    "--precision",
    "fp32,bf16",
    "--batch",
    "1,2",
    "--prompt",
    "8,16,32",
    "--generate",
    "4",
    "--repetitions",
    "1",
];

/// The script in the environment that Slurm gives a task of `--array=1-of`.
fn task(dir: &Path, index: u32, of: u32) -> Output {
    let mut command = Command::new("bash");
    command.arg(SCRIPT).args(SWEEP).current_dir(dir).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(n, _)| n.starts_with("PLIMSOLL_") || n.starts_with("SLURM_")) {
        command.env_remove(name);
    }
    command
        .env("BENCH_RUNNER", env!("CARGO_BIN_EXE_bench-runner"))
        .env("RAYON_NUM_THREADS", "2")
        .env("SLURM_ARRAY_JOB_ID", "77")
        .env("SLURM_ARRAY_TASK_ID", index.to_string())
        .env("SLURM_ARRAY_TASK_MIN", "1")
        .env("SLURM_ARRAY_TASK_MAX", of.to_string())
        .env("SLURM_ARRAY_TASK_COUNT", of.to_string());
    output(&mut command)
}

fn said(out: &Output) -> String {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// The newest run of a database.
fn run_of(dir: &Path, database: &str) -> RunDetail {
    detail(&output(&mut runner(dir, &["export", "--db", database, "--format", "run"])))
}

#[test]
fn an_array_jobs_shards_merge_into_the_whole_run() {
    let dir = tempfile::tempdir().unwrap();
    shape(dir.path());
    let mut keys = BTreeSet::new();
    for index in 1..=3 {
        said(&task(dir.path(), index, 3));
        let part = run_of(dir.path(), &format!("shards/77/{index}.db"));
        assert_eq!((part.run.status, part.cases.len()), (RunStatus::Finished, 4), "{index}");
        for case in &part.cases {
            assert!(keys.insert(case.spec.key()), "{} is in two shards", case.spec.key());
        }
    }
    assert_eq!(keys.len(), 12);

    // Two shards first, then all of them.
    let first =
        said(&output(&mut runner(dir.path(), &["merge", "all.db", "shards/77/1.db", "shards/77/3.db"])));
    assert!(first.contains(": 8 of 12 cases, 8 new, running"), "{first}");
    assert_eq!(run_of(dir.path(), "all.db").run.status, RunStatus::Running);
    let all = ["merge", "all.db", "shards/77/1.db", "shards/77/2.db", "shards/77/3.db"];
    let second = said(&output(&mut runner(dir.path(), &all)));
    assert!(second.contains(": 12 of 12 cases, 4 new, finished") && !second.contains("twice"), "{second}");
    let merged = run_of(dir.path(), "all.db");
    assert_eq!((merged.run.status, merged.run.sweep.shard), (RunStatus::Finished, None));
    let in_order: Vec<String> = merged.run.sweep.cases().iter().map(contract::case::CaseSpec::key).collect();
    assert_eq!(merged.cases.iter().map(|case| case.spec.key()).collect::<Vec<_>>(), in_order);
    let third = said(&output(&mut runner(dir.path(), &all)));
    assert!(third.contains(": 12 of 12 cases, 0 new, finished"), "{third}");
    assert_eq!(run_of(dir.path(), "all.db"), merged, "merging again changes nothing");

    // The same shard measured anew: what was first stays, and it is said.
    let mut again = vec!["run"];
    again.extend(SWEEP);
    again.extend(["--shard", "2/3", "--name", "array job 77", "--db", "again.db", "--quiet"]);
    said(&output(&mut runner(dir.path(), &again)));
    let fourth = said(&output(&mut runner(dir.path(), &["merge", "all.db", "again.db"])));
    assert_eq!(fourth.matches("measured twice; the result of the target stays").count(), 4, "{fourth}");
    assert_eq!(run_of(dir.path(), "all.db"), merged);
}

#[test]
fn a_shard_of_more_shards_than_cases_is_done_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let model = shape(dir.path());
    let out = output(&mut runner(
        dir.path(),
        &["run", "--model", model.to_str().unwrap(), "--prompt", "8", "--shard", "2/2", "--no-db", "--json"],
    ));
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(detail(&out).cases.is_empty());
}

#[test]
fn what_cannot_be_split_or_merged_says_so() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("text.db"),
        "no database at all, but a text that is longer than its header",
    )
    .unwrap();
    for (arguments, part) in [
        (&["run", "--model", "m", "--shard", "3/2"][..], "i/n with 1 ≤ i ≤ n"),
        (&["merge", "all.db", "absent.db"][..], "absent.db: there is no such file"),
        (&["merge", "text.db", "text.db"][..], "name it once"),
        (&["merge", "all.db", "text.db"][..], "text.db"),
    ] {
        let out = output(&mut runner(dir.path(), arguments));
        let text = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(part), "{arguments:?}: {text}");
    }
    // An array with gaps has no shards.
    let mut command = Command::new("bash");
    command.arg(SCRIPT).current_dir(dir.path()).env("BENCH_RUNNER", "false");
    command.env("SLURM_ARRAY_JOB_ID", "1").env("SLURM_ARRAY_TASK_ID", "2").env("SLURM_ARRAY_TASK_MIN", "2");
    let out = output(command.env("SLURM_ARRAY_TASK_MAX", "4"));
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("1-N without gaps"));
}

//! Kills at instants that a seeded generator draws, in terms of what the processes have done: children of a sweep, and the
//! runner itself. The sweep ends all the same, and every case has exactly one result, the right one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{detail, output, runner, shape};
use contract::case::{Case, CaseStatus};
use contract::run::{RunDetail, RunStatus};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Children to be killed.
const KILLS: usize = 100;
/// Cases of the sweep: some are left to run to their end, some end before their kill.
const CASES: usize = 180;
/// Most that are left alone.
const SPARED: usize = 20;
/// Writes of a case's process: each thing that it begins, each mark of memory that it sets back, and its last word.
const WRITES: u64 = 17;
/// Longest that anything here may take; it is waited for events, never for time.
const DEADLINE: Duration = Duration::from_mins(5);

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// The sweep: a tiny shape, a case for each prompt length and batch.
fn sweep(model: &str) -> Vec<String> {
    let prompts = format!("1..{}", CASES / 2);
    let fixed = ["run", "--model", model, "--generate", "2", "--repetitions", "3", "--threads", "1"];
    fixed
        .into_iter()
        .map(str::to_owned)
        .chain(["--batch", "1,2", "--prompt"].map(str::to_owned))
        .chain([prompts])
        .collect()
}

fn start(dir: &Path, arguments: &[String]) -> Child {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    runner(dir, &arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The case's process that a runner has now, and the case's key; none between two cases.
fn child(runner: u32) -> Option<(u32, String)> {
    let children = fs::read_to_string(format!("/proc/{runner}/task/{runner}/children")).ok()?;
    let child = children.split_whitespace().next()?.parse().ok()?;
    let words = fs::read_to_string(format!("/proc/{child}/cmdline")).ok()?;
    let mut words = words.split('\0').skip(1);
    // Before it is this program it is still a copy of its parent.
    (words.next() == Some("case")).then(|| words.next().map(|key| (child, key.to_owned())))?
}

/// How often a process has written so far. None where it is gone.
fn writes(process: u32) -> Option<u64> {
    let io = fs::read_to_string(format!("/proc/{process}/io")).ok()?;
    io.lines().find_map(|line| line.strip_prefix("syscw: ")?.parse().ok())
}

fn is_there(process: u32) -> bool {
    // A zombie has ended.
    fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

fn kill_9(process: u32) -> bool {
    kill(Pid::from_raw(i32::try_from(process).unwrap()), Signal::SIGKILL).is_ok()
}

/// Looks until it is so.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < DEADLINE, "{what} does not come");
        std::thread::yield_now();
    }
}

fn stored(dir: &Path) -> RunDetail {
    detail(&output(&mut runner(dir, &["export", "--format", "run"])))
}

/// Every case of the sweep is there once, and each is a measurement or says what killed it.
fn check(run: &RunDetail, killed: &HashSet<String>) {
    assert_eq!(run.run.status, RunStatus::Finished);
    let keys: Vec<String> = run.run.sweep.cases().iter().map(contract::case::CaseSpec::key).collect();
    assert_eq!(keys.len(), CASES);
    assert_eq!(run.cases.iter().map(|c| c.spec.key()).collect::<Vec<_>>(), keys, "each once, in order");
    for case in &run.cases {
        check_case(case, killed.contains(&case.spec.key()));
    }
}

fn check_case(case: &Case, killed: bool) {
    let key = case.spec.key();
    match case.status {
        // One that was killed after its last word has been measured.
        CaseStatus::Ok => {
            let measured = case.measurement.as_ref().unwrap();
            assert_eq!((measured.samples.len(), measured.phases.len()), (3, 3), "{key}");
            assert!(measured.samples.iter().all(|s| s.prefill_ms > 0.0), "{key}");
            assert_eq!(case.error, None, "{key}");
        }
        CaseStatus::Crashed => {
            assert!(killed, "{key}: nobody killed it: {:?}", case.error);
            assert!(case.error.as_deref().unwrap().contains("SIGKILL"), "{key}: {:?}", case.error);
            assert_eq!(case.measurement, None, "{key}");
        }
        other => panic!("{key}: {other}: {:?}", case.error),
    }
}

#[test]
fn a_hundred_children_killed_leave_one_result_for_every_case() {
    let dir = tempfile::tempdir().unwrap();
    let model = shape(dir.path());
    let arguments = sweep(model.to_str().unwrap());
    let mut random = Random(20_261_123);
    let mut sweeping = start(dir.path(), &arguments);
    let begun = Instant::now();
    // The number of writes after which each child is killed; those that are left alone are drawn, too.
    let mut fates: HashMap<String, Option<u64>> = HashMap::new();
    let mut killed = HashSet::new();
    while sweeping.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < DEADLINE, "the sweep does not end");
        let Some((process, key)) = child(sweeping.id()) else { continue };
        let fate = if let Some(fate) = fates.get(&key) {
            *fate
        } else {
            let left_alone = fates.values().filter(|fate| fate.is_none()).count();
            let spared = killed.len() == KILLS || (left_alone < SPARED && random.below(5) == 0);
            // Before the first write, between any two, and after the last.
            let fate = (!spared).then(|| random.below(WRITES + 1));
            fates.insert(key.clone(), fate);
            fate
        };
        let due = fate.zip(writes(process)).is_some_and(|(fate, written)| written >= fate);
        if due && !killed.contains(&key) && kill_9(process) {
            killed.insert(key);
        }
    }
    assert!(sweeping.wait().unwrap().success());
    let run = stored(dir.path());
    check(&run, &killed);
    let crashed = run.cases.iter().filter(|c| c.status == CaseStatus::Crashed).count();
    println!("{} children killed, {crashed} cases crashed, {:.1?}", killed.len(), begun.elapsed());
    assert_eq!(killed.len(), KILLS, "children that were there to be killed");
    assert!(crashed >= killed.len() / 2, "only {crashed} of {} kills came before the end", killed.len());

    // The failed ones again: each has still one result, and the attempts before are kept.
    let mut again = arguments.clone();
    again.extend(["--resume".to_owned(), "--retry-failed".to_owned()]);
    assert!(start(dir.path(), &again).wait().unwrap().success());
    let healed = stored(dir.path());
    assert_eq!(healed.run.id, run.run.id);
    check(&healed, &HashSet::new());
    assert!(healed.cases.iter().all(|c| c.status == CaseStatus::Ok));
    for before in run.cases.iter().filter(|c| c.status == CaseStatus::Ok) {
        assert!(healed.cases.contains(before), "{}: measured once, never again", before.spec.key());
    }
    let shown = output(&mut runner(dir.path(), &["show"]));
    let shown = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.contains(&format!("{CASES} cases: {CASES} ok")), "{shown}");
    let earlier = if crashed == 1 {
        "1 case: 1 crashed".to_owned()
    } else {
        format!("{crashed} cases: {crashed} crashed")
    };
    assert!(shown.contains(&earlier), "{shown}");
}

#[test]
fn a_runner_killed_again_and_again_finishes_its_sweep() {
    let dir = tempfile::tempdir().unwrap();
    let model = shape(dir.path());
    let mut arguments = sweep(model.to_str().unwrap());
    arguments.push("--resume".to_owned());
    let mut random = Random(42);
    let mut kept: Vec<Case> = Vec::new();
    for round in 0..6 {
        let mut sweeping = start(dir.path(), &arguments);
        // The case at which it is killed, and after how many writes of that case's process.
        let (cases, wanted) = (1 + random.below(8), random.below(WRITES + 1));
        let mut seen = HashSet::new();
        let mut last = None;
        wait_until("the runner's end", || {
            let Some((process, key)) = child(sweeping.id()) else { return false };
            seen.insert(key);
            last = Some(process);
            seen.len() as u64 >= cases && writes(process).is_none_or(|written| written >= wanted)
        });
        sweeping.kill().unwrap();
        sweeping.wait().unwrap();
        // A case does not outlive its runner.
        wait_until("the end of the case's process", || last.is_none_or(|process| !is_there(process)));
        let run = stored(dir.path());
        assert_eq!(run.run.status, RunStatus::Running, "round {round}");
        for before in &kept {
            assert!(run.cases.contains(before), "round {round}: {} was lost or changed", before.spec.key());
        }
        assert!(run.cases.len() >= kept.len());
        kept = run.cases;
    }
    assert!(!kept.is_empty() && kept.len() < CASES, "{} cases", kept.len());
    assert!(start(dir.path(), &arguments).wait().unwrap().success());
    let run = stored(dir.path());
    check(&run, &HashSet::new());
    for before in &kept {
        assert!(run.cases.contains(before));
    }
}

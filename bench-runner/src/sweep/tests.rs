//! The loop over cases: order, what is done already, stopping. Cases here are refused, so that none starts a process,
//! or their process is a program that says nothing.

use contract::case::{Case, CaseStatus, Device};
use contract::ids::{RunId, UnixMillis};
use contract::job::Progress;
use contract::run::{Run, RunOrigin, RunStatus};
use contract::sweep::Sweep;
use planner::Tokens;
use uuid::Uuid;

use super::{Collected, Models, Observer, Rules, Work};
use crate::machine;
use crate::model::Model;
use crate::stop::{Reason, Stop};

#[derive(Default)]
struct Watch {
    ended: Vec<(u32, u32)>,
    warnings: Vec<String>,
    stop_after: Option<(u32, Stop)>,
}

impl Observer for Watch {
    fn progress(&mut self, _: &Progress) {}

    fn ended(&mut self, case: &Case, progress: &Progress) {
        self.ended.push((case.position, progress.done));
        if let Some((after, stop)) = &self.stop_after
            && progress.done == *after
        {
            stop.ask(Reason::Interrupted);
        }
    }

    fn warning(&mut self, text: &str) {
        self.warnings.push(text.to_owned());
    }
}

/// A sweep whose prompts are all beyond the context.
fn run() -> Run {
    let sweep = Sweep {
        models: vec!["HuggingFaceTB/SmolLM2-135M".into(), "absent".into()],
        precisions: vec!["bf16".into()],
        batches: vec![1, 2],
        prompts: vec![Tokens(10_000)],
        generates: vec![Tokens(1)],
        device: Device::Cpu,
        repetitions: 1,
        ..Sweep::default()
    };
    Run {
        id: RunId(Uuid::from_u128(1)),
        name: "r".into(),
        job_id: None,
        machine_id: machine::machine(None).id,
        sweep,
        runner: crate::build_info::build(),
        status: RunStatus::Running,
        origin: RunOrigin::Local,
        started_at: UnixMillis(0),
        finished_at: None,
    }
}

fn execute(done: &[&str], watch: &mut Watch, stop: &Stop) -> (RunStatus, Vec<Case>) {
    let (run, machine) = (run(), machine::machine(None));
    let model = Model::resolve("HuggingFaceTB/SmolLM2-135M", None).unwrap();
    let work = Work {
        run: &run,
        machine: &machine,
        models: &Models::from([(model.name.clone(), model)]),
        done: done.iter().map(|k| (*k).to_owned()).collect(),
        earlier: Vec::new(),
        rules: Rules::default(),
        threads: None,
        executable: "/nonexistent".into(),
    };
    let mut sink = Collected::default();
    let status = work.execute(&mut sink, watch, stop).unwrap();
    (status, sink.cases)
}

#[test]
fn every_case_ends_in_order_with_its_reason() {
    let mut watch = Watch::default();
    let (status, cases) = execute(&[], &mut watch, &Stop::default());
    assert_eq!(status, RunStatus::Finished);
    assert_eq!(watch.ended, [(0, 1), (1, 2), (2, 3), (3, 4)]);
    assert!(cases.iter().all(|c| c.status == CaseStatus::Refused));
    assert!(cases[0].error.as_deref().unwrap().contains("10001 tokens, more than the 8192"));
    assert!(cases[3].error.as_deref().unwrap().contains("no model \"absent\""), "{:?}", cases[3].error);
}

#[test]
fn what_is_done_is_not_done_again_and_keeps_its_place() {
    let done = run().sweep.cases()[1].key();
    let mut watch = Watch::default();
    let (status, cases) = execute(&[&done], &mut watch, &Stop::default());
    assert_eq!(status, RunStatus::Finished);
    assert_eq!(cases.iter().map(|c| c.position).collect::<Vec<_>>(), [0, 2, 3]);
    assert_eq!(watch.ended.last(), Some(&(3, 4)));
}

#[test]
fn stopping_keeps_what_ended() {
    let stop = Stop::default();
    let mut watch = Watch { stop_after: Some((2, stop.clone())), ..Watch::default() };
    let (status, cases) = execute(&[], &mut watch, &stop);
    assert_eq!(status, RunStatus::Cancelled);
    assert_eq!(cases.len(), 2);
}

#[test]
fn an_estimate_that_fails_is_told_once() {
    let (mut run, mut machine) = (run(), machine::machine(None));
    run.sweep.models.truncate(1);
    run.sweep.prompts = vec![Tokens(8)];
    machine.memory_bytes = planner::Bytes(0);
    let model = Model::resolve("HuggingFaceTB/SmolLM2-135M", None).unwrap();
    let work = Work {
        run: &run,
        machine: &machine,
        models: &Models::from([(model.name.clone(), model)]),
        done: std::collections::HashSet::new(),
        earlier: Vec::new(),
        rules: Rules::default(),
        threads: None,
        executable: "/bin/true".into(),
    };
    let (mut sink, mut watch) = (Collected::default(), Watch::default());
    work.execute(&mut sink, &mut watch, &Stop::default()).unwrap();
    assert_eq!(sink.cases.iter().map(|c| c.status).collect::<Vec<_>>(), [CaseStatus::Crashed; 2]);
    assert!(sink.cases.iter().all(|c| c.plan.is_some() && c.estimate.is_none()));
    let [warning] = &watch.warnings[..] else { panic!("{:?}", watch.warnings) };
    assert!(warning.contains("no estimate") && warning.contains("memory_mib"), "{warning}");
}

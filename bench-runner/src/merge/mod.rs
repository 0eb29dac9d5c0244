//! Databases of an array job's tasks put together: the shards of one sweep become one run, every other run is taken as it is.
//!
//! Runs are merged by what they are, not by when they were merged: the id of the whole run is derived from the sweep, its
//! name, the program and the kind of machine, so that merging again, or more of the shards later, comes to the same rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use contract::case::Case;
use contract::ids::{CaseId, MachineId, RunId};
use contract::machine::Machine;
use contract::run::{Run, RunDetail, RunStatus};
use contract::sweep::Sweep;
use uuid::Uuid;

/// Runs of one database.
#[derive(Debug)]
pub struct Source {
    /// What messages call it.
    pub name: String,
    /// Its runs.
    pub runs: Vec<RunDetail>,
}

/// A run as it is after merging.
#[derive(Debug)]
pub struct Merged {
    /// It, with every case that is known.
    pub detail: RunDetail,
    /// Cases that its sweep has.
    pub total: usize,
    /// Cases that were not in the target before.
    pub new: usize,
    /// What a person should know: cases that were measured twice.
    pub notes: Vec<String>,
}

/// A case and where it comes from; none: the target.
struct Found {
    case: Case,
    source: Option<String>,
}

/// Merges `sources` with what the `target` holds. Runs that no source has are left out: nothing changes of them.
#[must_use]
pub fn merge(target: &[RunDetail], sources: &[Source]) -> Vec<Merged> {
    let mut groups: BTreeMap<RunId, Vec<(&Source, &RunDetail)>> = BTreeMap::new();
    for source in sources {
        for detail in &source.runs {
            groups.entry(whole_id(detail)).or_default().push((source, detail));
        }
    }
    let known: HashMap<RunId, &RunDetail> = target.iter().map(|detail| (detail.run.id, detail)).collect();
    groups.into_iter().map(|(id, parts)| merge_run(id, known.get(&id).copied(), &parts)).collect()
}

fn merge_run(id: RunId, known: Option<&RunDetail>, parts: &[(&Source, &RunDetail)]) -> Merged {
    let details = || known.into_iter().chain(parts.iter().map(|(_, detail)| *detail));
    let first = parts[0].1;
    let sweep = whole(&first.run.sweep);
    let positions: HashMap<String, u32> =
        (0..).zip(sweep.cases()).map(|(at, case)| (case.key(), at)).collect();
    let mut found: Vec<Found> = Vec::new();
    for (source, detail) in parts {
        for case in &detail.cases {
            let key = case.spec.key();
            let position = positions.get(&key).copied().unwrap_or(case.position);
            let case = Case { id: CaseId::derive(id, &key), run_id: id, position, ..case.clone() };
            found.push(Found { case, source: Some(source.name.clone()) });
        }
    }
    // The first result stays, of those that ended at once the one of the first source; but what failed gives way to a later
    // attempt that did not.
    found.sort_by_key(|f| f.case.finished_at);
    let there = known.into_iter().flat_map(|detail| &detail.cases);
    let all = there.map(|case| Found { case: case.clone(), source: None }).chain(found);
    let mut kept: BTreeMap<CaseId, Found> = BTreeMap::new();
    let mut notes = Vec::new();
    for other in all {
        match kept.get(&other.case.id) {
            None => {
                kept.insert(other.case.id, other);
            }
            // The same row, from a copy or from merging again; or an attempt before the one that stays.
            Some(first)
                if first.case == other.case
                    || first.case.status.is_final() && !other.case.status.is_final() => {}
            Some(first) if other.case.status.is_final() && !first.case.status.is_final() => {
                kept.insert(other.case.id, other);
            }
            Some(first) => notes.push(format!(
                "{}: measured twice; the result of {} stays, that of {} is left out",
                first.case.spec.key(),
                first.source.as_deref().unwrap_or("the target"),
                other.source.as_deref().unwrap_or("the target"),
            )),
        }
    }
    let new = kept.values().filter(|f| f.source.is_some()).count();
    let mut cases: Vec<Case> = kept.into_values().map(|f| f.case).collect();
    cases.sort_by_key(|case| case.position);
    let run = if first.run.sweep.shard.is_none() {
        known.map_or_else(|| first.run.clone(), |detail| detail.run.clone())
    } else {
        let finished = cases.len() == positions.len();
        Run {
            id,
            sweep,
            job_id: None,
            machine_id: alike_id(&first.machine),
            status: if finished { RunStatus::Finished } else { RunStatus::Running },
            started_at: details().map(|d| d.run.started_at).min().unwrap_or(first.run.started_at),
            finished_at: cases.iter().map(|case| case.finished_at).max().filter(|_| finished),
            ..first.run.clone()
        }
    };
    let machine = if first.run.sweep.shard.is_none() {
        first.machine.clone()
    } else {
        together(details().map(|detail| &detail.machine), &first.machine)
    };
    Merged { detail: RunDetail { run, machine, cases }, total: positions.len(), new, notes }
}

/// The sweep that one is a shard of.
fn whole(sweep: &Sweep) -> Sweep {
    Sweep { shard: None, ..sweep.clone() }
}

/// The run that a run is a part of: itself, where its sweep is whole.
fn whole_id(detail: &RunDetail) -> RunId {
    let Some(shard) = detail.run.sweep.shard else { return detail.run.id };
    let run = &detail.run;
    let build = &run.runner;
    let parts = [
        run.name.clone(),
        whole(&run.sweep).fingerprint(),
        shard.of.to_string(),
        format!("{} {} {} {:?} {}", build.version, build.commit, build.candle, build.features, build.build),
        alike_id(&detail.machine).to_string(),
    ];
    RunId(Uuid::new_v5(&Uuid::NAMESPACE_OID, parts.join("\n").as_bytes()))
}

/// The same for machines that differ in nothing but their name and the serial numbers of their parts: nodes of one kind.
fn alike_id(machine: &Machine) -> MachineId {
    let mut text = format!(
        "alike\n{}\n{} {} {}\n{:.0} GiB",
        machine.os,
        machine.cpu.model,
        machine.cpu.logical_cores,
        machine.cpu.isa,
        machine.memory_bytes.gib()
    );
    for gpu in &machine.gpus {
        text = format!("{text}\n{} {} {} {}", gpu.name, gpu.memory_bytes.0, gpu.driver, gpu.cuda);
    }
    MachineId(Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()))
}

/// Machines of one kind as one, which is named after all of them.
fn together<'a>(machines: impl Iterator<Item = &'a Machine>, first: &Machine) -> Machine {
    let names: BTreeSet<&str> = machines.flat_map(|machine| machine.name.split(", ")).collect();
    let mut one = first.clone();
    one.id = alike_id(first);
    if names.len() > 1 {
        for gpu in &mut one.gpus {
            "one on each machine".clone_into(&mut gpu.uuid);
        }
    }
    one.name = names.into_iter().collect::<Vec<_>>().join(", ");
    one
}

#[cfg(test)]
mod tests;

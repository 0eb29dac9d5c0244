//! A sweep as a command line of `bench-runner run`.

use planner::catalogue;
use serde::Serialize;

use crate::case::{CaseSpec, Device, attention_word};
use crate::edge::EdgeSpec;
use crate::measurement::Measurement;
use crate::sweep::Sweep;
use crate::training;

/// Stands for the folder that only the reader knows.
pub const FOLDER: &str = "<FOLDER OF THE MODEL>";

/// The commands that execute `sweep` again: one, or one for each training step where the steps are no product of options.
///
/// A model that the catalogue lacks is a file or a folder of the machine that measured it: the command leaves [`FOLDER`] in
/// its place.
#[must_use]
pub fn commands(sweep: &Sweep) -> Vec<String> {
    if sweep.trainings.is_empty() {
        return vec![command(sweep, None)];
    }
    match training::options(&sweep.trainings) {
        Some(options) => vec![command(sweep, Some(options))],
        None => sweep
            .trainings
            .iter()
            .map(|step| command(sweep, training::options(std::slice::from_ref(step))))
            .collect(),
    }
}

/// The command that measures a case again as it was measured: with the decoder that computed it, as many threads and, where
/// memory over time was kept, keeping it.
#[must_use]
pub fn case_command(spec: &CaseSpec, measured: Option<&Measurement>) -> String {
    let sweep = Sweep {
        models: vec![spec.model.clone()],
        precisions: vec![spec.precision.clone()],
        variants: vec![spec.decoder()],
        attentions: spec.attention.iter().cloned().collect(),
        caches: spec.cache.into_iter().collect(),
        kv_caches: spec.kv_cache.into_iter().collect(),
        release_thresholds: spec.release_threshold.into_iter().collect(),
        event_tracking: spec.event_tracking.into_iter().collect(),
        trainings: spec.training.iter().cloned().collect(),
        batches: vec![spec.batch],
        prompts: vec![spec.prompt_tokens],
        generates: vec![spec.generate_tokens],
        device: spec.device,
        repetitions: spec.repetitions,
        quality: spec.quality,
        shard: None,
        memory_limit: spec.memory_limit,
        seed: spec.seed,
        edge: spec.edge,
    };
    let mut command = command(&sweep, training::options(&sweep.trainings));
    if let (Device::Cpu, Some(threads)) = (spec.device, measured.and_then(|m| m.threads)) {
        command = format!("{command} --threads {threads}");
    }
    if measured.is_some_and(|m| m.memory_trace.is_some()) {
        command.push_str(" --memory-trace");
    }
    command
}

fn command(sweep: &Sweep, training: Option<String>) -> String {
    let mut words =
        vec!["bench-runner run".to_owned(), format!("--model {}", quoted(&sweep.models.join(",")))];
    if sweep.models.iter().any(|name| catalogue::model(name).is_none()) {
        words.push(format!("--models-dir {}", quoted(FOLDER)));
    }
    words.push(format!("--precision {}", quoted(&sweep.precisions.join(","))));
    let axis = |option: &str, values: Vec<String>| {
        (!values.is_empty()).then(|| format!("--{option} {}", values.join(",")))
    };
    words.extend(axis("variant", spelled(&sweep.variants)));
    words.extend(axis("attention", sweep.attentions.iter().map(attention_word).collect()));
    words.extend(axis("cache", spelled(&sweep.caches)));
    words.extend(axis("kv-cache", spelled(&sweep.kv_caches)));
    words.extend(training);
    words.extend(axis("release-threshold", spelled(&sweep.release_thresholds)));
    words.extend(axis("event-tracking", spelled(&sweep.event_tracking)));
    words.extend(axis("batch", shown(&sweep.batches)));
    words.extend(axis("prompt", shown(&sweep.prompts)));
    words.extend(axis("generate", shown(&sweep.generates)));
    words.push(format!("--device {} --repetitions {}", sweep.device, sweep.repetitions));
    words.extend(sweep.quality.map(|tokens| format!("--quality {tokens}")));
    words.extend(sweep.shard.map(|shard| format!("--shard {shard}")));
    words.extend(sweep.memory_limit.map(|limit| format!("--memory-limit {}B", limit.0)));
    if sweep.seed != 0 {
        words.push(format!("--seed {}", sweep.seed));
    }
    if let Some(EdgeSpec { axis, limit, resolution }) = sweep.edge {
        words.push(format!("--edge {axis} --edge-resolution {resolution}"));
        words.extend(limit.map(|limit| format!("--edge-limit {limit}")));
    }
    words.join(" ")
}

fn spelled(values: &[impl Serialize]) -> Vec<String> {
    values.iter().map(training::word).collect()
}

fn shown(values: &[impl ToString]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

/// A word as a POSIX shell reads it back.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests;

//! The runner's side: the text in each model's tokens, and the reference that its cases are compared with.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use contract::case::{CaseSpec, Variant};
use planner::document::plan::{Attention, CacheKind};
use planner::document::precision::CachePrecision;

use super::{Ask, Purpose, TEXT, Windows};
use crate::case::Request;
use crate::case::process::{self, Ended, SpawnError};
use crate::engine::{self, Refusal};
use crate::model::{Model, ModelSource};
use crate::stop::Stop;
use crate::telemetry::CaseRecording;

/// References of a run, each made when the first case asks for it.
#[derive(Debug, Default)]
pub struct References {
    made: BTreeMap<(String, u64), Made>,
}

/// What came of making one.
#[derive(Debug)]
enum Made {
    /// It is there, as long as the file is open.
    Ready { ask: Ask, _file: File },
    /// The text cannot be put in the model's tokens.
    NoTokens(Refusal),
    /// The reference could not be computed: why.
    NoReference(String),
}

/// What a case is to be asked.
#[derive(Debug)]
pub enum Asked {
    /// This.
    Ready(Ask),
    /// Nothing, because the reference could not be computed; speed and memory can.
    Without(String),
    /// Nothing at all.
    Refused(Refusal),
    /// It was stopped on request.
    Stopped,
}

/// How a reference's process is run.
pub struct Runner<'a> {
    /// The executable that runs a case.
    pub executable: &'a Path,
    /// Threads that compute; none: candle's default.
    pub threads: Option<u32>,
    /// Whether to stop.
    pub stop: &'a Stop,
}

impl References {
    /// What the process of a case over `tokens` tokens is asked; the reference is computed first where it is not there.
    ///
    /// # Errors
    /// Where the reference's process cannot be started.
    pub fn ask(
        &mut self,
        (spec, tokens): (&CaseSpec, u64),
        model: &Model,
        runner: &Runner<'_>,
        phase: &mut dyn FnMut(&str),
    ) -> Result<Asked, SpawnError> {
        let key = (model.name.clone(), tokens);
        if !self.made.contains_key(&key) {
            let Some(made) = make(spec, tokens, model, runner, phase)? else { return Ok(Asked::Stopped) };
            self.made.insert(key.clone(), made);
        }
        Ok(match self.made.get(&key) {
            Some(Made::Ready { ask, .. }) => Asked::Ready(ask.clone()),
            Some(Made::NoReference(why)) => Asked::Without(why.clone()),
            Some(Made::NoTokens(refusal)) => Asked::Refused(refusal.clone()),
            None => Asked::Stopped,
        })
    }
}

/// None where it was stopped.
fn make(
    spec: &CaseSpec,
    tokens: u64,
    model: &Model,
    runner: &Runner<'_>,
    phase: &mut dyn FnMut(&str),
) -> Result<Option<Made>, SpawnError> {
    let text = match Windows::of(TEXT, model, tokens) {
        Ok(text) => text,
        Err(refusal) => return Ok(Some(Made::NoTokens(refusal))),
    };
    let spec = unquantised(spec, model);
    let label = format!("{} plimsoll, attention eager, cache slab fp32", spec.precision);
    let failed = |why: &dyn std::fmt::Display| {
        Ok(Some(Made::NoReference(format!("the reference ({label}) was not computed: {why}"))))
    };
    let prepared = match engine::prepare(&spec, model) {
        Ok(prepared) => prepared,
        Err(refusal) => return failed(&refusal),
    };
    // Without a name, so that it goes with this process however that ends; the cases' processes open it through this one.
    let file = match tempfile::tempfile() {
        Ok(file) => file,
        Err(error) => return failed(&format!("{}: {error}", std::env::temp_dir().display())),
    };
    let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
    let ask = Ask { text, file: path, purpose: Purpose::Reference };
    let vocabulary = u32::try_from(model.shape.vocab).unwrap_or(u32::MAX);
    let request = Request {
        spec,
        prepared,
        vocabulary,
        quality: Some(ask.clone()),
        recording: CaseRecording::default(),
    };
    let told = &mut |what: &str| phase(&format!("reference of quality, {what}"));
    match process::run(runner.executable, &request, runner.threads, runner.stop, told)? {
        Ended::Stopped => Ok(None),
        Ended::Failed { error, .. } => failed(&error),
        Ended::Measured(measured) => {
            if let Some(why) = measured.no_quality {
                return failed(&why);
            }
            let ask = Ask { purpose: Purpose::Comparison { reference: label }, ..ask };
            Ok(Some(Made::Ready { ask, _file: file }))
        }
    }
}

/// The case that computes a model's reference: a GGUF file as it is stored, safetensors in single precision; attention that
/// leaves nothing out, a cache that rounds nothing.
fn unquantised(spec: &CaseSpec, model: &Model) -> CaseSpec {
    let precision = if matches!(model.source, ModelSource::Gguf { .. }) { "native" } else { "fp32" };
    CaseSpec {
        model: model.name.clone(),
        precision: precision.to_owned(),
        variant: Some(Variant::Plimsoll),
        attention: Some(Attention::Eager),
        cache: Some(CacheKind::Slab),
        kv_cache: Some(CachePrecision::Fp32),
        device: spec.device,
        batch: 1,
        prompt_tokens: planner::Tokens(1),
        generate_tokens: planner::Tokens(0),
        repetitions: 1,
        quality: spec.quality,
        ..CaseSpec::default()
    }
}

//! `bench-runner run`: a sweep by hand.

mod models;
mod results;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use contract::axis::{Attentions, Batches, Methods, Named, Numbers, Words, parse_size};
use contract::case::{Case, CaseStatus, Device, Variant};
use contract::edge::{EdgeAxis, EdgeSpec};
use contract::run::{RunDetail, RunStatus};
use contract::shard::Shard;
use contract::sweep::Sweep;
use contract::training::product;
use planner::document::plan::{CacheKind, Checkpointing, Optimizer};
use planner::document::precision::CachePrecision;
use planner::{Bytes, Tokens};

use super::CliError;
use super::axes::{default_name, option_of};
use super::output;
use super::record::RecordArgs;
use crate::report::{self, Reporter};
use crate::stop::{Reason, Stop};
use crate::sweep::{Observer, Rules, Sink, SqliteSink, Work, name_decoder};
use crate::{clock, machine, quality};
use models::{Resolved, check_precisions, generates, resolve, trained};
use results::{Begun, Results, begin};

/// Measure every case of a sweep on this machine: the product of all axes, each case in a process of its own, each result
/// stored as soon as it is there.
///
/// Numbers of an axis: 4, a list 1,2,4, a range with both ends 1..8, a step 128..512+128, a factor 1..16*2.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    bench-runner run --model SmolLM2-135M-Instruct.Q4_1.gguf\n  \
    bench-runner run --model ./Qwen3-0.6B --precision fp32,bf16 --batch 1..16*2 --prompt 128\n  \
    bench-runner run --model HuggingFaceTB/SmolLM2-135M --precision gguf:q8_0,gguf:q4_0 --no-db --json\n  \
    bench-runner run --model sentence-transformers/all-MiniLM-L6-v2 --batch 1,8,32 --prompt 64,256\n  \
    bench-runner run --model model.gguf --trace run.trace.json     for ui.perfetto.dev\n  \
    bench-runner run --model Qwen/Qwen3-0.6B --edge batch --prompt 128,1024 --memory-limit 4GiB\n  \
    bench-runner run --model model.gguf --prompt 1..64 --resume     after a crash or Ctrl-C: go on")]
#[allow(clippy::doc_markdown, reason = "the help is plain text")]
#[allow(clippy::struct_excessive_bools, reason = "the switches of the command line, each on its own")]
pub(super) struct RunArgs {
    /// Models: a .gguf file, a folder with config.json and *.safetensors, a config.json or a catalogue id (random weights in
    /// that shape), a name from --models-dir
    #[arg(short, long, env = "PLIMSOLL_MODEL", value_name = "M[,M…]", help_heading = "Axes")]
    model: Words,
    /// Precisions: native, fp32, tf32 (CUDA), bf16, fp16, fp8, gguf:q8_0, gguf:q6_k, gguf:q5_k, gguf:q4_k, gguf:q4_0, …; a GGUF
    /// file has its own
    #[arg(
        short,
        long,
        env = "PLIMSOLL_PRECISION",
        value_name = "P[,P…]",
        default_value = "native",
        help_heading = "Axes"
    )]
    precision: Words,
    /// Sequences at once
    #[arg(
        short,
        long,
        env = "PLIMSOLL_BATCH",
        value_name = "N[,N…]",
        default_value = "1",
        help_heading = "Axes"
    )]
    batch: Batches,
    /// Tokens of each prompt, or of each sequence that an encoder embeds [default: 128]
    #[arg(long, env = "PLIMSOLL_PROMPT", value_name = "N[,N…]", help_heading = "Axes")]
    prompt: Option<Numbers>,
    /// Tokens generated after the prompt [default: 32; 0 for encoders, which embed the prompt]
    #[arg(short, long, env = "PLIMSOLL_GENERATE", value_name = "N[,N…]", help_heading = "Axes")]
    generate: Option<Numbers>,
    /// Decoders: stock (candle-transformers' models), plimsoll (our own) [default: plimsoll; stock where it lacks a model]
    #[arg(
        long,
        env = "PLIMSOLL_VARIANT",
        value_name = "V[,V…]",
        default_value = "default",
        hide_default_value = true,
        help_heading = "Axes"
    )]
    variant: Named<Variant>,
    /// Attention: default (what the engine takes by itself), eager, memory-efficient, flash, sliding-window:TOKENS,
    /// longformer:WINDOW:GLOBALS, big-bird:BLOCK:WINDOW:GLOBALS:RANDOM
    #[arg(
        long,
        env = "PLIMSOLL_ATTENTION",
        value_name = "A[,A…]",
        default_value = "default",
        help_heading = "Axes"
    )]
    attention: Attentions,
    /// Caches of our decoder: growing, slab, rotating
    #[arg(
        long,
        env = "PLIMSOLL_CACHE",
        value_name = "C[,C…]",
        default_value = "default",
        help_heading = "Axes"
    )]
    cache: Named<CacheKind>,
    /// Numbers of its cache: fp32, bf16, fp16, fp8, int8
    #[arg(
        long,
        env = "PLIMSOLL_KV_CACHE",
        value_name = "P[,P…]",
        default_value = "default",
        help_heading = "Axes"
    )]
    kv_cache: Named<CachePrecision>,
    /// Train instead: full, lora:RANK, qlora:RANK, with adapters on all modules or, as in lora:8:q_proj+v_proj, on some. The
    /// batch is the micro batch, the prompt the sequence
    #[arg(long, env = "PLIMSOLL_TRAIN", value_name = "T[,T…]", help_heading = "Training")]
    train: Option<Methods>,
    /// Optimizers: adamw, sgd
    #[arg(
        long,
        env = "PLIMSOLL_OPTIMIZER",
        value_name = "O[,O…]",
        default_value = "adamw",
        requires = "train",
        help_heading = "Training"
    )]
    optimizer: Named<Optimizer>,
    /// Checkpointing: none (every activation is kept), full (the layers' inputs alone)
    #[arg(
        long,
        env = "PLIMSOLL_CHECKPOINTING",
        value_name = "C[,C…]",
        default_value = "none",
        requires = "train",
        help_heading = "Training"
    )]
    checkpointing: Named<Checkpointing>,
    /// Micro batches to a step
    #[arg(
        long,
        env = "PLIMSOLL_ACCUMULATE",
        value_name = "N[,N…]",
        default_value = "1",
        requires = "train",
        help_heading = "Training"
    )]
    accumulate: Batches,
    /// Compute in 16 bit and keep fp32 masters of what is trained: of bf16 and fp16 precisions, and of qlora's adapters
    #[arg(long, env = "PLIMSOLL_MIXED", requires = "train", help_heading = "Training")]
    mixed: bool,
    /// Search the largest that fits instead: batch, the most sequences at once for each length; context, the most tokens
    /// of a sequence (prompt and generated ones) for each batch
    #[arg(long, env = "PLIMSOLL_EDGE", value_name = "AXIS", help_heading = "Axes")]
    edge: Option<EdgeAxis>,
    /// The largest batch or context that is tried [default: 65536 sequences, or what the model was made for]
    #[arg(long, env = "PLIMSOLL_EDGE_LIMIT", value_name = "N", requires = "edge", help_heading = "Axes")]
    edge_limit: Option<u64>,
    /// How far the largest that fits and the smallest that does not may be apart
    #[arg(
        long,
        env = "PLIMSOLL_EDGE_RESOLUTION",
        value_name = "N",
        default_value = "1",
        requires = "edge",
        help_heading = "Axes"
    )]
    edge_resolution: u64,

    /// Where to compute: cpu, cuda:0, cuda:1, …
    #[arg(
        short,
        long,
        env = "PLIMSOLL_DEVICE",
        value_name = "DEVICE",
        default_value = "cpu",
        help_heading = "Measuring"
    )]
    device: Device,
    /// Timed repetitions of each case, after one warm-up
    #[arg(
        short,
        long,
        env = "PLIMSOLL_REPETITIONS",
        value_name = "N",
        default_value = "3",
        help_heading = "Measuring"
    )]
    repetitions: u32,
    /// Compute quality after the repetitions: perplexity of a shipped text, and agreement with the unquantised model, over so
    /// many of its tokens [4096 where none are given]. Keeps 4 bytes for each predicted token and token of the vocabulary in
    /// the temporary folder (0.4 GB of 4096 tokens and 49152)
    #[arg(
        long,
        env = "PLIMSOLL_QUALITY",
        value_name = "TOKENS",
        num_args = 0..=1,
        default_missing_value = quality::DEFAULT_TOKENS,
        help_heading = "Measuring"
    )]
    quality: Option<u64>,
    /// Measure only part I of N of the grid, about as much work as each other part: for an array job, whose databases `merge`
    /// puts together
    #[arg(long, env = "PLIMSOLL_SHARD", value_name = "I/N", help_heading = "Measuring")]
    shard: Option<Shard>,
    /// Threads that compute on a CPU [default: physical cores]
    #[arg(short, long, env = "PLIMSOLL_THREADS", value_name = "N", help_heading = "Measuring")]
    threads: Option<NonZeroU32>,
    /// Folder where models are looked for by name
    #[arg(long, env = "PLIMSOLL_MODELS_DIR", value_name = "DIR", help_heading = "Measuring")]
    models_dir: Option<PathBuf>,
    #[command(flatten)]
    record: RecordArgs,
    /// Most memory that a case's tensors and workspaces may take: 600MiB or 2GiB (2^20 and 2^30 bytes), 600MB or 2GB (10^6
    /// and 10^9)
    #[arg(
        long,
        env = "PLIMSOLL_MEMORY_LIMIT",
        value_name = "SIZE",
        value_parser = parse_size,
        help_heading = "Measuring"
    )]
    memory_limit: Option<Bytes>,
    /// What prompts and random weights are made from
    #[arg(long, env = "PLIMSOLL_SEED", value_name = "N", default_value = "0", help_heading = "Measuring")]
    seed: u64,
    /// Run also the cases that the planner is sure will not fit
    #[arg(long, env = "PLIMSOLL_FORCE", help_heading = "Measuring")]
    force: bool,
    /// Begin no case that would probably end after this time: 30m, 1h30m, 90s; the run can be resumed
    #[arg(
        long,
        env = "PLIMSOLL_TIME_BUDGET",
        value_name = "TIME",
        value_parser = humantime::parse_duration,
        help_heading = "Measuring"
    )]
    time_budget: Option<Duration>,

    /// Database of results
    #[arg(
        long,
        env = "PLIMSOLL_DB",
        value_name = "FILE",
        default_value = "plimsoll.db",
        help_heading = "Results"
    )]
    db: PathBuf,
    /// Keep no database
    #[arg(long, env = "PLIMSOLL_NO_DB", conflicts_with = "resume", help_heading = "Results")]
    no_db: bool,
    /// Go on with the latest unfinished run of the same sweep on this machine, if there is one
    #[arg(long, env = "PLIMSOLL_RESUME", help_heading = "Results")]
    resume: bool,
    /// With --resume: run cases again that found no memory, crashed or failed (with --force, also those that were predicted
    /// not to fit); a run that finished is taken up, too
    #[arg(long, env = "PLIMSOLL_RETRY_FAILED", requires = "resume", help_heading = "Results")]
    retry_failed: bool,
    /// What the run is called [default: made from the models]
    #[arg(long, env = "PLIMSOLL_NAME", value_name = "NAME", help_heading = "Results")]
    name: Option<String>,
    /// What this machine is called [default: its host name]
    #[arg(long, env = "PLIMSOLL_MACHINE_NAME", value_name = "NAME", help_heading = "Results")]
    machine_name: Option<String>,
    /// Print the run as JSON on standard output instead of the table
    #[arg(long, env = "PLIMSOLL_JSON", help_heading = "Results")]
    json: bool,
    /// Print no progress
    #[arg(short, long, env = "PLIMSOLL_QUIET", help_heading = "Results")]
    quiet: bool,
}

impl RunArgs {
    /// The sweep that the options ask for.
    fn sweep(&self, models: &Resolved) -> Result<Sweep, CliError> {
        let generates = if self.train.is_some() {
            trained(self.generate.as_ref())?
        } else {
            generates(self.generate.as_ref(), models)?
        };
        let edge =
            self.edge.map(|axis| EdgeSpec { axis, limit: self.edge_limit, resolution: self.edge_resolution });
        let prompts = match (&self.prompt, self.edge) {
            (Some(given), _) => given.tokens(),
            (None, Some(EdgeAxis::Context)) => vec![Tokens(1)],
            (None, _) => vec![Tokens(128)],
        };
        Ok(Sweep {
            models: models.keys_in_order.clone(),
            precisions: self.precision.0.clone(),
            variants: self.variant.0.clone(),
            attentions: self.attention.0.clone(),
            caches: self.cache.0.clone(),
            kv_caches: self.kv_cache.0.clone(),
            trainings: self.train.as_ref().map_or_else(Vec::new, |methods| {
                product(&methods.0, &self.optimizer.0, &self.checkpointing.0, &self.accumulate.0, self.mixed)
            }),
            batches: self.batch.0.clone(),
            prompts,
            generates,
            device: self.device,
            repetitions: self.repetitions,
            quality: self.quality.map(Tokens),
            shard: self.shard,
            release_thresholds: self.record.release_threshold.0.clone(),
            event_tracking: self.record.event_tracking.0.clone(),
            memory_limit: self.memory_limit,
            seed: self.seed,
            edge,
        })
    }
}

pub(super) fn run(args: &RunArgs) -> Result<(), CliError> {
    let models = resolve(&args.model.0, args.models_dir.as_deref())?;
    check_precisions(&args.precision.0, &models)?;
    check_device(args.device)?;
    let mut sweep = args.sweep(&models)?;
    sweep.check().map_err(|e| CliError::Input(option_of(&e.to_string())))?;
    name_decoder(&mut sweep, &models.by_name, &[]);
    let recording = args.record.recording(args.device, &default_name(&sweep), args.resume)?;
    let machine = machine::machine(args.machine_name.as_deref());
    let stop = stop_on_signals()?;

    let database = if args.no_db { None } else { Some(SqliteSink::open(&args.db)?) };
    let mut results = Results { database, measured: Vec::new() };
    let reporter = &mut Reporter::new(args.quiet);
    let Begun { mut run, done, earlier } = begin(args, sweep, &machine, &mut results, reporter)?;
    results.begin(&run, &machine)?;
    let work = Work {
        run: &run,
        machine: &machine,
        models: &models.by_name,
        done,
        earlier,
        rules: Rules { force: args.force, time_budget: args.time_budget },
        threads: args.threads.map(NonZeroU32::get),
        recording,
        executable: std::env::current_exe().map_err(CliError::work)?,
    };
    let outcome = work.execute(&mut results, reporter, &stop).map_err(CliError::from).and_then(|status| {
        results.end(work.run.id, status)?;
        Ok(status)
    });
    reporter.clear();
    if let Some(trace) = &work.recording.trace
        && let Err(error) = trace.finish()
    {
        reporter.warning(&format!("--trace: {error}"));
    }
    if let Ok(status) = outcome {
        run.status = status;
        run.finished_at = Some(clock::now());
    }
    let detail = results.detail(&run, &machine);
    // What was measured is shown whatever went wrong after it; the first error is the one to tell.
    let printed = if outcome.is_err() && detail.cases.is_empty() { Ok(()) } else { print(args, &detail) };
    let status = outcome?;
    printed?;
    if status == RunStatus::Cancelled {
        let out_of_time = stop.reason() == Some(Reason::OutOfTime);
        return Err(CliError::Silent(if out_of_time { EXIT_OUT_OF_TIME } else { 130 }));
    }
    judge(&detail.cases)
}

fn print(args: &RunArgs, detail: &RunDetail) -> Result<(), CliError> {
    if args.json {
        return output::json(detail);
    }
    output::line(report::cases_table(&detail.cases))?;
    if args.no_db {
        return Ok(());
    }
    output::line(format_args!("\nrun {} in {}", detail.run.id, args.db.display()))
}

/// A run that measured nothing has failed; where every case was refused, what was asked is wrong.
fn judge(cases: &[Case]) -> Result<(), CliError> {
    // A shard of more shards than cases has none.
    if cases.is_empty() || cases.iter().any(|c| c.status == CaseStatus::Ok) {
        Ok(())
    } else if cases.iter().all(|c| c.status == CaseStatus::Refused) {
        Err(CliError::Input("every case was refused, so nothing ran; the reasons are above".into()))
    } else {
        Err(CliError::Work("no case was measured; the reasons are above".into()))
    }
}

/// Code that the program ends with where the time budget left cases to come.
const EXIT_OUT_OF_TIME: u8 = 3;

fn check_device(device: Device) -> Result<(), CliError> {
    crate::engine::device_is_built(device).map_err(|e| CliError::Input(format!("--device: {e}")))
}

/// Raised by Ctrl-C and SIGTERM.
pub(super) fn stop_on_signals() -> Result<Stop, CliError> {
    let stop = Stop::default();
    ctrlc::set_handler({
        let stop = stop.clone();
        move || stop.ask(Reason::Interrupted)
    })
    .map_err(CliError::work)?;
    Ok(stop)
}

#[cfg(test)]
mod tests;

//! `bench-runner plan`: the planner at the prompt.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use clap::Args;
use contract::error::{ApiError, ErrorBody};
use planner::document::plan::{
    EngineName, EngineRef, GpuRef, Host, ModelRef, Precisions, SCHEMA, Serve, Workload,
};
use planner::document::precision::{ActivationPrecision, CachePrecision, WeightPrecision};
use planner::{Estimate, Plan, PlanErrorKind, Tokens};

use super::CliError;
use super::axes::Attentions;
use super::input::Input;
use super::output;
use crate::model::{LoadError, gguf_reference, safetensors_reference};
use crate::report::{Align, Column, render};
use crate::{machine, sweep};

/// Plan: what a model takes on a GPU or in host memory, without running it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    bench-runner plan --model meta-llama/Llama-3.1-8B --gpu h100-sxm-80gb --precision bf16 --batch 8 --prompt 2048\n  \
    bench-runner plan --model model.gguf                     on this machine's processor\n  \
    bench-runner plan --json plan.json                       a plan document in, an estimate out\n  \
    bench-runner plan --jsonl - < plans.jsonl                a document a line in, an estimate or an error a line out")]
pub(super) struct PlanArgs {
    /// A catalogue id, a .gguf file, a safetensors file or index (with config.json beside it)
    #[arg(short, long, env = "PLIMSOLL_MODEL", value_name = "MODEL", required_unless_present_any = ["json", "jsonl"])]
    model: Option<String>,
    /// A catalogue id; cpu is this machine's host memory
    #[arg(long, env = "PLIMSOLL_GPU", value_name = "ID", default_value = "cpu", help_heading = "Where")]
    gpu: String,
    /// GPUs, tensor parallel
    #[arg(long, env = "PLIMSOLL_GPUS", value_name = "N", default_value = "1", help_heading = "Where")]
    gpus: u32,
    /// Memory that a program sees, where it differs from the catalogue's, in MiB
    #[arg(long, env = "PLIMSOLL_MEMORY_MIB", value_name = "MIB", help_heading = "Where")]
    memory_mib: Option<u64>,
    /// Precision of the weights [default: the checkpoint's]
    #[arg(short, long, env = "PLIMSOLL_PRECISION", value_name = "P", help_heading = "How")]
    precision: Option<WeightPrecision>,
    /// Precision of the KV cache [default: as activations]
    #[arg(long, env = "PLIMSOLL_KV_CACHE", value_name = "P", help_heading = "How")]
    kv_cache: Option<CachePrecision>,
    /// Precision of activations [default: bf16]
    #[arg(long, env = "PLIMSOLL_ACTIVATIONS", value_name = "P", help_heading = "How")]
    activations: Option<ActivationPrecision>,
    /// Attention: default, eager, memory-efficient, flash, sliding-window:TOKENS
    #[arg(
        long,
        env = "PLIMSOLL_ATTENTION",
        value_name = "A",
        default_value = "default",
        help_heading = "How"
    )]
    attention: Attentions,
    /// Sequences at once
    #[arg(short, long, env = "PLIMSOLL_BATCH", value_name = "N", default_value = "1", help_heading = "What")]
    batch: u64,
    /// Tokens of each prompt
    #[arg(long, env = "PLIMSOLL_PROMPT", value_name = "N", default_value = "128", help_heading = "What")]
    prompt: u64,
    /// Tokens generated after the prompt
    #[arg(
        short,
        long,
        env = "PLIMSOLL_GENERATE",
        value_name = "N",
        default_value = "32",
        help_heading = "What"
    )]
    generate: u64,
    /// A plan document, - for standard input; answers an estimate document
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "jsonl"], help_heading = "Documents")]
    json: Option<PathBuf>,
    /// A plan document a line, - for standard input; answers an estimate or {"error":…} a line, in order
    #[arg(long, value_name = "FILE", conflicts_with = "model", help_heading = "Documents")]
    jsonl: Option<PathBuf>,
}

pub(super) fn plan(args: &PlanArgs) -> Result<(), CliError> {
    if let Some(path) = &args.jsonl {
        return answer_lines(&Input::open(path, "--jsonl")?);
    }
    if let Some(path) = &args.json {
        let text = Input::open(path, "--json")?.text()?;
        let estimate = answer(&text).map_err(|e| CliError::Input(in_file(path, &e)))?;
        output::json(&estimate)?;
        return Ok(());
    }
    let plan = from_flags(args)?;
    let estimate = planner::estimate(&plan).map_err(CliError::input)?;
    output::line(describe(&estimate))
}

fn in_file(path: &Path, error: &ErrorBody) -> String {
    format!("{}: {}", path.display(), error.message)
}

fn answer_lines(input: &Input) -> Result<(), CliError> {
    for line in input.reader().lines() {
        let line = line.map_err(|e| input.broken(&e))?;
        if line.trim().is_empty() {
            continue;
        }
        let text = match answer(&line) {
            Ok(estimate) => serde_json::to_string(&estimate),
            Err(error) => serde_json::to_string(&ApiError { error }),
        };
        output::line(text.map_err(CliError::work)?)?;
    }
    Ok(())
}

/// The estimate of a plan document, paths in it read here.
fn answer(text: &str) -> Result<Estimate, ErrorBody> {
    let plan = parse(text)?;
    planner::estimate(&plan).map_err(|error| {
        let code = match error.kind {
            PlanErrorKind::Invalid => "bad-plan",
            PlanErrorKind::NotPlannedYet => "not-planned-yet",
            PlanErrorKind::Unsupported => "unsupported-plan",
        };
        ApiError::new(code, error.to_string()).at(error.field).error
    })
}

/// A plan document, with the model's file read where it names one.
pub(super) fn parse(text: &str) -> Result<Plan, ErrorBody> {
    let mut plan: Plan = serde_json::from_str(text)
        .map_err(|e| ApiError::new("bad-plan", format!("not a plan: {e}")).error)?;
    read_model(&mut plan.model)?;
    Ok(plan)
}

/// Replaces the path of a file by what its header says.
pub(super) fn read_model(model: &mut ModelRef) -> Result<(), ErrorBody> {
    let wrong = |field: &str, e: LoadError| ApiError::new("bad-model", e.to_string()).at(field).error;
    let name = model.name.clone();
    if let Some(path) = model.gguf.take() {
        *model = gguf_reference(Path::new(&path)).map_err(|e| wrong("model.gguf", e))?;
    } else if let Some(path) = model.safetensors.take() {
        *model = safetensors_reference(Path::new(&path)).map_err(|e| wrong("model.safetensors", e))?;
    } else {
        return Ok(());
    }
    if name.is_some() {
        model.name = name;
    }
    Ok(())
}

fn from_flags(args: &PlanArgs) -> Result<Plan, CliError> {
    let text = args.model.clone().unwrap_or_default();
    let path = Path::new(&text);
    let extension = path.extension().and_then(|e| e.to_str());
    let is_catalogue = planner::catalogue::model(&text).is_some();
    let model = match extension {
        _ if is_catalogue => ModelRef::catalogue(text),
        Some("gguf") => gguf_reference(path).map_err(|e| CliError::Input(format!("--model: {e}")))?,
        Some("safetensors" | "json") => {
            safetensors_reference(path).map_err(|e| CliError::Input(format!("--model: {e}")))?
        }
        // The planner says which ids are near.
        _ => ModelRef::catalogue(text),
    };
    let attention = args.attention.0.as_slice();
    if attention.len() > 1 {
        return Err(CliError::Input("--attention: one variant is planned at a time".into()));
    }
    let on_cpu = args.gpu == planner::catalogue::CPU;
    let machine = machine::machine(None);
    let memory_mib = args.memory_mib.or_else(|| on_cpu.then(|| machine::memory_mib(&machine)));
    Ok(Plan {
        schema: SCHEMA,
        model,
        gpu: GpuRef { count: None, memory_mib, ..GpuRef::one(args.gpu.clone()) },
        engine: EngineRef { name: EngineName::Candle, version: None, variant: Some("stock".to_owned()) },
        precision: Precisions {
            weights: args.precision,
            kv_cache: args.kv_cache,
            activations: args.activations,
        },
        attention: attention.first().cloned(),
        cache: None,
        parallelism: planner::document::plan::Parallelism { tensor: args.gpus, ..Default::default() },
        workload: Workload::Serve(Serve {
            prompt_tokens: Tokens(args.prompt),
            output_tokens: Tokens(args.generate),
            concurrent_sequences: args.batch,
            max_model_len: None,
            max_batched_tokens: None,
            max_sequences: None,
            memory_fraction: None,
            gpu_layers: None,
        }),
        compression: planner::document::plan::Compression::default(),
        agent_memory: None,
        host: if on_cpu {
            Host { isa: Some(machine.cpu.isa), threads: Some(sweep::default_threads()) }
        } else {
            Host::default()
        },
    })
}

/// An estimate for a person.
fn describe(estimate: &Estimate) -> String {
    let p = &estimate.per_gpu;
    let parts = [
        ("weights", p.weights),
        ("KV cache", p.kv_cache),
        ("recurrent state", p.recurrent_state),
        ("activations", p.activations),
        ("temporary", p.temporary),
        ("runtime", p.runtime),
        ("CUDA context", p.context),
        ("total", p.total),
    ];
    let rows: Vec<Vec<String>> = parts
        .iter()
        .filter(|(_, bytes)| bytes.0 > 0)
        .map(|(name, bytes)| vec![(*name).to_owned(), bytes.to_string(), bytes.0.to_string()])
        .collect();
    let columns =
        [Column("component", Align::Left), Column("size", Align::Right), Column("bytes", Align::Right)];
    let verdict = if estimate.fits { "fits" } else { "does not fit" };
    let mut lines = vec![
        render(&columns, &rows),
        String::new(),
        format!("{verdict} in {}", estimate.capacity_bytes),
        format!(
            "between {} and {}: {}",
            estimate.error_band.low, estimate.error_band.high, estimate.error_band.basis
        ),
    ];
    for phase in estimate.phases.iter().flatten() {
        lines.push(format!("peak of {}: {}", phase.phase, phase.peak_bytes));
    }
    if let Some(speed) = &estimate.speed {
        lines.push(format!(
            "TTFT {:.1} ms, {:.2} ms a token, {:.1} tok/s at best",
            speed.time_to_first_token_ms, speed.time_per_output_token_ms, speed.tokens_per_second
        ));
    }
    lines.extend(
        estimate.advice.iter().map(|a| format!("advice: {} → {}: {}", a.change, a.total_bytes, a.cost)),
    );
    lines.extend(estimate.warnings.iter().map(|w| format!("note: {}", w.message)));
    lines.join("\n")
}

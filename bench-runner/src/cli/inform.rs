//! `bench-runner models`, `bench-runner gpus`, `bench-runner presets` and `bench-runner machine`.

use std::path::PathBuf;

use clap::Args;
use planner::agent::presets::{self, PresetKind};
use serde::Serialize;

use super::CliError;
use super::output;
use crate::report::{Align, Column, render};
use crate::{machine, model};

/// List the models that can be run here: files of --models-dir, and catalogue shapes whose weights fit this machine's
/// memory in bf16 (run with random weights). With --catalogue: every model that can be planned.
#[derive(Debug, Args)]
pub(super) struct ModelsArgs {
    /// List every model of the catalogue: what can be planned
    #[arg(long, env = "PLIMSOLL_CATALOGUE", conflicts_with = "models_dir")]
    catalogue: bool,
    /// Folder of .gguf files and safetensors folders
    #[arg(long, env = "PLIMSOLL_MODELS_DIR", value_name = "DIR")]
    models_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long, env = "PLIMSOLL_JSON")]
    json: bool,
}

pub(super) fn models(args: &ModelsArgs) -> Result<(), CliError> {
    if args.catalogue {
        return catalogue(args.json);
    }
    let (models, errors) = model::available(args.models_dir.as_deref(), machine::host_memory());
    let models: Vec<_> = models.iter().map(model::Model::advertised).collect();
    if args.json {
        output::json(&models)?;
    } else {
        let columns = [
            Column("model", Align::Left),
            Column("weights", Align::Left),
            Column("parameters", Align::Right),
            Column("context", Align::Right),
            Column("precisions", Align::Left),
        ];
        let rows: Vec<Vec<String>> = models
            .iter()
            .map(|m| {
                vec![
                    m.name.clone(),
                    m.weights.as_str().to_owned(),
                    m.parameters.to_string(),
                    m.max_tokens.to_string(),
                    m.precisions.join(","),
                ]
            })
            .collect();
        output::line(render(&columns, &rows))?;
    }
    for error in &errors {
        eprintln!("warning: {error}");
    }
    Ok(())
}

/// A model of the catalogue, as it is listed.
#[derive(Debug, Serialize)]
struct Planned {
    id: &'static str,
    aliases: &'static [String],
    family: String,
    parameters: u64,
    layers: u64,
    context: u64,
    cache_elements_per_token: u64,
    source: &'static str,
}

fn catalogue(json: bool) -> Result<(), CliError> {
    let mut list = Vec::new();
    for entry in planner::catalogue::models() {
        let model = entry.model().map_err(|e| CliError::Work(format!("{}: {e}", entry.id)))?;
        list.push(Planned {
            id: &entry.id,
            aliases: &entry.aliases,
            family: model.architecture.to_string(),
            parameters: entry.parameters,
            layers: model.layers.len() as u64,
            context: model.max_tokens.0,
            cache_elements_per_token: model.cache_elements_per_token(),
            source: &entry.source,
        });
    }
    if json {
        return output::json(&list);
    }
    let columns = [
        Column("model", Align::Left),
        Column("family", Align::Left),
        Column("parameters", Align::Right),
        Column("layers", Align::Right),
        Column("context", Align::Right),
        Column("cache elements a token", Align::Right),
    ];
    let rows: Vec<Vec<String>> = list
        .iter()
        .map(|m| {
            let numbers =
                [m.parameters, m.layers, m.context, m.cache_elements_per_token].map(|n| n.to_string());
            [m.id.to_owned(), m.family.clone()].into_iter().chain(numbers).collect()
        })
        .collect();
    output::line(render(&columns, &rows))
}

/// List the GPUs that can be planned, with memory, bandwidth, dense 16-bit rate and power.
#[derive(Debug, Args)]
pub(super) struct GpusArgs {
    /// List slices of GPUs (MIG) instead
    #[arg(long, env = "PLIMSOLL_SLICES")]
    slices: bool,
    /// Print JSON
    #[arg(long, env = "PLIMSOLL_JSON")]
    json: bool,
}

pub(super) fn gpus(args: &GpusArgs) -> Result<(), CliError> {
    let list = if args.slices { planner::catalogue::slices() } else { planner::catalogue::gpus() };
    if args.json {
        return output::json(&list);
    }
    let columns = [
        Column("id", Align::Left),
        Column("name", Align::Left),
        Column("visible", Align::Right),
        Column("GB/s", Align::Right),
        Column("bf16 TFLOP/s", Align::Right),
        Column("W", Align::Right),
    ];
    // A slice's figures are shares of its GPU's.
    let shown = |value: Option<f64>| {
        let digits = |v: f64| format!("{v:.1}").trim_end_matches(".0").to_owned();
        value.map_or_else(|| "unknown".to_owned(), digits)
    };
    let rows: Vec<Vec<String>> = list
        .iter()
        .map(|g| {
            vec![
                g.id.clone(),
                g.name.clone(),
                g.visible().bytes().to_string(),
                shown(g.bandwidth_gb_s),
                shown(g.tflops.bf16),
                shown(g.power_w),
            ]
        })
        .collect();
    output::line(render(&columns, &rows))
}

/// List the presets that plan --preset takes: agent memories and training recipes under the names that people know, with what
/// each does, where that is written, and what is assumed.
#[derive(Debug, Args)]
pub(super) struct PresetsArgs {
    /// Print JSON, with the fields that each sets
    #[arg(long, env = "PLIMSOLL_JSON")]
    json: bool,
}

pub(super) fn presets(args: &PresetsArgs) -> Result<(), CliError> {
    let list = presets::list();
    if args.json {
        return output::json(&list);
    }
    let columns =
        [Column("preset", Align::Left), Column("for", Align::Left), Column("what it does", Align::Left)];
    let rows: Vec<Vec<String>> = list
        .iter()
        .map(|preset| {
            let kind = match preset.kind {
                PresetKind::AgentMemory => "agent memory",
                PresetKind::Training => "training",
            };
            vec![preset.name.to_owned(), kind.to_owned(), preset.behaviour.to_owned()]
        })
        .collect();
    output::line(render(&columns, &rows) + "\n")?;
    for preset in &list {
        output::line(format!("{}: {}", preset.name, preset.source))?;
        if let Some(assumed) = preset.assumed {
            output::line(format!("    assumed: {assumed}"))?;
        }
    }
    Ok(())
}

/// Show this machine as results record it: processor, instruction set, memory, GPUs.
#[derive(Debug, Args)]
pub(super) struct MachineArgs {
    /// What this machine is called [default: its host name]
    #[arg(long, env = "PLIMSOLL_MACHINE_NAME", value_name = "NAME")]
    machine_name: Option<String>,
    /// Print JSON
    #[arg(long, env = "PLIMSOLL_JSON")]
    json: bool,
}

pub(super) fn machine(args: &MachineArgs) -> Result<(), CliError> {
    let machine = machine::machine(args.machine_name.as_deref());
    let build = crate::build_info::build();
    if args.json {
        let both = serde_json::json!({ "machine": machine, "runner": build });
        output::json(&both)?;
        return Ok(());
    }
    output::line(format_args!("name      {}", machine.name))?;
    output::line(format_args!("id        {}", machine.id))?;
    output::line(format_args!("os        {}", machine.os))?;
    output::line(format_args!(
        "cpu       {}, {} logical cores, {}",
        machine.cpu.model, machine.cpu.logical_cores, machine.cpu.isa
    ))?;
    output::line(format_args!("threads   {} by default", crate::sweep::default_threads()))?;
    output::line(format_args!("memory    {}", machine.memory_bytes))?;
    for (index, gpu) in machine.gpus.iter().enumerate() {
        let id = gpu.catalogue_id.as_deref().unwrap_or("not in the catalogue");
        output::line(format_args!(
            "cuda:{index}    {}, {}, driver {}, CUDA {}, {id}",
            gpu.name, gpu.memory_bytes, gpu.driver, gpu.cuda
        ))?;
    }
    if machine.gpus.is_empty() {
        output::line("gpus      none that NVML lists")?;
    }
    output::line(format_args!(
        "runner    {} ({}), candle {}, {}",
        build.version, build.commit, build.candle, build.build
    ))?;
    Ok(())
}

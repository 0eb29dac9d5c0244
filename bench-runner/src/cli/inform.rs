//! `bench-runner models` and `bench-runner machine`.

use std::path::PathBuf;

use clap::Args;

use super::CliError;
use super::output;
use crate::report::{Align, Column, render};
use crate::{machine, model};

/// List the models that can be run here: files of --models-dir, and catalogue shapes whose weights fit this machine's
/// memory in bf16 (run with random weights).
#[derive(Debug, Args)]
pub(super) struct ModelsArgs {
    /// Folder of .gguf files and safetensors folders
    #[arg(long, env = "PLIMSOLL_MODELS_DIR", value_name = "DIR")]
    models_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long, env = "PLIMSOLL_JSON")]
    json: bool,
}

pub(super) fn models(args: &ModelsArgs) -> Result<(), CliError> {
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

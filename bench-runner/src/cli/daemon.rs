//! `bench-runner daemon`: pulls jobs of a server.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;

use super::CliError;
use super::run::stop_on_signals;
use crate::daemon::{self, Client, DaemonError, Settings, State};
use crate::machine;

/// Pull jobs of a server and measure them: registers this machine and its models, takes one job at a time, uploads each
/// case as it ends. Cases are kept in --state until the server has them. Ctrl-C or SIGTERM gives a running job back.
#[derive(Debug, Args)]
#[allow(clippy::doc_markdown, reason = "the help is plain text")]
pub(super) struct DaemonArgs {
    /// The server's address, for example http://127.0.0.1:3000
    #[arg(long, env = "PLIMSOLL_SERVER", value_name = "URL", value_parser = address)]
    server: String,
    /// The server's runner token
    #[arg(long, env = "PLIMSOLL_RUNNER_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: String,
    /// What this runner is called [default: the host name]
    #[arg(long, env = "PLIMSOLL_NAME", value_name = "NAME")]
    name: Option<String>,
    /// Folder of .gguf files and safetensors folders
    #[arg(long, env = "PLIMSOLL_MODELS_DIR", value_name = "DIR")]
    models_dir: Option<PathBuf>,
    /// Folder of this runner's own: its id, and cases that the server does not have yet
    #[arg(long, env = "PLIMSOLL_STATE", value_name = "DIR", default_value = "plimsoll-runner")]
    state: PathBuf,
    /// Threads that compute on a CPU [default: physical cores]
    #[arg(short, long, env = "PLIMSOLL_THREADS", value_name = "N")]
    threads: Option<NonZeroU32>,
}

fn address(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match rest {
        Some(host) if !host.is_empty() && !host.starts_with('/') => Ok(text.to_owned()),
        _ => Err("not an address; accepted: http://HOST:PORT or https://HOST".into()),
    }
}

pub(super) fn daemon(args: &DaemonArgs) -> Result<(), CliError> {
    if let Some(dir) = &args.models_dir
        && !dir.is_dir()
    {
        return Err(CliError::Input(format!("--models-dir {}: is not a folder", dir.display())));
    }
    let machine = machine::machine(args.name.as_deref());
    let settings = Settings {
        name: machine.name.clone(),
        machine,
        models_dir: args.models_dir.clone(),
        threads: args.threads.map(NonZeroU32::get),
        executable: std::env::current_exe().map_err(CliError::work)?,
    };
    let state = State::open(&args.state).map_err(CliError::work)?;
    let stop = stop_on_signals()?;
    let client = Client::new(&args.server, &args.token);
    daemon::run(&settings, &client, &state, &stop).map_err(|e| match e {
        DaemonError::Client(e) => CliError::Work(format!("the server refuses this runner: {e}")),
        DaemonError::State(e) => CliError::work(e),
    })
}

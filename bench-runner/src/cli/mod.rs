//! The command line.

mod answers;
mod axes;
mod daemon;
mod export;
mod inform;
mod input;
mod output;
mod plan;
mod run;
mod solve;
mod stored;
mod validate;

use clap::{Parser, Subcommand};

use crate::case;
use crate::sweep::{RunError, SinkError};
use store::StoreError;

/// What went wrong, and the code that the program ends with: 2 for bad input, 1 for work that failed, 3 where the time budget
/// left work to do, 130 after Ctrl-C.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// An option or a file's content is wrong.
    #[error("{0}")]
    Input(String),
    /// The work failed.
    #[error("{0}")]
    Work(String),
    /// Everything has been said; only the code is left.
    #[error("ended with code {0}")]
    Silent(u8),
}

impl CliError {
    /// The code that the program ends with.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Input(_) => 2,
            Self::Work(_) => 1,
            Self::Silent(code) => *code,
        }
    }

    fn input(error: impl std::fmt::Display) -> Self {
        Self::Input(error.to_string())
    }

    fn work(error: impl std::fmt::Display) -> Self {
        Self::Work(error.to_string())
    }
}

/// A database that cannot be used is bad input; one that fails while it is used is failed work.
impl From<SinkError> for CliError {
    fn from(error: SinkError) -> Self {
        match &error {
            SinkError::Store(
                e @ (StoreError::Newer { .. }
                | StoreError::NotADatabase(_)
                | StoreError::Foreign(_)
                | StoreError::Open { .. }),
            ) => Self::Input(format!("--db: {e}")),
            _ => Self::Work(error.to_string()),
        }
    }
}

impl From<RunError> for CliError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Sink(error) => error.into(),
            RunError::Spawn(error) => Self::Work(error.to_string()),
        }
    }
}

/// Measure the memory and speed of Candle models, and hold the planner's estimates against it.
#[derive(Debug, Parser)]
#[command(
    name = "bench-runner",
    version,
    max_term_width = 110,
    after_help = "Examples:\n  \
        bench-runner run --model model.gguf --batch 1..8*2 --prompt 128,512 --generate 64\n  \
        bench-runner run --model Qwen/Qwen3-0.6B --precision bf16,gguf:q4_k --json > run.json\n  \
        bench-runner plan --model meta-llama/Llama-3.1-8B --gpu h100-sxm-80gb --batch 8 --prompt 2048\n  \
        bench-runner solve largest-batch --model meta-llama/Llama-3.1-8B --gpu h100-sxm-80gb --prompt 2048\n  \
        bench-runner validate rows.jsonl --limit 5\n  \
        bench-runner daemon --server http://127.0.0.1:3000 --token TOKEN\n\n\
        Every option can be given as an environment variable; it is named beside the option.\n\
        Exit codes: 0 done, 1 the work failed, 2 an option or a file is wrong, 3 the time budget\n\
        is spent with cases to come, 130 stopped by Ctrl-C."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure every case of a sweep on this machine
    Run(Box<run::RunArgs>),
    /// Say what a model takes, without running it
    Plan(Box<plan::PlanArgs>),
    /// Ask the planner the other way round: the most that fits, the fewest GPUs, the cheapest one
    Solve(solve::SolveArgs),
    /// Answer what people ask first, with computed numbers
    Answers(answers::AnswersArgs),
    /// Hold the planner against measurement rows
    Validate(validate::ValidateArgs),
    /// Print the table of a stored run
    Show(stored::ShowArgs),
    /// Write a stored run as measurement rows or whole
    Export(export::ExportArgs),
    /// Pull jobs of a server and measure them
    Daemon(daemon::DaemonArgs),
    /// List the models that can be run here
    Models(inform::ModelsArgs),
    /// List the GPUs that can be planned
    Gpus(inform::GpusArgs),
    /// List agent memories and training recipes that a plan can be given by name
    Presets(inform::PresetsArgs),
    /// Show this machine as results record it
    Machine(inform::MachineArgs),
    /// Run one case, asked on standard input (what `run` starts for each)
    #[command(name = case::SUBCOMMAND, hide = true)]
    Case {
        /// What the case is called, for a list of processes
        #[allow(dead_code, reason = "shown by the system, read by nobody here")]
        key: Option<String>,
    },
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// Why not, with the code to end with.
    pub fn execute(self) -> Result<(), CliError> {
        match self.command {
            Command::Run(args) => run::run(&args),
            Command::Plan(args) => plan::plan(&args),
            Command::Solve(args) => solve::solve(&args),
            Command::Answers(args) => answers::answers(&args),
            Command::Validate(args) => validate::validate(&args),
            Command::Show(args) => stored::show(&args),
            Command::Export(args) => export::export(&args),
            Command::Daemon(args) => daemon::daemon(&args),
            Command::Models(args) => inform::models(&args),
            Command::Gpus(args) => inform::gpus(&args),
            Command::Presets(args) => inform::presets(&args),
            Command::Machine(args) => inform::machine(&args),
            Command::Case { .. } => case::child::run().map_err(CliError::work),
        }
    }
}

#[cfg(test)]
mod tests;

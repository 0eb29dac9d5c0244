//! A stored run, for the commands that show or write one.

use std::path::{Path, PathBuf};

use clap::Args;
use contract::case::{Case, key_in_words};
use contract::ids::RunId;
use contract::run::{RunDetail, RunStatus};

use super::{CliError, output};
use crate::report;
use crate::sweep::SqliteSink;

/// Print the table of a stored run: speed, memory beside the estimate, edges, and how its cases ended.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Database of results
    #[arg(long, env = "PLIMSOLL_DB", value_name = "FILE", default_value = "plimsoll.db")]
    db: PathBuf,
    /// The run [default: the newest]
    #[arg(long, env = "PLIMSOLL_RUN", value_name = "ID")]
    run: Option<RunId>,
}

pub(super) fn show(args: &ShowArgs) -> Result<(), CliError> {
    let store = open(&args.db)?;
    let RunDetail { run, machine, cases } = find(&store, &args.db, args.run)?;
    output::line(report::cases_table(&cases))?;
    let missing = run.sweep.cases().len().saturating_sub(cases.len());
    let to_come = if missing > 0 { format!(", {missing} cases to come") } else { String::new() };
    output::line(format_args!(
        "\nrun {} \"{}\" on {}: {}{to_come}",
        run.id,
        run.name,
        machine.name,
        run.status.as_str()
    ))?;
    if missing > 0 && run.status == RunStatus::Running {
        // A process that was killed left no word.
        output::line("If nothing runs it any more, the command that began it goes on with --resume.")?;
    }
    let superseded = store.superseded(run.id)?;
    if superseded.is_empty() { Ok(()) } else { attempts(&superseded) }
}

/// Attempts that were run again, and how each had ended.
fn attempts(superseded: &[Case]) -> Result<(), CliError> {
    output::line(format_args!(
        "\nEarlier attempts of cases that were run again, {}:",
        report::counts(superseded)
    ))?;
    for case in superseded {
        let why = case.error.as_deref().unwrap_or("no reason given");
        output::line(format_args!("{}: {}: {why}", key_in_words(&case.spec.key()), case.status))?;
    }
    Ok(())
}

/// Opens a database that must be there.
pub(super) fn open(db: &Path) -> Result<SqliteSink, CliError> {
    if !db.exists() {
        return Err(CliError::Input(format!("--db {}: there is no such file", db.display())));
    }
    Ok(SqliteSink::open(db)?)
}

/// The run of that id in `store`, or the newest.
pub(super) fn find(store: &SqliteSink, db: &Path, id: Option<RunId>) -> Result<RunDetail, CliError> {
    let id = match id {
        Some(id) => id,
        None => store
            .newest()?
            .ok_or_else(|| CliError::Input(format!("--db {}: there is no run in it", db.display())))?,
    };
    store
        .run(id)?
        .ok_or_else(|| CliError::Input(format!("--run {id}: there is no such run in {}", db.display())))
}

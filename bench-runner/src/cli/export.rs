//! `bench-runner export`: a stored run, for other programs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use contract::ids::RunId;

use super::{CliError, output, stored};

/// Write a stored run to standard output: as measurement rows (one JSON document a line, what `validate` reads) or whole.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Database of results
    #[arg(long, env = "PLIMSOLL_DB", value_name = "FILE", default_value = "plimsoll.db")]
    db: PathBuf,
    /// The run [default: the newest]
    #[arg(long, env = "PLIMSOLL_RUN", value_name = "ID")]
    run: Option<RunId>,
    /// What to write
    #[arg(long, env = "PLIMSOLL_FORMAT", value_name = "FORMAT", value_enum, default_value_t = Format::Rows)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A measurement row a line, one for each measured case
    Rows,
    /// The run whole, one JSON document
    Run,
}

pub(super) fn export(args: &ExportArgs) -> Result<(), CliError> {
    let detail = stored::find(&stored::open(&args.db)?, &args.db, args.run)?;
    match args.format {
        Format::Run => output::json(&detail)?,
        Format::Rows => {
            for row in contract::export::rows(&detail) {
                output::line(serde_json::to_string(&row).map_err(CliError::work)?)?;
            }
        }
    }
    Ok(())
}

//! `bench-runner merge`: the databases of an array job's tasks in one.

use std::path::{Path, PathBuf};

use clap::Args;
use contract::run::RunStatus;

use super::CliError;
use super::output;
use crate::merge::{Source, merge};
use crate::sweep::SqliteSink;

/// Put databases together: shards of one sweep (`run --shard`) become one run, which is finished when every case is there;
/// other runs are taken as they are. A case that is there already stays as it is, so that merging again changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bench-runner merge sweep.db shards/*.db")]
pub(super) struct MergeArgs {
    /// Database that takes them; made where there is none
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Databases to take
    #[arg(value_name = "IN", required = true)]
    from: Vec<PathBuf>,
}

pub(super) fn merge_databases(args: &MergeArgs) -> Result<(), CliError> {
    let mut sources = Vec::new();
    for path in &args.from {
        if !path.exists() {
            return Err(CliError::Input(format!("{}: there is no such file", path.display())));
        }
        if is_same(path, &args.out) {
            return Err(CliError::Input(format!(
                "{}: it is the database that takes the others; name it once",
                path.display()
            )));
        }
        let runs = SqliteSink::open(path).and_then(|database| database.runs()).map_err(|e| of(path, e))?;
        sources.push(Source { name: path.display().to_string(), runs });
    }
    let database = SqliteSink::open(&args.out).map_err(|e| of(&args.out, e))?;
    let merged = merge(&database.runs()?, &sources);
    if merged.is_empty() {
        return Err(CliError::Input("there is no run in these databases".into()));
    }
    for run in &merged {
        database.import(&run.detail)?;
        for note in &run.notes {
            output::line(note)?;
        }
        let (id, name) = (run.detail.run.id, &run.detail.run.name);
        let (there, status) = (run.detail.cases.len(), run.detail.run.status.as_str());
        output::line(format_args!(
            "run {id}, {name}: {there} of {} cases, {} new, {status}",
            run.total, run.new
        ))?;
        if run.detail.run.status == RunStatus::Running {
            output::line("  measure the shards that are missing and merge again")?;
        }
    }
    Ok(())
}

/// The error with the file that it is about.
fn of(path: &Path, error: crate::sweep::SinkError) -> CliError {
    match CliError::from(error) {
        CliError::Input(text) => CliError::Input(text.replacen("--db", &path.display().to_string(), 1)),
        other => CliError::Work(format!("{}: {other}", path.display())),
    }
}

/// Whether both are one file; a file that is not there is none.
fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

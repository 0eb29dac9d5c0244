//! `bench-runner export`: a stored run, for other programs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use contract::ids::RunId;
use contract::run::RunDetail;

use super::{CliError, output, stored};
use crate::export::llama_bench::{self, Test};
use crate::export::optimum_benchmark;

/// Write a stored run to standard output: as measurement rows (one JSON document a line, what `validate` reads), whole, or
/// as other benchmarks write theirs.
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
    /// As llama-bench's table
    LlamaBenchMd,
    /// As llama-bench's CSV
    LlamaBenchCsv,
    /// As llama-bench's JSON
    LlamaBenchJson,
    /// As llama-bench's JSON lines
    LlamaBenchJsonl,
    /// As llama-bench's SQL: a table and its rows
    LlamaBenchSql,
    /// A benchmark.json of optimum-benchmark a line, one for each measured case
    OptimumBenchmark,
}

pub(super) fn export(args: &ExportArgs) -> Result<(), CliError> {
    let detail = stored::find(&stored::open(&args.db)?, &args.db, args.run)?;
    match args.format {
        Format::Run => output::json(&detail)?,
        Format::LlamaBenchMd => output::line(llama_bench::markdown(&detail, &tests(&detail)))?,
        Format::LlamaBenchCsv => output::line(llama_bench::csv(&tests(&detail)))?,
        Format::LlamaBenchJson => output::json(&llama_bench::json(&tests(&detail)))?,
        Format::LlamaBenchJsonl => output::line(llama_bench::jsonl(&tests(&detail)))?,
        Format::LlamaBenchSql => output::line(llama_bench::sql(&tests(&detail)))?,
        Format::OptimumBenchmark => {
            let (documents, left_out) = optimum_benchmark::documents(&detail);
            if left_out > 0 {
                eprintln!(
                    "optimum-benchmark's report has other phases of training; cases left out: {left_out}"
                );
            }
            for document in documents {
                output::line(document)?;
            }
        }
        Format::Rows => {
            for row in contract::export::rows(&detail) {
                output::line(serde_json::to_string(&row).map_err(CliError::work)?)?;
            }
        }
    }
    Ok(())
}

/// The tests of a run; says on standard error what has no place among them.
fn tests(detail: &RunDetail) -> Vec<Test> {
    let (tests, left_out) = llama_bench::tests(detail);
    if left_out > 0 {
        eprintln!(
            "llama-bench has no field for more than one sequence at once, nor for training; cases left out: {left_out}"
        );
    }
    tests
}

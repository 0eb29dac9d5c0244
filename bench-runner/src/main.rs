//! `bench-runner`: measures memory and speed of Candle models.

use std::process::ExitCode;

use bench_runner::cli::{Cli, CliError};
use bench_runner::memory::allocator::CountingAllocator;
use clap::Parser;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() -> ExitCode {
    let result = Cli::parse().execute();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = error.exit_code();
            if !matches!(error, CliError::Silent(_)) {
                eprintln!("error: {:#}", anyhow::Error::from(error));
            }
            ExitCode::from(code)
        }
    }
}

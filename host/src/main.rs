//! The program: parses the command line and runs what it names.

use std::process::ExitCode;

use clap::Parser;
use tidegate::cli::{Cli, run};

#[tokio::main]
async fn main() -> ExitCode {
    run(Cli::parse()).await
}

//! The program as it is, but for one thing: a verdict is settled whoever holds the lease. Only the
//! crash harness runs it, which must find that out.

use std::process::ExitCode;

use clap::Parser;
use tidegate::cli::{Cli, run};

#[tokio::main]
async fn main() -> ExitCode {
    run(Cli::parse()).await
}

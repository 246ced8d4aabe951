//! The bench: Tidegate beside the floor (bare statements in pgbench) and the queues that a user
//! would pick instead, on one machine and with the same payload and durability.
//!
//! `measure` fills databases, starts hosts as processes of their own (`host`, `api`) and counts
//! what they settle. Figures are compared as ratios within one run; none is asserted anywhere.

mod api;
mod cluster;
mod costs;
mod count;
mod cpu;
mod dev;
mod fallible;
mod fill;
mod fleet;
mod floor;
mod host;
mod ingest;
mod isolation;
mod machine;
mod options;
mod outbound;
mod peers;
mod process;
mod report;
mod rows;
mod sandbox;
mod scene;
mod services;

use std::process::ExitCode;

use clap::Parser;

use crate::options::{Bench, Command};

fn main() -> ExitCode {
    let ended = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(Bench::parse().command)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> fallible::Fallible<()> {
    match command {
        Command::Measure(options) => rows::measure(options).await,
        Command::Host(arguments) => host::run(arguments).await,
        Command::Api(arguments) => api::run(arguments).await,
    }
}

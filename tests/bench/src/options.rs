//! The command line.

use std::path::PathBuf;
use std::time::Duration;

#[derive(clap::Parser)]
#[command(about = "Measures Tidegate beside the floor and its peers")]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Run the bench and print its table.
    Measure(Options),
    /// One host, as `measure` starts it.
    #[command(hide = true)]
    Host(HostArguments),
    /// The HTTP API alone, as `measure` starts it.
    #[command(hide = true)]
    Api(ApiArguments),
}

#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// Only rows whose name begins so; may be repeated.
    #[arg(long)]
    pub(crate) only: Vec<String>,
    /// Events that a dispatch row works off.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) events: u64,
    /// A tenth of everything: to see that it runs, not to compare.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Finished rows behind which the last of the `finished` rows works.
    #[arg(long, default_value_t = 10_000_000)]
    pub(crate) finished: u64,
    /// Events of the `memory` row's backlog.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) backlog: u64,
    /// How often each contender of the dispatch rows runs; the best counts.
    #[arg(long, default_value_t = 2)]
    pub(crate) repeat: u32,
    /// Where the table is written as JSON.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Where databases lie while it runs: a disk like the one in production.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
    #[arg(long, hide = true)]
    pub(crate) workspace: PathBuf,
    #[arg(long, hide = true)]
    pub(crate) target_dir: PathBuf,
    /// The peers' program; empty if it could not be built.
    #[arg(long, hide = true)]
    pub(crate) peers: Option<PathBuf>,
}

impl Options {
    pub(crate) fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| row.starts_with(only.as_str()))
    }

    pub(crate) fn scaled(&self, count: u64) -> u64 {
        if self.quick { (count / 10).max(1) } else { count }
    }

    /// How long the rows measure that go by time.
    pub(crate) fn seconds(&self) -> Duration {
        Duration::from_secs(if self.quick { 2 } else { 10 })
    }
}

#[derive(clap::Args, Clone)]
pub(crate) struct HostArguments {
    #[arg(long)]
    pub(crate) store: String,
    #[arg(long)]
    pub(crate) plugins: PathBuf,
    /// Says when each handler was called, and not only how many events are done.
    #[arg(long)]
    pub(crate) starts: bool,
}

#[derive(clap::Args, Clone)]
pub(crate) struct ApiArguments {
    #[arg(long)]
    pub(crate) store: String,
}

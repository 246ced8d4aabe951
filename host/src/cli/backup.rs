//! `tidegate backup`: copies a SQLite store while a host uses it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use super::error::CliError;
use super::output::print;
use super::store_args::StoreArgs;
use crate::store::{BackupError, BackupProgress, StoreUrl, backup};

const PROGRESS_EVERY: Duration = Duration::from_secs(2);

#[derive(Args, Debug)]
pub(super) struct BackupArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The copy: a file that is not there yet
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// # Errors
/// There is no copy; what was there before is as it was.
pub(super) async fn run(args: BackupArgs) -> Result<(), CliError> {
    let (url, _) = args.store.find()?;
    let mut told = Instant::now();
    let mut progress = |at: BackupProgress| {
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            eprintln!("copied {} of about {} bytes", at.bytes, at.of_bytes);
        }
    };
    let bytes = backup(&url, &args.to, &mut progress).await.map_err(|error| {
        let to = args.to.display().to_string();
        match &error {
            BackupError::Exists { .. } => {
                CliError::failed(error.to_string(), to, "name another file")
            }
            BackupError::Postgres => postgres(&url, &to),
            BackupError::Open(_) => {
                CliError::failed(error.to_string(), url.to_string(), "see the reason above")
            }
            BackupError::Write { .. } => {
                CliError::failed(error.to_string(), to, "name a folder with room, and try again")
            }
            BackupError::NotWhole { .. } => CliError::failed(
                error.to_string(),
                url.to_string(),
                "the store itself may be damaged: run `tidegate verify`, and keep older copies",
            ),
        }
    })?;
    print(&format!("{}: {bytes} bytes, checked", args.to.display()))
}

fn postgres(url: &StoreUrl, to: &str) -> CliError {
    CliError::failed(
        BackupError::Postgres.to_string(),
        url.to_string(),
        format!(
            "run `pg_dump --format=custom --file={to} '{url}'`, which is of one moment and stops \
             nobody; or, for a large store, pg_basebackup with WAL archiving"
        ),
    )
}

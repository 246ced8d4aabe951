//! `tidegate import`: moves a SQLite store into an empty Postgres.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::config::LogConfig;
use super::error::CliError;
use super::logging::start_logging;
use super::output::{print, print_json, table};
use super::store_args::parse;
use super::verify::run_audit;
use crate::store::{AuditRequest, MoveError, MoveProgress, Moved, StoreUrl, move_store, undo_move};

const PROGRESS_EVERY: Duration = Duration::from_secs(2);

#[derive(Args, Debug)]
pub(super) struct ImportArgs {
    /// The store to move, which no host uses: sqlite:PATH
    #[arg(long, value_name = "URL")]
    from: String,
    /// An empty database: postgres://user@host/database
    #[arg(long, value_name = "URL")]
    to: String,
    /// Take back a move that never reached its end, so that hosts start on the old store again
    #[arg(long)]
    undo: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// # Errors
/// Nothing was moved, or what was moved does not hold.
pub(super) async fn run(args: ImportArgs) -> Result<(), CliError> {
    start_logging(&LogConfig { filter: "warn".into(), ..LogConfig::default() })?;
    let (from, to) = (parse(&args.from, "--from")?, parse(&args.to, "--to")?);
    let failed = |error: MoveError| explain(&error, &from, &to);
    if args.undo {
        undo_move(&from, &to).await.map_err(failed)?;
        return print(&format!("{from} is a store like any other again"));
    }
    let (mut told, mut last) = (Instant::now(), String::new());
    let mut progress = |at: MoveProgress<'_>| {
        if at.table != last || told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            at.table.clone_into(&mut last);
            eprintln!("copying {}: {} rows", at.table, at.rows);
        }
    };
    let moved = move_store(&from, &to, &mut progress).await.map_err(failed)?;
    tell(&moved, &from, &to, args.json)?;
    verify(&to).await
}

fn tell(moved: &Moved, from: &StoreUrl, to: &StoreUrl, json: bool) -> Result<(), CliError> {
    let tables = match moved {
        Moved::Now(tables) => tables.as_slice(),
        Moved::Before => &[],
    };
    if json {
        let tables = tables.iter().map(
            |moved| json!({"table": moved.table, "rows": moved.rows, "checksum": moved.checksum}),
        );
        let before = *moved == Moved::Before;
        return print_json(&json!({"moved_before": before, "tables": tables.collect::<Vec<_>>()}));
    }
    if *moved == Moved::Before {
        return print(&format!("{from} was moved to {to} before; nothing was copied"));
    }
    let rows = tables
        .iter()
        .map(|moved| vec![moved.table.clone(), moved.rows.to_string(), moved.checksum.clone()]);
    print(&table(&["TABLE", "ROWS", "CHECKSUM"], rows))?;
    print(&format!(
        "\n{from} was moved to {to}: both were read, and agree. No host starts on the old one any \
         more; start hosts on the new one"
    ))
}

/// The new store is looked at before hosts are started on it.
async fn verify(to: &StoreUrl) -> Result<(), CliError> {
    let request = AuditRequest {
        flow: None,
        keep_finished: None,
        ordered: None,
        hosts_run: false,
        examples_max: 5,
    };
    let audit = run_audit(to, &request).await?;
    if audit.violations() == 0 {
        return Ok(());
    }
    let wrong = audit.checks.iter().filter(|check| check.violations > 0);
    let names: Vec<_> = wrong.map(|check| check.name).collect();
    Err(CliError::failed(
        format!("everything was moved, and in it does not hold: {}", names.join(", ")),
        to.to_string(),
        "run `tidegate verify` on both stores: the old one has the same fault",
    ))
}

fn explain(error: &MoveError, from: &StoreUrl, to: &StoreUrl) -> CliError {
    let (place, remedy) = match error {
        MoveError::Direction => ("--from, --to".to_owned(), "name them the other way round"),
        MoveError::Source(_) => (from.to_string(), "see the reason above"),
        MoveError::SourceInUse { .. } => (from.to_string(), "stop the host, and run this again"),
        MoveError::MovedElsewhere { .. } => (to.to_string(), "name that database with --to"),
        MoveError::Target(_) => (to.to_string(), "see the reason above; nothing was moved"),
        MoveError::TargetInUse { .. } => {
            (to.to_string(), "stop its hosts, or name an empty database that none uses")
        }
        MoveError::TargetNotEmpty { .. } => {
            (to.to_string(), "make a new database, and name it with --to")
        }
        MoveError::Copy { .. } | MoveError::Differs { .. } => {
            (from.to_string(), "nothing was moved: run `tidegate verify` on it")
        }
        MoveError::Unknown { .. } => (to.to_string(), "run this again"),
        MoveError::Completed => (
            to.to_string(),
            "go on with the new store. If no host ever ran on it, drop that database and make it \
             anew, empty; then this takes the move back",
        ),
        MoveError::NotMoved => (from.to_string(), "there is nothing to take back"),
    };
    CliError::failed(error.to_string(), place, remedy)
}

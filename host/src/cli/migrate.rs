//! `tidegate migrate status|run|dry-run`: the schema of a store, and how it is brought up to date.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::config::LogConfig;
use super::error::CliError;
use super::logging::start_logging;
use super::output::{print, print_json, table};
use super::store_args::StoreArgs;
use crate::store::{
    MigrationState, MigrationStatus, OpenError, StoreUrl, migrate, migration_status,
};

#[derive(Args, Debug)]
pub(super) struct MigrateArgs {
    #[command(subcommand)]
    command: MigrateCommand,
}

#[derive(Subcommand, Debug)]
enum MigrateCommand {
    /// Which migrations the store has, and which are missing
    Status(OneStore),
    /// Apply what is missing, as a host does when it starts
    Run(OneStore),
    /// Print what `run` would do, and what it would lock
    DryRun(OneStore),
}

#[derive(Args, Debug)]
struct OneStore {
    #[command(flatten)]
    store: StoreArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// # Errors
/// The store cannot be read or migrated, or has a schema that is not this binary's.
pub(super) async fn run(args: MigrateArgs) -> Result<(), CliError> {
    match args.command {
        MigrateCommand::Status(args) => status(&args).await,
        MigrateCommand::Run(args) => apply(&args).await,
        MigrateCommand::DryRun(args) => dry_run(&args).await,
    }
}

fn failed(error: &OpenError, url: &StoreUrl) -> CliError {
    CliError::failed(error.to_string(), url.to_string(), "see the reason above")
}

async fn status(args: &OneStore) -> Result<(), CliError> {
    let (url, _) = args.store.find()?;
    let all = migration_status(&url).await.map_err(|error| failed(&error, &url))?;
    if args.json {
        print_json(&json!({"migrations": all.iter().map(for_programs).collect::<Vec<_>>()}))?;
    } else {
        let rows = all.iter().map(|one| {
            let (state, at) = state(&one.state);
            vec![one.version.to_string(), one.name.clone(), state.into(), at.unwrap_or("-").into()]
        });
        print(&table(&["VERSION", "NAME", "STATE", "APPLIED AT"], rows))?;
    }
    refuse_strangers(&all, &url)
}

/// A schema that is newer or another one is no good news, whatever else was asked.
fn refuse_strangers(all: &[MigrationStatus], url: &StoreUrl) -> Result<(), CliError> {
    let stranger = all.iter().find_map(|one| match one.state {
        MigrationState::Unknown => Some(OpenError::NewerSchema { version: one.version }),
        MigrationState::Changed => Some(OpenError::ChangedMigration { version: one.version }),
        MigrationState::Applied { .. } | MigrationState::Pending => None,
    });
    stranger.map_or(Ok(()), |error| Err(failed(&error, url)))
}

fn state(state: &MigrationState) -> (&'static str, Option<&str>) {
    match state {
        MigrationState::Applied { at } => ("applied", Some(at)),
        MigrationState::Pending => ("pending", None),
        MigrationState::Unknown => ("unknown", None),
        MigrationState::Changed => ("changed", None),
    }
}

fn for_programs(one: &MigrationStatus) -> Value {
    let (state, at) = state(&one.state);
    json!({"version": one.version, "name": one.name, "state": state, "applied_at": at})
}

async fn apply(args: &OneStore) -> Result<(), CliError> {
    // Who waits for another host, or for a busy table, is told on the standard error.
    start_logging(&LogConfig::default())?;
    let (url, _) = args.store.find()?;
    let applied = migrate(&url).await.map_err(|error| failed(&error, &url))?;
    if args.json {
        return print_json(&json!({"applied": applied}));
    }
    match applied.as_slice() {
        [] => print("up to date: nothing was done"),
        versions => {
            let versions: Vec<_> = versions.iter().map(ToString::to_string).collect();
            print(&format!("applied {}", versions.join(", ")))
        }
    }
}

async fn dry_run(args: &OneStore) -> Result<(), CliError> {
    let (url, _) = args.store.find()?;
    let all = migration_status(&url).await.map_err(|error| failed(&error, &url))?;
    refuse_strangers(&all, &url)?;
    let pending: Vec<_> = all.iter().filter(|one| one.state == MigrationState::Pending).collect();
    if args.json {
        let pending = pending.iter().map(|one| {
            json!({"version": one.version, "name": one.name, "locks": one.locks, "sql": one.sql})
        });
        return print_json(&json!({"pending": pending.collect::<Vec<_>>()}));
    }
    if pending.is_empty() {
        return print("up to date: nothing would be done");
    }
    let texts = pending.iter().map(|one| {
        let locks = match one.locks.as_slice() {
            [] => "-- locks nothing that is in use\n".to_owned(),
            locks => locks.iter().map(|lock| format!("-- {lock}\n")).collect(),
        };
        format!("-- migration {}: {}\n{locks}\n{}", one.version, one.name, one.sql.trim_end())
    });
    print(&texts.collect::<Vec<_>>().join("\n\n"))
}

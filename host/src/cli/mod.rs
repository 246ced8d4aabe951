//! The command line: one file a command.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 the command line itself is wrong; `verify` has its own.

mod accounts;
mod approvals;
mod backup;
mod breakers;
mod client;
pub mod config;
pub mod dev;
mod error;
mod events;
mod freezes;
mod host;
mod host_plugins;
mod host_policing;
mod import;
mod keystore;
mod logging;
mod memory;
mod migrate;
mod output;
mod plugin;
mod routes;
mod secret_source;
pub mod serve;
mod stop_signals;
mod store_args;
mod token;
mod verify;
mod withdrawals;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub use error::CliError;
pub use logging::start_logging;
pub use output::print;
pub use token::generate_token;

/// A transactional outbox whose targets are WebAssembly plugins
#[derive(Parser)]
#[command(name = "tidegate", version, about, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage";

#[derive(Subcommand)]
enum Command {
    /// Run everything on this machine, with stand-ins for partner, chain and broker
    Dev(DevArgs),
    /// Run a host
    Serve(ServeArgs),
    /// Look at the configuration
    Config(config::ConfigArgs),
    /// Look at the accounts that pay, freeze them and let them sign again
    Accounts(accounts::AccountsArgs),
    /// Make tokens for callers of the API
    Token(token::TokenArgs),
    /// Make the account that pays on a network
    Keystore(keystore::KeystoreArgs),
    /// Look at the withdrawals of a running host
    Withdrawals(withdrawals::WithdrawalsArgs),
    /// Look at the withdrawals that lack approvals; approve and reject them
    Approvals(approvals::ApprovalsArgs),
    /// Look at what is frozen; hold withdrawals from being signed, and let them go
    Freezes(freezes::FreezesArgs),
    /// Look at the outbox events of a running host, hand some in, replay them, give them up
    Events(events::EventsArgs),
    /// Look at the plugins of a running host, and deploy releases to all hosts
    Plugin(plugin::PluginArgs),
    /// Look at the routes of a running host, and pause them on all hosts
    Routes(routes::RoutesArgs),
    /// Look at the circuit breakers of plugins' targets, open and close them
    Breakers(breakers::BreakersArgs),
    /// The schema of a store: what it has, what is missing, what a start would do
    Migrate(migrate::MigrateArgs),
    /// Copy a SQLite store while a host uses it
    Backup(backup::BackupArgs),
    /// Move a SQLite store into an empty Postgres, so that several hosts can share it
    Import(import::ImportArgs),
    /// Audit a store, which may be in use: whether all that must hold does
    Verify(verify::VerifyArgs),
    /// What waits, for how long, and what is wrong with it
    Status(routes::StatusArgs),
}

#[derive(Args, Debug, Clone)]
pub struct DevArgs {
    /// Where the API listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Where everything is kept
    #[arg(long, value_name = "DIR", default_value = ".tidegate/")]
    pub data_dir: PathBuf,
}

#[derive(Args, Debug, Clone)]
pub struct ServeArgs {
    /// The configuration; variables such as TIDEGATE_STORE_URL win over it
    #[arg(long, value_name = "FILE", default_value = "tidegate.toml", env = "TIDEGATE_CONFIG")]
    pub config: PathBuf,
    /// Where plugins come from: folder or store; wins over plugins.from of the configuration
    #[arg(long, value_name = "SOURCE", value_parser = plugins_from_store)]
    pub plugins_from: Option<bool>,
}

/// Whether this source is the store.
fn plugins_from_store(text: &str) -> Result<bool, String> {
    match text {
        "folder" => Ok(false),
        "store" => Ok(true),
        other => Err(format!("{other:?} is no source: write folder or store")),
    }
}

/// Runs the command to its end.
pub async fn run(cli: Cli) -> ExitCode {
    // Whoever speaks TLS in this process finds its cryptography here; a second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let done = match cli.command {
        Command::Dev(args) => dev::run(args).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Config(args) => config::run(&args),
        Command::Accounts(args) => accounts::run(args).await,
        Command::Token(args) => token::run(args),
        Command::Keystore(args) => keystore::run(args).await,
        Command::Withdrawals(args) => withdrawals::run(args).await,
        Command::Approvals(args) => approvals::run(args).await,
        Command::Freezes(args) => freezes::run(args).await,
        Command::Events(args) => events::run(args).await,
        Command::Breakers(args) => breakers::run(args).await,
        Command::Plugin(args) => plugin::run(args).await,
        Command::Routes(args) => routes::run(args).await,
        Command::Migrate(args) => migrate::run(args).await,
        Command::Backup(args) => backup::run(args).await,
        Command::Import(args) => import::run(args).await,
        Command::Verify(args) => verify::run(args).await,
        Command::Status(args) => routes::status(args).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_is_reached() {
        for line in [
            "tidegate dev --listen 127.0.0.1:0 --data-dir x",
            "tidegate serve --config x.toml",
            "tidegate serve --plugins-from store",
            "tidegate config check --config x.toml --json",
            "tidegate token new --name shop --role submit --role read",
            "tidegate keystore new --file k.json --passphrase-file p",
            "tidegate withdrawals list --status FAILED --limit 5 --token t",
            "tidegate withdrawals show 1 --json --url http://host --token t",
            "tidegate approvals list --json --token t",
            "tidegate approvals approve 1 --reason x",
            "tidegate approvals reject 1 --reason x --json",
            "tidegate freezes list --json",
            "tidegate freezes set --all --reason x",
            "tidegate freezes set --asset A --network eip155:1 --reason x",
            "tidegate freezes set --withdrawal 1 --reason x --json",
            "tidegate freezes lift 7 --reason x",
            "tidegate events list --type X --withdrawal 1",
            "tidegate events show 1",
            "tidegate events replay 1 --token t",
            "tidegate plugin deploy ./p --canary 5% --canary-events 100 --plan --json",
            "tidegate plugin deploy ./p --shadow 20% --shadow-events 100",
            "tidegate plugin deploy ./p --approve checked --wait 10s --idempotency-key k --token t",
            "tidegate plugin history p --limit 5",
            "tidegate plugin rollback p --to 3 --plan",
            "tidegate plugin diff p --from 1 --to 2",
            "tidegate plugin disable p --reason x",
            "tidegate plugin enable p --reason x --plan",
            "tidegate plugin approve p 3 --reason x",
            "tidegate events failures --json",
            "tidegate events replay --release 0123 --reason x",
            "tidegate plugin list --json --token t",
            "tidegate routes list --json",
            "tidegate routes pause A --reason x --token t",
            "tidegate routes resume A --reason x",
            "tidegate status --watch --json",
            "tidegate events skip 1 --reason gone --token t",
            "tidegate events cancel 1 --reason wrong",
            "tidegate plugin push partner-sync oci://127.0.0.1:5000/team/partner-sync:1 --json",
            "tidegate plugin pull oci://127.0.0.1:5000/team/partner-sync:1 partner-sync --json",
            "tidegate migrate status --json",
            "tidegate migrate run --config x.toml",
            "tidegate migrate dry-run --store sqlite:x.db --json",
            "tidegate backup --to x.db --store sqlite:y.db",
            "tidegate import --from sqlite:x.db --to postgres://u@h/d --json",
            "tidegate import --undo --from sqlite:x.db --to postgres://u@h/d",
            "tidegate verify --json --examples 1",
            "tidegate verify --store sqlite:x.db --plugins p --default-flow --no-hosts",
            "tidegate events submit --file - --idempotency-key k",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in [
            "tidegate",
            "tidegate token new --name shop",
            "tidegate withdrawals show",
            "tidegate approvals approve 1",
            "tidegate freezes set --reason x",
            "tidegate freezes set --all --user u --reason x",
            "tidegate freezes set --user u --network eip155:1 --reason x",
            "tidegate events skip 1",
            "tidegate events replay",
            "tidegate events replay 1 --release 2",
            "tidegate plugin deploy ./p --canary 101%",
            "tidegate plugin deploy ./p --canary-events 5",
            "tidegate plugin deploy ./p --shadow-events 5",
            "tidegate plugin deploy ./p --canary 5% --shadow 5%",
            "tidegate plugin disable p",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).err().map(|error| error.exit_code());
            assert_eq!(error, Some(2), "{line}");
        }
    }
}

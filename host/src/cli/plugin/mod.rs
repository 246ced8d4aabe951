//! `tidegate plugin …`: the plugins of a running host. One file a command.

use clap::{Args, Subcommand};

use super::client::{Client, ClientArgs};
use super::error::CliError;
use super::releases::{self, ReleasesCommand};

#[derive(Args)]
pub(super) struct PluginArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Subcommand)]
enum PluginCommand {
    #[command(flatten)]
    Releases(ReleasesCommand),
}

/// # Errors
/// The host refused, or cannot be reached.
pub(super) async fn run(args: PluginArgs) -> Result<(), CliError> {
    let client = Client::new(&args.client)?;
    let json = args.client.json;
    match args.command {
        PluginCommand::Releases(command) => releases::run(&client, command, json).await,
    }
}

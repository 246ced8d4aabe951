//! `tidegate plugin …`: the plugins of a running host. One file a command.

mod list;

use clap::{Args, Subcommand};

use super::client::{Client, ClientArgs};
use super::error::CliError;

#[derive(Args)]
pub(super) struct PluginArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Subcommand)]
enum PluginCommand {
    /// List releases: live ones, those that still end what they have in hand, and what was rejected
    List,
}

/// # Errors
/// The host refused, or cannot be reached.
pub(super) async fn run(args: PluginArgs) -> Result<(), CliError> {
    let client = Client::new(&args.client)?;
    let json = args.client.json;
    match args.command {
        PluginCommand::List => list::run(&client, json).await,
    }
}

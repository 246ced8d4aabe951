//! `tidegate plugin …`: what authors and operators do with plugins. One file a command.

mod folder;
mod list;
mod oci;
mod releases;

use clap::{Args, Subcommand};

use super::client::ClientArgs;
use super::error::CliError;
use releases::ReleasesCommand;

#[derive(Args)]
pub(super) struct PluginArgs {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Subcommand)]
enum PluginCommand {
    /// List a host's releases: live ones, those that end what they have in hand, what was rejected
    List(ClientArgs),
    /// Put a plugin into an OCI registry
    Push(oci::PushArgs),
    /// Fetch a plugin from an OCI registry into a folder
    Pull(oci::PullArgs),
    #[command(flatten)]
    Releases(ReleasesCommand),
}

/// # Errors
/// See the commands.
pub(super) async fn run(args: PluginArgs) -> Result<(), CliError> {
    match args.command {
        PluginCommand::List(args) => list::run(&args).await,
        PluginCommand::Push(args) => oci::push(args).await,
        PluginCommand::Pull(args) => oci::pull(args).await,
        PluginCommand::Releases(command) => releases::run(command).await,
    }
}

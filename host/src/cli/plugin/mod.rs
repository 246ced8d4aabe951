//! `tidegate plugin …`: what authors and operators do with plugins.

mod folder;
mod oci;

use clap::{Args, Subcommand};

use super::error::CliError;

#[derive(Args)]
pub(super) struct PluginArgs {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Subcommand)]
enum PluginCommand {
    /// Put a plugin into an OCI registry
    Push(oci::PushArgs),
    /// Fetch a plugin from an OCI registry into a folder
    Pull(oci::PullArgs),
}

/// # Errors
/// See the commands.
pub(super) async fn run(args: PluginArgs) -> Result<(), CliError> {
    match args.command {
        PluginCommand::Push(args) => oci::push(args).await,
        PluginCommand::Pull(args) => oci::pull(args).await,
    }
}

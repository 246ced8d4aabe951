//! `tidegate keystore new`: makes the account that pays on a network.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::error::CliError;
use super::output::print;
use crate::chain::{self, Passphrase};

#[derive(Args)]
pub(super) struct KeystoreArgs {
    #[command(subcommand)]
    command: KeystoreCommand,
}

#[derive(Subcommand)]
enum KeystoreCommand {
    /// Make a key, encrypt it into a file (Web3 Secret Storage), and print its address
    New {
        /// The file to make; an existing one is never overwritten
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// The file that holds the passphrase
        #[arg(long, value_name = "FILE")]
        passphrase_file: PathBuf,
    },
}

pub(super) async fn run(args: KeystoreArgs) -> Result<(), CliError> {
    let KeystoreCommand::New { file, passphrase_file } = args.command;
    let read = std::fs::read_to_string(&passphrase_file).map_err(|error| {
        let remedy = "write the passphrase into it, readable by you alone";
        CliError::failed(error.to_string(), passphrase_file.display().to_string(), remedy)
    })?;
    // Editors end a file with a line end; `serve` reads it the same way.
    let passphrase = read.trim_end_matches(['\r', '\n']).to_owned();
    if passphrase.is_empty() {
        let place = passphrase_file.display().to_string();
        return Err(CliError::failed("the passphrase is empty", place, "write one into the file"));
    }
    let at = file.clone();
    // Encrypted slowly on purpose, so not on this thread.
    let made = tokio::task::spawn_blocking(move || {
        chain::create_keystore(&at, &Passphrase::new(passphrase))
    });
    let failed = |what: String| {
        CliError::failed(what, file.display().to_string(), "name another file with --file")
    };
    let address = made
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(error.to_string()))?;
    print(&format!(
        "{address}\n\nFund this account, and put under its [[networks]]:\n\n  keystore = \"{}\"\n  \
         passphrase_file = \"{}\"",
        file.display(),
        passphrase_file.display()
    ))
}

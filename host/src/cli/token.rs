//! `tidegate token new`: makes a token, shows it once, and prints what the configuration keeps.

use std::fmt::Write;

use clap::{Args, Subcommand};

use crate::api::{Role, token_digest};

use super::error::CliError;
use super::output::print;

#[derive(Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Make a token, and print it together with the lines for tidegate.toml
    New {
        /// Whose token it is: the scope of its idempotency keys
        #[arg(long, value_parser = parse_name)]
        name: String,
        /// What it may do: submit, read or operate. May be given several times
        #[arg(long = "role", required = true)]
        roles: Vec<Role>,
    },
}

fn parse_name(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("a name needs 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'".to_owned())
    }
}

/// A token's text: a mark that scanners for leaked secrets can find, and 256 random bits.
///
/// # Errors
/// The system gives no random bytes.
pub fn generate_token() -> Result<String, CliError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        CliError::failed(
            format!("no token can be made: {error}"),
            "the system's random numbers",
            "try again on another machine",
        )
    })?;
    Ok(format!("tidegate_{}", hex(&bytes)))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// # Errors
/// No random bytes, or no standard output.
pub(super) fn run(args: TokenArgs) -> Result<(), CliError> {
    let TokenCommand::New { name, mut roles } = args.command;
    roles.sort_unstable();
    roles.dedup();
    let token = generate_token()?;
    print(&format!(
        "The token, shown only now:\n\n  {token}\n\nFor tidegate.toml:\n\n{}",
        toml_block(&name, &token, &roles)
    ))
}

fn toml_block(name: &str, token: &str, roles: &[Role]) -> String {
    let roles: Vec<_> = roles.iter().map(|role| format!("\"{role}\"")).collect();
    let digest = hex(&token_digest(token));
    format!("[[tokens]]\nname = \"{name}\"\nsha256 = \"{digest}\"\nroles = [{}]", roles.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_new_each_time_and_long() {
        let (one, two) = (generate_token().unwrap(), generate_token().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.len(), "tidegate_".len() + 64);
    }

    #[test]
    fn the_block_keeps_the_digest_and_not_the_token() {
        let block = toml_block("shop", "secret", &[Role::Submit, Role::Read]);
        let digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        assert_eq!(
            block,
            format!(
                "[[tokens]]\nname = \"shop\"\nsha256 = \"{digest}\"\nroles = [\"submit\", \"read\"]"
            )
        );
    }
}

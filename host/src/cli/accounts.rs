//! `tidegate accounts list|show|freeze|unfreeze`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, ClientArgs};
use super::error::CliError;
use super::output::{cell, pairs, print, print_json, table};

#[derive(Args)]
pub(super) struct AccountsArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: AccountsCommand,
}

#[derive(Subcommand)]
enum AccountsCommand {
    /// List the accounts that pay: nonces, balance, whether the host signs for them
    List,
    /// Show an account, and what was said about it
    Show(NameArgs),
    /// Sign nothing more for an account; what was signed is still followed to its end
    Freeze(ChangeArgs),
    /// Sign for an account again, from the chain's nonce on
    Unfreeze(ChangeArgs),
}

#[derive(Args)]
struct NameArgs {
    /// The network's CAIP-2 name, such as eip155:1
    network: String,
    /// The account's address, 0x…
    address: String,
}

#[derive(Args)]
struct ChangeArgs {
    #[command(flatten)]
    name: NameArgs,
    /// Why, for those who come later
    #[arg(long)]
    reason: String,
}

/// # Errors
/// The host refused, or cannot be reached.
pub(super) async fn run(args: AccountsArgs) -> Result<(), CliError> {
    let client = Client::new(&args.client)?;
    let json = args.client.json;
    match args.command {
        AccountsCommand::List => {
            let accounts = client.get(&["accounts"], &[]).await?;
            if json { print_json(&accounts) } else { print(&list_for_people(&accounts)) }
        }
        AccountsCommand::Show(NameArgs { network, address }) => {
            let account = client.get(&["accounts", &network, &address], &[]).await?;
            if json { print_json(&account) } else { print(&show_for_people(&account)) }
        }
        AccountsCommand::Freeze(change) => carry_out(&client, "freeze", &change, json).await,
        AccountsCommand::Unfreeze(change) => carry_out(&client, "unfreeze", &change, json).await,
    }
}

async fn carry_out(
    client: &Client,
    verb: &str,
    change: &ChangeArgs,
    json: bool,
) -> Result<(), CliError> {
    let body = json!({ "reason": change.reason }).to_string();
    let NameArgs { network, address } = &change.name;
    let path: [&str; 4] = ["accounts", network, address, verb];
    let changed = client.post_json(&path, body, None).await?;
    if json {
        return print_json(&changed);
    }
    let state = if changed["frozen"] == true { "frozen" } else { "not frozen" };
    let already = if changed["changed"] == true { "" } else { " already" };
    let (network, address) = (cell(&changed["network"]), cell(&changed["address"]));
    print(&format!("the account {address} on {network} is {state}{already}"))
}

const KEYS: [&str; 7] =
    ["network", "address", "next_nonce", "mined", "balance_wei", "has_key", "frozen_reason"];

fn list_for_people(accounts: &Value) -> String {
    let heads = KEYS.map(str::to_uppercase);
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let items = accounts["items"].as_array().into_iter().flatten();
    table(&heads, items.map(|account| KEYS.map(|key| cell(&account[key])).to_vec()))
}

fn show_for_people(account: &Value) -> String {
    let keys = ["at", "kind", "by", "reason"];
    let history = account["history"].as_array().into_iter().flatten();
    let rows = history.map(|note| keys.map(|key| cell(&note[key])).to_vec());
    let history = table(&["AT", "KIND", "BY", "REASON"], rows);
    format!("{}\n\n{history}", pairs(account, &KEYS))
}

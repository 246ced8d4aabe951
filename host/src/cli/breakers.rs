//! `tidegate breakers list|open|close`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, ClientArgs};
use super::error::CliError;
use super::output::{cell, print, print_json, table};

#[derive(Args)]
pub(super) struct BreakersArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: BreakersCommand,
}

#[derive(Subcommand)]
enum BreakersCommand {
    /// List the breakers that were ever open: plugin, target, state
    List,
    /// Hold a breaker open: the plugin's events wait, until it is closed
    Open(ChangeArgs),
    /// Close a breaker: events go again, at once
    Close(ChangeArgs),
}

#[derive(Args)]
struct ChangeArgs {
    /// The plugin, such as partner-sync
    plugin: String,
    /// The target, such as api.partner.example:443
    target: String,
    /// Why, for those who come later
    #[arg(long)]
    reason: String,
}

/// # Errors
/// The host refused, or cannot be reached.
pub(super) async fn run(args: BreakersArgs) -> Result<(), CliError> {
    let client = Client::new(&args.client)?;
    let json = args.client.json;
    match args.command {
        BreakersCommand::List => {
            let breakers = client.get(&["breakers"], &[]).await?;
            if json { print_json(&breakers) } else { print(&list_for_people(&breakers)) }
        }
        BreakersCommand::Open(change) => carry_out(&client, "open", &change, json).await,
        BreakersCommand::Close(change) => carry_out(&client, "close", &change, json).await,
    }
}

async fn carry_out(
    client: &Client,
    verb: &str,
    change: &ChangeArgs,
    json: bool,
) -> Result<(), CliError> {
    let body = json!({ "reason": change.reason }).to_string();
    let path: [&str; 4] = ["breakers", &change.plugin, &change.target, verb];
    let changed = client.post_json(&path, body, None).await?;
    if json {
        return print_json(&changed);
    }
    let state = if changed["open"] == true { "held open" } else { "closed" };
    let already = if changed["changed"] == true { "" } else { " already" };
    let (plugin, target) = (cell(&changed["plugin"]), cell(&changed["target"]));
    print(&format!("the breaker of {plugin} and {target} is {state}{already}"))
}

fn list_for_people(breakers: &Value) -> String {
    let heads = ["PLUGIN", "TARGET", "STATE", "OPEN_FOR_MS", "TRIPS", "CHANGED_AT", "BY", "REASON"];
    let keys =
        ["plugin", "target", "state", "open_for_ms", "trips", "changed_at", "changed_by", "reason"];
    let items = breakers["items"].as_array().into_iter().flatten();
    let rows = items.map(|breaker| keys.map(|key| cell(&breaker[key])).to_vec());
    table(&heads, rows)
}

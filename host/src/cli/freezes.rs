//! `tidegate freezes list|set|lift`.

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Map, Value, json};

use super::client::{Client, ClientArgs};
use super::error::CliError;
use super::output::{cell, print, print_json, table};

#[derive(Args)]
pub(super) struct FreezesArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: FreezesCommand,
}

#[derive(Subcommand)]
enum FreezesCommand {
    /// List what is frozen now
    List,
    /// Hold something from being signed, on all hosts, until it is lifted
    Set(SetArgs),
    /// Let go of it: what waited for it goes on, at once
    Lift {
        /// The freeze's number
        id: i64,
        /// Why, for those who come later
        #[arg(long)]
        reason: String,
    },
}

#[derive(Args)]
#[command(group = ArgGroup::new("what").required(true))]
struct SetArgs {
    /// Everything
    #[arg(long, group = "what")]
    all: bool,
    /// All withdrawals of a user
    #[arg(long, group = "what", value_name = "USER")]
    user: Option<String>,
    /// All withdrawals of an asset
    #[arg(long, group = "what", value_name = "ASSET")]
    asset: Option<String>,
    /// One withdrawal
    #[arg(long, group = "what", value_name = "ID")]
    withdrawal: Option<String>,
    /// The asset on this network only, such as eip155:1
    #[arg(long, requires = "asset", conflicts_with_all = ["all", "user", "withdrawal"])]
    network: Option<String>,
    /// Why, for those who come later
    #[arg(long)]
    reason: String,
}

/// # Errors
/// The host refused, or cannot be reached.
pub(super) async fn run(args: FreezesArgs) -> Result<(), CliError> {
    let client = Client::new(&args.client)?;
    let as_json = args.client.json;
    match args.command {
        FreezesCommand::List => {
            let list = client.get(&["freezes"], &[]).await?;
            if as_json { print_json(&list) } else { print(&list_for_people(&list)) }
        }
        FreezesCommand::Set(set) => {
            let done = client.post_json(&["freezes"], body(set).to_string(), None).await?;
            if as_json {
                return print_json(&done);
            }
            let already = if done["changed"] == true { "" } else { " already" };
            print(&format!(
                "freeze {}: {} is frozen{already}",
                cell(&done["freeze"]["id"]),
                subject(&done["freeze"])
            ))
        }
        FreezesCommand::Lift { id, reason } => {
            let body = json!({ "reason": reason }).to_string();
            let done = client.post_json(&["freezes", &id.to_string(), "lift"], body, None).await?;
            if as_json {
                return print_json(&done);
            }
            let already = if done["changed"] == true { "" } else { " already" };
            print(&format!("freeze {id} is lifted{already}"))
        }
    }
}

fn body(set: SetArgs) -> Value {
    let SetArgs { all: _, user, asset, withdrawal, network, reason } = set;
    let scope = match (&user, &asset, &withdrawal) {
        (Some(_), ..) => "user",
        (_, Some(_), _) => "asset",
        (.., Some(_)) => "withdrawal",
        (None, None, None) => "all",
    };
    let fields = [
        ("scope", Some(scope.to_owned())),
        ("user_id", user),
        ("asset", asset),
        ("network", network),
        ("withdrawal_id", withdrawal),
        ("reason", Some(reason)),
    ];
    let given =
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
    Value::Object(Map::from_iter(given))
}

/// What is frozen, in words.
fn subject(freeze: &Value) -> String {
    let part = |key: &str| cell(&freeze[key]);
    match freeze["scope"].as_str().unwrap_or_default() {
        "all" => "everything".to_owned(),
        "user" => format!("user {}", part("user_id")),
        "asset" if freeze["network"].is_null() => format!("asset {}", part("asset")),
        "asset" => format!("asset {} on {}", part("asset"), part("network")),
        "withdrawal" => format!("withdrawal {}", part("withdrawal_id")),
        // A newer host may freeze more than this program knows.
        _ => cell(freeze),
    }
}

fn list_for_people(list: &Value) -> String {
    let heads = ["ID", "WHAT", "FROZEN_AT", "BY", "REASON"];
    let items = list["items"].as_array().into_iter().flatten();
    let rows = items.map(|freeze| {
        let part = |key: &str| cell(&freeze[key]);
        vec![part("id"), subject(freeze), part("frozen_at"), part("frozen_by"), part("reason")]
    });
    table(&heads, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_freeze_has_its_words() {
        for (freeze, words) in [
            (json!({"scope": "all"}), "everything"),
            (json!({"scope": "user", "user_id": "u"}), "user u"),
            (json!({"scope": "asset", "asset": "A", "network": null}), "asset A"),
            (json!({"scope": "asset", "asset": "A", "network": "eip155:1"}), "asset A on eip155:1"),
            (json!({"scope": "withdrawal", "withdrawal_id": "1"}), "withdrawal 1"),
        ] {
            assert_eq!(subject(&freeze), words);
        }
    }

    #[test]
    fn only_what_was_given_is_sent() {
        let set = SetArgs {
            all: false,
            user: None,
            asset: Some("A".into()),
            withdrawal: None,
            network: Some("eip155:1".into()),
            reason: "why".into(),
        };
        let sent = json!({"scope": "asset", "asset": "A", "network": "eip155:1", "reason": "why"});
        assert_eq!(body(set), sent);
    }
}

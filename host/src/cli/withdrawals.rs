//! `tidegate withdrawals list|show|cancel`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, ClientArgs};
use super::error::CliError;
use super::output::{cell, pairs, print, print_json, table};

#[derive(Args)]
pub(super) struct WithdrawalsArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: WithdrawalsCommand,
}

#[derive(Subcommand)]
enum WithdrawalsCommand {
    /// List withdrawals, newest first
    List(ListArgs),
    /// Show a withdrawal and everything that happened to it
    Show { id: String },
    /// Give a withdrawal up: at once, where nothing was signed; else the chain decides
    Cancel {
        id: String,
        /// Why, for those who come later
        #[arg(long)]
        reason: String,
    },
}

#[derive(Args)]
struct ListArgs {
    /// REQUESTED, BROADCASTED, CONFIRMED or FAILED
    #[arg(long)]
    status: Option<String>,
    #[arg(long)]
    user: Option<String>,
    /// A network's CAIP-2 name, such as eip155:1
    #[arg(long)]
    network: Option<String>,
    /// From this time on, such as 2030-01-31T12:00:00Z
    #[arg(long)]
    since: Option<String>,
    /// Before this time
    #[arg(long)]
    until: Option<String>,
    /// 1 to 200
    #[arg(long)]
    limit: Option<u32>,
    /// Where the page before ended
    #[arg(long)]
    cursor: Option<String>,
}

/// # Errors
/// The host refused, or cannot be reached.
pub(super) async fn run(args: WithdrawalsArgs) -> Result<(), CliError> {
    let client = Client::new(&args.client)?;
    match args.command {
        WithdrawalsCommand::List(filter) => {
            let query = [
                ("status", filter.status),
                ("user_id", filter.user),
                ("network", filter.network),
                ("since", filter.since),
                ("until", filter.until),
                ("limit", filter.limit.map(|limit| limit.to_string())),
                ("cursor", filter.cursor),
            ];
            let page = client.get(&["withdrawals"], &query).await?;
            if args.client.json { print_json(&page) } else { print(&list_for_people(&page)) }
        }
        WithdrawalsCommand::Cancel { id, reason } => {
            let body = json!({ "reason": reason }).to_string();
            let cancelled = client.post_json(&["withdrawals", &id, "cancel"], body, None).await?;
            if args.client.json {
                return print_json(&cancelled);
            }
            let told = if cancelled["outcome"] == "failed" {
                "is FAILED: it will never be paid"
            } else {
                "is being closed: the chain decides, and its status follows"
            };
            print(&format!("the withdrawal {id} {told}"))
        }
        WithdrawalsCommand::Show { id } => {
            let timeline = client.get(&["withdrawals", &id, "timeline"], &[]).await?;
            if args.client.json {
                print_json(&timeline)
            } else {
                print(&show_for_people(&timeline))
            }
        }
    }
}

fn list_for_people(page: &Value) -> String {
    let columns = [
        "id",
        "status",
        "amount",
        "asset",
        "network",
        "user_id",
        "requested_at",
        "tx_hash",
        "waits",
    ];
    let mut page = page.clone();
    for item in page["items"].as_array_mut().into_iter().flatten() {
        item["waits"] = item["waiting_for"]["rule"].take();
    }
    list(&page, &columns)
}

/// A page as a table, and how to see the next one.
pub(super) fn list(page: &Value, columns: &[&str]) -> String {
    let heads: Vec<String> = columns.iter().map(|name| name.to_uppercase()).collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |item: &Value| columns.iter().map(|name| cell(&item[*name])).collect();
    let mut text = table(&heads, items.iter().map(row));
    if let Some(cursor) = page["next_cursor"].as_str() {
        text.push_str(&format!("\nmore with --cursor {cursor}"));
    }
    text
}

fn show_for_people(timeline: &Value) -> String {
    let names = [
        "id",
        "status",
        "amount",
        "asset",
        "network",
        "user_id",
        "destination_address",
        "tx_hash",
        "failure_reason",
        "requested_at",
        "broadcasted_at",
        "confirmed_at",
    ];
    let wait = &timeline["withdrawal"]["waiting_for"];
    let entries = timeline["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |entry: &Value| vec![cell(&entry["at"]), cell(&entry["kind"]), story(entry)];
    let story = table(&["AT", "KIND", "WHAT"], entries.iter().map(row));
    let mut text = pairs(&timeline["withdrawal"], &names);
    if !wait.is_null() {
        let part = |name: &str| cell(&wait[name]);
        text.push_str(&format!(
            "\n\nwaits for {} since {}: {}",
            part("rule"),
            part("since"),
            part("reason")
        ));
    }
    format!("{text}\n\n{story}")
}

/// One entry of a timeline in a line.
fn story(entry: &Value) -> String {
    let part = |name: &str| cell(&entry[name]);
    match entry["kind"].as_str().unwrap_or_default() {
        "transition" => {
            let mut text = format!("{} → {}", part("from"), part("to"));
            for name in ["tx_hash", "reason"] {
                if !entry[name].is_null() {
                    text.push_str(&format!(", {}", part(name)));
                }
            }
            text
        }
        "event" => format!("{} {} ({})", part("event_type"), part("event_id"), part("status")),
        "attempt" => format!(
            "{} attempt {}: {}: {}",
            part("event_type"),
            part("attempt"),
            part("outcome"),
            part("reason")
        ),
        "done" => format!("{} {}", part("event_type"), part("event_id")),
        "transaction" => format!(
            "{} {} from {} with nonce {}",
            part("purpose"),
            part("tx_hash"),
            part("account"),
            part("nonce")
        ),
        "cancel" => format!("given up by {}: {}", part("asked_by"), part("reason")),
        // A newer host may tell of more than this program knows.
        _ => cell(entry),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cancel_is_told_in_words() {
        let entry = json!({"kind": "cancel", "asked_by": "ann", "reason": "a mistake"});
        assert_eq!(story(&entry), "given up by ann: a mistake");
    }

    #[test]
    fn a_page_is_a_table_with_the_way_to_the_next() {
        let page = json!({
            "items": [{"id": "1", "status": "FAILED", "user_id": null}],
            "next_cursor": "abc",
        });
        let text = list(&page, &["id", "status", "user_id"]);
        assert_eq!(text, " ID  STATUS  USER_ID\n 1   FAILED  -\nmore with --cursor abc");
    }

    #[test]
    fn each_kind_of_entry_has_its_sentence() {
        let transition = json!({
            "kind": "transition", "from": null, "to": "REQUESTED", "tx_hash": null, "reason": null,
        });
        assert_eq!(story(&transition), "- → REQUESTED");
        let attempt = json!({
            "kind": "attempt", "event_type": "X", "attempt": 2, "outcome": "retry", "reason": "no",
        });
        assert_eq!(story(&attempt), "X attempt 2: retry: no");
        assert_eq!(story(&json!({"kind": "new"})), r#"{"kind":"new"}"#);
    }
}

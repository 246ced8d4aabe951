//! `tidegate approvals list|approve|reject`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, ClientArgs};
use super::error::CliError;
use super::output::{cell, print, print_json, table};

#[derive(Args)]
pub(super) struct ApprovalsArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: ApprovalsCommand,
}

#[derive(Subcommand)]
enum ApprovalsCommand {
    /// List the withdrawals that lack approvals: what is paid to whom, how many they have and need
    List,
    /// Approve exactly this payment, under the policies as they are now
    Approve(DecideArgs),
    /// Fail a withdrawal for which nothing was signed, at once
    Reject(DecideArgs),
}

#[derive(Args)]
struct DecideArgs {
    /// The withdrawal
    id: String,
    /// Why, for those who come later
    #[arg(long)]
    reason: String,
}

/// # Errors
/// The host refused, or cannot be reached.
pub(super) async fn run(args: ApprovalsArgs) -> Result<(), CliError> {
    let client = Client::new(&args.client)?;
    let as_json = args.client.json;
    match args.command {
        ApprovalsCommand::List => {
            let list = client.get(&["approvals"], &[]).await?;
            if as_json { print_json(&list) } else { print(&list_for_people(&list)) }
        }
        ApprovalsCommand::Approve(decide) => {
            let done = post(&client, "approve", &decide).await?;
            if as_json { print_json(&done) } else { print(&approved_for_people(&done)) }
        }
        ApprovalsCommand::Reject(decide) => {
            let done = post(&client, "reject", &decide).await?;
            if as_json { print_json(&done) } else { print(&rejected_for_people(&done)) }
        }
    }
}

async fn post(client: &Client, verb: &str, decide: &DecideArgs) -> Result<Value, CliError> {
    let body = json!({ "reason": decide.reason }).to_string();
    client.post_json(&["withdrawals", &decide.id, verb], body, None).await
}

fn already(done: &Value) -> &'static str {
    if done["changed"] == true { "" } else { " already" }
}

fn approved_for_people(done: &Value) -> String {
    let (id, approval) = (cell(&done["withdrawal_id"]), &done["approval"]);
    let (by, until) = (cell(&approval["approver"]), cell(&approval["expires_at"]));
    format!("{id} is approved{} by {by}, until {until}", already(done))
}

fn rejected_for_people(done: &Value) -> String {
    format!("{} is FAILED{}", cell(&done["withdrawal_id"]), already(done))
}

fn list_for_people(list: &Value) -> String {
    let heads = [
        "ID",
        "AMOUNT",
        "ASSET",
        "NETWORK",
        "DESTINATION",
        "USER",
        "REQUESTED_BY",
        "APPROVALS",
        "BY",
        "HOLD_UNTIL",
        "WAITS_FOR",
    ];
    let items = list["items"].as_array().into_iter().flatten();
    let rows = items.map(|item| {
        let of = |key: &str| cell(&item["withdrawal"][key]);
        let given: Vec<_> = item["approvals"].as_array().into_iter().flatten().collect();
        let names: Vec<_> = given.iter().map(|one| cell(&one["approver"])).collect();
        // They count together, so until the first one expires.
        let until = given.iter().map(|one| cell(&one["expires_at"])).min();
        vec![
            of("id"),
            of("amount"),
            of("asset"),
            of("network"),
            of("destination_address"),
            of("user_id"),
            cell(&item["requested_by"]),
            format!("{} of {}", cell(&item["found"]), cell(&item["needed"])),
            if names.is_empty() { "-".to_owned() } else { names.join(", ") },
            until.unwrap_or_else(|| "-".to_owned()),
            cell(&item["withdrawal"]["waiting_for"]["rule"]),
        ]
    });
    table(&heads, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_says_how_many_are_there_and_until_when_they_hold() {
        let approval = |by: &str, until: &str| json!({"approver": by, "expires_at": until});
        let list = json!({"items": [{
            "withdrawal": {"id": "1", "amount": "20", "asset": "ETH", "network": "eip155:1",
                "destination_address": "0xaa", "user_id": "u",
                "waiting_for": {"rule": "policy.approvals"}},
            "requested_by": "shop", "needed": 3, "found": 2,
            "approvals": [approval("ann", "2030-01-02"), approval("bob", "2030-01-01")],
        }]});
        let text = list_for_people(&list);
        for part in ["2 of 3", "ann, bob", "2030-01-01", "shop", "policy.approvals"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("2030-01-02"), "{text}");
    }

    #[test]
    fn a_repeat_says_that_it_is_one() {
        let done = json!({"withdrawal_id": "1", "changed": false});
        assert_eq!(rejected_for_people(&done), "1 is FAILED already");
        let done = json!({"withdrawal_id": "1", "changed": true,
            "approval": {"approver": "ann", "expires_at": "2030-01-01"}});
        assert_eq!(approved_for_people(&done), "1 is approved by ann, until 2030-01-01");
    }
}

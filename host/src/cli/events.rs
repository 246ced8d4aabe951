//! `tidegate events list|show|submit|replay|skip|cancel|failures`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::{Client, ClientArgs};
use super::error::CliError;
use super::output::{cell, pairs, print, print_json, table};
use super::withdrawals::list;

#[derive(Args)]
pub(super) struct EventsArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: EventsCommand,
}

#[derive(Subcommand)]
enum EventsCommand {
    /// List outbox events, newest first
    List(ListArgs),
    /// Show an event and its attempts
    Show { id: String },
    /// Give a FAILED event, or all that a release failed, another chance: FAILED → PENDING
    Replay(ReplayArgs),
    /// Group FAILED events by the release that failed them, and the reason
    Failures,
    /// Give a FAILED event up: it stays FAILED, and those behind it go on
    Skip {
        id: String,
        /// Why; kept in the event's history
        #[arg(long)]
        reason: String,
    },
    /// Cancel a PENDING event that no host has taken yet
    Cancel {
        id: String,
        /// Why; kept in the event's history
        #[arg(long)]
        reason: String,
    },
    /// Hand in events: a JSON object, or {"events": […]}
    Submit(SubmitArgs),
}

#[derive(Args)]
struct ReplayArgs {
    #[arg(required_unless_present = "release")]
    id: Option<String>,
    /// All that the release with this digest failed
    #[arg(long, value_name = "DIGEST", conflicts_with = "id")]
    release: Option<String>,
    /// Of these only those with this reason, to the letter
    #[arg(long, requires = "release")]
    reason: Option<String>,
}

#[derive(Args)]
struct SubmitArgs {
    /// The events; - is the standard input
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// The same again for the same events, so that they are written once; a new one if left out
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

#[derive(Args)]
struct ListArgs {
    /// PENDING, PROCESSING, RETRYING, DONE or FAILED
    #[arg(long)]
    status: Option<String>,
    /// An event type, such as PARTNER_SYNC_REQUESTED
    #[arg(long = "type")]
    event_type: Option<String>,
    /// The events of one withdrawal
    #[arg(long, value_name = "ID")]
    withdrawal: Option<String>,
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
pub(super) async fn run(args: EventsArgs) -> Result<(), CliError> {
    let client = Client::new(&args.client)?;
    let json = args.client.json;
    match args.command {
        EventsCommand::List(filter) => {
            let query = [
                ("status", filter.status),
                ("event_type", filter.event_type),
                ("aggregate_type", filter.withdrawal.as_ref().map(|_| "WITHDRAWAL".to_owned())),
                ("aggregate_id", filter.withdrawal),
                ("since", filter.since),
                ("until", filter.until),
                ("limit", filter.limit.map(|limit| limit.to_string())),
                ("cursor", filter.cursor),
            ];
            let page = client.get(&["events"], &query).await?;
            if json { print_json(&page) } else { print(&list_for_people(&page)) }
        }
        EventsCommand::Show { id } => {
            let history = client.get(&["events", &id], &[]).await?;
            if json { print_json(&history) } else { print(&show_for_people(&history)) }
        }
        EventsCommand::Replay(args) => replay(&client, args, json).await,
        EventsCommand::Failures => {
            let failures = client.get(&["events", "failures"], &[]).await?;
            if json { print_json(&failures) } else { print(&failures_for_people(&failures)) }
        }
        EventsCommand::Skip { id, reason } => {
            let skipped = decide(&client, &id, "skip", &reason).await?;
            if json {
                return print_json(&skipped);
            }
            print(&format!("{} is skipped", cell(&skipped["id"])))
        }
        EventsCommand::Cancel { id, reason } => {
            let cancelled = decide(&client, &id, "cancel", &reason).await?;
            if json {
                return print_json(&cancelled);
            }
            print(&format!("{} is cancelled", cell(&cancelled["id"])))
        }
        EventsCommand::Submit(events) => {
            let accepted = submit(&client, events).await?;
            if json { print_json(&accepted) } else { print(&submitted_for_people(&accepted)) }
        }
    }
}

async fn replay(client: &Client, args: ReplayArgs, json: bool) -> Result<(), CliError> {
    if let Some(id) = args.id {
        let replayed = client.post(&["events", &id, "replay"]).await?;
        if json {
            return print_json(&replayed);
        }
        return print(&format!("{} is {}", cell(&replayed["id"]), cell(&replayed["status"])));
    }
    let mut body = serde_json::json!({ "release_digest": args.release });
    if let Some(reason) = args.reason {
        body["reason"] = reason.into();
    }
    let mut replayed = 0;
    loop {
        let answer = client.post_json(&["events", "replay"], body.to_string(), None).await?;
        replayed += answer["replayed"].as_u64().unwrap_or(0);
        if answer["more"] != true {
            break;
        }
    }
    if json {
        return print_json(&serde_json::json!({ "replayed": replayed }));
    }
    print(&format!("{replayed} events are PENDING"))
}

fn failures_for_people(failures: &Value) -> String {
    let items = failures["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |item: &Value| {
        let release = match &item["plugin"] {
            Value::Null => "-".to_owned(),
            plugin => format!(
                "{} #{} {}",
                cell(plugin),
                cell(&item["release_number"]),
                cell(&item["release_state"])
            ),
        };
        let mut row = vec![cell(&item["count"]), release];
        let columns =
            ["release_digest", "event_type", "failure_code", "last_at", "example", "reason"];
        row.extend(columns.map(|name| cell(&item[name])));
        row
    };
    let heads =
        ["COUNT", "RELEASE", "DIGEST", "EVENT_TYPE", "CODE", "LAST_AT", "EXAMPLE", "REASON"];
    table(&heads, items.iter().map(row))
}

async fn decide(client: &Client, id: &str, what: &str, reason: &str) -> Result<Value, CliError> {
    let body = serde_json::json!({ "reason": reason }).to_string();
    client.post_json(&["events", id, what], body, None).await
}

async fn submit(client: &Client, events: SubmitArgs) -> Result<Value, CliError> {
    let read = if events.file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(&events.file)
    };
    let body = read.map_err(|error| {
        let what = format!("the events cannot be read: {error}");
        CliError::failed(what, events.file.display().to_string(), "name a file of JSON, or -")
    })?;
    let key = events.idempotency_key.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    client.post_json(&["events"], body, Some(&key)).await
}

fn submitted_for_people(accepted: &Value) -> String {
    let events = accepted["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |event: &Value| vec![cell(&event["id"]), cell(&event["idempotency_key"])];
    table(&["ID", "IDEMPOTENCY_KEY"], events.iter().map(row))
}

fn list_for_people(page: &Value) -> String {
    let columns = [
        "id",
        "status",
        "event_type",
        "aggregate_id",
        "attempt_count",
        "next_retry_at",
        "created_at",
        "failure_code",
        "skipped_at",
        "held_by",
        "waits_for",
        "last_error",
    ];
    list(page, &columns)
}

fn show_for_people(history: &Value) -> String {
    let names = [
        "id",
        "status",
        "event_type",
        "aggregate_type",
        "aggregate_id",
        "attempt_count",
        "interruption_count",
        "deferral_count",
        "available_at",
        "valid_until",
        "next_retry_at",
        "failure_code",
        "skipped_at",
        "last_error",
        "release_digest",
        "locked_by",
        "created_at",
        "updated_at",
        "held_by",
        "waits_for",
        "payload",
        "detail",
    ];
    let attempts = history["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |attempt: &Value| {
        ["ended_at", "outcome", "attempt", "plugin", "reason"]
            .map(|name| cell(&attempt[name]))
            .to_vec()
    };
    let attempts =
        table(&["AT", "OUTCOME", "ATTEMPT", "PLUGIN", "REASON"], attempts.iter().map(row));
    let event = pairs(&history["event"], &names);
    format!("{event}\n\n{attempts}")
}

//! `tidegate routes list|pause|resume` and `tidegate status`.

use std::io::IsTerminal;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, ClientArgs};
use super::error::CliError;
use super::output::{cell, print, print_json, table};

/// How often `status --watch` looks.
const WATCH: Duration = Duration::from_secs(2);

#[derive(Args)]
pub(super) struct RoutesArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: RoutesCommand,
}

#[derive(Subcommand)]
enum RoutesCommand {
    /// List event types: their plugins, and whether they are paused
    List,
    /// Stop the delivery of an event type on every host, until it is resumed
    Pause(ControlArgs),
    /// Let hosts deliver an event type again
    Resume(ControlArgs),
}

#[derive(Args)]
struct ControlArgs {
    /// An event type, such as PARTNER_SYNC_REQUESTED
    event_type: String,
    /// Why, for those who come later
    #[arg(long)]
    reason: String,
}

#[derive(Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Look again every two seconds
    #[arg(long)]
    watch: bool,
}

/// # Errors
/// The host refused, or cannot be reached.
pub(super) async fn run(args: RoutesArgs) -> Result<(), CliError> {
    let client = Client::new(&args.client)?;
    let json = args.client.json;
    match args.command {
        RoutesCommand::List => {
            let routes = client.get(&["routes"], &[]).await?;
            if json { print_json(&routes) } else { print(&list_for_people(&routes)) }
        }
        RoutesCommand::Pause(control) => change(&client, "pause", &control, json).await,
        RoutesCommand::Resume(control) => change(&client, "resume", &control, json).await,
    }
}

async fn change(
    client: &Client,
    verb: &str,
    control: &ControlArgs,
    json: bool,
) -> Result<(), CliError> {
    let body = json!({ "reason": control.reason });
    let changed =
        client.post_json(&["routes", &control.event_type, verb], body.to_string(), None).await?;
    if json {
        return print_json(&changed);
    }
    let state = if changed["paused"] == true { "paused" } else { "not paused" };
    let already = if changed["changed"] == true { "" } else { " already" };
    print(&format!("{} is {state}{already}", cell(&changed["event_type"])))
}

/// # Errors
/// The host refused, or cannot be reached; watching ends with the first error too.
pub(super) async fn status(args: StatusArgs) -> Result<(), CliError> {
    let client = Client::new(&args.client)?;
    loop {
        let routes = client.get(&["routes"], &[]).await?;
        if args.client.json {
            print_json(&routes)?;
        } else {
            // On a terminal each look replaces the one before; elsewhere it follows it.
            let clear = args.watch && std::io::stdout().is_terminal();
            let clear = if clear { "\u{1b}[H\u{1b}[2J" } else { "" };
            print(&format!("{clear}{}", status_for_people(&routes)))?;
        }
        if !args.watch {
            return Ok(());
        }
        tokio::time::sleep(WATCH).await;
    }
}

fn items(routes: &Value) -> impl Iterator<Item = &Value> {
    routes["items"].as_array().into_iter().flatten()
}

fn list_for_people(routes: &Value) -> String {
    let heads = ["EVENT_TYPE", "PAUSED", "PLUGIN", "RELEASE", "NETWORK", "ORDERED", "REASON"];
    let rows = items(routes).flat_map(|route| {
        let handlers = route["handlers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let none = [Value::Null];
        let handlers = if handlers.is_empty() { none.to_vec() } else { handlers.to_vec() };
        handlers.into_iter().map(move |handler| {
            let digest: String = cell(&handler["release_digest"]).chars().take(12).collect();
            vec![
                cell(&route["event_type"]),
                cell(&route["paused"]),
                cell(&handler["plugin"]),
                digest,
                cell(&handler["network"]),
                cell(&handler["ordered"]),
                cell(&route["control"]["reason"]),
            ]
        })
    });
    table(&heads, rows)
}

fn status_for_people(routes: &Value) -> String {
    let heads = [
        "EVENT_TYPE",
        "PENDING",
        "HELD",
        "LIMITED",
        "PROCESSING",
        "RETRYING",
        "FAILED",
        "OLDEST",
        "STATE",
    ];
    let rows = items(routes).map(|route| {
        vec![
            cell(&route["event_type"]),
            count(&route["pending"]),
            count(&route["held"]),
            count(&route["rate_limited"]),
            count(&route["processing"]),
            count(&route["retrying"]),
            count(&route["failed"]),
            route["oldest_age_ms"].as_u64().map_or_else(|| "-".to_owned(), age),
            state(route),
        ]
    });
    table(&heads, rows)
}

/// The first thing that somebody should do something about.
fn state(route: &Value) -> String {
    let empty = route["handlers"].as_array().is_none_or(Vec::is_empty);
    let text = match (route["paused"] == true, route["untaken"] == true, empty) {
        (true, _, _) => return format!("paused: {}", cell(&route["control"]["reason"])),
        (false, _, true) => "no route: no plugin on this host handles it",
        (false, true, false) => "due, and no host is taking it",
        (false, false, false) => "ok",
    };
    text.to_owned()
}

fn count(count: &Value) -> String {
    let sign = if count["at_least"] == true { "≥" } else { "" };
    format!("{sign}{}", cell(&count["number"]))
}

/// Two units are enough to see how bad it is.
fn age(millis: u64) -> String {
    let seconds = millis / 1_000;
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m {rest}s"),
        (0, _, _) => format!("{hours}h {minutes}m"),
        (_, _, _) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> Value {
        json!({
            "event_type": "A",
            "paused": false,
            "control": null,
            "handlers": [{
                "plugin": "p", "release_digest": "0123456789abcdef", "network": null,
                "ordered": false,
            }],
            "pending": {"number": 10_000, "at_least": true},
            "held": {"number": 4, "at_least": false},
            "rate_limited": {"number": 5, "at_least": false},
            "processing": {"number": 0, "at_least": false},
            "retrying": {"number": 2, "at_least": false},
            "failed": {"number": 1, "at_least": false},
            "oldest_age_ms": 780_000_000,
            "untaken": true,
        })
    }

    #[test]
    fn a_status_shows_what_is_due_and_not_taken() {
        let text = status_for_people(&json!({"items": [route()]}));
        let row = text.lines().nth(1).unwrap();
        let words: Vec<_> = row.split_whitespace().collect();
        assert_eq!(words[..9], ["A", "≥10000", "4", "5", "0", "2", "1", "9d", "0h"]);
        assert!(row.ends_with("due, and no host is taking it"), "{row}");
    }

    #[test]
    fn a_paused_route_says_why() {
        let mut route = route();
        route["paused"] = json!(true);
        route["control"] = json!({"reason": "the partner is away"});
        assert_eq!(state(&route), "paused: the partner is away");
        route["paused"] = json!(false);
        route["handlers"] = json!([]);
        assert_eq!(state(&route), "no route: no plugin on this host handles it");
    }

    #[test]
    fn ages_have_two_units() {
        let ages = [900, 61_000, 3_660_000, 90_000_000].map(age);
        assert_eq!(ages, ["0s", "1m 1s", "1h 1m", "1d 1h"]);
    }

    #[test]
    fn a_route_without_a_plugin_is_listed() {
        let mut bare = route();
        bare["handlers"] = json!([]);
        let text = list_for_people(&json!({"items": [route(), bare]}));
        assert!(text.contains("0123456789ab ") && !text.contains("0123456789abc"), "{text}");
        assert_eq!(text.lines().count(), 3, "{text}");
    }
}

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
    let handlers = route["handlers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if route["paused"] == true {
        return format!("paused: {}", cell(&route["control"]["reason"]));
    }
    if handlers.is_empty() {
        return "no route: no plugin on this host handles it".to_owned();
    }
    if route["unrouted"]["number"].as_u64().is_some_and(|number| number > 0) {
        let unrouted = count(&route["unrouted"]);
        return format!("no route: no plugin on this host selects {unrouted} of them");
    }
    if let Some(breaker) = handlers.iter().find_map(open_breaker) {
        return breaker;
    }
    if route["untaken"] == true { "due, and no host is taking it" } else { "ok" }.to_owned()
}

/// What is said of a plugin whose breaker is open; of several, of the first.
fn open_breaker(handler: &Value) -> Option<String> {
    let breakers = handler["breakers"].as_array()?;
    let breaker = breakers.first()?;
    let (plugin, target) = (cell(&handler["plugin"]), cell(&breaker["target"]));
    let until = match (breaker["state"].as_str(), breaker["open_for_ms"].as_u64()) {
        (Some("held"), _) => "held open by hand".to_owned(),
        (_, Some(left)) => format!("open, the next probe in {}", age(left)),
        (_, None) => "open, and being probed".to_owned(),
    };
    let more = match breakers.len() {
        0 | 1 => String::new(),
        count => format!("; {} more", count - 1),
    };
    Some(format!("the breaker of {plugin} and {target} is {until}{more}"))
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
    fn what_no_plugin_selects_is_told() {
        let mut route = route();
        route["unrouted"] = json!({"number": 3, "at_least": false});
        assert_eq!(state(&route), "no route: no plugin on this host selects 3 of them");
    }

    #[test]
    fn a_breaker_that_is_open_says_whose_and_for_how_long() {
        let mut route = route();
        for (breakers, said) in [
            (
                json!([{"target": "t:443", "state": "open", "open_for_ms": 61_000}]),
                "the breaker of p and t:443 is open, the next probe in 1m 1s",
            ),
            (
                json!([{"target": "t:443", "state": "probing", "open_for_ms": null}]),
                "the breaker of p and t:443 is open, and being probed",
            ),
            (
                json!([
                    {"target": "messaging", "state": "held", "open_for_ms": null},
                    {"target": "t:443", "state": "held", "open_for_ms": null},
                ]),
                "the breaker of p and messaging is held open by hand; 1 more",
            ),
            (json!([]), "due, and no host is taking it"),
        ] {
            route["handlers"][0]["breakers"] = breakers;
            assert_eq!(state(&route), said);
        }
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

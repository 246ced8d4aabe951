//! `tidegate plugin list`.

use serde_json::Value;

use super::super::client::{Client, ClientArgs};
use super::super::error::CliError;
use super::super::output::{cell, print, print_json, table};

/// # Errors
/// The host refused, or cannot be reached.
pub(super) async fn run(args: &ClientArgs) -> Result<(), CliError> {
    let plugins = Client::new(args)?.get(&["plugins"], &[]).await?;
    if args.json { print_json(&plugins) } else { print(&for_people(&plugins)) }
}

fn for_people(plugins: &Value) -> String {
    let heads = ["PLUGIN", "STATE", "SINCE", "RELEASE", "HANDLES", "IN_HAND", "REASON"];
    let rows = plugins["items"].as_array().into_iter().flatten().map(|plugin| {
        let digest: String = cell(&plugin["release_digest"]).chars().take(12).collect();
        let handles = plugin["manifest"]["handles"].as_array().into_iter().flatten();
        let handles: Vec<_> = handles.map(cell).collect();
        vec![
            cell(&plugin["plugin"]),
            cell(&plugin["state"]),
            cell(&plugin["since"]),
            digest,
            if handles.is_empty() { "-".to_owned() } else { handles.join(", ") },
            cell(&plugin["calls_in_hand"]),
            reason_on_one_line(&plugin["reason"]),
        ]
    });
    table(&heads, rows)
}

/// A parser's reason points at a line of the manifest with lines of its own.
fn reason_on_one_line(reason: &Value) -> String {
    match reason.as_str() {
        Some(text) => cell(&Value::from(text.split_whitespace().collect::<Vec<_>>().join(" "))),
        None => cell(reason),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rejected_candidate_is_listed_beside_the_live_release() {
        let plugins = json!({"items": [
            {
                "plugin": "mailer", "state": "live", "since": "2026-01-01T00:00:00.000Z",
                "reason": null, "origin": "/plugins/mailer", "release_digest": "0123456789abcdef",
                "manifest": {"handles": ["A", "B"]}, "calls_in_hand": 3,
            },
            {
                "plugin": "mailer", "state": "rejected", "since": "2026-01-01T00:00:01.000Z",
                "reason": "it is\nbad", "origin": "/plugins/mailer", "release_digest": null,
                "manifest": null, "calls_in_hand": 0,
            },
        ]});
        let text = for_people(&plugins);
        let rows: Vec<_> = text.lines().collect();
        assert_eq!(rows.len(), 3, "{text}");
        assert!(rows[1].contains("0123456789ab ") && rows[1].contains("A, B"), "{text}");
        assert!(rows[2].contains("rejected") && rows[2].ends_with("it is bad"), "{text}");
    }
}

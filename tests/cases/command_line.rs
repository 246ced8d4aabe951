//! The commands that people and scripts use.

use std::time::Duration;

use serde_json::json;
use tidegate_tests::command_line::{Ended, ask, tidegate};
use tidegate_tests::host::Host;
use tidegate_tests::installation::Installation;
use tidegate_tests::machine;
use tidegate_tests::order::{NETWORK, Order};

const DONE_WITHIN: Duration = Duration::from_secs(20);

#[track_caller]
fn assert_refused(ended: &Ended, says: &[&str]) {
    assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{ended:?}");
    for part in says {
        assert!(ended.err.contains(part), "{part:?} is not in:\n{}", ended.err);
    }
}

#[tokio::test]
async fn withdrawals_and_events_are_listed_and_shown_for_people_and_for_programs() {
    let _shared = machine::shared().await;
    let folder = tempfile::tempdir().unwrap();
    let host = Host::dev(folder.path()).await;
    let api = host.dev_api();
    let order = Order::number(1);
    let id = api.submit(&order).await;
    api.all_done(1, DONE_WITHIN).await;

    let listed = ask(&api, &["withdrawals", "list"]);
    assert_eq!((listed.code, listed.err.as_str()), (0, ""), "{listed:?}");
    let lines: Vec<&str> = listed.out.lines().collect();
    assert_eq!(lines.len(), 2, "{}", listed.out);
    for (line, words) in lines.iter().zip([
        &["ID", "STATUS", "AMOUNT", "ASSET", "NETWORK", "USER_ID", "TX_HASH"][..],
        &[&id, "CONFIRMED", &order.amount, "ETH", NETWORK, &order.user],
    ]) {
        for word in words {
            assert!(line.split_whitespace().any(|found| found == *word), "{word}: {line}");
        }
    }
    let as_json = ask(&api, &["withdrawals", "list", "--json"]).json();
    assert_eq!(as_json, api.get("/v1/withdrawals").await, "what the API says, to the letter");
    let none = ask(&api, &["withdrawals", "list", "--status", "FAILED", "--json"]).json();
    assert_eq!(none["items"], json!([]));

    let shown = ask(&api, &["withdrawals", "show", &id]);
    for part in ["REQUESTED → BROADCASTED", "BROADCASTED → CONFIRMED", "PAYMENT 0x"] {
        assert!(shown.out.contains(part), "{part}:\n{}", shown.out);
    }
    let timeline = api.get(&format!("/v1/withdrawals/{id}/timeline")).await;
    assert_eq!(ask(&api, &["withdrawals", "show", &id, "--json"]).json(), timeline);

    let listed = ask(&api, &["events", "list", "--withdrawal", &id]);
    assert_eq!(listed.out.lines().count(), 8, "a heading and seven events:\n{}", listed.out);
    let synced = ["events", "list", "--type", "PARTNER_SYNC_REQUESTED", "--json"];
    let synced = ask(&api, &synced).json();
    assert_eq!(synced["items"].as_array().map(Vec::len), Some(3), "{synced:#}");
    let event = synced["items"][0]["id"].as_str().unwrap();
    let shown = ask(&api, &["events", "show", event]);
    assert!(shown.out.contains("DONE") && shown.out.contains(&id), "{}", shown.out);
    let history = api.get(&format!("/v1/events/{event}")).await;
    assert_eq!(ask(&api, &["events", "show", event, "--json"]).json(), history);
}

#[tokio::test]
async fn what_a_command_cannot_do_is_told_with_the_place_and_the_remedy() {
    let _shared = machine::shared().await;
    let installation = Installation::new().with_sqlite();
    let (_host, api) = installation.serve().await;
    let unknown = "00000000-0000-7000-8000-000000000000";
    let refused = ask(&api, &["withdrawals", "show", unknown]);
    assert_refused(&refused, &["(404)", "where: ", "what to do: "]);
    let refused = ask(&api, &["events", "list", "--status", "LOST"]);
    assert_refused(&refused, &["(400)", "status", "what to do: "]);
    assert_refused(&ask(&api, &["events", "replay", unknown]), &["(404)"]);
    let stranger = tidegate_tests::api::Api::new(api.url(), "tidegate_stranger");
    assert_refused(&ask(&stranger, &["withdrawals", "list"]), &["(401)"]);
    let port = machine::free_port();
    let nowhere = tidegate_tests::api::Api::new(&format!("http://127.0.0.1:{port}"), "t");
    assert_refused(&ask(&nowhere, &["withdrawals", "list"]), &["cannot be reached", "serve"]);
    assert_eq!(tidegate(&["withdrawals"]).code, 2, "wrong usage");
    assert_refused(&tidegate(&["events", "list"]), &["no token was given"]);
}

#[test]
fn a_configuration_is_checked_without_starting_anything() {
    let token = "0x05dc05dc05dc05dc05dc05dc05dc05dc05dc05dc";
    let installation =
        Installation::new().with_sqlite().with_network(NETWORK, "http://127.0.0.1:1", token);
    let file = installation.write().display().to_string();
    let good = tidegate(&["config", "check", "--config", &file]);
    assert_eq!((good.code, good.err.as_str()), (0, ""), "{good:?}");
    assert!(good.out.starts_with("ok: ") && good.out.contains(NETWORK), "{}", good.out);
    let good = tidegate(&["config", "check", "--config", &file, "--json"]);
    assert_eq!((good.code, &good.json()["ok"]), (0, &json!(true)));
    assert!(!installation.database().exists(), "nothing was opened");

    let text = std::fs::read_to_string(&file).unwrap();
    let line = 1 + text.lines().position(|line| line.starts_with("depth")).unwrap();
    std::fs::write(&file, text.replace("depth = 2", "depht = 2")).unwrap();
    for command in [&["config", "check"][..], &["serve"][..]] {
        let bad = tidegate(&[command, &["--config", &file]].concat());
        assert_refused(&bad, &[&format!("tidegate.toml:{line}:1"), "depht", "is no key here"]);
    }
    let bad = tidegate(&["config", "check", "--config", &file, "--json"]);
    assert_eq!((bad.code, &bad.json()["ok"]), (1, &json!(false)));
    assert_eq!(bad.json()["errors"][0]["line"], line, "{}", bad.out);
}

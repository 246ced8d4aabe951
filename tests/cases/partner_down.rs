//! A partner that is down for longer than its events are tried.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_tests::bench::Bench;
use tidegate_tests::command_line::ask;
use tidegate_tests::machine;
use tidegate_tests::oracle::{assert_paid_once, assert_partner_knows};
use tidegate_tests::order::Order;

const ATTEMPTS: i64 = 4;
const FAILED_WITHIN: Duration = Duration::from_secs(30);
const CONFIRMED_WITHIN: Duration = Duration::from_secs(30);
const DONE_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partner_that_is_down_fails_its_event_and_not_the_payment_and_a_replay_catches_up() {
    let _shared = machine::shared().await;
    let bench = Bench::start().await;
    bench.add_plugins(|partner| partner.with("retry", "max_attempts", ATTEMPTS)).await;
    let (_host, api) = bench.installation.serve().await;
    let partner = &bench.partner;

    partner.misbehave(&json!({ "mode": "down", "method": "PUT" })).await;
    let order = Order::number(1);
    let id = api.submit(&order).await;
    api.reaches(&id, "CONFIRMED", CONFIRMED_WITHIN).await;
    let events = api.events_of(&id, "PARTNER_SYNC_REQUESTED").await;
    let statuses: Vec<_> = events.iter().map(|event| &event["payload"]["status"]).collect();
    assert_eq!(statuses, ["REQUESTED", "BROADCASTED", "CONFIRMED"], "in the order written");
    let first = events[0]["id"].as_str().unwrap();

    let failed = api.event_reaches(first, "FAILED", FAILED_WITHIN).await;
    assert_eq!(failed["event"]["attempt_count"], ATTEMPTS);
    let reason = failed["event"]["last_error"].as_str().unwrap();
    for part in ["attempt 4 of 4", "the partner answered 503", "the service is down"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    assert_attempts_in_timeline(&api.get(&format!("/v1/withdrawals/{id}/timeline")).await, first);
    // What was written later waits for what was written before, and is not tried in vain.
    for event in &events[1..] {
        let later = api.get(&format!("/v1/events/{}", event["id"].as_str().unwrap())).await;
        assert_eq!(later["event"]["status"], "PENDING", "{later}");
        assert_eq!(later["event"]["attempt_count"], 0, "{later}");
    }
    assert!(partner.records().await.is_empty(), "the partner knows nothing yet");

    partner.behave().await;
    let replayed = ask(&api, &["events", "replay", first]);
    assert_eq!((replayed.code, replayed.err.as_str()), (0, ""), "{replayed:?}");
    assert_eq!(replayed.out.trim(), format!("{first} is PENDING"));
    api.all_done(1, DONE_WITHIN).await;
    assert_partner_knows(std::slice::from_ref(&id), &partner.records().await);
    let history = api.get(&format!("/v1/events/{first}")).await;
    let last = history["attempts"].as_array().unwrap().last().unwrap();
    assert_eq!(last["outcome"], "replayed", "{history:#}");

    let again = ask(&api, &["events", "replay", first]);
    assert_eq!(again.code, 1, "what is DONE is not done again: {again:?}");
    assert_paid_once(&api, &[order], &[id], &bench.node.transfers().await).await;
}

fn assert_attempts_in_timeline(timeline: &Value, event: &str) {
    let attempts: Vec<_> = timeline["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["kind"] == "attempt" && entry["event_id"] == event)
        .collect();
    let numbers: Vec<_> = attempts.iter().map(|attempt| attempt["attempt"].as_i64()).collect();
    assert_eq!(numbers, (1..=ATTEMPTS).map(Some).collect::<Vec<_>>(), "{timeline:#}");
    let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt["outcome"].as_str()).collect();
    let (last, others) = outcomes.split_last().unwrap();
    assert_eq!(*last, Some("failed"));
    assert!(others.iter().all(|outcome| *outcome == Some("retry")), "{outcomes:?}");
    for attempt in attempts {
        assert_eq!(attempt["plugin"], "partner-sync");
        assert!(attempt["reason"].as_str().unwrap().contains("503"), "{attempt}");
    }
}

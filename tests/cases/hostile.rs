//! A plugin that spins, hoards and floods, beside one that does what it should.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tidegate_tests::api::{Api, send};
use tidegate_tests::bench::Bench;
use tidegate_tests::eventually::eventually;
use tidegate_tests::machine;
use tidegate_tests::manifest::Manifest;

const GOOD: usize = 500;
const EACH: usize = 20;
const WITHIN: Duration = Duration::from_secs(120);

/// What is tried, and what the reason says.
const DEEDS: [(&str, &str); 6] = [
    ("loop", "time limit 5000ms reached"),
    ("spin_in_host", "time limit 5000ms reached"),
    ("wait_forever", "time limit 5000ms reached"),
    ("allocate", "memory limit 32MiB reached"),
    ("recurse", "call stack exhausted"),
    ("leak_pollables", "limit of 1024 resources a call reached"),
];

async fn hand_in(api: &Api, key: &str, events: Vec<Value>) {
    let request = api.request(Method::POST, "/v1/events");
    let request = request.header("Idempotency-Key", format!("\"{key}\""));
    let reply = send(request.json(&json!({ "events": events }))).await.unwrap();
    assert_eq!(reply.status, 201, "{}", reply.text);
}

fn event(event_type: &str, aggregate: &str, payload: &Value) -> Value {
    json!({"aggregate_type": "TEST", "aggregate_id": aggregate, "event_type": event_type,
           "payload": payload})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_hostile_plugin_does_its_worst_its_neighbours_events_are_done() {
    let _shared = machine::shared().await;
    let bench = Bench::start().await;
    // Those that hoard need a few milliseconds, and take turns with those that spin.
    let hostile = Manifest::shipped("hostile")
        .with("limits", "timeout", "5s")
        .with("retry", "max_attempts", 2)
        .with("retry", "base", "100ms")
        .with("retry", "cap", "100ms");
    bench.installation.add(&hostile).await;
    let good = Manifest::shipped("noop").at_top("handles", vec!["GOOD"]);
    bench.installation.add(&good).await;
    let (mut host, api) = bench.installation.serve().await;

    let bad = DEEDS.iter().flat_map(|(deed, _)| {
        let payload = json!({"do": deed, "count": 1_000_000});
        std::iter::repeat_with(move || event("HOSTILE", deed, &payload)).take(EACH)
    });
    hand_in(&api, "bad", bad.collect()).await;
    let good = (0..GOOD).map(|number| event("GOOD", &number.to_string(), &json!({})));
    hand_in(&api, "good", good.collect()).await;

    eventually("all good events are DONE", WITHIN, async || {
        let ready = send(api.request(Method::GET, "/readyz")).await?;
        assert_eq!(ready.status, 200, "{}", ready.text);
        let done = api.all("/v1/events?event_type=GOOD&status=DONE").await.len();
        if done == GOOD { Ok(()) } else { Err(format!("{done} are")) }
    })
    .await;
    for (deed, said) in DEEDS {
        let path = format!("/v1/events?event_type=HOSTILE&aggregate_type=TEST&aggregate_id={deed}");
        let events = eventually(&format!("{deed} is FAILED"), WITHIN, async || {
            let events = api.all(&format!("{path}&status=FAILED")).await;
            if events.len() == EACH { Ok(events) } else { Err(format!("{} are", events.len())) }
        })
        .await;
        for event in events {
            let reason = event["last_error"].as_str().unwrap();
            assert!(reason.contains(said), "{deed}: {said:?} is not in {reason:?}");
        }
    }
    assert!(host.is_running(), "the host is alive");
}

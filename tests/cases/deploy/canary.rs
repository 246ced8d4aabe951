//! A release that is tried on a share of the events: it is taken back, or gets them all, by itself.

use std::time::Duration;

use serde_json::Value;
use tidegate_tests::api::Api;
use tidegate_tests::eventually::eventually;
use tidegate_tests::machine;

use super::scene::{deploy, deployed, folder, installation, mark, mark_of, marker, state};

const JUDGED_WITHIN: Duration = Duration::from_secs(90);
const DONE_WITHIN: Duration = Duration::from_secs(60);
const AT_ONCE: u64 = 40;
/// More would say that nobody judges.
const EVENTS_MAX: u64 = 20_000;

/// Hands events in until the release is in this state; gives how many there are.
async fn feed_until(api: &Api, number: u32, wanted: &str) -> u64 {
    let mut events = 0;
    eventually(&format!("release {number} is {wanted}"), JUDGED_WITHIN, async || {
        assert!(events < EVENTS_MAX, "{events} events, and it is not judged");
        mark(api, events..events + AT_ONCE).await.unwrap();
        events += AT_ONCE;
        let state = state(api, number).await;
        if state == wanted { Ok(()) } else { Err(state) }
    })
    .await;
    events
}

/// Every event, when all are DONE.
async fn all_done(api: &Api, events: u64) -> Vec<Value> {
    eventually("all events are DONE", DONE_WITHIN, async || {
        let failed = api.get("/v1/events?status=FAILED&limit=1").await;
        assert_eq!(failed["items"], serde_json::json!([]), "an event paid for the canary");
        let done = api.all("/v1/events?status=DONE").await;
        if done.len() as u64 == events {
            Ok(done)
        } else {
            Err(format!("{} of {events}", done.len()))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_fails_three_of_ten_is_rolled_back_and_costs_no_event_an_attempt() {
    let _shared = machine::shared().await;
    let installation = installation().with_sqlite();
    let (_host, api) = installation.serve().await;
    let good = folder(installation.path(), "good", &marker("good", 0)).await;
    let bad = folder(installation.path(), "bad", &marker("bad", 30)).await;
    deployed(&api, &good).await;
    let ended = deploy(&api, &bad, &["--canary", "20%", "--canary-events", "100000"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.contains("is tried on 20% of the aggregates"), "{}", ended.out);

    let events = feed_until(&api, 2, "ROLLED_BACK").await;
    let done = all_done(&api, events).await;
    assert_eq!(state(&api, 1).await, "LIVE");
    let with = |mark: &str| done.iter().filter(|event| mark_of(event) == mark).count();
    assert!(with("bad") > 0 && with("good") > with("bad"), "{} {}", with("good"), with("bad"));
    assert_eq!(with("bad") + with("good"), done.len());
    for event in &done {
        assert_eq!(event["attempt_count"], 1, "{event}");
    }
    // What it failed was done by the old release, and its history says so.
    let troubled = done.iter().filter(|event| event["last_error"] == "bad fails");
    let troubled: Vec<_> = troubled.collect();
    assert!(troubled.len() >= 5, "{}", troubled.len());
    for event in troubled.iter().take(5) {
        assert_eq!(mark_of(event), "good", "{event}");
        let history = api.get(&format!("/v1/events/{}", event["id"].as_str().unwrap())).await;
        assert_eq!(history["attempts"].as_array().map(Vec::len), Some(1), "{history}");
        assert_eq!(history["attempts"][0]["outcome"], "canary");
    }
    let history = api.get("/v1/plugins/marker/releases").await;
    let decision = &history["decisions"][0];
    assert_eq!((&decision["kind"], &decision["by"]), (&"rolled back".into(), &"tidegate".into()));
    let reason = decision["reason"].as_str().unwrap();
    assert!(reason.starts_with("it fails more often: canary: "), "{reason}");
    assert!(reason.contains("live: 0 of "), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_canary_keeps_its_share_and_is_promoted_by_itself() {
    let _shared = machine::shared().await;
    let installation = installation().with_sqlite();
    let (_host, api) = installation.serve().await;
    let old = folder(installation.path(), "old", &marker("old", 0)).await;
    let new = folder(installation.path(), "new", &marker("new", 0)).await;
    deployed(&api, &old).await;
    let ended = deploy(&api, &new, &["--canary", "30%", "--canary-events", "60"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let events = feed_until(&api, 2, "LIVE").await;
    assert_eq!(state(&api, 1).await, "RETIRED");
    let done = all_done(&api, events).await;
    let with = |mark: &str| done.iter().filter(|event| mark_of(event) == mark).count();
    assert!(with("new") >= 60 && with("old") > 0, "{} {}", with("new"), with("old"));
    assert!(done.iter().all(|event| event["attempt_count"] == 1));
    let history = api.get("/v1/plugins/marker/releases").await;
    assert_eq!(history["decisions"][0]["kind"], "promoted");
}

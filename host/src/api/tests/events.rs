//! Events are handed in, skipped and cancelled.

use super::*;
use crate::domain::{EventState, FailureCode};
use crate::store::EventHistory;

fn rows(host: &Host) -> Vec<EventHistory> {
    host.store.rows.lock().unwrap().events.clone()
}

async fn hand_in(host: &Host, key: &str, body: &Value) -> Reply {
    host.send(events(key, body.to_string())).await
}

#[tokio::test]
async fn one_event_is_written_to_the_letter_and_answered_with_its_place() {
    let host = host();
    let body = r#"{"aggregate_type":"ORDER","aggregate_id":"4711","event_type":"ORDER_PAID",
        "payload": {"sum": 0.10000000000000000000001} ,
        "idempotency_key":"0197F3A2-7c1e-7d4e-9a51-5b6d3f0c2a11",
        "available_at":"2099-01-01T02:00:00+02:00","valid_until":"2099-01-02T00:00:00Z"}"#;
    let reply = host.send(events("\"k\"", body)).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let event = rows(&host)[0].event.clone();
    assert_eq!(event.payload, r#"{"sum": 0.10000000000000000000001}"#);
    assert_eq!(event.available_at.to_rfc3339(), "2099-01-01T00:00:00+00:00");
    assert!(event.traceparent.is_some());
    let (id, key) = (event.id.to_string(), "0197f3a2-7c1e-7d4e-9a51-5b6d3f0c2a11");
    assert_eq!(reply.json(), json!({"events": [{"id": id, "idempotency_key": key}]}));
    assert_eq!(reply.header("location"), format!("/v1/events/{id}"));
}

#[tokio::test]
async fn a_batch_is_written_in_its_order_as_a_whole_and_once() {
    let host = host();
    let mut batch = vec![an_event(); 1_000];
    for (n, event) in batch.iter_mut().enumerate() {
        event["aggregate_id"] = json!(n.to_string());
    }
    let body = json!({ "events": batch });
    let first = hand_in(&host, "\"k\"", &body).await;
    assert_eq!((first.status.as_u16(), first.header("location")), (201, "/v1/events"));
    let written = rows(&host);
    assert_eq!(written.len(), 1_000);
    for (n, row) in written.iter().enumerate() {
        assert_eq!(row.event.aggregate.id(), n.to_string());
        assert_eq!(first.json()["events"][n]["id"], row.event.id.to_string());
    }
    let again = hand_in(&host, "\"k\"", &body).await;
    assert_eq!((again.status, &again.text), (first.status, &first.text));
    assert_eq!(again.header("idempotency-replayed"), "true");
    let other = hand_in(&host, "\"k\"", &an_event()).await;
    assert_eq!(other.status, 422);
    assert_eq!(other.json()["type"], "/problems/idempotency-key-reused");
    assert_eq!(rows(&host).len(), 1_000);
}

#[tokio::test]
async fn an_event_whose_key_is_in_the_outbox_refuses_its_whole_batch() {
    let host = host();
    let mut keyed = an_event();
    keyed["idempotency_key"] = json!("0197f3a2-7c1e-7d4e-9a51-5b6d3f0c2a11");
    assert_eq!(hand_in(&host, "\"a\"", &keyed).await.status, 201);
    let batch = json!({"events": [an_event(), keyed]});
    let reply = hand_in(&host, "\"b\"", &batch).await;
    assert_eq!(reply.status, 409, "{}", reply.text);
    assert_eq!(reply.json()["type"], "/problems/event-key-taken");
    assert_eq!(reply.fields(), ["events[1].idempotency_key"]);
    assert_eq!(rows(&host).len(), 1);
    // The refused request left its key free.
    assert_eq!(hand_in(&host, "\"b\"", &an_event()).await.status, 201);
}

#[tokio::test]
async fn what_was_accepted_while_it_was_valid_is_answered_again_later() {
    let host = host();
    let mut event = an_event();
    let soon = chrono::Utc::now() + chrono::TimeDelta::milliseconds(400);
    event["valid_until"] = json!(soon.to_rfc3339());
    assert_eq!(hand_in(&host, "\"k\"", &event).await.status, 201);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let again = hand_in(&host, "\"k\"", &event).await;
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (201, "true"));
    assert_eq!(hand_in(&host, "\"l\"", &event).await.status, 422);
}

#[tokio::test]
async fn a_strangers_event_for_a_withdrawal_is_refused_with_the_rule() {
    let host = host();
    let mut event = an_event();
    event["aggregate_type"] = json!("WITHDRAWAL");
    event["event_type"] = json!("BLOCKCHAIN_BROADCAST_REQUESTED");
    let reply = hand_in(&host, "\"k\"", &event).await;
    assert_eq!(reply.status, 422);
    let errors = reply.json()["errors"].clone();
    assert_eq!((&errors[0]["code"], &errors[1]["code"]), (&json!("rejected"), &json!("rejected")));
    let rule = "is the host's own: a withdrawal's events are written by its transitions alone, and \
                it comes in by POST /v1/withdrawals";
    assert_eq!(errors[0]["detail"], rule);
    assert!(host.store.is_empty());
}

#[tokio::test]
async fn a_skipped_event_stays_failed_and_says_why_and_no_longer_holds_the_next() {
    let host = host();
    hand_in(&host, "\"k\"", &json!({"events": [an_event(), an_event()]})).await;
    let [first, second] = [0, 1].map(|n| rows(&host)[n].event.id.to_string());
    let show = |id: &str| format!("/v1/events/{id}");
    assert_eq!(host.get(&show(&second)).await.json()["held_by"], json!(first));
    assert_eq!(host.get(&show(&first)).await.json()["held_by"], Value::Null);

    let skip = || decision(&first, "skip", r#"{"reason": "the order was deleted"}"#);
    let reply = host.send(skip()).await;
    assert_eq!(reply.json()["type"], "/problems/event-not-failed");
    assert_eq!(reply.json()["detail"], "The event is PENDING; only a FAILED event can be skipped.");

    let failed = EventState::Failed { code: FailureCode::Rejected, skipped_at: None };
    host.store.rows.lock().unwrap().events[0].event.state = failed;
    for _ in 0..2 {
        let reply = host.send(skip()).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json(), json!({"id": first, "status": "FAILED", "skipped": true}));
    }
    let history = host.get(&show(&first)).await.json();
    assert_eq!(history["event"]["failure_code"], "rejected");
    assert!(history["event"]["skipped_at"].is_string());
    let told = [&history["attempts"][0]["outcome"], &history["attempts"][0]["reason"]];
    assert_eq!(told, [&json!("skipped"), &json!("all: the order was deleted")]);
    assert_eq!(history["attempts"].as_array().map(Vec::len), Some(1), "a repeat adds nothing");
    assert_eq!(host.get(&show(&second)).await.json()["held_by"], Value::Null);
}

#[tokio::test]
async fn only_an_event_that_has_not_begun_and_is_no_withdrawals_is_cancelled() {
    let host = host();
    hand_in(&host, "\"k\"", &an_event()).await;
    host.submit("\"w\"", &a_body()).await;
    let [event, payment] = [0, 1].map(|n| rows(&host)[n].event.id.to_string());
    let cancel = |id: &str| decision(id, "cancel", r#"{"reason": "a mistake"}"#);
    for _ in 0..2 {
        let reply = host.send(cancel(&event)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let view = json!({"id": event, "status": "FAILED", "failure_code": "cancelled"});
        assert_eq!(reply.json(), view);
    }
    let reply = host.send(cancel(&payment)).await;
    assert_eq!(reply.status, 409);
    assert_eq!(reply.json()["type"], "/problems/event-not-cancellable");
    assert!(reply.json()["detail"].as_str().unwrap().contains("belongs to a withdrawal"));
    host.store.rows.lock().unwrap().events[0].event.state = EventState::Done;
    let reply = host.send(cancel(&event)).await;
    assert_eq!(reply.status, 409);
    let detail = "The event is DONE; only a PENDING event that no host has taken yet can be \
                  cancelled.";
    assert_eq!(reply.json()["detail"], detail);
}

#[tokio::test]
async fn what_an_event_waits_for_is_shown_in_the_list_too() {
    let host = host();
    hand_in(&host, "\"k\"", &json!({"events": [an_event(), an_event(), an_event()]})).await;
    let ids = [0, 1, 2].map(|n| rows(&host)[n].event.id);
    let bucket = crate::store::Bucket { plugin: "order-mail".into(), key: "p7".into() };
    host.store.rows.lock().unwrap().rate_waits.insert(ids[0], bucket);
    let list = host.get("/v1/events").await.json();
    let of = |id: crate::domain::EventId| {
        let items = list["items"].as_array().unwrap().iter();
        items.clone().find(|item| item["id"] == id.to_string()).unwrap().clone()
    };
    assert_eq!(of(ids[0])["held_by"], Value::Null);
    assert_eq!(of(ids[0])["waits_for"], "rate limit of order-mail");
    assert_eq!(of(ids[1])["held_by"], ids[0].to_string());
    assert_eq!(of(ids[2])["held_by"], ids[1].to_string());
    assert_eq!(of(ids[2])["waits_for"], Value::Null);
    let one = host.get(&format!("/v1/events/{}", ids[0])).await.json();
    assert_eq!(one["event"]["waits_for"], "rate limit of order-mail");
    // Which is about PENDING ones only.
    host.store.rows.lock().unwrap().events[1].event.state = EventState::Done;
    let list = host.get("/v1/events?status=DONE").await.json();
    assert_eq!(list["items"][0]["held_by"], Value::Null);
}

/// The README's commands, as a shell runs them, against a server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readmes_curl_hands_events_in_and_cancels_one() {
    use std::process::Command;
    if !Command::new("curl").arg("--version").output().is_ok_and(|o| o.status.success()) {
        println!("skipped: curl is not installed");
        return;
    }
    let readme = include_str!("../../../../README.md");
    let section = readme.split("## The outbox as a public contract").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let examples: Vec<_> =
        section.split("```sh\n").skip(1).map(|b| b.split("```").next().unwrap()).collect();
    assert_eq!(examples.len(), 3);

    let host = host();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stop = tokio_util::sync::CancellationToken::new();
    let grace = Duration::from_secs(5);
    let server = tokio::spawn(serve(listener, host.router.clone(), stop.clone(), grace));
    let run = async |command: &'static str, event: String| {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).env("TIDEGATE_URL", &url).env("TIDEGATE_TOKEN", "all");
        shell.env("EVENT", event);
        let output = tokio::task::spawn_blocking(move || shell.output().unwrap()).await.unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let one = run(examples[0], String::new()).await;
    let batch = run(examples[1], String::new()).await;
    assert_eq!(rows(&host).len(), 3, "{one} {batch}");
    assert_eq!(rows(&host)[0].event.payload, r#"{"order": 4711, "email": "ada@example.org"}"#);
    assert_eq!(run(examples[0], String::new()).await, one, "a repeat");
    let event = batch["events"][0]["id"].as_str().unwrap().to_owned();
    let cancelled = run(examples[2], event).await;
    assert_eq!(cancelled["failure_code"], "cancelled", "{cancelled}");
    stop.cancel();
    server.await.unwrap().unwrap();
}

//! Events and health.

use std::sync::atomic::Ordering;

use super::*;
use crate::domain::{EventState, FailureCode};

#[tokio::test]
async fn only_a_failed_event_is_replayed_and_the_history_says_by_whom() {
    let host = host();
    host.submit("\"k\"", &a_body()).await;
    let id = host.store.rows.lock().unwrap().events[0].event.id;
    let replay = format!("/v1/events/{id}/replay");

    let reply = host.send(request("POST", &replay, "")).await;
    assert_eq!(reply.status, 409);
    assert_eq!(reply.json()["type"], "/problems/event-not-failed");
    assert_eq!(
        reply.json()["detail"],
        "The event is PENDING; only a FAILED event can be replayed."
    );

    host.store.rows.lock().unwrap().events[0].event.state =
        EventState::Failed { code: FailureCode::Rejected, skipped_at: None };
    let reply = host.send(request("POST", &replay, "")).await;
    assert_eq!(reply.status, 202);
    assert_eq!(reply.json(), json!({"id": id.to_string(), "status": "PENDING"}));

    let history = host.get(&format!("/v1/events/{id}")).await.json();
    assert_eq!(history["event"]["status"], "PENDING");
    assert_eq!(history["attempts"][0]["outcome"], "replayed");
    assert_eq!(history["attempts"][0]["reason"], "all");
}

#[tokio::test]
async fn events_are_filtered() {
    let host = host();
    let id = host.submit("\"k\"", &a_body()).await.json()["id"].as_str().unwrap().to_owned();
    for (query, count) in [
        (String::new(), 3),
        ("?status=PENDING&limit=2".into(), 2),
        ("?status=DONE".into(), 0),
        ("?event_type=PARTNER_SYNC_REQUESTED".into(), 1),
        ("?aggregate_type=WITHDRAWAL".into(), 3),
        (format!("?aggregate_id={id}"), 3),
        ("?aggregate_id=other".into(), 0),
    ] {
        let page = host.get(&format!("/v1/events{query}")).await.json();
        assert_eq!(page["items"].as_array().map(Vec::len), Some(count), "{query}");
    }
}

#[tokio::test]
async fn health_is_open_and_says_whether_the_process_lives() {
    let host = host();
    host.store.unavailable.store(true, Ordering::SeqCst);
    let open = Request::get("/healthz").body(Body::empty()).unwrap();
    let reply = host.send(open).await;
    assert_eq!((reply.status.as_u16(), reply.text.as_str()), (200, r#"{"status":"alive"}"#));
}

#[tokio::test]
async fn readiness_says_why_not() {
    let host = host();
    let ready = || Request::get("/readyz").body(Body::empty()).unwrap();
    let reply = host.send(ready()).await;
    assert_eq!(
        (reply.status.as_u16(), reply.text.as_str()),
        (200, r#"{"status":"ready","wakeups":"listening"}"#)
    );

    host.store.unavailable.store(true, Ordering::SeqCst);
    let reply = host.send(ready()).await;
    assert_eq!(reply.status, 503);
    let why = "The store cannot be reached. The host's log says more.";
    assert_eq!(reply.json()["detail"], why);

    host.store.unavailable.store(false, Ordering::SeqCst);
    host.store.hangs.store(true, Ordering::SeqCst);
    let reply = host.send(ready()).await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.json()["detail"], "The store does not answer in time.");
}

#[tokio::test]
async fn head_and_options_are_answered_as_http_has_it() {
    let host = host();
    let head = host.send(request("HEAD", "/v1/withdrawals", "")).await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
    let options = host.send(request("OPTIONS", "/v1/withdrawals", "")).await;
    assert_eq!(options.status, 204);
    let mut allowed: Vec<_> = options.header("allow").split(',').map(str::trim).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
}

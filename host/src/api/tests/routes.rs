//! Routes: what waits, and pausing.

use std::sync::atomic::Ordering;

use super::*;

fn control(path: &str, body: &str) -> Request<Body> {
    let mut request = request("POST", path, body.to_owned());
    request.headers_mut().insert("content-type", "application/json".parse().unwrap());
    request
}

#[tokio::test]
async fn a_route_is_paused_and_resumed_with_a_reason_and_seen() {
    let host = host();
    let pause = || control("/v1/routes/A/pause", r#"{"reason":"the partner is away"}"#);
    let reply = host.send(pause()).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json(), json!({"event_type": "A", "paused": true, "changed": true}));
    assert_eq!(host.send(pause()).await.json()["changed"], false);

    let routes = host.get("/v1/routes").await.json();
    let route = &routes["items"][0];
    assert_eq!((&route["event_type"], &route["paused"]), (&json!("A"), &json!(true)));
    assert_eq!(route["control"]["reason"], "the partner is away");
    assert_eq!(route["control"]["changed_by"], "all");

    let reply = host.send(control("/v1/routes/A/resume", r#"{"reason":"it is back"}"#)).await;
    assert_eq!(reply.json(), json!({"event_type": "A", "paused": false, "changed": true}));
    assert_eq!(host.get("/v1/routes").await.json()["items"][0]["paused"], false);
}

#[tokio::test]
async fn a_breaker_is_opened_and_closed_with_a_reason_and_seen() {
    let host = host();
    assert_eq!(host.get("/v1/breakers").await.json(), json!({"items": []}));
    let path = "/v1/breakers/partner-sync/API.partner.example:443";
    let open = || control(&format!("{path}/open"), r#"{"reason":"they asked us to wait"}"#);
    let reply = host.send(open()).await;
    assert_eq!(reply.status, 200);
    let (plugin, target) = ("partner-sync", "api.partner.example:443");
    assert_eq!(
        reply.json(),
        json!({"plugin": plugin, "target": target, "open": true, "changed": true})
    );
    assert_eq!(host.send(open()).await.json()["changed"], false);
    let breaker = host.get("/v1/breakers").await.json()["items"][0].take();
    assert_eq!((&breaker["state"], &breaker["changed_by"]), (&json!("held"), &json!("all")));
    assert_eq!(breaker["reason"], "they asked us to wait");
    let close = control(&format!("{path}/close"), r#"{"reason":"they are back"}"#);
    assert_eq!(host.send(close).await.json()["changed"], true);
    assert_eq!(host.get("/v1/breakers").await.json()["items"][0]["state"], "closed");
    for nobody in ["a%20b/c:443", "a/c", "a/c:x"] {
        let nobody = control(&format!("/v1/breakers/{nobody}/open"), r#"{"reason":"x"}"#);
        assert_eq!(host.send(nobody).await.status, 404);
    }
    let wordless = control(&format!("{path}/open"), "{}");
    assert_eq!(host.send(wordless).await.status, 422);
}

#[tokio::test]
async fn a_pause_needs_a_reason_and_a_type_that_can_be() {
    let host = host();
    for (body, code) in [
        ("{}", "required"),
        (r#"{"reason":""}"#, "invalid"),
        (r#"{"reason":1}"#, "wrong_type"),
        (r#"{"reason":"x","reason":"y"}"#, "duplicate"),
        (r#"{"why":"x"}"#, "unknown"),
        ("[]", "wrong_type"),
    ] {
        let reply = host.send(control("/v1/routes/A/pause", body)).await;
        assert_eq!(reply.status, 422, "{body}");
        assert_eq!(reply.json()["errors"][0]["code"], code, "{body}");
    }
    let reply = host.send(control("/v1/routes/a-b/pause", r#"{"reason":"x"}"#)).await;
    assert_eq!(reply.status, 404);
    assert_eq!(host.get("/v1/routes").await.json(), json!({"items": []}));
}

#[tokio::test]
async fn a_route_shows_its_backlog_and_that_nobody_takes_it() {
    let host = host();
    host.store.rows.lock().unwrap().backlog = vec![fake::a_backlog("B", 7, Some(120))];
    let route = host.get("/v1/routes").await.json()["items"][0].take();
    assert_eq!(route["pending"], json!({"number": 7, "at_least": false}));
    assert_eq!(route["oldest_age_ms"], 120_000);
    assert_eq!(route["untaken"], true);
    assert_eq!((&route["handlers"], &route["no_route"]), (&json!([]), &json!(true)));
    // Paused, it is meant to wait.
    host.send(control("/v1/routes/B/pause", r#"{"reason":"x"}"#)).await;
    assert_eq!(host.get("/v1/routes").await.json()["items"][0]["untaken"], false);
}

#[tokio::test]
async fn an_old_backlog_of_what_withdrawals_write_is_answered_with_429() {
    let limits = Limits { backlog_age_max: Some(Duration::from_secs(60)), ..Limits::default() };
    let host = host_with(limits);
    let seen = |event_type: &str, age| {
        let types = vec![fake::a_backlog(event_type, 1, Some(age))];
        host.backlog.send_replace(crate::store::Backlog {
            read_at: std::time::Instant::now(),
            types,
            waits: vec![],
        });
    };
    seen("PARTNER_SYNC_REQUESTED", 10);
    assert_eq!(host.submit("\"a\"", &a_body()).await.status, 201);
    seen("SOMEBODY_ELSES", 1_000);
    assert_eq!(host.submit("\"b\"", &a_body()).await.status, 201);

    seen("PARTNER_SYNC_REQUESTED", 61);
    let reply = host.submit("\"c\"", &a_body()).await;
    assert_eq!(reply.status, 429);
    assert_eq!(reply.header("retry-after"), "15");
    assert_eq!(reply.json()["type"], "/problems/backlog-too-old");
    assert_eq!(host.store.rows.lock().unwrap().withdrawals.len(), 2);
    // What was accepted before is answered as before.
    assert_eq!(host.submit("\"a\"", &a_body()).await.status, 201);

    seen("PARTNER_SYNC_REQUESTED", 10);
    assert_eq!(host.submit("\"c\"", &a_body()).await.status, 201);
}

#[tokio::test]
async fn an_old_backlog_of_their_own_type_refuses_events() {
    let limits = Limits { backlog_age_max: Some(Duration::from_secs(60)), ..Limits::default() };
    let host = host_with(limits);
    let seen = |event_type: &str, age| {
        let types = vec![fake::a_backlog(event_type, 1, Some(age))];
        host.backlog.send_replace(crate::store::Backlog {
            read_at: std::time::Instant::now(),
            types,
            waits: vec![],
        });
    };
    let hand_in = async |key: &str| host.send(events(key, an_event().to_string())).await;
    seen("PARTNER_SYNC_REQUESTED", 1_000);
    assert_eq!(hand_in("\"a\"").await.status, 201);
    seen("ORDER_PAID", 61);
    let reply = hand_in("\"b\"").await;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (429, "15"));
    assert_eq!(reply.json()["type"], "/problems/backlog-too-old");
    assert_eq!(host.store.rows.lock().unwrap().events.len(), 1);
    assert_eq!(hand_in("\"a\"").await.status, 201, "a repeat is answered as before");
    assert_eq!(host.submit("\"w\"", &a_body()).await.status, 201);
    seen("ORDER_PAID", 10);
    assert_eq!(hand_in("\"b\"").await.status, 201);
}

#[tokio::test]
async fn without_a_bound_no_backlog_refuses_anything() {
    let host = host();
    let types = vec![fake::a_backlog("PARTNER_SYNC_REQUESTED", 1, Some(1_000_000))];
    host.backlog.send_replace(crate::store::Backlog {
        read_at: std::time::Instant::now(),
        types,
        waits: vec![],
    });
    assert_eq!(host.submit("\"a\"", &a_body()).await.status, 201);
}

#[tokio::test]
async fn routes_are_503_while_the_store_is_away() {
    let host = host();
    host.store.unavailable.store(true, Ordering::SeqCst);
    assert_eq!(host.get("/v1/routes").await.status, 503);
}

#[tokio::test]
async fn metrics_are_text_for_who_may_read_or_for_all_if_they_are_open() {
    let bare = || Request::get("/metrics").body(Body::empty()).unwrap();
    let closed = host();
    assert_eq!(closed.send(bare()).await.status, 401);
    let reply = closed.get("/metrics").await;
    assert_eq!((reply.status.as_u16(), reply.text.as_str()), (200, "tidegate_up 1\n"));
    assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let open = host_with(Limits { metrics_open: true, ..Limits::default() });
    assert_eq!(open.send(bare()).await.status, 200);
}
